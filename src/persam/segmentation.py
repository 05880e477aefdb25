"""Segmentation: what was found in one image for one concept, and its forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from persam.drawing import Colour, colour_of, draw_overlay
from persam.errors import PersamError

if TYPE_CHECKING:
    from persam.method.trace import Trace

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Instance:
    """One of several found objects of a concept.

    Attributes:
        mask: (H, W) bool.
        score: How sure the model is, 0 to 1.
    """

    mask: np.ndarray
    score: float

    @property
    def box(self) -> PixelBox | None:
        """(x0, y0, x1, y1) in pixels, x1 and y1 exclusive; None for an empty mask."""
        return mask_box(self.mask)

    def rle(self) -> dict[str, Any]:
        """COCO's compressed run-length code, see `mask_rle`."""
        return mask_rle(self.mask)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What was found in one image for one concept.

    Attributes:
        concept: The concept's name.
        image: The image's file name as given, or None for one from memory.
        mask: (H, W) bool, all of the concept in this image; empty when nothing was found.
        score: How sure the model is, 0 to 1.
        present: Whether the object is in the image; None when the concept has no threshold to tell by.
        points: (N, 2) float (x, y) in photo pixels: the location prior.
        labels: (N,) int, 1 positive, 0 negative.
        instances: The found objects, the surest first.
        trace: Every step on the way, filled by ``segment(..., explain=True)``.
    """

    concept: str
    image: str | None
    mask: np.ndarray
    score: float
    present: bool | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    instances: tuple[Instance, ...] = ()
    trace: Trace | None = None

    @property
    def found(self) -> bool:
        """Whether there is something to show: a mask, and nothing that says the object is absent."""
        return self.present is not False and bool(self.mask.any())

    @property
    def box(self) -> PixelBox | None:
        """(x0, y0, x1, y1) in pixels, x1 and y1 exclusive; None when the mask is empty."""
        return mask_box(self.mask)

    @property
    def area(self) -> float:
        """The part of the image that the mask covers, 0 to 1."""
        return float(self.mask.mean()) if self.mask.size else 0.0

    def rle(self) -> dict[str, Any]:
        """COCO's compressed run-length code of the mask: ``{"size": [H, W], "counts": str}``."""
        return mask_rle(self.mask)

    def polygons(self) -> list[list[np.ndarray]]:
        """Outline the mask as polygons with holes, as GeoJSON nests them.

        Returns:
            One list per separate part: first its outer ring, then the rings of its holes, each (N, 2) int32 (x, y),
            corners on pixel centres of the object. Filling the outer rings and clearing the insides of the holes with
            `cv2.drawContours` gives the mask back.
        """
        contours, tree = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        parts: dict[int, list[np.ndarray]] = {}
        parents = (
            np.reshape(tree, (-1, 4))[:, 3].tolist() if contours else []
        )  # -1 for an outer ring, else the part that has this hole
        for index, parent in enumerate(parents):
            if parent < 0:
                parts[index] = [contours[index].reshape(-1, 2)]
        for index, parent in enumerate(parents):
            if parent >= 0:
                parts[parent].append(contours[index].reshape(-1, 2))
        return list(parts.values())

    def to_dict(self, *, rle: bool = True) -> dict[str, Any]:
        """Return all of it but the pixels, ready for JSON; ``rle=False`` leaves the masks out."""
        height, width = self.mask.shape
        data: dict[str, Any] = {
            "concept": self.concept,
            "image": self.image,
            "width": width,
            "height": height,
            "present": self.present,
            "score": round(float(self.score), 6),
            "box": list(self.box) if self.box else None,
            "area": round(self.area, 6),
            "points": [[round(float(x), 2), round(float(y), 2)] for x, y in self.points],
            "labels": [int(label) for label in self.labels],
            "instances": [
                {"score": round(float(one.score), 6), "box": list(one.box) if one.box else None}
                | ({"rle": one.rle()} if rle else {})
                for one in self.instances
            ],
        }
        if rle:
            data["rle"] = self.rle()
        return data

    def cutout(self, image: np.ndarray) -> np.ndarray:
        """Cut the object out of its photo.

        Args:
            image: (H, W, 3) uint8, the photo that was segmented.

        Returns:
            (h, w, 4) uint8 RGBA, cropped to the box; alpha is 255 on the object and 0 beside it.

        Raises:
            PersamError: Nothing was found, so there is nothing to cut out.
        """
        self._check_size(image)
        if self.box is None:
            raise PersamError(f"There is no {self.concept!r} in {self.image or 'the image'} to cut out.")
        x0, y0, x1, y1 = self.box
        alpha = self.mask[y0:y1, x0:x1].astype(np.uint8) * 255
        return np.dstack([image[y0:y1, x0:x1], alpha])

    def overlay(self, image: np.ndarray, colour: Colour | None = None) -> np.ndarray:
        """Tint and outline the object on its photo; every instance has its own outline.

        Args:
            image: (H, W, 3) uint8, the photo that was segmented.
            colour: RGB; by default one that belongs to the concept's name.

        Returns:
            (H, W, 3) uint8.
        """
        self._check_size(image)
        colour = colour_of(self.concept) if colour is None else colour
        if len(self.instances) < 2:
            return draw_overlay(image, self.mask, colour)
        out = draw_overlay(image, self.mask, colour)
        for instance in self.instances:
            out = draw_overlay(out, instance.mask, colour, tint=0.0)
        return out

    def _check_size(self, image: np.ndarray) -> None:
        if image.shape[:2] != self.mask.shape:
            height, width = self.mask.shape
            raise PersamError(
                f"The image is {image.shape[1]} x {image.shape[0]} pixels, the mask {width} x {height}; "
                "give the image that was segmented."
            )


def mask_box(mask: np.ndarray) -> PixelBox | None:
    """Return (x0, y0, x1, y1) around the True pixels of an (H, W) mask, x1 and y1 exclusive; None if there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def mask_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encode an (H, W) mask as COCO's compressed run-length code ``{"size": [H, W], "counts": str}``."""
    from pycocotools import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def rle_mask(rle: dict[str, Any]) -> np.ndarray:
    """Decode `mask_rle` back to (H, W) bool."""
    from pycocotools import mask as coco_mask

    return coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")}).astype(bool)
