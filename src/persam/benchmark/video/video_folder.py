"""The folder of a run on video: as of any run, with labels of every frame as DAVIS has them, and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.records import Record
from persam.benchmark.running.run_folder import MEND, NOT_OURS, PASSAGES, PREDICTIONS, RunFolder, other_version
from persam.benchmark.video.passages import Passage
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
        self._journal_of_passages = Journal(self.folder / PASSAGES, mend=MEND)
        try:
            passages = [Passage.from_dict(line) for line in self._journal_of_passages.lines]
        except NOT_OURS as error:
            raise other_version(self._journal_of_passages) from error
        self._passages = {(each.method, each.sequence): each for each in passages}  # the last one counts

    def write_frame(self, method: str, sequence: VideoSequence, number: int, labels: np.ndarray) -> None:
        """Keep the labels (H, W) uint8 of a frame."""
        path = labels_path(self.folder / PREDICTIONS / safe_name(method), sequence, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_labels(path, labels)

    def keep_passages(self, records: Sequence[Record], passages: Sequence[Passage]) -> None:
        """Keep a sequence that was gone through: its labels are here, its records come last, and make it done."""
        self._journal_of_passages.append(vars(each) for each in passages)
        self._passages |= {(each.method, each.sequence): each for each in passages}
        self.keep([(record, None) for record in records])

    def passage(self, method: str, sequence: str) -> Passage | None:
        """The last passage of a method through a sequence, if it came to its end."""
        found = self._passages.get((method, sequence))
        return found if found is not None and found.failure is None else None


def labels_path(folder: Path, sequence: VideoSequence, number: int) -> Path:
    """Where the labels of a frame lie below the folder of a method."""
    return folder / safe_name(sequence.name) / f"{sequence.frames[number].stem}.png"
