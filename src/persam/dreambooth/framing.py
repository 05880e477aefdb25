"""How a photo is cut and resized for training, its mask with it; and what then looks doubtful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from persam.doubts import border_of, cut_off, pieces_of
from persam.errors import UsageError
from persam.geometry import fit, fit_mask
from persam.instance import mask_box
from persam.segmentation import UNSURE

Crop = Literal["subject", "whole"]
CROPS: tuple[Crop, ...] = get_args(Crop)

LATENT_CELL = 8  # pixels across of a place of the latent image, at which the loss is masked
_FEWEST_CELLS = 40  # places of the latent image below which little of a subject is learned: 1 % of 64 x 64
_CUT_OFF = 0.10  # share of the outline along the border, from which on something is missing (as the doctor has it)
_MOST_OF_BORDER = 0.9  # share of the border: the mask is perhaps that of the background
_CROPPED_OFF = 0.02  # share of the subject that the square leaves out
_ENLARGED = 1.1  # times, from which on a photo is made larger than it is


@dataclass(frozen=True)
class Framing:
    """What a photo is made of for training.

    Attributes:
        crop: ``subject``: a square around the subject; ``whole``: all of the photo, in its own proportions.
        resolution: side of the square, or the shorter side of the whole photo (which is not enlarged), pixels.
        margin: around the subject on each side, as a share of its longer side. A square smaller than the resolution
            takes in more of the photo, as far as that reaches, rather than being enlarged.

    Raises:
        UsageError: a value is out of range.
    """

    crop: Crop = "subject"
    resolution: int = 512
    margin: float = 0.25

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise UsageError(f"The crop is {' or '.join(CROPS)}, not {self.crop!r}.")
        if not 64 <= self.resolution <= 4096 or self.resolution % LATENT_CELL:
            raise UsageError(
                f"The resolution is a multiple of {LATENT_CELL} from 64 to 4096, such as 512 or 1024, not "
                f"{self.resolution}."
            )
        if not 0 <= self.margin <= 10:
            raise UsageError(f"The margin is a share of the subject from 0 to 10, not {self.margin:g}.")


@dataclass(frozen=True, eq=False)
class Framed:
    """A photo as it is trained on.

    Attributes:
        image: (h, w, 3) uint8.
        mask: (h, w) bool, the subject in it; not empty.
        left: share of the subject that is still in it, 0 to 1.
        enlarged: how many times as large as in the photo it is.
    """

    image: np.ndarray
    mask: np.ndarray
    left: float = 1.0
    enlarged: float = 1.0


def framed(photo: np.ndarray, mask: np.ndarray, framing: Framing) -> Framed:
    """Cut and resize a photo (H, W, 3) uint8 and its mask (H, W) bool, which is not empty."""
    if framing.crop == "whole":
        shorter = min(photo.shape[:2])
        longest = round(max(photo.shape[:2]) * framing.resolution / shorter)
        image = fit(photo, longest) if shorter > framing.resolution else photo
        return Framed(image, fit_mask(mask, image))
    top, left, side = _square_around(mask, framing)
    square = (slice(top, top + side), slice(left, left + side))
    image = fit(np.ascontiguousarray(photo[square]), framing.resolution)
    left_in = float(mask[square].sum() / mask.sum())
    return Framed(image, fit_mask(mask[square], image), left_in, framing.resolution / side)


def _square_around(mask: np.ndarray, framing: Framing) -> tuple[int, int, int]:
    """Top, left and side of a square in the photo with the subject in its middle, as far as the photo reaches."""
    box = mask_box(mask)
    assert box is not None
    x0, y0, x1, y1 = box
    height, width = mask.shape
    wanted = round((1 + 2 * framing.margin) * max(x1 - x0, y1 - y0))
    side = min(max(wanted, framing.resolution), height, width)

    def start(middle: float, whole: int) -> int:
        return int(min(max(round(middle - side / 2), 0), whole - side))

    return start((y0 + y1) / 2, height), start((x0 + x1) / 2, width), side


def doubts_of(framed: Framed, score: float | None = None) -> tuple[str, ...]:
    """What one should look at before a photo is trained on, each in a sentence; nothing for a sound one.

    Args:
        framed: the photo.
        score: how sure persam is of the subject; None for a mask that it did not make.
    """
    mask, found = framed.mask, []
    if score is not None and score < UNSURE[1]:
        found.append(f"persam is unsure that this is the subject (score {score:.2f}).")
    cells = mask.sum() / LATENT_CELL**2
    if cells < _FEWEST_CELLS:
        found.append(
            f"The subject covers {cells:.0f} of the {mask.size // LATENT_CELL**2} places that the loss sees, so little "
            "is learned from it; take a photo in which it is larger."
        )
    if framed.left < 1 - _CROPPED_OFF:
        found.append(
            f"The square leaves out {1 - framed.left:.0%} of the subject, which is longer than it; --crop whole takes "
            "all of the photo."
        )
    elif (border := float(border_of(mask).mean())) > _MOST_OF_BORDER:
        found.append(
            f"The mask covers {mask.mean():.0%} of the picture and {border:.0%} of its border; see that it is not "
            "inverted."
        )
    elif (cut := cut_off(mask)) > _CUT_OFF:
        found.append(f"The border cuts the subject off along {cut:.0%} of its outline.")
    if framed.enlarged > _ENLARGED:
        found.append(
            f"The photo is so small that it was enlarged {framed.enlarged:.1f} times, and blur is learned; take a "
            "larger one, or a lower --resolution."
        )
    if (parts := len(pieces_of(mask))) > 1:
        found.append(f"The mask has {parts} separate parts; see that each belongs to the subject.")
    return tuple(found)
