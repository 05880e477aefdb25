"""The folder of a run: what was asked for, what is done so far, and the predictions; a killed run goes on from it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.records import Record
from persam.errors import PersamError, UsageError, write_error
from persam.files import expanded, safe_name, write_text
from persam.journal import Journal
from persam.reports.pictures import write_mask

RECORDS, SETTINGS, PREDICTIONS = "records.jsonl", "settings.json", "predictions"
ABSENT = "absent.jsonl"  # the records of a run that looks for every object in every photo
PASSAGES = "passages.jsonl"  # times of a run through videos
MEND = "start over with --fresh, or choose another --output"
#: What reading lines raises that are JSON, and not what we write.
NOT_OURS = (TypeError, KeyError, AttributeError, ValueError)


class RunFolder:
    """Where a run keeps what it has done.

    ``settings.json`` says what was asked for, ``records.jsonl`` has a line for every answer of every finished photo,
    and ``predictions/METHOD/SAMPLE.png`` the masks.

    Args:
        folder: made if it is missing.
        settings: what was asked for, JSON values; a folder with another run's is refused.
        fresh: drop what an earlier run left here.
        records: the file of the records; that of another question has another name.

    Raises:
        UsageError: the folder holds a run with other settings; says which and what to do.
        PersamError: the folder cannot be read or written.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], *, fresh: bool = False, records: str = RECORDS
    ) -> None:
        self.folder = expanded(folder)
        self.settings = json.loads(json.dumps(dict(settings)))
        earlier = read_settings(self.folder)
        if fresh and earlier is not None:
            self._clear()
            earlier = None
        if earlier is None and (self.folder / records).exists():
            raise UsageError(
                f"{self.folder} holds a {records}, but no {SETTINGS} that says what it is about; "
                "choose another --output."
            )
        if earlier is not None:
            _check_same(self.folder, earlier, self.settings)
        else:
            write_text(self.folder / SETTINGS, json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n")
        self._sweep()
        self._journal = Journal(self.folder / records, mend=MEND)
        self._kept = {(record.method, record.query): record for record in _records(self._journal)}

    def __len__(self) -> int:
        """How many answers it has, failures left out."""
        return sum(record.failure is None for record in self._kept.values())

    def kept(self, method: str, query: str) -> Record | None:
        """What an earlier start recorded; None for what failed, which is tried again."""
        record = self._kept.get((method, query))
        return None if record is None or record.failure is not None else record

    def keep(self, records: Sequence[tuple[Record, np.ndarray | None]]) -> None:
        """Keep one photo's records, predictions first, so that a record never lacks its prediction."""
        for record, mask in records:
            if record.failure is None and mask is not None:
                write_mask(self.prediction_path(record.method, record.query), mask)
        self._journal.append(record.to_dict() for record, _ in records)
        self._kept |= {(record.method, record.query): record for record, _ in records}

    def prediction_path(self, method: str, query: str) -> Path:
        """Where the mask of an answer lies."""
        return self.folder / PREDICTIONS / safe_name(method) / mask_name(query)

    def _clear(self) -> None:
        try:
            for name in (RECORDS, ABSENT, PASSAGES, SETTINGS):
                (self.folder / name).unlink(missing_ok=True)
            if (self.folder / PREDICTIONS).is_dir():
                shutil.rmtree(self.folder / PREDICTIONS)
        except OSError as error:
            raise write_error(self.folder, error) from error

    def _sweep(self) -> None:
        """Remove half-written predictions of a run that was killed."""
        for path in (self.folder / PREDICTIONS).rglob(".*.tmp.png"):
            with contextlib.suppress(OSError):
                path.unlink()


def kept_files(folder: Path) -> list[str]:
    """What the run in a folder has written so far, named from the folder on; nothing where there is no run."""
    if read_settings(folder) is None:
        return []
    masks = (path.relative_to(folder).as_posix() for path in (folder / PREDICTIONS).rglob("*.png"))
    return [SETTINGS, *masks]


def mask_name(query: str) -> Path:
    """The path of a query's mask below a folder of predictions: ``duck_toy/03.png``."""
    *folders, last = query.split("/")
    return Path(*map(safe_name, folders), safe_name(last) + ".png")


def read_settings(folder: Path) -> dict[str, Any] | None:
    """What the run in a folder was asked for, or None if there is no run in it.

    Raises:
        PersamError: the file is damaged.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise PersamError(f"{path} is damaged or cannot be read; choose another --output.") from error
    if not isinstance(settings, dict):
        raise PersamError(f"{path} is not the settings of a run; choose another --output.")
    return settings


def read_records(folder: str | Path) -> list[Record]:
    """The records of a run, in the order in which they were made.

    Raises:
        UsageError: there is no run in the folder.
        PersamError: its records are damaged.
    """
    path = expanded(folder) / RECORDS
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no run: there is no {RECORDS}; give a folder that `persam bench --output` made."
        )
    latest = {(record.method, record.query): record for record in _records(Journal(path, mend=MEND))}
    return list(latest.values())


def _records(journal: Journal) -> list[Record]:
    try:
        return [Record.from_dict(line) for line in journal.lines]
    except NOT_OURS as error:
        raise other_version(journal) from error


def other_version(journal: Journal) -> PersamError:
    """That the lines of a journal are not those that we write (`NOT_OURS`)."""
    return PersamError(f"{journal.path} was written by another version of persam; {MEND}.")


def _check_same(folder: Path, earlier: dict[str, Any], now: dict[str, Any]) -> None:
    before, after = _flat(earlier), _flat(now)
    for key in [*after, *(key for key in before if key not in after)]:
        if before.get(key) != after.get(key):
            raise UsageError(
                f"{folder} holds a run with {key} = {_shown(before.get(key))}, now it is {_shown(after.get(key))}; "
                "choose another --output, or start over with --fresh."
            )


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in settings.items():
        found |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    return f'"{value}"' if " " in str(value) else str(value)
