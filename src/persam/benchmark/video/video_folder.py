"""The folder of a run on video: as of any run, with labels of every frame as DAVIS has them, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.records import Record
from persam.benchmark.running.run_folder import MEND, PASSAGES, PREDICTIONS, RunFolder
from persam.benchmark.video.sequences import VideoSequence
from persam.files import safe_name
from persam.journal import Journal
from persam.video.writers import write_labels


class VideoFolder(RunFolder):
    """Where a run keeps what it has done, sequence by sequence.

    ``predictions/METHOD/SEQUENCE/00000.png`` has the labels of a frame, named as the frame, as DAVIS' own tools read
    them; ``passages.jsonl`` the times. Made and refused as `RunFolder`.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        super().__init__(folder, settings, fresh=fresh)
        self._passages = Journal(self.folder / PASSAGES, mend=MEND)

    def write_frame(self, method: str, sequence: VideoSequence, number: int, labels: np.ndarray) -> None:
        """Keep the labels (H, W) uint8 of a frame."""
        path = labels_path(self.folder / PREDICTIONS / safe_name(method), sequence, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, labels)

    def keep_passages(self, records: Sequence[Record], passages: Sequence[Mapping[str, Any]]) -> None:
        """Keep a sequence that was gone through: its labels are here, its records come last, and make it done."""
        self._passages.append(dict(each) for each in passages)
        self.keep([(record, None) for record in records])

    def passage(self, method: str, sequence: str) -> dict[str, Any] | None:
        """The last passage of a method through a sequence, if it came to its end."""
        own = [each for each in self._passages.lines if (each["method"], each["sequence"]) == (method, sequence)]
        return own[-1] if own and own[-1]["failure"] is None else None


def labels_path(folder: Path, sequence: VideoSequence, number: int) -> Path:
    """Where the labels of a frame lie below the folder of a method."""
    return folder / safe_name(sequence.name) / f"{sequence.frames[number].stem}.png"
