"""A box seen from all around: exact masks agree, a wrong one comes first, in every form of poses; cameras as OpenCV."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.album.views.drawn import (
    COLMAPS_NUMBERS,
    LENS,
    MIDDLE,
    SIZE,
    STRAIGHT,
    box_mask,
    scene,
    shifted,
    write_colmap,
    write_masks,
    write_transforms,
)

from persam.album.views.agreement import MaskedView, _see, by_hull, by_points, coarser, compare_views, worst_first
from persam.album.views.cameras import LensCamera
from persam.album.views.masks import masks_folder, photo_names, read_masks
from persam.album.views.poses import read_poses
from persam.album.views.report import write_views
from persam.errors import PersamError, UsageError

WRONG = 3
FAULTS = {
    "shifted": lambda mask: shifted(mask, (0, 25)),
    "of something else": lambda mask: shifted(mask, (40, -60)),
    "half": lambda mask: mask & (np.arange(SIZE[1]) < np.nonzero(mask)[1].mean()),
    "empty": np.zeros_like,
    "too large": lambda mask: cv2.dilate(mask.astype(np.uint8), np.ones((25, 25))) > 0,
}


def masked(count: int = 8, camera: LensCamera = LENS) -> list[MaskedView]:
    return [MaskedView(view, box_mask(view)) for view in scene(count, camera)]


@pytest.mark.parametrize("by", ["points", "hull"])
def test_exact_masks_agree(by: str) -> None:
    for one in compare_views(masked(), by, grid=32):
        assert one.method == by
        assert one.agreement is not None
        assert one.agreement > (0.99 if by == "points" else 0.95), one.name


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("by", ["points", "hull"])
def test_a_wrong_mask_comes_first(by: str, fault: str) -> None:
    views = masked()
    wrong = MaskedView(views[WRONG].view, FAULTS[fault](views[WRONG].mask))
    first, second, *_ = worst_first(compare_views([*views[:WRONG], wrong, *views[WRONG + 1 :]], by, grid=32))
    assert first.name == wrong.view.name
    assert first.agreement is not None
    assert second.agreement is not None
    assert first.agreement < 0.85
    assert second.agreement > first.agreement + 0.1
    if fault == "too large":
        assert first.beyond > 0.1 > (first.lacking or 0)
    if fault == "half":
        assert first.lacking > 0.25 > (first.beyond or 0)


def test_two_wrong_masks_of_eight_come_first() -> None:
    views = masked()
    for number, fault in ((2, "shifted"), (5, "half")):
        views[number] = MaskedView(views[number].view, FAULTS[fault](views[number].mask))
    for by in ("points", "hull"):
        first, second, third, *_ = worst_first(compare_views(views, by, grid=32))
        assert {first.name, second.name} == {"photos/02.jpg", "photos/05.jpg"}
        assert (third.agreement or 0) > 0.9
        assert (third.agreement or 0) > (second.agreement or 0) + 0.1


def test_points_are_counted_by_hand() -> None:
    """Share of the points that either has on the thing, asked of the majority of the other views."""
    views = masked(5)
    views[1] = MaskedView(views[1].view, shifted(views[1].mask, (0, 12)))
    on = [
        {
            int(point): bool(one.mask[int(y), int(x)])
            for (x, y), point in zip(one.view.observed, one.view.points, strict=True)
        }
        for one in views
    ]
    for number, found in enumerate(by_points(views)):
        both = either = 0
        for point, own in on[number].items():
            others = [told[point] for each, told in enumerate(on) if each != number and point in told]
            if others and 2 * sum(others) != len(others):
                theirs = 2 * sum(others) > len(others)
                both += own and theirs
                either += own or theirs
        assert found.counted == either == len(found.pixels)
        assert found.agreement == pytest.approx(both / either)


def test_few_points_leave_it_to_the_hull() -> None:
    views = [MaskedView(view, box_mask(view)) for view in scene(6, points=2)]
    assert {one.method for one in compare_views(views, grid=32)} == {"hull"}
    with pytest.raises(PersamError, match="points tell nothing"):
        compare_views(views, "points")
    assert {one.method for one in compare_views(masked(6))} == {"points"}


def test_the_hull_judges_what_points_leave() -> None:
    """A view without points, as COLMAP leaves one that sees little of the thing, and with the wrong mask."""
    views = masked()
    bare = replace(views[WRONG].view, observed=np.zeros((0, 2)), points=np.zeros(0, np.int64))
    views[WRONG] = MaskedView(bare, FAULTS["shifted"](views[WRONG].mask))
    assert by_points(views)[WRONG].agreement is None
    found = compare_views(views, grid=32)
    assert [one.method for one in found] == ["hull" if number == WRONG else "points" for number in range(8)]
    assert worst_first(found)[0] is found[WRONG]
    assert (found[WRONG].agreement or 1) < 0.85
    assert compare_views(views, "points")[WRONG].agreement is None
    unknown = LensCamera.of("FOV", SIZE, (150, 150, 80, 60, 0.9))
    views = [MaskedView(replace(one.view, camera=unknown), one.mask) for one in views]
    assert compare_views(views)[WRONG].agreement is None  # and the others are judged all the same


def test_a_thing_thinner_than_a_voxel() -> None:
    """A pencil in the air, two pixels thick where a cell is six: it is compared, and a wrong mask of it comes first."""
    views = []
    for view in scene(8, STRAIGHT):
        ends = view.project(MIDDLE + np.array([[-0.5, -0.4, -0.4], [0.5, 0.4, 0.4]]))[0]
        mask = np.zeros(SIZE, np.uint8)
        cv2.line(mask, *(tuple(map(int, end)) for end in ends), 1, 2)
        views.append(MaskedView(view, mask > 0))
    for one in by_hull(views, grid=12):
        assert one.beyond is not None, one.name
        assert (one.agreement or 0) > 0.8, one.name
    views[WRONG] = MaskedView(views[WRONG].view, shifted(views[WRONG].mask, (0, 30)))
    assert worst_first(by_hull(views, grid=12))[0].name == views[WRONG].view.name


def test_a_mask_is_made_coarser() -> None:
    mask = np.zeros((40, 40), bool)
    mask[:, 3] = True  # a tenth of a cell
    mask[36:, 3] = False
    assert coarser(mask, (4, 4)).tolist() == [[True, False, False, False]] * 4
    mask[10:25, 10:25] = True  # beside it a thing of full cells, and a half
    assert coarser(mask, (4, 4)).tolist() == [
        [False] * 4, [False, True, True, False], [False, True, False, False], [False] * 4
    ]  # fmt: skip
    assert not coarser(np.zeros((40, 40), bool), (4, 4)).any()


def test_cells_take_half_the_memory() -> None:
    one = masked(3)[0]
    assert _see(one, np.zeros((5, 3)), np.zeros(3), 0.1).cells.dtype == np.int32


def test_a_thing_outside_a_photo_is_no_fault() -> None:
    """A view that looks away sees nothing of the hull, so that its empty mask says nothing."""
    views = masked(7, STRAIGHT)
    away = views[2].view
    turned = np.diag([-1.0, 1.0, -1.0]) @ away.rotation
    moved = type(away)(away.name, away.camera, turned, -turned @ away.centre, away.observed[:0], away.points[:0])
    views[2] = MaskedView(moved, np.zeros(SIZE, bool))
    for found in (by_hull(views, grid=32), by_points(views)):
        assert found[2].agreement is None
        assert worst_first(found)[-1] is found[2]
        assert all((one.agreement or 0) > 0.9 for one in found if one is not found[2])


def test_too_few_views_and_nothing_in_common() -> None:
    with pytest.raises(PersamError, match="2 views have a mask and a pose; 3 are needed"):
        compare_views(masked(2))
    views = [MaskedView(one.view, np.zeros(SIZE, bool)) for one in masked(4)]
    with pytest.raises(PersamError, match="no place in common"):
        by_hull(views)


@pytest.mark.parametrize("form", ["text", "binary", "transforms"])
def test_poses_are_read_as_they_were_written(tmp_path: Path, form: str) -> None:
    views = scene()
    if form == "transforms":
        found = read_poses(write_transforms(views, tmp_path / "transforms.json"))
        assert [one.name for one in found] == [f"images/{number:02}.jpg" for number in range(8)]
    else:
        write_colmap(views, tmp_path / "sparse" / "0", binary=form == "binary")
        found = read_poses(tmp_path)
        (file,) = (tmp_path / "sparse" / "0").glob("cameras.*")
        assert [one.name for one in read_poses(file)] == [one.name for one in found]
        assert [one.name for one in found] == [one.name for one in views]
    for one, wanted in zip(found, views, strict=True):
        np.testing.assert_allclose(one.rotation, wanted.rotation, atol=1e-9)
        np.testing.assert_allclose(one.centre, wanted.centre, atol=1e-9)
        assert one.camera.size == SIZE
        places = np.random.default_rng(1).normal(size=(50, 3))
        np.testing.assert_allclose(one.project(places)[0], wanted.project(places)[0], atol=1e-6)
        if form != "transforms":
            np.testing.assert_allclose(one.observed, wanted.observed, atol=1e-9)
            assert one.points.tolist() == wanted.points.tolist()


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("SIMPLE_PINHOLE", (150, 80, 60)),
        ("SIMPLE_RADIAL", (150, 80, 60, 0.1)),
        ("RADIAL", (150, 80, 60, 0.1, -0.03)),
        ("OPENCV", (150, 140, 80, 60, 0.1, -0.03, 0.01, -0.02)),
        ("FULL_OPENCV", (150, 140, 80, 60, 0.1, -0.03, 0.01, -0.02, 0.005, 0.02, 0.01, 0.003)),
        ("OPENCV_FISHEYE", (150, 140, 80, 60, 0.1, -0.03, 0.01, -0.02)),
        ("RADIAL_FISHEYE", (150, 80, 60, 0.1, -0.03)),
    ],
)
def test_lenses_are_opencvs(model: str, parameters: tuple[float, ...]) -> None:
    camera = LensCamera.of(model, SIZE, parameters)
    places = np.random.default_rng(0).uniform((-0.4, -0.3, 1), (0.4, 0.3, 2), (40, 3))
    numbers = camera.numbers
    matrix = np.array([[camera.focal[0], 0, numbers["cx"]], [0, camera.focal[1], numbers["cy"]], [0, 0, 1]])
    order = ("k1", "k2", "k3", "k4") if "FISHEYE" in model else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    lens = np.array([numbers.get(name, 0.0) for name in order])
    if "FISHEYE" in model:
        wanted, _ = cv2.fisheye.projectPoints(places[:, None], np.zeros(3), np.zeros(3), matrix, lens)
    else:
        wanted, _ = cv2.projectPoints(places, np.zeros(3), np.zeros(3), matrix, lens)
    pixels, seen = camera.project(places)
    np.testing.assert_allclose(pixels, wanted[:, 0], atol=1e-6)
    assert seen.tolist() == ((wanted[:, 0] >= 0) & (wanted[:, 0] < (160, 120))).all(1).tolist()
    assert not camera.project(-places)[1].any()


@pytest.mark.parametrize(("model", "number"), COLMAPS_NUMBERS.items())
def test_models_have_colmaps_numbers(tmp_path: Path, model: str, number: int) -> None:
    """Written by hand: a model of this number has so many parameters."""
    count = (3, 4, 4, 5, 8, 8, 12, 5, 4, 5, 12)[number]
    write_colmap(scene(3), tmp_path / "0", binary=True)
    data = struct.pack("<QiiQQ", 1, 7, number, 160, 120) + struct.pack(f"<{count}d", *range(1, count + 1))
    (tmp_path / "0/cameras.bin").write_bytes(data)
    camera = read_poses(tmp_path)[0].camera
    assert camera.model == model
    assert list(camera.numbers.values()) == list(range(1, count + 1))


def test_a_smaller_view_sees_the_same() -> None:
    view = scene(3)[0]
    small = view.smaller(40)
    assert small.camera.size == (30, 40)
    places = np.random.default_rng(1).normal(size=(50, 3))
    np.testing.assert_allclose(small.project(places)[0] * 4, view.project(places)[0], atol=1e-9)
    np.testing.assert_allclose(small.observed * 4, view.observed, atol=1e-9)
    assert view.smaller(160) is view


def test_masks_are_found_by_the_photos_names(tmp_path: Path) -> None:
    views = scene(5)
    masks = [box_mask(view) for view in views]
    write_masks(views[:2], masks[:2], tmp_path)  # photos/00.jpg.png
    cv2.imwrite(str(tmp_path / "02.png"), cv2.resize(masks[2] * np.uint8(255), (320, 240)))
    cv2.imwrite(str(tmp_path / "03.jpg.png"), masks[3].T * np.uint8(255))
    found = read_masks(views, tmp_path)
    assert [one.view.name for one in found.views] == ["photos/00.jpg", "photos/01.jpg", "photos/02.jpg"]
    assert found.without == ("photos/04.jpg",)
    (failure,) = found.failures
    assert failure[0] == "photos/03.jpg"
    assert "is 120 x 160, and the camera's photo 160 x 120; masks have to lie as the photos are stored" in failure[1]
    for one, mask in zip(found.views, masks, strict=False):
        assert (one.mask & mask).sum() / (one.mask | mask).sum() > 0.97


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    for name in ("../1.jpg", "/tmp/1.jpg", "images/../../1.jpg", "images//tmp/../1.jpg"):
        assert [str(path) for path in photo_names(name)] == ["1.jpg"]
    views = [replace(view, name="images/../../00.jpg") for view in scene(1)]
    cv2.imwrite(str(tmp_path / "00.png"), box_mask(views[0]) * np.uint8(255))
    (tmp_path / "a/masks").mkdir(parents=True)
    assert read_masks(views, tmp_path / "a/masks").without == ("images/../../00.jpg",)


def test_the_album_has_a_folder_for_each_thing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        masks_folder(tmp_path / "gone")
    (tmp_path / "results.jsonl").touch()
    with pytest.raises(UsageError, match=r"write them: persam album export .* --format colmap\.$"):
        masks_folder(tmp_path)
    (tmp_path / "colmap/mug").mkdir(parents=True)
    assert masks_folder(tmp_path) == tmp_path / "colmap/mug"
    (tmp_path / "colmap/cat").mkdir()
    with pytest.raises(UsageError, match="masks of several things; say with --concept which: cat, mug"):
        masks_folder(tmp_path)
    assert masks_folder(tmp_path, "cat") == tmp_path / "colmap/cat"


def damaged(tmp_path: Path) -> dict[str, Path]:
    names = "cut", "nonsense", "json", "no size", "strange", "none", "no rotation", "endless points", "no focal length"
    places = {name: tmp_path / name for name in names}
    for name in ("cut", "none", "endless points", "no focal length"):
        write_colmap(scene(3), places[name], binary=True)
    data = (places["endless points"] / "images.bin").read_bytes()
    start = data.index(b"photos/00.jpg\0") + len(b"photos/00.jpg\0")
    (places["endless points"] / "images.bin").write_bytes(data[:start] + b"\xff" * 8 + data[start + 8 :])
    data = struct.pack("<QiiQQ4d", 1, 7, 1, 160, 120, 150, 0, 80, 60)
    (places["no focal length"] / "cameras.bin").write_bytes(data)
    data = (places["cut"] / "images.bin").read_bytes()
    (places["cut"] / "images.bin").write_bytes(data[: len(data) // 2])
    (places["none"] / "images.bin").write_bytes(bytes(8))
    write_colmap(scene(3), places["nonsense"], binary=False)
    (places["nonsense"] / "images.txt").write_text("dear diary\n")
    write_colmap(scene(3), places["strange"], binary=False)
    (places["strange"] / "cameras.txt").write_text("7 PERISCOPE 160 120 1 2 3\n")
    places["json"].write_text("{")
    told = json.loads(write_transforms(scene(3), tmp_path / "transforms.json").read_text())
    told["frames"][1]["transform_matrix"][0] = [9, 9, 9, 9]
    places["no rotation"].write_text(json.dumps(told))
    del told["w"]
    places["no size"].write_text(json.dumps(told))
    return places


def test_damaged_poses_are_one_sentence(tmp_path: Path) -> None:
    wanted = {
        "cut": "are damaged or of another form; give a folder of COLMAP",
        "nonsense": "are damaged or of another form",
        "json": "are damaged or of another form",
        "none": "are of no photo",
        "endless points": "are damaged or of another form",
        "no focal length": r"a focal length that is not above 0, .*\(fx 150, fy 0, cx 80, cy 60\)",
        "strange": "The camera model PERISCOPE is not known; there are SIMPLE_PINHOLE",
        "no rotation": "the pose of images/01.jpg is no rotation",
        "no size": "the size of images/00.jpg is not told",
    }
    for name, place in damaged(tmp_path).items():
        with pytest.raises(PersamError, match=wanted[name]) as told:
            read_poses(place)
        assert str(told.value).startswith(f"The poses in {place}"), name
    with pytest.raises(UsageError, match=r"^There are no poses at .*; give a folder of COLMAP with cameras.bin"):
        read_poses(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"^There are no poses in .*empty; give"):
        read_poses(tmp_path / "empty")


def test_a_lens_that_is_not_computed_serves_points(tmp_path: Path) -> None:
    views = masked(4)
    strange = LensCamera.of("FOV", SIZE, (150, 150, 80, 60, 0.9))
    views = [MaskedView(type(one.view)(**{**vars(one.view), "camera": strange}), one.mask) for one in views]
    assert {one.method for one in compare_views(views)} == {"points"}
    with pytest.raises(PersamError, match="FOV is not computed here; undistort the photos"):
        compare_views(views, "hull")


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    views = masked(5)
    views[1] = MaskedView(views[1].view, shifted(views[1].mask, (0, 25)))
    worst = worst_first(by_points(views))
    cv2.imwrite(str(tmp_path / "01.jpg"), np.full((*SIZE, 3), 90, np.uint8))
    write_views(worst, views, tmp_path / "out", tmp_path)
    lines = (tmp_path / "out/views.csv").read_text().splitlines()
    assert lines[0] == "view,agreement,beyond,lacking,counted,method"
    assert lines[1].startswith("photos/01.jpg,0.")
    assert len(lines) == 6
    picture = cv2.imread(str(tmp_path / "out/views.png"))
    assert picture.shape[1] > 1000


def test_photos_of_the_picture_are_found_as_masks_are(tmp_path: Path) -> None:
    views = [
        MaskedView(replace(one.view, name=f"images/sub/{number}.png"), one.mask) for number, one in enumerate(masked(3))
    ]
    (tmp_path / "sub").mkdir()
    cv2.imwrite(str(tmp_path / "sub/1.png"), np.full((*SIZE, 3), (200, 0, 200), np.uint8))
    write_views(by_hull(views, grid=16), views, tmp_path / "out", tmp_path)
    picture = cv2.imread(str(tmp_path / "out/views.png")).astype(int)
    assert (np.abs(picture - (200, 0, 200)).max(-1) < 3).sum() > 10_000
