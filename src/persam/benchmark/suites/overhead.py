"""What PerSAM adds to plain SAM (encode, one decoder pass, mask), in time, on one photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from persam.benchmark.suites.speed import Spread, about_timing, drawn_scene, plain_mask, timed
from persam.benchmark.suites.suite import Findings, headline, table
from persam.concept import Concept
from persam.models.base import PromptableModel
from persam.persam import PerSAM

REPEATS_AFTER_ENCODING = 3  # the part after the encoder is short, so it is timed more often

#: The paper's photos a second.
PUBLISHED_FPS = {"SAM": 2.16, "PerSAM": 2.08, "PerSAM-F": 1.98}
PUBLISHED_ON = "SAM ViT-H on one NVIDIA A100"


@dataclass(frozen=True)
class Round:
    """Seconds of one round on one photo, its parts one right after the other.

    Attributes:
        plain_encode, plain_rest: plain SAM: encode; one decoder pass and the mask at the photo's size.
        persam_encode, persam_rest: PerSAM on a photo that it has not seen: encode; all that follows.
        tuned_rest: what follows in PerSAM-F.
    """

    plain_encode: float
    plain_rest: float
    persam_encode: float
    persam_rest: float
    tuned_rest: float

    @property
    def plain(self) -> float:
        """All of plain SAM."""
        return self.plain_encode + self.plain_rest

    @property
    def persam(self) -> float:
        """All of PerSAM."""
        return self.persam_encode + self.persam_rest


@dataclass(frozen=True)
class AddedTime:
    """What PerSAM adds to plain SAM on one photo.

    The encoder takes most of the time and is the same in both, so on a busy machine its noise can hide what is added.
    Therefore two figures: the whole of PerSAM against the whole of plain SAM, and the same with one time for the
    encoder in both, where only the parts after it differ.
    """

    rounds: tuple[Round, ...]

    @property
    def whole(self) -> Spread:
        """(PerSAM - plain) / plain of every round, each with its own encoding."""
        return Spread.of([r.persam / r.plain - 1 for r in self.rounds])

    @property
    def after_encoding(self) -> Spread:
        """(PerSAM after encoding - plain after encoding) / plain of every round."""
        return Spread.of([(r.persam_rest - r.plain_rest) / r.plain for r in self.rounds])

    @property
    def tuned_after_encoding(self) -> Spread:
        """The same of PerSAM-F."""
        return Spread.of([(r.tuned_rest - r.plain_rest) / r.plain for r in self.rounds])

    @property
    def plain(self) -> float:
        """Seconds of all of plain SAM, median."""
        return self.seconds("plain")

    def seconds(self, part: str) -> float:
        """Median of a part of `Round`."""
        return median(getattr(each, part) for each in self.rounds)


def added_time(
    persam: PerSAM,
    concept: Concept,
    image: np.ndarray,
    rounds: int = 5,
    progress: Callable[[], object] | None = None,
) -> AddedTime:
    """Time plain SAM, PerSAM and PerSAM-F on one photo, in turns, so that a busy machine slows all of them.

    Who comes first changes from round to round; the first round warms up and does not count.

    Args:
        persam: model and settings.
        concept: fresh from `PerSAM.learn`.
        image: (H, W, 3) uint8 RGB.
        rounds: that count.
        progress: called after every round, the warm-up too.
    """
    model, tuned = persam.model, persam.tune(concept)

    def plain() -> tuple[float, float]:
        encoding, seconds = timed(lambda: model.encode(image), model)
        return seconds, _shortest(lambda: plain_mask(model, encoding), model)

    def personal() -> tuple[float, float, float]:
        encoded, seconds = timed(lambda: persam.encode(image), model)
        rest = _shortest(lambda: persam.segment(encoded, concept), model)
        return seconds, rest, _shortest(lambda: persam.segment(encoded, tuned), model)

    measured = []
    for number in range(rounds + 1):
        if number % 2:
            first, second = plain(), personal()
        else:
            second = personal()
            first = plain()
        if number:
            measured.append(Round(*first, *second))
        if progress is not None:
            progress()
    return AddedTime(tuple(measured))


def _shortest(job: Callable[[], Any], model: PromptableModel) -> float:
    """Least of a few times: what the work takes when nothing else happens."""
    return min(timed(job, model)[1] for _ in range(REPEATS_AFTER_ENCODING))


def measure_overhead(
    persam: PerSAM, side: int = 1024, rounds: int = 5, progress: Callable[[], object] | None = None
) -> Findings:
    """The table of what PerSAM adds, on a drawn photo of `side` pixels, beside what the paper's numbers say."""
    image, mask = drawn_scene(side)
    added = added_time(persam, persam.learn(image, mask), image, rounds, progress)
    parts = {
        "plain SAM: encode": "plain_encode",
        "plain SAM: all that follows": "plain_rest",
        "PerSAM: encode": "persam_encode",
        "PerSAM: all that follows": "persam_rest",
        "PerSAM-F: all that follows": "tuned_rest",
    }
    shares = {
        "PerSAM adds, encoder timed once for both": (added.after_encoding, "PerSAM"),
        "PerSAM adds, each with its own encoding": (added.whole, "PerSAM"),
        "PerSAM-F adds, encoder timed once for both": (added.tuned_after_encoding, "PerSAM-F"),
    }
    about = about_timing(persam) | {"photo": side, "rounds": rounds}
    title = f"{headline(about)}, one photo of {side} x {side}, {rounds} rounds"
    tables = [
        table(
            f"Seconds: {title}",
            ("part", "median"),
            tuple((name, f"{added.seconds(part):.4f}") for name, part in parts.items()),
        ),
        table(
            f"Share of plain SAM's time that is added: {title}",
            ("", "median of the rounds' ratios [quartiles]", f"paper ({PUBLISHED_ON})"),
            tuple((name, percent(spread), f"{published_share(form):+.1%}") for name, (spread, form) in shares.items()),
        ),
    ]
    rows = [
        *({"part": name, "seconds": added.seconds(part)} for name, part in parts.items()),
        *(
            {"part": name, "share": asdict(spread), "published_share": published_share(form)}
            for name, (spread, form) in shares.items()
        ),
    ]
    every = [asdict(each) for each in added.rounds]
    said = (
        f"PerSAM adds {percent(added.after_encoding)} to plain SAM's {added.plain:.3f} s a photo. The encoder does the "
        "same in both, so this leaves out how its time varies; the row with its own encoding holds that, too."
    )
    notes = [said]
    if persam.encoder is not None:
        notes.append(f"The time of {persam.encoder.name} counts only where each has its own encoding.")
    about |= {"added": added.after_encoding.median, "every_round": every}
    return Findings("overhead", about, rows, tables, notes)


def percent(spread: Spread) -> str:
    """``+3.1 % [+2.9, +3.4]``."""
    return f"{100 * spread.median:+.1f} % [{100 * spread.low:+.1f}, {100 * spread.high:+.1f}]"


def published_share(form: str) -> float:
    """What the paper's photos a second say of a form's time: that of plain SAM is 0."""
    return PUBLISHED_FPS["SAM"] / PUBLISHED_FPS[form] - 1
