"""Cameras: where a place in the world is seen in a photo, with the distortion of its lens.

World to camera and camera to pixels as COLMAP and OpenCV have it: x to the right, y down, z ahead; the middle of the
first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from persam.errors import PersamError

#: What the parameters of COLMAP's camera models are, by name; in its files a model has the number of its place.
MODELS: dict[str, str] = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "OPENCV_FISHEYE": "fx fy cx cy k1 k2 k3 k4",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "FOV": "fx fy cx cy omega",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
    "THIN_PRISM_FISHEYE": "fx fy cx cy k1 k2 p1 p2 k3 k4 sx1 sy1",
}
_STRANGE = ("FOV", "THIN_PRISM_FISHEYE")  # whose distortion is not computed here
_LARGEST = 1_000_000  # pixels of a photo's side
_WIDER = 1.5  # times the photo, in which a place is believed to be seen: far outside, a polynomial turns back


@dataclass(frozen=True)
class LensCamera:
    """A camera with its lens.

    Attributes:
        model: a key of `MODELS`.
        size: (H, W) of its photos.
        numbers: its parameters, by the names in `MODELS`.

    Raises:
        PersamError: a side that no photo has, a parameter that is no number, or a focal length that is not above 0.
    """

    model: str
    size: tuple[int, int]
    numbers: dict[str, float]

    def __post_init__(self) -> None:
        height, width = self.size
        if not (min(self.size) >= 1 and max(self.size) <= _LARGEST):
            raise PersamError(f"a camera's photos are {width} x {height} pixels, which no photo is.")
        if not np.isfinite(list(self.numbers.values())).all() or min(self.focal) <= 0:
            told = ", ".join(f"{name} {value:g}" for name, value in self.numbers.items())
            raise PersamError(f"a camera has a focal length that is not above 0, or a parameter that is none ({told}).")

    @classmethod
    def of(cls, model: str, size: tuple[int, int], parameters: Any) -> LensCamera:
        """With parameters in COLMAP's order.

        Raises:
            PersamError: no such model, another number of parameters, or as above.
        """
        if model not in MODELS:
            raise PersamError(f"The camera model {model} is not known; there are {', '.join(MODELS)}.")
        names = MODELS[model].split()
        values = [float(each) for each in parameters]
        if len(values) != len(names):
            raise PersamError(f"A camera of the model {model} has the parameters {MODELS[model]}, not {values}.")
        return cls(model, size, dict(zip(names, values, strict=True)))

    @property
    def focal(self) -> tuple[float, float]:
        """Focal lengths along x and y, pixels."""
        one = self.numbers.get("f", 1.0)
        return self.numbers.get("fx", one), self.numbers.get("fy", one)

    def project(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where places in the camera's own axes are seen.

        Args:
            places: (N, 3) as (x, y, z).

        Returns:
            Pixels (N, 2) as (x, y), and whether each is in the photo, (N,) bool.

        Raises:
            PersamError: a lens whose distortion is not computed here.
        """
        if self.model in _STRANGE:
            raise PersamError(
                f"The distortion of the camera model {self.model} is not computed here; undistort the photos (colmap "
                "image_undistorter), or give a model with points."
            )
        (fx, fy), height, width = self.focal, *self.size
        cx, cy = self.numbers["cx"], self.numbers["cy"]
        ahead = places[:, 2] > 1e-9
        flat = places[:, :2] / np.where(ahead, places[:, 2], 1.0)[:, None]
        bent = self._bent(flat)
        pixels = bent * (fx, fy) + (cx, cy)
        straight = flat * (fx, fy) + (cx, cy) if "FISHEYE" not in self.model else pixels
        margin = (_WIDER - 1) * np.array([width, height])
        believed = ((straight > -margin) & (straight < np.array([width, height]) + margin)).all(1)
        inside = ((pixels >= 0) & (pixels < (width, height))).all(1)
        return pixels, ahead & believed & inside

    def _bent(self, flat: np.ndarray) -> np.ndarray:
        """Places in the plane z = 1, (N, 2), as the lens bends them: OpenCV's polynomials."""
        k1, k2, k3, k4, k5, k6, p1, p2 = (
            self.numbers.get(name, 0.0) for name in ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
        )
        square = (flat**2).sum(1)
        if "FISHEYE" in self.model:
            radius = np.sqrt(square)
            angle = np.arctan(radius)
            bent = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
            return flat * np.where(radius > 1e-9, bent / np.maximum(radius, 1e-9), 1.0)[:, None]
        radial = (1 + k1 * square + k2 * square**2 + k3 * square**3) / (
            1 + k4 * square + k5 * square**2 + k6 * square**3
        )
        x, y = flat[:, 0], flat[:, 1]
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2),
                y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y,
            ],
            axis=1,
        )


@dataclass(frozen=True, eq=False)
class CameraView:
    """A photo with its camera.

    Attributes:
        name: of the photo, as the model has it: a path with slashes.
        camera: what took it.
        rotation: world to camera, (3, 3).
        translation: likewise, (3,).
        observed: pixels of points that were matched in it, (N, 2) as (x, y).
        points: their numbers, (N,) int; the same number in several views is one point of the world.
    """

    name: str
    camera: LensCamera
    rotation: np.ndarray
    translation: np.ndarray
    observed: np.ndarray
    points: np.ndarray

    def smaller(self, longest: int) -> CameraView:
        """The same of a photo whose longest side is `longest` pixels; one that is not longer stays."""
        height, width = self.camera.size
        if max(height, width) <= longest:
            return self
        share = longest / max(height, width)
        size = max(1, round(height * share)), max(1, round(width * share))
        wider, higher = size[1] / width, size[0] / height
        along = {"f": share, "fx": wider, "cx": wider, "fy": higher, "cy": higher}
        numbers = {name: value * along.get(name, 1.0) for name, value in self.camera.numbers.items()}
        observed = self.observed * (wider, higher)
        return replace(self, camera=replace(self.camera, size=size, numbers=numbers), observed=observed)

    @property
    def centre(self) -> np.ndarray:
        """Where the camera is in the world, (3,)."""
        return -self.rotation.T @ self.translation

    def project(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where places of the world, (N, 3), are seen: see `LensCamera.project`."""
        return self.camera.project(places @ self.rotation.T + self.translation)
