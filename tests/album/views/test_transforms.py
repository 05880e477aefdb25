"""transforms.json as nerfstudio, instant-ngp and people write it: lenses, sizes and focal lengths of all and of one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.album.views.drawn import SIZE, scene, write_transforms

from persam.album.views.cameras import CameraView, LensCamera
from persam.album.views.poses import read_poses
from persam.errors import PersamError

PLACES = np.random.default_rng(0).uniform((-0.4, -0.3, 1), (0.4, 0.3, 2), (40, 3))


def read(tmp_path: Path, *gone: str, frame: dict[str, Any] | None = None, **told: Any) -> list[CameraView]:
    """Views of a file with other numbers, or without some; `frame`: of the second one alone."""
    file = write_transforms(scene(3), tmp_path / "transforms.json")
    written = json.loads(file.read_text()) | told
    written["frames"][1] |= frame or {}
    file.write_text(json.dumps({key: value for key, value in written.items() if key not in gone}))
    return read_poses(file)


def same(view: CameraView, model: str, *parameters: float) -> None:
    wanted = LensCamera.of(model, SIZE, parameters)
    np.testing.assert_allclose(view.camera.project(PLACES)[0], wanted.project(PLACES)[0], atol=1e-9)


LENS = {"fl_x": 150.0, "fl_y": 140.0, "cx": 80.0, "cy": 60.0, "k1": 0.1, "k2": -0.03, "p1": 0.0, "p2": 0.0}


def test_a_fisheye_by_either_word(tmp_path: Path) -> None:
    numbers = LENS | {"k3": 0.01, "k4": -0.02}
    wanted = "OPENCV_FISHEYE", 150, 140, 80, 60, 0.1, -0.03, 0.01, -0.02
    same(read(tmp_path, **numbers, camera_model="OPENCV_FISHEYE")[0], *wanted)
    same(read(tmp_path, "camera_model", **numbers, is_fisheye=True)[0], *wanted)
    same(read(tmp_path, **numbers, camera_model="OPENCV_FISHEYE", is_fisheye=True)[0], *wanted)
    with pytest.raises(PersamError, match=r"images/00.jpg is told to be a fisheye and OPENCV; correct camera_model or"):
        read(tmp_path, **numbers, camera_model="OPENCV", is_fisheye=True)


@pytest.mark.parametrize("model", ["SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"])
def test_a_fisheye_with_fewer_numbers(tmp_path: Path, model: str) -> None:
    same(read(tmp_path, **LENS, camera_model=model)[0], "OPENCV_FISHEYE", 150, 140, 80, 60, 0.1, -0.03, 0, 0)


@pytest.mark.parametrize("model", ["FOV", "THIN_PRISM_FISHEYE"])
def test_a_lens_that_is_not_computed_is_not_taken_for_another(tmp_path: Path, model: str) -> None:
    view = read(tmp_path, **LENS, camera_model=model)[0]
    with pytest.raises(PersamError, match=f"the camera model {model} is not computed here; undistort the photos"):
        view.camera.project(PLACES)


def test_opencv_and_its_k4(tmp_path: Path) -> None:
    """It is a fourth one above the line to nerfstudio, and the first below it in OpenCV's full model."""
    wanted = 150, 140, 80, 60, 0.1, -0.03, 0.0, 0.0
    same(read(tmp_path, **LENS, k4=0.0, is_fisheye=False, camera_model="OPENCV")[0], "OPENCV", *wanted)
    same(read(tmp_path, "camera_model", **LENS, k3=0.02)[0], "FULL_OPENCV", *wanted, 0.02, 0, 0, 0)
    numbers = LENS | {"k3": 0.02, "k4": 0.01, "k5": 0.03, "k6": -0.01}
    same(read(tmp_path, **numbers, camera_model="FULL_OPENCV")[0], "FULL_OPENCV", *wanted, 0.02, 0.01, 0.03, -0.01)
    with pytest.raises(PersamError, match=r"the k4 of images/00.jpg belongs to no lens that is computed here"):
        read(tmp_path, **LENS, k4=0.01, camera_model="OPENCV")


def test_the_focal_length_by_the_angle(tmp_path: Path) -> None:
    """Blender's form: one angle, square pixels, the middle of the photo."""
    gone = "fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "camera_model"
    view = read(tmp_path, *gone, camera_angle_x=2 * math.atan(0.5))[0]
    same(view, "SIMPLE_PINHOLE", 160, 80, 60)


def test_one_photo_has_its_own_camera(tmp_path: Path) -> None:
    own = {"fl_x": 99.0, "fl_y": 98.0, "cx": 40.0, "cy": 30.0, "w": 80, "h": 60, "k1": 0.0, "k2": 0.0}
    first, second, third = read(tmp_path, **LENS, frame=own)
    assert [view.camera.size for view in (first, second, third)] == [SIZE, (60, 80), SIZE]
    same(second, "PINHOLE", 99, 98, 40, 30)
    for view in (first, third):
        same(view, "OPENCV", 150, 140, 80, 60, 0.1, -0.03, 0, 0)


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"fl_x": 0}, "a focal length that is not above 0"),
        ({"fl_y": -1}, "a focal length that is not above 0"),
        ({"fl_x": math.nan}, r"or a parameter that is none \(fx nan"),
        ({"cx": math.inf}, r"or a parameter that is none \("),
        ({"w": 0}, "photos are 0 x 120 pixels, which no photo is"),
        ({"h": -120}, "photos are 160 x -120 pixels"),
        ({"w": 1e300}, "pixels, which no photo is"),
        ({"w": math.inf}, "are damaged or of another form"),
        ({"w": math.nan}, "are damaged or of another form"),
    ],
)
def test_numbers_that_no_camera_has(tmp_path: Path, told: dict[str, float], sentence: str) -> None:
    with pytest.raises(PersamError, match=sentence) as error:
        read(tmp_path, **told)
    assert str(error.value).startswith(f"The poses in {tmp_path}/transforms.json ")


def test_an_angle_of_nothing(tmp_path: Path) -> None:
    for angle in (0, -0.5, math.nan):
        with pytest.raises(PersamError, match=r"^The poses in .*transforms.json "):
            read(tmp_path, "fl_x", "fl_y", camera_angle_x=angle)


def test_a_pose_that_is_no_rotation(tmp_path: Path) -> None:
    for number in (1e200, 3.0):
        stretched = np.diag([number, 1 / number, 1, 1]).tolist()
        with pytest.raises(PersamError, match=r"the pose of images/01.jpg is no rotation"):
            read(tmp_path, frame={"transform_matrix": stretched})
