"""A clip in the studio: concepts followed through it, a frame a turn, while others use the same model in between."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from persam.drawing import colours_of
from persam.files import atomic_path
from persam.geometry import shrink
from persam.reports.pictures import encoded
from persam.server.hearing import heard_doubts
from persam.video import Clip, Outputs, TrackedFrame, TrackReport, drawn, open_clip, track_into

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM
    from persam.server.engine import Engine

_PREVIEW = 720  # longest side of the newest frame's picture, pixels
_PREVIEW_EVERY = 0.5  # seconds

#: What can be taken away of a clip: key, what it is called, and its file in the folder of the clip.
CLIP_PARCELS = {
    "overlay": ("Overlay: the clip with its things marked (MP4)", "overlay.mp4"),
    "masks": ("Masks as a clip (MP4)", "masks.mp4"),
    "labels": ("Masks of all frames (zip of PNG)", "labels.zip"),
    "coco": ("COCO (JSON with tracks)", "coco.json"),
    "table": ("When each is on screen (CSV)", "timeline.csv"),
    "timeline": ("The same as a picture (PNG)", "timeline.png"),
}


@dataclass(frozen=True)
class FramesSoFar:
    """How far a clip is.

    Attributes:
        done: frames that were looked at.
        total: about so many there are; None where the clip does not say.
        seconds_each: a frame took so long on average.
        preview: the newest frame with what was found, a JPEG; None where it is no newer one.
    """

    done: int
    total: int | None
    seconds_each: float
    preview: bytes | None = None

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1, where that is known."""
        return None if not self.total else min(1.0, self.done / self.total)

    def __str__(self) -> str:
        of = "" if self.total is None else f" of about {self.total}"
        left = ""
        if self.total is not None and self.total > self.done:
            left = f", {max(1, round((self.total - self.done) * self.seconds_each))} s left"
        return f"Frame {self.done}{of}, {self.seconds_each:.2f} s each{left}"


class ClipSearch:
    """Follows concepts through one clip.

    `track_into` does the work on a thread of its own, and has the engine's turn for one frame at a time.

    Args:
        engine: runs the model.
        path: the clip.
        concepts: by the names that they get.
        folder: where results go; new.

    Attributes:
        report: of the run, when it came to its end.

    Raises:
        PersamError: it is no clip that can be read; PyAV is not installed.
    """

    def __init__(self, engine: Engine, path: Path, concepts: Sequence[Concept], folder: Path) -> None:
        self.engine, self.concepts, self.folder = engine, list(concepts), folder
        self._doubts: list[str] = []
        with heard_doubts(self._doubts):
            self.clip: Clip = open_clip(path)
        self.report: TrackReport | None = None
        self.frames = 0
        self._ended = False  # changes in the clip's own turns alone, like all that it finds
        self._stop, self._go, self._paused = threading.Event(), threading.Event(), threading.Event()
        self._problem: BaseException | None = None
        self._newest: TrackedFrame | None = None

    def stop(self) -> None:
        """End it before the next frame; what was found until then stays."""
        self._stop.set()

    @property
    def doubts(self) -> list[str]:
        """What is warned of, until now; the clip is called by its name."""
        # Where results lie here is nobody's business.
        said = [each for each in tuple(self._doubts) if str(self.folder) not in each]
        return [each.replace(self.clip.source, Path(self.clip.source).name) for each in said]

    @property
    def was_stopped(self) -> bool:
        """Whether it ended before its end because somebody said so."""
        return self._stop.is_set() and self.report is None and self._problem is None

    def run(self) -> Iterator[FramesSoFar]:
        """Follow, and tell after every frame how far it is.

        Raises:
            PersamError: the clip breaks off, or a concept was made with another model; what was found until then stays.
        """
        for each in self.concepts:
            self.engine.model.check(each)
        thread = threading.Thread(target=self._track, args=(self.engine.model,), name="persam-clip", daemon=True)
        started, shown = time.perf_counter(), -_PREVIEW_EVERY
        thread.start()
        try:
            while not self._ended and not self._stop.is_set():
                self.engine.call(self._piece, patient=True).result()
                seconds = time.perf_counter() - started
                if self._newest is not None:
                    preview = None
                    if seconds - shown >= _PREVIEW_EVERY:
                        preview, shown = self._preview(self._newest), seconds
                    self._newest = None
                    yield FramesSoFar(self.frames, self.clip.count, seconds / self.frames, preview)
        finally:  # also when nobody looks any more
            self._stop.set()
            self._go.set()
            thread.join()
        if self._problem is not None:
            raise self._problem

    def file(self, key: str) -> Path | None:
        """The file of one of `CLIP_PARCELS`, or None where there is none.

        Raises:
            PersamError: it cannot be written.
        """
        target = self.folder / CLIP_PARCELS[key][1]
        if key == "labels" and not target.exists():
            with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as parcel:
                for each in sorted((self.folder / "labels").glob("*.png")):
                    parcel.write(each, f"labels/{each.name}")
        return target if target.is_file() else None

    # ------------------------------------------------------------------------- the engine's thread, and the clip's

    def _piece(self, _: PerSAM) -> None:
        """One frame: the clip's thread works while the engine's waits here."""
        self._paused.clear()
        self._go.set()
        self._paused.wait()

    def _track(self, model: PerSAM) -> None:
        outputs = Outputs(self.folder, overlay=True, masks=True, coco=True)
        self._wait_for_turn()
        try:
            if not self._stop.is_set():
                with heard_doubts(self._doubts):
                    self.report = track_into(model, self.clip, self.concepts, outputs, on_frame=self._after_frame)
        except KeyboardInterrupt:  # our own: it was stopped
            pass
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ended = True
            self._paused.set()

    def _after_frame(self, found: TrackedFrame) -> None:
        self.frames += 1
        self._newest = found
        self._paused.set()
        self._wait_for_turn()
        if self._stop.is_set():
            raise KeyboardInterrupt

    def _wait_for_turn(self) -> None:
        self._go.wait()
        self._go.clear()

    def _preview(self, found: TrackedFrame) -> bytes:
        small = shrink(found.frame.pixels, _PREVIEW)
        labels = cv2.resize(found.labels, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        names = [one.concept for one in found.segmentations]
        colours = colours_of(names)
        picture: np.ndarray = drawn(small, labels, [colours[name] for name in names], names)
        return encoded(picture, "JPEG", quality=85)
