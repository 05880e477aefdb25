"""Poses as people have them: COLMAP's model, text or binary, and nerfstudio's transforms.json.

COLMAP's form is documented at colmap.github.io/format.html: images with the rotation from world to camera as a
quaternion, and with all matched points. nerfstudio's has the pose from camera to world with OpenGL's axes: y up, and
the camera looks along -z.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from persam.album.views.cameras import MODELS, CameraView, LensCamera
from persam.errors import PersamError, UsageError
from persam.files import expanded

TRANSFORMS = "transforms.json"
_NEEDED = (
    "give a folder of COLMAP with cameras.bin and images.bin (or .txt), such as sparse/0, or nerfstudio's "
    "transforms.json"
)
_BENDING = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")  # as transforms.json has them
_BROWN = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")  # less of the same as FULL_OPENCV
_NO_POINTS = np.zeros((0, 2)), np.zeros(0, np.int64)
_POINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])


def read_poses(place: str | Path) -> list[CameraView]:
    """Read the views of a COLMAP model or of transforms.json, by name.

    Args:
        place: the file transforms.json, a folder that holds it, COLMAP's model, or a project with ``sparse/0`` in it.

    Raises:
        UsageError: nothing of the kind is there.
        PersamError: it is damaged.
    """
    path = expanded(place)
    if not path.exists():
        raise UsageError(f"There are no poses at {path}; {_NEEDED}.")
    if path.is_file() and path.stem in ("cameras", "images", "points3D"):
        path = path.parent
    if path.is_file():
        return _sorted(_checked(path, _transforms, path))
    for folder in (path, path / "sparse" / "0", path / "sparse", path / "0", path / "colmap" / "sparse" / "0"):
        for suffix, read in ((".bin", _binary), (".txt", _text)):
            if (folder / f"cameras{suffix}").is_file() and (folder / f"images{suffix}").is_file():
                return _sorted(_checked(folder, read, folder))
    if (path / TRANSFORMS).is_file():
        return _sorted(_checked(path / TRANSFORMS, _transforms, path / TRANSFORMS))
    raise UsageError(f"There are no poses in {path}; {_NEEDED}.")


def _sorted(views: list[CameraView]) -> list[CameraView]:
    return sorted(views, key=lambda view: view.name)


def _checked(where: Path, read: Callable[[Path], list[CameraView]], place: Path) -> list[CameraView]:
    try:
        views = read(place)
    except PersamError as error:
        raise PersamError(f"The poses in {where} cannot be used: {error}") from error
    except (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise PersamError(f"The poses in {where} are damaged or of another form; {_NEEDED}.") from error
    if not views:
        raise PersamError(f"The poses in {where} are of no photo; {_NEEDED}.")
    return views


# ------------------------------------------------------------------------------------------------------- COLMAP


def _text(folder: Path) -> list[CameraView]:
    cameras = {}
    for line in (folder / "cameras.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            number, model, width, height, *parameters = line.split()
            cameras[number] = LensCamera.of(model, (int(height), int(width)), parameters)
    lines = [
        line for line in (folder / "images.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    ]
    while lines and not lines[0].strip():
        lines.pop(0)
    views = []
    for first, second in zip(lines[::2], [*lines[1::2], ""], strict=False):  # a photo without points has an empty line
        if not first.strip():
            continue
        _, *pose, camera, name = first.split(maxsplit=9)
        numbers = np.array(second.split(), np.float64).reshape(-1, 3)
        views.append(_view(name.strip(), cameras[camera], pose, numbers[:, :2], numbers[:, 2].astype(np.int64)))
    return views


def _binary(folder: Path) -> list[CameraView]:
    names, cameras = list(MODELS), {}
    data = _Bytes((folder / "cameras.bin").read_bytes())
    for _ in range(data.take("<Q")[0]):
        number, model, width, height = data.take("<iiQQ")
        if not 0 <= model < len(names):
            raise PersamError(f"a camera has a model of number {model}, which is not known.")
        parameters = data.take(f"<{len(MODELS[names[model]].split())}d")
        cameras[number] = LensCamera.of(names[model], (height, width), parameters)
    data, views = _Bytes((folder / "images.bin").read_bytes()), []
    for _ in range(data.take("<Q")[0]):
        _, *pose, camera = data.take("<i7di")
        name = data.text()
        points = data.array(_POINT, data.take("<Q")[0])
        observed = np.stack([points["x"], points["y"]], axis=1)
        views.append(_view(name, cameras[camera], pose, observed, points["point"]))
    return views


def _view(name: str, camera: LensCamera, pose: Any, observed: np.ndarray, points: np.ndarray) -> CameraView:
    w, x, y, z, *translation = (float(each) for each in pose)
    length = math.sqrt(w * w + x * x + y * y + z * z)
    if not math.isfinite(length) or length < 1e-9 or not np.isfinite(translation).all():
        raise PersamError(f"the pose of {name} is none.")
    w, x, y, z = w / length, x / length, y / length, z / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    matched = points >= 0
    return CameraView(name, camera, rotation, np.array(translation), observed[matched], points[matched])


class _Bytes:
    """Reads a binary file from its start on."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Numbers of a form of `struct`."""
        found = struct.unpack_from(form, self.data, self.place)
        self.place += struct.calcsize(form)
        return found

    def text(self) -> str:
        """Letters up to a zero."""
        end = self.data.index(b"\0", self.place)
        found = self.data[self.place : end].decode("utf-8")
        self.place = end + 1
        return found

    def array(self, kind: np.dtype[Any], count: int) -> np.ndarray:
        """So many records."""
        found = np.frombuffer(self.data, kind, count, self.place)
        self.place += count * kind.itemsize
        return found


# --------------------------------------------------------------------------------------------------- nerfstudio


def _transforms(file: Path) -> list[CameraView]:
    told = json.loads(file.read_text(encoding="utf-8"))
    return [_frame(told | frame) for frame in told["frames"]]


def _frame(told: dict[str, Any]) -> CameraView:
    name = str(told["file_path"]).removeprefix("./")
    pose = np.array(told["transform_matrix"], np.float64)
    if pose.shape not in {(3, 4), (4, 4)} or not np.isfinite(pose).all():
        raise PersamError(f"the pose of {name} is no matrix of 4 x 4 numbers.")
    rotation = (pose[:3, :3] * (1, -1, -1)).T  # OpenGL's axes to OpenCV's, camera to world to world to camera
    if np.abs(rotation).max() > 2 or abs(np.linalg.det(rotation) - 1) > 1e-2:
        raise PersamError(f"the pose of {name} is no rotation.")
    return CameraView(name, _frame_camera(told, name), rotation, -rotation @ pose[:3, 3], *_NO_POINTS)


def _frame_camera(told: dict[str, Any], name: str) -> LensCamera:
    if "w" not in told or "h" not in told:
        raise PersamError(f"the size of {name} is not told: there is no w or h.")
    width, height = int(told["w"]), int(told["h"])
    if "fl_x" in told:
        fx = float(told["fl_x"])
    elif "camera_angle_x" in told:
        fx = width / 2 / math.tan(float(told["camera_angle_x"]) / 2)
    else:
        raise PersamError(f"the focal length of {name} is not told: there is no fl_x or camera_angle_x.")
    numbers = {
        "fx": fx,
        "fy": float(told.get("fl_y", fx)),
        "cx": float(told.get("cx", width / 2)),
        "cy": float(told.get("cy", height / 2)),
    } | {key: float(told[key]) for key in _BENDING if key in told}
    return LensCamera(_frame_model(told, numbers, name), (height, width), numbers)


def _frame_model(told: dict[str, Any], numbers: dict[str, float], name: str) -> str:
    """The model that reads a frame's numbers, which may be more or fewer than those of the model that it names."""
    is_fisheye = bool(told.get("is_fisheye", False))  # instant-ngp's word, which names no model
    model = str(told.get("camera_model", "OPENCV_FISHEYE" if is_fisheye else "OPENCV"))
    if model not in MODELS:
        raise PersamError(f"the camera model {model} of {name} is not known.")
    if is_fisheye and "FISHEYE" not in model:
        raise PersamError(
            f"the lens of {name} is told to be a fisheye and {model}; correct camera_model or is_fisheye."
        )
    if model not in _BROWN:
        return model
    # Of OpenCV's six k4 is below the line, and nerfstudio has it as a fourth above, which is not computed here.
    if numbers.pop("k4", 0.0) != 0:
        raise PersamError(f"the k4 of {name} belongs to no lens that is computed here; undistort the photos.")
    return "FULL_OPENCV"
