"""What lies in the folder of a tracked clip, and what it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from persam.errors import UsageError
from persam.files import UniqueNames, safe_name
from persam.video.clips import Clip, ClipFrame, FrameFolder
from persam.video.coco import COCO
from persam.video.drawings import CUTOUTS, MASKS, OVERLAY
from persam.video.timeline import TIMELINE_PICTURE, TIMELINE_TABLE

LABELS = "labels"


@dataclass(frozen=True)
class Outputs:
    """What is written, and where.

    Attributes:
        folder: ``labels/FRAME.png`` with DAVIS' palette, ``results.jsonl``, ``timeline.csv`` and ``timeline.png`` are
            always written.
        overlay: also ``overlay.mp4``, the clip with its objects marked, and its sound.
        masks: also ``masks.mp4``, white on black; of several objects in DAVIS' colours.
        cutout: also ``cutout.webm``, the objects, transparent beside them.
        cutout_as: ``webm`` (VP9) or ``mov`` (ProRes 4444, for video editors: ``cutout.mov``).
        coco: also ``coco.json``.
        overwrite: replace the results of an earlier run, and files of others.

    Raises:
        UsageError: there is no such kind of cut-out.
    """

    folder: Path
    overlay: bool = False
    masks: bool = False
    cutout: bool = False
    cutout_as: str = "webm"
    coco: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.cutout_as not in CUTOUTS:
            raise UsageError(f"A cut-out is written as {' or '.join(CUTOUTS)}, not {self.cutout_as}.")

    @property
    def videos(self) -> list[str]:
        """Names of the videos."""
        asked = {OVERLAY: self.overlay, MASKS: self.masks, CUTOUTS[self.cutout_as]: self.cutout}
        return [name for name, wanted in asked.items() if wanted]

    @property
    def summaries(self) -> list[str]:
        """Names of what is written at the end, from the lines."""
        return [TIMELINE_TABLE, TIMELINE_PICTURE, *[COCO] * self.coco]


class LabelNames:
    """What the label pictures of a clip's frames are called: as the frame, or its number in DAVIS' five digits.

    Frames of one name, such as ``a.jpg`` and ``a.png``, get a number, in the order of the files, readable or not.
    """

    def __init__(self, clip: Clip) -> None:
        self._names: UniqueNames | None = None
        if isinstance(clip, FrameFolder):
            self._names = UniqueNames()
            for number, file in enumerate(clip.files):
                name = safe_name(file.stem)
                self._names.of(str(number), [name], name)
            self._all = {self._named(key) for key in self._names.keys}

    def _named(self, key: str) -> str:
        assert self._names is not None
        return f"{self._names.of(key, [], key)}.png"

    def of(self, frame: ClipFrame) -> str:
        """A frame's."""
        return f"{frame.number:05d}.png" if self._names is None else self._named(str(frame.number))

    def existing(self, folder: Path) -> set[str]:
        """Of the files in a folder, those whose names are frames', too."""
        try:
            files = {file.name for file in folder.iterdir()}
        except OSError:
            return set()
        return (
            {name for name in files if re.fullmatch(r"\d{5,}\.png", name)} if self._names is None else files & self._all
        )
