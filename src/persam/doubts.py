"""What makes one ask whether a reference shows what was meant, said before it is learned from.

Every doubt is a sentence that says what was seen, what it may mean and what to do. A sound mask gives none.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from persam.labels import Label, listed
from persam.words import counted

# A mask below one of these is a slip of the brush: cells of the encoder see nothing of it.
_FEWEST_PIXELS, _SMALLEST_SHARE = 16, 0.0001
# A mask of most of the photo that also holds this share of its border is the background of something.
_MOST_OF_PHOTO, _MOST_OF_BORDER = 0.5, 0.9
_SMALLEST_SIDE = 3  # of a box, pixels
_ALIKE = 0.95  # share of both masks that two placements have in common, from which on it makes no difference
_CLEARLY = 1.5  # so much stronger are the edges under one outline than under another
SMALLEST_PART = 0.05  # share of a mask from which on a separate piece of it counts


def border_of(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool along the photo's border, (N,) bool."""
    return np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])


def cut_off(mask: np.ndarray) -> float:
    """Share of a mask's outline that is the photo's border, which may cut the object off, 0 to 1."""
    padded = np.pad(mask.astype(np.uint8), 1)
    outline = int((padded - cv2.erode(padded, np.ones((3, 3), np.uint8))).sum())
    return int(border_of(mask).sum()) / max(1, outline)


def pieces_of(mask: np.ndarray) -> list[float]:
    """Shares of a mask in its separate pieces that count, the largest first."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    shares = sorted((stats[1:, cv2.CC_STAT_AREA] / max(1, int(mask.sum()))).tolist(), reverse=True)
    return [share for share in shares if share >= SMALLEST_PART] or shares[:1]


def doubt_of_mask(mask: np.ndarray, name: str, photo: str = "photo") -> str | None:
    """Of a mask (H, W) bool at the photo's size: next to nothing, or inverted. `photo` is the word for that."""
    count, share, border = int(mask.sum()), float(mask.mean()), float(border_of(mask).mean())
    if count < _FEWEST_PIXELS or share < _SMALLEST_SHARE:
        pixels = counted(count, "pixel")
        return f"{name} marks {pixels} of the {photo}, hardly enough to learn from; paint all of the object."
    if share > _MOST_OF_PHOTO and border > _MOST_OF_BORDER:
        return (
            f"{name} covers {share:.0%} of the {photo} and {border:.0%} of its border, as if it were inverted; paint "
            "the object white and all else black."
        )
    return None


def doubt_of_size(own: tuple[int, int], size: tuple[int, int], name: str, photo: str = "photo") -> str | None:
    """Of a mask that is made to fit a photo of the same proportions; both sizes (H, W). One that is turned keeps its
    size."""
    if sorted(own) == sorted(size):
        return None
    return (
        f"{name} is {own[1]} x {own[0]} pixels, the {photo} {size[1]} x {size[0]}, so it is scaled to fit; if its "
        f"outline matters, give one of the {photo}'s size."
    )


def doubt_of_repeats(sources: Sequence[str]) -> str | None:
    """Of photos that a concept was learned from before: their files, "" where there is none."""
    if not sources:
        return None
    twice = listed([each or "a photo" for each in sources])
    return f"Learned from more than once, and so it counts more: {twice}; to put a mask right, learn anew."


def doubt_of_labels(labels: list[Label], name: str) -> str | None:
    """Of a mask with several labels, all of which are taken as the object."""
    if len(labels) < 2:
        return None
    first = labels[0]
    option = f"--label {first}" if isinstance(first, int) else f"--label '{first}'"
    return (
        f"{name} has the labels {listed(labels)}, and all of them are taken as one object; choose one with {option} "
        f"(in Python: label={first!r})."
    )


def doubt_of_box(box: tuple[float, float, float, float]) -> str | None:
    """Of a box (x0, y0, x1, y1) in photo pixels: so small that shares of the photo were perhaps meant."""
    width, height = box[2] - box[0], box[3] - box[1]
    if min(width, height) >= _SMALLEST_SIDE:
        return None
    sides = ",".join(f"{side:g}" for side in box)
    return (
        f"The box {sides} is {width:g} x {height:g} pixels, too small to learn from; draw it around the whole object, "
        "in pixels of the photo, not in shares of it."
    )


def doubt_of_turn(as_shown: np.ndarray, as_stored: np.ndarray, photo: np.ndarray, name: str) -> str | None:
    """Of a mask that fits a photo that is turned when it is shown (EXIF) either way: as shown, and as stored.

    Args:
        as_shown: (H, W) bool, the mask as it is, which is what is taken.
        as_stored: (H, W) bool, the mask turned with the photo.
        photo: (H, W, 3) uint8, upright.
        name: of the mask.
    """
    if (as_shown & as_stored).sum() > _ALIKE * (as_shown | as_stored).sum():
        return None
    shown, stored = (_edges_under(mask, photo) for mask in (as_shown, as_stored))
    evidence = "the photo's edges do not tell"
    if shown > _CLEARLY * stored:
        evidence = "the photo's edges agree"
    elif stored > _CLEARLY * shown:
        evidence = "but the photo's edges say otherwise"
    return (
        f"{name} is taken as drawn on the photo as it is shown, which is not as it is stored (EXIF orientation); "
        f"{evidence}: if it was drawn on the photo as stored, add --mask-as-stored (in Python: mask_as_stored=True)."
    )


def _edges_under(mask: np.ndarray, photo: np.ndarray) -> float:
    """Mean strength of the photo's edges along the outline of a mask."""
    grey = cv2.GaussianBlur(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
    strength = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    outline = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float(strength[outline].mean()) if outline.any() else 0.0
