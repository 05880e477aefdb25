"""Videos of a tracked clip: its objects marked, as masks, or cut out; each drawn from a frame and its labels alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from persam.drawing import Colour
from persam.video.clips import Clip, ClipFrame
from persam.video.writers import davis_palette, drawn, video_writer

OVERLAY, MASKS = "overlay.mp4", "masks.mp4"
CUTOUTS = {"webm": "cutout.webm", "mov": "cutout.mov"}
RIM = 2  # pixels around an object that keep their colours, so that its outline does not darken where it is blended
VIDEOS = (OVERLAY, MASKS, *CUTOUTS.values())


def mask_picture(labels: np.ndarray, objects: int) -> np.ndarray:
    """Labels (H, W) uint8 as colours, (H, W, 3) uint8: one object white, several in those of DAVIS; black beside."""
    if objects == 1:
        return np.repeat(np.where(labels > 0, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    return davis_palette()[labels]


def cut_out(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) with alpha, (H, W, 4): its objects opaque, all else transparent, and black but for a rim.

    Many a player does not know of the alpha channel, and whoever cuts out a thing does not want to show the rest.
    """
    alpha = np.where(labels > 0, 255, 0).astype(np.uint8)
    near = cv2.dilate(alpha, np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)) > 0
    return np.dstack([np.where(near[..., None], pixels, 0).astype(np.uint8), alpha])


@contextmanager
def video_drawer(
    folder: Path, names: Iterable[str], clip: Clip, colours: Sequence[Colour], objects: Sequence[str] = ()
) -> Iterator[Callable[[ClipFrame, np.ndarray], None]]:
    """Write several videos of a clip at once; see `video_writer` for what becomes of them when it is stopped.

    Args:
        folder: where.
        names: which of `VIDEOS`.
        clip: what the frames are of.
        colours: of the objects, in the order of their labels.
        objects: their names, likewise, which an overlay of several shows.

    Yields:
        A function that takes each frame and its labels, (H, W) uint8.

    Raises:
        PersamError: as `video_writer`.
    """
    with ExitStack() as stack:
        writers: list[tuple[Callable[[ClipFrame, np.ndarray], None], Callable[[np.ndarray, np.ndarray], np.ndarray]]]
        writers = []
        for name in names:
            if name == OVERLAY:
                writer = video_writer(folder / name, clip)
                draw = lambda pixels, labels: drawn(pixels, labels, colours, objects)  # noqa: E731
            elif name == MASKS:
                writer = video_writer(folder / name, clip, exact=True, sound=False)
                draw = lambda _, labels: mask_picture(labels, len(colours))  # noqa: E731
            else:
                writer = video_writer(folder / name, clip, see_through=True, sound=False)
                draw = cut_out
            writers.append((stack.enter_context(writer), draw))

        def write(frame: ClipFrame, labels: np.ndarray) -> None:
            for write_one, draw in writers:
                write_one(frame, draw(frame.pixels, labels))

        yield write
