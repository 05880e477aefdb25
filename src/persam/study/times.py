"""How long people took for their masks, and how they made them: one line a mask, in ``times.csv`` beside the masks.

Seconds are *active* while the photo was on the screen and its annotator at it: they end some seconds after the last
movement and while the page is hidden. A mask that was made again keeps its line, in which all sittings add up.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from persam.errors import PersamError, write_error
from persam.files import write_csv

#: What an annotator had to work with: the model, asked by points and boxes; the hand alone; or what the model found of
#: itself, after it was shown the annotator's mask of another photo. A mask that was worked on in more than one of these
#: ways is mixed: its seconds are those of neither.
WITH_MODEL, BY_HAND, PROPOSAL, MIXED = "model", "none", "proposal", "mixed"
ASSISTANCE = {
    WITH_MODEL: "with the model",
    BY_HAND: "by hand",
    PROPOSAL: "correcting proposals",
    MIXED: "in more than one way",
}

#: How a mask came about. There is no mask where somebody saw nothing to mark, and said so.
HAND, PROMPTS, BOTH, CORRECTED, NOTHING = "hand", "prompts", "prompts and hand", "corrected proposal", "nothing here"
MADE = (HAND, PROMPTS, BOTH, CORRECTED, NOTHING)


@dataclass(frozen=True)
class MaskTime:
    """A line of ``times.csv``; the fields are its columns.

    Attributes:
        annotator, category, photo: whose mask of which photo; the photo by its stem.
        place: of the photo in this annotator's order, from 1.
        assistance: what there was to work with, one of `ASSISTANCE`.
        made: how the mask came about, in all sittings since it was last begun anew, one of `MADE`.
        active_seconds: spent on the mask, all sittings together.
        first_active_seconds: of those, until it was saved for the first time.
        wall_seconds: by the clock, with the pauses.
        positive_points, negative_points, boxes, strokes: in the prompts that were saved.
        undos: how often something was taken back.
        started_utc, ended_utc: when the photo was first shown, and when its mask was last saved.
        saves: how often it was saved: above 1 it was made again.
        idle_limit_seconds: without a movement, after which time no longer counts.
        persam_version: that recorded it.
    """

    annotator: str
    category: str
    photo: str
    place: int
    assistance: str
    made: str
    active_seconds: float
    first_active_seconds: float
    wall_seconds: float
    positive_points: int
    negative_points: int
    boxes: int
    strokes: int
    undos: int
    started_utc: datetime
    ended_utc: datetime
    saves: int
    idle_limit_seconds: float
    persam_version: str

    @property
    def prompts(self) -> int:
        """Points, boxes and strokes together."""
        return self.positive_points + self.negative_points + self.boxes + self.strokes

    @property
    def made_again(self) -> bool:
        """Whether it was saved more than once."""
        return self.saves > 1

    def after(self, earlier: MaskTime, *, anew: bool = False) -> MaskTime:
        """This sitting and the ones before it in one line.

        Args:
            earlier: the line of the ones before.
            anew: whether nothing of the earlier mask is in this one. Otherwise a mask that began as a proposal stays
                one, and one that was made with prompts is not by hand because it was touched by hand.
        """
        counts = ("positive_points", "negative_points", "boxes", "strokes", "undos", "saves")
        return replace(
            self,
            assistance=self.assistance if self.assistance == earlier.assistance else MIXED,
            made=self.made if anew else _made_in_turn(earlier.made, self.made),
            active_seconds=round(earlier.active_seconds + self.active_seconds, 3),
            first_active_seconds=earlier.first_active_seconds,
            wall_seconds=round(earlier.wall_seconds + self.wall_seconds, 3),
            started_utc=min(earlier.started_utc, self.started_utc),
            **{name: getattr(earlier, name) + getattr(self, name) for name in counts},
        )


def _made_in_turn(first: str, then: str) -> str:
    """How a mask came about that was made in one way and changed in another."""
    if NOTHING in {first, then} or first == then:
        return then
    return CORRECTED if CORRECTED in {first, then} else BOTH


@dataclass(frozen=True)
class TimesFile:
    """What a ``times.csv`` holds.

    Attributes:
        times: its lines, one a photo.
        damaged: for every line that cannot be used, and for a file that is none of ours, a sentence.
    """

    times: tuple[MaskTime, ...] = ()
    damaged: tuple[str, ...] = ()


def read_times(file: Path, category: str, annotator: str) -> TimesFile:
    """Read the times of one annotator in one category. A file that is missing holds nothing; none raises.

    Args:
        file: ``times.csv``.
        category: whose folder it lies in; lines of others do not count.
        annotator: likewise.
    """
    if not file.exists():
        return TimesFile()
    try:
        _, rows = _rows(file)
    except PersamError as error:
        return TimesFile(damaged=(str(error),))
    times: dict[str, MaskTime] = {}
    damaged = []
    for number, row in enumerate(rows, start=2):
        time = _parsed(row)
        if isinstance(time, str):
            problem = time
        elif (time.category, time.annotator) != (category, annotator):
            problem = f"it is of {time.category} by {time.annotator}, but lies in {category} by {annotator}"
        elif time.photo in times:
            problem = f"{time.photo} has a line already"
        else:
            times[time.photo] = time
            continue
        damaged.append(f"{file}, line {number}, does not count: {problem}; mend or remove that line.")
    return TimesFile(tuple(times.values()), tuple(damaged))


def record_time(file: Path, time: MaskTime, *, anew: bool = False) -> MaskTime:
    """Add a sitting to an annotator's ``times.csv``; several windows may do so at once.

    Lines that cannot be understood are kept as they are.

    Args:
        file: ``times.csv``, which is made where there is none.
        time: of the sitting.
        anew: as for `MaskTime.after`.

    Returns:
        The line as it is now, with earlier sittings of the same photo.

    Raises:
        PersamError: the file is none of ours, so that it must not be replaced; or it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f".{file.name}.lock")):
            columns, rows = _rows(file) if file.exists() else (list(COLUMNS), [])
            for row in [row for row in rows if row.get("photo") == time.photo]:
                earlier = _parsed(row)
                if isinstance(earlier, MaskTime):
                    time = time.after(earlier, anew=anew)
                    rows.remove(row)
            rows.append(_row(time))
            write_csv(file, [columns, *([row.get(column) or "" for column in columns] for row in rows)])
    except OSError as error:
        raise write_error(file, error) from error
    return time


def saw_nothing(file: Path, photo: str) -> bool:
    """Whether the annotator of this ``times.csv`` said that the object is not in the photo of this stem."""
    try:
        rows = _rows(file)[1] if file.exists() else []
    except PersamError:
        return False
    return any(row.get("photo") == photo and row.get("made") == NOTHING for row in rows)


COLUMNS = tuple(field.name for field in fields(MaskTime))


def _rows(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a file and its lines by them."""
    try:
        lines = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""))
        columns = list(lines.fieldnames or ())
        rows = list(lines)
    except (OSError, ValueError, csv.Error) as error:
        raise PersamError(f"{file} cannot be read as a table of times; move it away or mend it.") from error
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise PersamError(
            f"{file} is no table of times by persam: it has no column {missing[0]!r}; move it away or mend it."
        )
    return columns, rows


def _parsed(row: dict[str, str]) -> MaskTime | str:
    """A line as a record, or what is wrong with it, as a part of a sentence."""
    values: dict[str, Any] = {}
    for field in fields(MaskTime):
        text = row.get(field.name) or ""
        try:
            values[field.name] = _PARSERS[str(field.type)](text)
        except (ValueError, OverflowError):
            return f"{field.name} is {text!r}"
    time = MaskTime(**values)
    for name, known in (("assistance", tuple(ASSISTANCE)), ("made", MADE)):
        if values[name] not in known:
            return f"{name} is {values[name]!r}, not one of {', '.join(known)}"
    if time.saves < 1 or time.place < 1:
        return "saves and place count from 1"
    return "it ended before it started" if time.started_utc > time.ended_utc else time


def _row(time: MaskTime) -> dict[str, str]:
    return {name: _text(getattr(time, name)) for name in COLUMNS}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _word(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("negative")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError("no length of time")
    return number


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


_PARSERS: dict[str, Callable[[str], Any]] = {"str": _word, "int": _count, "float": _seconds, "datetime": _moment}
