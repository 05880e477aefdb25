"""What a model is trained on: photos cropped to squares, as latents, each with what its mask makes of it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch

from persam.dreambooth.loss import latent_weights
from persam.dreambooth.subjects import Subject, TrainingPhoto
from persam.errors import PersamError, PersamWarning, UsageError
from persam.images import read_image
from persam.masks import read_mask

_SMALLEST = 64  # pixels of a subject: those of one latent


@dataclass(frozen=True, eq=False)
class LatentPhoto:
    """A photo that is trained on.

    Attributes:
        mean, std: (1, C, h, w) float32, of the distribution from which the autoencoder draws its latents.
        weights: (1, 1, h, w), what each latent counts; None: all alike.
        caption: what it shows, in words.
        size_ids: what SDXL is told of it, see `persam.dreambooth.families.Objective.predict`.
    """

    mean: torch.Tensor
    std: torch.Tensor
    weights: torch.Tensor | None
    caption: str
    size_ids: tuple[int, ...]

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """Latents of it, (1, C, h, w)."""
        return self.mean + self.std * torch.randn(self.mean.shape, generator=generator)


@dataclass(frozen=True, eq=False)
class Square:
    """A photo cropped and scaled to a square.

    Attributes:
        pixels: (n, n, 3) uint8.
        mask: (m, m) bool of the same crop, not scaled; None: there is none.
        size_ids: as of `LatentPhoto`.
    """

    pixels: np.ndarray
    mask: np.ndarray | None
    size_ids: tuple[int, ...]

    def flipped(self) -> Square:
        """Left and right swapped, the mask's too; the crop lies where it would in the photo that is flipped."""
        mask = None if self.mask is None else np.ascontiguousarray(self.mask[:, ::-1])
        height, width, top, left, resolution, _ = self.size_ids
        side = min(height, width)
        ids = (height, width, top, round((width - side) * resolution / side) - left, resolution, resolution)
        return Square(np.ascontiguousarray(self.pixels[:, ::-1]), mask, ids)


def cropped(photo: np.ndarray, mask: np.ndarray | None, resolution: int) -> Square:
    """Crop the largest square of a photo, with the subject as near its middle as can be, and scale it.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool, with a pixel of the subject; None: the square is the photo's middle.
        resolution: side of the square, pixels.
    """
    height, width = photo.shape[:2]
    side = min(height, width)
    middle = (height / 2, width / 2)
    if mask is not None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        middle = ((rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2)
    top = int(np.clip(round(middle[0] - side / 2), 0, height - side))
    left = int(np.clip(round(middle[1] - side / 2), 0, width - side))
    window = np.s_[top : top + side, left : left + side]
    smooth = cv2.INTER_AREA if side > resolution else cv2.INTER_CUBIC
    pixels = cv2.resize(np.ascontiguousarray(photo[window]), (resolution, resolution), interpolation=smooth)
    scale = resolution / side
    ids = (height, width, round(top * scale), round(left * scale), resolution, resolution)
    return Square(pixels, None if mask is None else mask[window], ids)


def read_square(photo: TrainingPhoto, resolution: int, *, masked: bool) -> Square:
    """Read a photo and its mask, and crop them.

    Without masks the crop is the same, where there is a mask that can be read: the two trainings are to be compared.

    Raises:
        PersamError: one of them cannot be read, or the mask has no subject.
    """
    pixels = read_image(photo.image)
    try:
        mask = _read_subject(photo, (pixels.shape[0], pixels.shape[1]))
    except PersamError:
        if masked:
            raise
        return cropped(pixels, None, resolution)
    square = cropped(pixels, mask, resolution)
    if not masked:
        return replace(square, mask=None)
    if square.mask is not None and square.mask.mean() * resolution**2 < _SMALLEST:
        raise PersamError(
            f"The subject is too small in {photo.image} to be learned at {resolution} pixels; crop the photo around "
            "it, or take it out of the list."
        )
    return square


def _read_subject(photo: TrainingPhoto, size: tuple[int, int]) -> np.ndarray:
    mask = read_mask(photo.mask, size, may_be_trivial=True)  # of every pixel: the photo may be the subject alone
    if not mask.any():
        raise PersamError(f"The mask {photo.mask} is empty; draw the subject, or take the photo out of the list.")
    return mask


@torch.no_grad()
def encode(vae: Any, square: Square, caption: str, floor: float) -> LatentPhoto:
    """Encode a photo into latents, which a network sees moved and scaled as its pipeline does.

    Args:
        vae: the pipeline's autoencoder, in float32.
        square: the photo.
        caption: its words.
        floor: see `persam.dreambooth.loss.latent_weights`.
    """
    pixels = torch.from_numpy(square.pixels).permute(2, 0, 1)[None].to(vae.device, torch.float32) / 127.5 - 1
    found = vae.encode(pixels).latent_dist
    shift, scale = vae.config.shift_factor or 0.0, vae.config.scaling_factor
    mean = ((found.mean - shift) * scale).cpu()
    weights = None
    if square.mask is not None:
        weights = latent_weights(square.mask, (int(mean.shape[-2]), int(mean.shape[-1])), floor)
    return LatentPhoto(mean, (found.std * scale).cpu(), weights, caption, square.size_ids)


def caption_of(subject: Subject, photo: TrainingPhoto) -> str:
    """The photo's caption, or where it has none what asks for the subject."""
    return photo.caption.strip() or subject.prompt


def check_subjects(subjects: Sequence[Subject]) -> None:
    """See that each subject has photos and words of its own.

    Warns with a `PersamWarning` of a caption without the identifier, which teaches it nothing.

    Raises:
        UsageError: two are asked for by the same words, or one has no photo.
    """
    of_words: dict[str, str] = {}
    for subject in subjects:
        if not subject.photos:
            raise UsageError(f"The subject {subject.name!r} has no photo; add some, or take it out of the list.")
        words = subject.prompt.casefold()
        if words in of_words:
            raise UsageError(
                f"{of_words[words]!r} and {subject.name!r} would both be {subject.prompt!r}; give each an identifier "
                "of its own, when the folder is prepared."
            )
        of_words[words] = subject.name
        without = [photo for photo in subject.photos if subject.identifier not in caption_of(subject, photo)]
        if without:
            more = f" (and {len(without) - 1} more)" if len(without) > 1 else ""
            warnings.warn(
                f"The caption of {without[0].image}{more} lacks {subject.identifier!r}, so that it will not come to "
                f"mean {subject.name}.",
                PersamWarning,
                stacklevel=3,
            )


def content_of(subjects: Sequence[Subject]) -> str:
    """A hash of all that is trained on: photos, masks and captions."""
    found = hashlib.sha256()
    for subject in subjects:
        for photo in subject.photos:
            found.update(caption_of(subject, photo).encode())
            for file in (photo.image, photo.mask):
                found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
