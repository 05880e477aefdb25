"""A scene of known geometry: a box with points on it, on a floor with points, seen by cameras all around."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from persam.album.views.cameras import MODELS, CameraView, LensCamera

SIZE = (120, 160)
MIDDLE, HALF = np.array([0.3, -0.2, 0.5]), np.array([0.35, 0.25, 0.5])  # of the box
# As COLMAP's documentation of its formats has them, and not taken from what is tested.
COLMAPS_NUMBERS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "FOV": 7,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
    "THIN_PRISM_FISHEYE": 10,
}
LENS = LensCamera.of("OPENCV", SIZE, (150, 155, 82, 58, 0.05, -0.02, 0.001, -0.002))
STRAIGHT = LensCamera.of("PINHOLE", SIZE, (150, 155, 82, 58))


def looking_at(centre: np.ndarray, target: np.ndarray, camera: LensCamera, name: str) -> CameraView:
    """A view from a place to a target; z of the world is up."""
    ahead = (target - centre) / np.linalg.norm(target - centre)
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(ahead, right), ahead])
    return CameraView(name, camera, rotation, -rotation @ centre, np.zeros((0, 2)), np.zeros(0, np.int64))


def corners() -> np.ndarray:
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return MIDDLE + signs * HALF


def box_mask(view: CameraView) -> np.ndarray:
    """The box in a view, (H, W) bool: the hull of its surface's points, which a lens bends a little."""
    steps = np.linspace(-1, 1, 41)
    flat = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    faces = [np.insert(flat, axis, side, axis=1) for axis in range(3) for side in (-1, 1)]
    pixels, _ = view.project(MIDDLE + np.concatenate(faces) * HALF)
    mask = np.zeros(view.camera.size, np.uint8)
    outline = cv2.convexHull(np.floor(pixels).astype(np.int32))
    cv2.fillConvexPoly(mask, outline, 1)
    return mask > 0


def scene(
    count: int = 8, camera: LensCamera = LENS, points: int = 300, names: str = "photos/{:02}.jpg"
) -> list[CameraView]:
    """Views around the box, each with the points that it sees: half of them on the box, half on the floor."""
    rng = np.random.default_rng(0)
    on_box = rng.uniform(-1, 1, (points, 3))
    axis = rng.integers(0, 3, points)
    on_box[np.arange(points), axis] = rng.choice([-1, 1], points)
    floor = np.column_stack([rng.uniform(-2, 2, (points, 2)), np.full(points, -0.01)])
    places = np.concatenate([MIDDLE + on_box * HALF * 0.97, floor])
    normals = np.zeros((points, 3))
    normals[np.arange(points), axis] = on_box[np.arange(points), axis]
    views = []
    for number in range(count):
        angle = 2 * np.pi * number / count
        centre = MIDDLE + 2.6 * np.array([np.cos(angle), np.sin(angle), 0.5])
        view = looking_at(centre, MIDDLE, camera, names.format(number))
        pixels, seen = view.project(places)
        seen[:points] &= (normals * (centre - places[:points])).sum(1) > 0  # the side that looks away is not seen
        mask = box_mask(view)
        at = np.floor(pixels[points:]).astype(int).clip(0, (SIZE[1] - 1, SIZE[0] - 1))
        seen[points:] &= ~mask[at[:, 1], at[:, 0]]  # the floor behind the box
        views.append(replace(view, observed=pixels[seen], points=np.flatnonzero(seen)))
    return views


def shifted(mask: np.ndarray, by: tuple[int, int]) -> np.ndarray:
    """A mask moved by (rows, columns)."""
    return np.roll(mask, by, (0, 1))


def write_masks(views: list[CameraView], masks: list[np.ndarray], folder: Path, ending: str = ".png") -> None:
    for view, mask in zip(views, masks, strict=True):
        file = folder / f"{view.name}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """(w, x, y, z) of a rotation: the eigenvector of a symmetric matrix, good for all of them."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    return np.linalg.eigh(k)[1][:, -1]


def write_colmap(views: list[CameraView], folder: Path, *, binary: bool) -> Path:
    """A COLMAP model, as its documentation says."""
    folder.mkdir(parents=True)
    camera = views[0].camera
    numbers = [camera.numbers[name] for name in MODELS[camera.model].split()]
    poses = [[*quaternion(view.rotation), *view.translation] for view in views]
    if not binary:
        lines = [
            "# Camera list",
            f"7 {camera.model} {camera.size[1]} {camera.size[0]} {' '.join(map(repr, map(float, numbers)))}",
        ]
        (folder / "cameras.txt").write_text("\n".join(lines) + "\n")
        lines = ["# Image list with two lines of data per image:", "# Number of images: 8"]
        for number, (view, pose) in enumerate(zip(views, poses, strict=True), start=1):
            lines.append(f"{number} {' '.join(map(repr, map(float, pose)))} 7 {view.name}")
            points = [(*at, point) for at, point in zip(view.observed.tolist(), view.points.tolist(), strict=True)]
            if points:
                points.append((3.5, 4.5, -1))  # a place that was matched with nothing
            lines.append(" ".join(f"{x!r} {y!r} {point}" for x, y, point in points))
        (folder / "images.txt").write_text("\n".join(lines) + "\n")
        return folder
    data = struct.pack("<QiiQQ", 1, 7, COLMAPS_NUMBERS[camera.model], camera.size[1], camera.size[0]) + struct.pack(
        f"<{len(numbers)}d", *numbers
    )
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(views))
    for number, (view, pose) in enumerate(zip(views, poses, strict=True), start=1):
        data += struct.pack("<i7di", number, *pose, 7) + view.name.encode() + b"\0"
        data += struct.pack("<Q", len(view.points) + 1) + struct.pack("<ddq", 3.5, 4.5, -1)
        for (x, y), point in zip(view.observed, view.points, strict=True):
            data += struct.pack("<ddq", x, y, point)
    (folder / "images.bin").write_bytes(data)
    return folder


def write_transforms(views: list[CameraView], file: Path) -> Path:
    """nerfstudio's transforms.json: camera to world, with OpenGL's axes."""
    camera = views[0].camera
    frames = []
    for view in views:
        pose = np.eye(4)
        pose[:3, :3] = view.rotation.T @ np.diag([1, -1, -1])
        pose[:3, 3] = view.centre
        frames.append({"file_path": f"./images/{Path(view.name).name}", "transform_matrix": pose.tolist()})
    numbers = {{"fx": "fl_x", "fy": "fl_y"}.get(name, name): value for name, value in camera.numbers.items()}
    told = {"camera_model": camera.model, "w": camera.size[1], "h": camera.size[0], **numbers, "frames": frames}
    file.write_text(json.dumps(told))
    return file
