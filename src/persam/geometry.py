"""Where things are: photo pixels, model pixels and feature cells, with the padding in mind.

A model looks at a *canvas*: the photo resized to fit it and padded at the right and the bottom with nothing (SAM), or
stretched over all of it (SAM 2).  The encoder cuts the canvas into *cells*.  `Frame` knows the way between the three.
Points are (x, y), sizes (height, width).  Coordinates are pixel indices, as SAM counts: the point (0, 0) is the middle
of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
_LARGE = 4_000_000  # pixels of a mask that is resized in bands, first to its width: as numbers it would take gigabytes
_BAND = 512  # rows


@dataclass(frozen=True)
class Frame:
    """The geometry of one photo in one model.

    Attributes:
        photo: size (H, W) of the photo.
        content: size of the photo on the canvas, at its upper left.
        canvas: size of the model's input; what lies outside `content` is padding.
        grid: number of feature cells over the canvas, (rows, columns).
    """

    photo: Size
    content: Size
    canvas: Size
    grid: Size

    @classmethod
    def padded(cls, photo: Size, side: int, grid: Size) -> Frame:
        """SAM's way: the longest side becomes `side`, the rest of the square is padding (rounded as SAM rounds)."""
        scale = side / max(photo)
        content = (max(1, int(photo[0] * scale + 0.5)), max(1, int(photo[1] * scale + 0.5)))
        return cls(photo, content, (side, side), grid)

    @classmethod
    def stretched(cls, photo: Size, canvas: Size, grid: Size) -> Frame:
        """SAM 2's and most encoders' way: the photo fills the canvas, whatever its proportions."""
        return cls(photo, canvas, canvas, grid)

    def to_canvas(self, xy: np.ndarray) -> np.ndarray:
        """Photo pixels (..., 2) to canvas pixels."""
        scale = np.array([self.content[1] / self.photo[1], self.content[0] / self.photo[0]])
        return np.asarray(xy, dtype=np.float64) * scale

    def to_photo(self, xy: np.ndarray) -> np.ndarray:
        """Canvas pixels (..., 2) to photo pixels."""
        scale = np.array([self.photo[1] / self.content[1], self.photo[0] / self.content[0]])
        return np.asarray(xy, dtype=np.float64) * scale

    def to_photo_size(self, maps: Tensor) -> Tensor:
        """Maps over the canvas, (B, M, h, w) of any resolution, to the photo's pixels (B, M, H, W).

        Bilinear to the canvas, cut off the padding, bilinear to the photo: SAM's `postprocess_masks`.
        """
        maps = F.interpolate(maps.float(), self.canvas, mode="bilinear", align_corners=False)
        maps = maps[..., : self.content[0], : self.content[1]]
        if self.content == self.photo:
            return maps
        return F.interpolate(maps, self.photo, mode="bilinear", align_corners=False)

    def to_photo_mask(self, logits: Tensor) -> Tensor:
        """The mask, (H, W) bool, that logits (h, w) over the canvas draw in the photo: where they exceed 0."""
        return self.to_photo_size(logits[None, None])[0, 0] > 0

    def cover(self, mask: Tensor, size: Size | None = None) -> Tensor:
        """Share of every cell that a mask of the photo covers, (rows, columns) in [0, 1].

        `mask` is (H, W), bool or a share itself; `size` another division of the canvas than the feature grid.
        Padding counts as not covered, so a border cell can reach at most the share of photo in it.
        """
        size = size or self.grid
        canvas = torch.zeros(self.canvas, device=mask.device)
        resized = F.interpolate(mask.float()[None, None], self.content, mode="area")[0, 0]
        canvas[: self.content[0], : self.content[1]] = resized
        return F.adaptive_avg_pool2d(canvas[None, None], size)[0, 0]

    def cells_under(self, mask: Tensor) -> Tensor:
        """Cells at least half under a mask of the photo, (h, w) of any size; the most covered one if there is none."""
        return covered_cells(replace(self, photo=(mask.shape[0], mask.shape[1])).cover(mask))

    @lru_cache(maxsize=64)  # noqa: B019 (a frame is eight numbers)
    def inside(self, size: Size | None = None, device: torch.device | str = "cpu") -> Tensor:
        """Which cells show the photo (more than half of the cell), (rows, columns) bool. Never empty.

        Asked many times a photo, so it is kept: not to be written into.
        """
        with torch.inference_mode(False):  # training takes what a validation left
            inside = torch.zeros(size or self.grid, dtype=torch.bool, device=device)
            self.within(inside)[:] = True
        return inside

    def within(self, maps: Tensor) -> Tensor:
        """The part of maps over the canvas, (..., h, w) of any resolution, that is `inside` the photo: a view."""
        rows, columns = maps.shape[-2:]
        used_rows = max(1, round(rows * self.content[0] / self.canvas[0]))
        used_columns = max(1, round(columns * self.content[1] / self.canvas[1]))
        return maps[..., :used_rows, :used_columns]

    def inside_of(self, maps: Tensor) -> Tensor:
        """The same for maps (..., h, w) over the canvas, where they are."""
        return self.inside((maps.shape[-2], maps.shape[-1]), maps.device)

    def cell_centres(self, index: Tensor, size: Size) -> np.ndarray:
        """Canvas pixels (N, 2) of the centres of cells, given as flat indices (N,) into a division of `size`."""
        flat = index.detach().cpu().numpy()
        y, x = np.divmod(flat, size[1])
        centres = np.stack([(x + 0.5) * self.canvas[1] / size[1], (y + 0.5) * self.canvas[0] / size[0]], axis=-1)
        return centres - 0.5

    def transfer(self, maps: Tensor, to: Frame, size: Size) -> Tensor:
        """Maps (B, M, h, w) over this canvas, as `to` divides its own canvas into `size` cells: bilinear, by place
        in the photo. Cells of `to` in its padding get the nearest value of the photo's edge.
        """
        rows, columns = size
        y = (torch.arange(rows, device=maps.device) + 0.5) * to.canvas[0] / rows / to.content[0]  # share of the photo
        x = (torch.arange(columns, device=maps.device) + 0.5) * to.canvas[1] / columns / to.content[1]
        y = y.clamp(0, 1) * self.content[0] / self.canvas[0] * 2 - 1
        x = x.clamp(0, 1) * self.content[1] / self.canvas[1] * 2 - 1
        places = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None]), dim=-1)[None].to(maps.dtype)
        return F.grid_sample(
            maps, places.expand(len(maps), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
        )


def fit(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Resize (H, W, C) or (H, W), uint8 or float, so that its longest side is `longest`; a new array."""
    height, width = pixels.shape[:2]
    factor = longest / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC).copy()


def covered_cells(coverage: Tensor) -> Tensor:
    """Cells at least half covered; if there is none, the most covered one. `Frame.cover` (rows, columns) -> bool."""
    cells = coverage >= 0.5
    return cells if bool(cells.any()) else coverage == coverage.max()


def shrink(pixels: np.ndarray, longest: int) -> np.ndarray:
    """The same for what is larger; a small picture stays."""
    return pixels if max(pixels.shape[:2]) <= longest else fit(pixels, longest)


def fit_mask(mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Resize a mask (H, W) bool to a picture's size. Masks are drawn at the size at which they are shown.

    An outline stays visible so, and a thing that is smaller than a pixel stays.
    """
    height, width = picture.shape[:2]
    if mask.size > _LARGE and mask.shape[0] >= height and mask.shape[1] >= width:
        bands = [mask[top : top + _BAND] for top in range(0, mask.shape[0], _BAND)]
        mask = np.concatenate([_area(band, width, len(band)) for band in bands])
    shares = _area(mask, width, height)
    kept: np.ndarray = shares >= min(0.5, float(shares.max()) or 1.0)
    return kept


def _area(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


# ------------------------------------------------------------------------------------------ windows of a photo


def deepest(mask: np.ndarray) -> tuple[int, int]:
    """The pixel (x, y) that lies deepest in a mask, (H, W) bool, not empty; beyond the image counts as outside."""
    bordered = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(bordered, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = divmod(int(depth.argmax()), mask.shape[1])
    return x, y


def window_at(
    place: tuple[float, float] | np.ndarray, side: float, photo: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """A square window of a photo (H, W) around a place (x, y), as (x0, y0, x1, y1) in pixels, x1 and y1 exclusive.

    It is moved to lie within the photo, and has no more than that.
    """
    corners = []
    for middle, length in zip(place, (photo[1], photo[0]), strict=True):
        size = min(length, round(side))
        start = min(max(0, round(float(middle) - size / 2)), length - size)
        corners.append((start, start + size))
    (x0, x1), (y0, y1) = corners
    return x0, y0, x1, y1


def cut(detail: np.ndarray, window: tuple[int, int, int, int], photo: Size) -> np.ndarray:
    """The pixels of a window of the photo in its copy."""
    down, right = detail.shape[0] / photo[0], detail.shape[1] / photo[1]
    x0, x1 = (round(x * right) for x in window[::2])
    y0, y1 = (round(y * down) for y in window[1::2])
    return np.ascontiguousarray(detail[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
