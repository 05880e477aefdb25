"""What a folder keeps of a run that may be stopped, or killed, so that the same command goes on where it was.

Now and then the tracker's whole state is written, with how far ``results.jsonl`` was by then. What came after is done
again; what was before is never looked at by the model a second time. What has no state begins anew, see
`persam.video.trackers.Beginnings`; what cannot be known again is refused, see `made_of`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from PIL import Image

from persam import __version__
from persam.concept import Concept
from persam.errors import PersamError, write_error
from persam.files import expanded, write_bytes
from persam.instance import rle_mask
from persam.journal import json_line
from persam.labels import listed
from persam.ledger import HIDDEN, Ledger
from persam.models.base import FeatureEncoder
from persam.models.propagator import Propagator, TransformersPropagator
from persam.persam import PerSAM
from persam.places import is_remote, place_of
from persam.segmentation import SURE_ENOUGH
from persam.video.clips import Clip, ClipFrame, FrameFolder, VideoFile
from persam.video.official import Faults
from persam.video.points import PointTracker
from persam.video.results import RESULTS, FrameLines, Mark, lines_in
from persam.video.start import Start
from persam.video.state import DamagedStateError, Resumable, read_state, write_state
from persam.video.writers import write_labels

RUN, STATE = f"{HIDDEN}/video.json", f"{HIDDEN}/video.safetensors"
KEEP_SECONDS = 10.0  # of work that a kill costs, at most,
KEEP_SHARE = 0.01  # unless keeping the state would take more than this share of the time


# ------------------------------------------------------------------------------------- what a result depends on


def made_of(persam: PerSAM, clip: Clip, start: Start, options: Mapping[str, Any]) -> dict[str, Any] | None:
    """All that a run's results depend on, as JSON values; None where it cannot be known again: a camera, a pipe, frames
    that are handed over, a point tracker or propagator that is the user's own."""
    read, begun = _clip_made(clip), _start_made(start)
    chosen = {name: value for name, value in sorted(options.items()) if value is not None and value is not False}
    if chosen.get("threshold") == SURE_ENOUGH:  # as by default
        del chosen["threshold"]
    for name, value in chosen.items():
        if isinstance(value, TransformersPropagator):
            chosen[name] = [value.name, value.fingerprint, str(value.dtype)]
        elif isinstance(value, Propagator | PointTracker):  # a user's own, of which nothing is known
            return None
        elif isinstance(value, Faults):
            chosen[name] = asdict(value)
    if read is None or begun is None:
        return None
    return {
        "persam": __version__,
        "model": _encoder_made(persam.model),
        "encoder": None if persam.encoder is None else _encoder_made(persam.encoder),
        "device": str(persam.model.device),
        "fitted": None if persam.fitted is None else persam.fitted.to_dict(),
        "settings": persam.settings.to_dict(),
        "clip": read,
        "start": begun,
        "options": chosen,
    }


def _encoder_made(encoder: FeatureEncoder) -> list[str]:
    return [encoder.fingerprint, str(getattr(encoder, "encoder_dtype", torch.float32))]


def _clip_made(clip: Clip) -> Any:
    try:
        if isinstance(clip, VideoFile) and clip.path.is_file():
            return [_stamp(clip.path)]
        if isinstance(clip, FrameFolder):
            stamps = [_stamp(Path(str(file))) for file in clip.files]
            return [len(stamps), hashlib.sha256(json.dumps(stamps).encode()).hexdigest()]
    except OSError:  # reading it will say what is wrong
        pass
    return None


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [os.path.realpath(path), status.st_size, status.st_mtime_ns]


def _start_made(start: Any) -> Any:
    """A start by its content, whatever its file is called."""
    if isinstance(start, Concept):
        return [start.content_hash, start.name]
    if isinstance(start, (list, tuple)):
        parts = [_start_made(each) for each in start]
        return None if None in parts else parts
    if isinstance(start, Mapping):  # masks of several frames
        pairs = [[str(frame), _start_made(mask)] for frame, mask in start.items()]
        return None if any(mask is None for _, mask in pairs) else pairs
    if isinstance(start, (str, Path)):
        with contextlib.suppress(OSError, PersamError):
            if is_remote(start):
                return hashlib.sha256(place_of(start).read_bytes()).hexdigest()
            if expanded(start).is_file():
                return hashlib.sha256(expanded(start).read_bytes()).hexdigest()
        return None  # a pipe gives its mask only once
    if isinstance(start, (np.ndarray, Image.Image)):
        values = np.asarray(start)
        palette = start.getpalette() if isinstance(start, Image.Image) else None
        words = f"{getattr(start, 'mode', values.dtype)} {values.shape} {palette}"
        return hashlib.sha256(words.encode() + np.ascontiguousarray(values).tobytes()).hexdigest()
    return None


_DIFFERS = {  # what a run is made of, in words
    "persam": "another version of persam",
    "model": "another model",
    "encoder": "another encoder",
    "device": "another device",
    "fitted": "another model",
    "settings": "other settings",
    "clip": "another clip, or one that was changed since",
    "start": "another mask or other concepts",
}
_OPTIONS = {  # and their defaults
    "names": ("other names", "none"),
    "tune": ("another choice of tuning", "off"),
    "threshold": ("another threshold", str(SURE_ENOUGH)),
    "faults": ("other faults", "none"),
    "points": ("another point tracker", "none"),
    "propagator": ("another propagator", "none"),
}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what a run is made of something else than an earlier one, in words; both as `made_of` gives it."""
    said = []
    for name, words in _DIFFERS.items():
        one, other = then.get(name), now.get(name)
        if one == other:
            continue
        if name == "settings" and one and other and one.get("mode") != other.get("mode"):
            said.append(_changed("another mode", one.get("mode"), other.get("mode")))
        elif name in ("persam", "device"):
            said.append(_changed(words, one, other))
        else:
            said.append(words)
    one, other = then.get("options") or {}, now.get("options") or {}
    for name, (words, default) in _OPTIONS.items():
        if one.get(name) != other.get(name):
            shown = [_shown(name, each.get(name), default) for each in (one, other)]
            weights = name == "propagator" and shown[0] == shown[1]
            said.append("other weights of the propagator" if weights else _changed(words, *shown))
    return list(dict.fromkeys(said))


def _changed(words: str, then: Any, now: Any) -> str:
    return words if then == now else f"{words} (then {then}, now {now})"


def _shown(name: str, value: Any, default: str) -> str:
    """An option's value, as `made_of` gives it."""
    if value is None:
        return default
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return ", ".join(name for name, is_on in value.items() if is_on) or default
    if name == "propagator":
        place, _, dtype = value
        return f"{place} in {dtype.removeprefix('torch.')}"
    return listed(value) if isinstance(value, list) else str(value)


# ------------------------------------------------------------------------------------------------ what is kept


class KeptRun:
    """What is known of the last run into a folder.

    Args:
        ledger: of the folder.
        made: `made_of` this run.

    Attributes:
        made: of the last run, or None.
        frames: of the last run, if it came to its end; else None.
    """

    def __init__(self, ledger: Ledger, made: dict[str, Any] | None) -> None:
        self._ledger = ledger
        self._wanted = None if made is None else json.loads(json.dumps(made, default=str))  # as it is read back
        self.made: dict[str, Any] | None = None
        self.frames: int | None = None
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads((ledger.folder / RUN).read_bytes())
            self.made, self.frames = dict(known["made"]), known["frames"]

    @property
    def may_go_on(self) -> bool:
        """Whether a run of this kind can go on at all."""
        return self._wanted is not None

    @property
    def is_same(self) -> bool:
        """Whether the last run was made of the same."""
        return self._wanted is not None and self.made == self._wanted

    @property
    def differences(self) -> list[str]:
        """In what the last run was made of something else, in words; empty if that is not known."""
        return [] if self.made is None or self._wanted is None else differences(self.made, self._wanted)

    def begin(self) -> None:
        """A run begins anew."""
        self._forget(STATE)
        if self._wanted is None:
            self._forget(RUN)
        else:
            self._note(None)

    def finish(self, frames: int) -> None:
        """A run came to its end."""
        if self._wanted is not None:
            self._note(frames)
        self._forget(STATE)

    def keep(self, mark: Mark, state: Mapping[str, Any]) -> None:
        """Keep how far it is.

        Raises:
            PersamError: it cannot be written.
        """
        self._drop_if_changed(STATE)
        write_state(self._ledger.folder / STATE, {"mark": mark, "tracker": dict(state)})

    def read(self) -> tuple[Mark, dict[str, Any]] | None:
        """How far the last run was, and its tracker's state; None if it kept nothing yet.

        Raises:
            DamagedStateError: it is not to be had as it was written.
        """
        path = self._ledger.folder / STATE
        if not path.exists():
            return None
        kept = read_state(path)
        if not isinstance(kept.get("mark"), Mark) or not isinstance(kept.get("tracker"), dict):
            raise DamagedStateError(f"{path} is something else.")
        return kept["mark"], kept["tracker"]

    def _note(self, frames: int | None) -> None:
        self._drop_if_changed(RUN)
        write_bytes(self._ledger.folder / RUN, json_line({"made": self._wanted, "frames": frames}))

    def _drop_if_changed(self, place: str) -> None:
        """These files are nobody else's, so that a damaged one is not to be kept as a person's would be."""
        if not self._ledger.is_own(place):
            self._forget(place)

    def _forget(self, place: str) -> None:
        file = self._ledger.folder / place
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(file, error) from error


# ---------------------------------------------------------------------------------------------- while following


class DoneFrames:
    """The frames that an earlier run did, asked for in their order: their labels and scores, from the folder.

    A label picture that is gone or damaged is written again from its line.

    Args:
        ledger: of the folder of the results.
        mark: how far the earlier run was.
        label_of: the place of a frame's label picture in the folder.
    """

    def __init__(self, ledger: Ledger, mark: Mark, label_of: Callable[[ClipFrame], str]) -> None:
        self.mark = mark
        self._ledger, self._folder, self._label_of = ledger, ledger.folder, label_of
        self._lines = lines_in(self._folder / RESULTS, mark.size)

    def of(self, frame: ClipFrame) -> tuple[np.ndarray, list[float]] | None:
        """A frame's labels (H, W) uint8 and scores, or None if it was not done.

        Raises:
            PersamError: the clip gives other frames than it did; or a person made something else of a label picture.
        """
        if frame.number > self.mark.last:
            return None
        line = next(self._lines, None)
        size = frame.pixels.shape[:2]
        if line is None or line["frame"] != frame.number or list(size) != line["objects"][0]["rle"]["size"]:
            raise PersamError(
                f"The clip gives other frames than when {self._folder} was begun; choose another --output, or remove "
                f"{self._folder / RESULTS} to begin anew."
            )
        place = self._label_of(frame)
        path = self._folder / place
        labels = _labels_in(path, size)
        if labels is None:
            if path.exists() and not self._ledger.is_own(place):
                raise PersamError(
                    f"{path} is no picture of labels any more; save it with its palette, or remove it and it is "
                    "written again."
                )
            labels = labels_of(line)
            write_labels(path, labels)
        return labels, [one["score"] for one in line["objects"]]


def labels_of(line: Mapping[str, Any]) -> np.ndarray:
    """The labels (H, W) uint8 that a line of ``results.jsonl`` tells of."""
    labels = np.zeros(line["objects"][0]["rle"]["size"], np.uint8)
    for number, one in enumerate(line["objects"], start=1):
        labels[rle_mask(one["rle"])] = number
    return labels


def _labels_in(path: Path, size: Sequence[int]) -> np.ndarray | None:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            labels = np.array(picture)
    except (OSError, ValueError, SyntaxError):  # the last is Pillow's word for a broken PNG
        return None
    return labels if labels.dtype == np.uint8 and labels.shape == tuple(size) else None


@dataclass
class Progress:
    """Keeps the state of a tracker while it follows; `persam.video.track.track` tells it which one.

    Attributes:
        run: where it is kept.
        done: the frames of an earlier run, if it goes on.
        state: of the earlier run's tracker, likewise.
    """

    run: KeptRun
    done: DoneFrames | None = None
    state: dict[str, Any] | None = None
    _tracker: Resumable | None = field(default=None, init=False)
    _keeps: bool = field(default=False, init=False)
    _latest: tuple[Mark, dict[str, Any]] | None = field(default=None, init=False)
    _next: float = field(default_factory=lambda: monotonic() + KEEP_SECONDS, init=False)

    @property
    def may_go_on(self) -> bool:
        """Whether the same command would go on where this one is stopped."""
        return self._keeps or self.done is not None

    @property
    def last(self) -> int:
        """Number of the last frame that an earlier run did; -1 if there was none."""
        return -1 if self.done is None else self.done.mark.last

    def begin(self, tracker: object | None, number: int) -> None:
        """A tracker is about to follow from a frame on; it gets the state that was kept, if that was its own.

        None: frames come that were followed backwards, and have no state but themselves.
        """
        self._tracker = tracker if isinstance(tracker, Resumable) else None
        self._keeps = self.run.may_go_on and (tracker is None or self._tracker is not None)
        if self._tracker is not None and self._keeps and self.state is not None and number <= self.last:
            self._tracker.restore(self.state)

    def of(self, frame: ClipFrame) -> tuple[np.ndarray, list[float]] | None:
        """What an earlier run found in a frame; None if it is to be followed now."""
        return None if self.done is None else self.done.of(frame)

    def add(self, lines: FrameLines) -> None:
        """A frame's line was written: the state after it counts, and is kept if it is time."""
        if self._keeps:
            self._latest = lines.mark, {} if self._tracker is None else self._tracker.state()
            if monotonic() >= self._next:
                self.keep(lines)

    def keep(self, lines: FrameLines) -> None:
        """Keep the state after the last line.

        Raises:
            PersamError: it cannot be written.
        """
        if self._latest is None:
            return
        started = monotonic()
        lines.sync()  # a state of lines that a loss of power took would be of no use
        self.run.keep(*self._latest)
        self._latest = None
        self._next = monotonic() + max(KEEP_SECONDS, (monotonic() - started) / KEEP_SHARE)
