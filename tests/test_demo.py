"""The demo: albums whose truth is known, the job on them, and what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from persam.cli.main import app
from persam.concept import Concept
from persam.demo import DemoReport, originals, run
from persam.demo.albums import (
    AlbumPhoto,
    Cutout,
    Layout,
    Placement,
    layouts_of,
    make_albums,
    make_photo,
    paste,
)
from persam.demo.job import _files, _has_demo
from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.ledger import claimed
from persam.masks import read_mask

pytest.importorskip("skimage")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoReport, list[tuple[str, int, int]]]:
    """The demo with one thing and three photos, and what it told on the way."""
    told: list[tuple[str, int, int]] = []
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    report = run(folder, things=["cup"], photos=3, progress=lambda *step: told.append(step))
    return report, told


def _photo(thing: str, name: str, seed: int = 0) -> tuple[Layout, AlbumPhoto]:
    layout = next(layout for layout in layouts_of(thing) if layout.name == name)
    return layout, make_photo(layout, thing, seed)


@pytest.mark.parametrize("thing", originals.THINGS)
def test_every_thing_covers_a_good_part_of_its_reference(thing: str) -> None:
    mask = originals.thing_mask(thing)
    assert mask.shape == originals.original(originals.THINGS[thing]).shape[:2]
    assert 0.15 < mask.mean() < 0.6


@pytest.mark.parametrize("thing", originals.THINGS)
def test_every_album_has_scenes_of_its_own_two_of_it_and_none_of_it(thing: str) -> None:
    layouts = layouts_of(thing)
    counts = [sum(place.thing == thing for place in layout.places) for layout in layouts]
    assert len({layout.scene for layout in layouts}) == len({layout.name for layout in layouts}) == len(layouts)
    assert 2 in counts
    assert not layouts[-1].places
    assert any({place.thing for place in layout.places} > {thing} for layout in layouts)
    assert originals.THINGS[thing] not in {layout.scene for layout in layouts}


@pytest.mark.parametrize(("thing", "name"), [("cup", "workshop"), ("cat", "two-on-gravel"), ("motorcycle", "launch")])
def test_the_truth_is_where_the_photo_differs_from_its_scene(thing: str, name: str) -> None:
    layout, photo = _photo(thing, name)
    changed = np.abs(photo.pixels.astype(int) - originals.scene(layout.scene)).max(axis=2)
    assert photo.truth.any()
    assert np.median(changed[photo.truth]) > 25
    assert np.median(changed[~photo.truth]) < 10  # noise, and the shadow around it


def test_the_truth_has_soft_edges_of_the_pasted_share() -> None:
    """Pasting white on black gives the share itself back, and the truth is where it is above a half."""
    cutout = Cutout(np.full((40, 60, 3), 255, np.uint8), np.pad(np.ones((30, 50), np.float32), 5))
    photo, share = paste(np.zeros((200, 300, 3), np.float32), cutout, Placement("it", 0.5, 0.5, 0.4, 20, True))
    np.testing.assert_allclose(photo[:, :, 0] / 255, share, atol=1e-3)
    assert np.argwhere(share > 0.5).mean(axis=0) == pytest.approx([100, 150], abs=1.5)
    assert (share > 0.5).sum() == pytest.approx(120 * 80 * (50 * 30) / (60 * 40), rel=0.05)


@pytest.mark.parametrize("thing", originals.THINGS)
def test_the_photo_without_the_thing_is_the_bare_scene(thing: str) -> None:
    layout = layouts_of(thing)[-1]
    photo = make_photo(layout, thing)
    assert photo.count == 0
    assert not photo.truth.any()
    assert np.abs(photo.pixels.astype(int) - originals.scene(layout.scene)).mean() < 4


def test_what_stands_in_front_is_not_part_of_the_truth() -> None:
    behind = Layout("behind", "brick.png", (Placement("cup", 0.4, 0.5, 0.5), Placement("cat", 0.6, 0.5, 0.5)))
    alone = Layout("behind", "brick.png", (Placement("cup", 0.4, 0.5, 0.5),))
    with_cat, without_cat = make_photo(behind, "cup"), make_photo(alone, "cup")
    hidden = without_cat.truth & ~with_cat.truth
    assert 500 < hidden.sum() < 0.5 * without_cat.truth.sum()
    changed = np.abs(with_cat.pixels.astype(int) - without_cat.pixels).max(axis=2)
    assert np.median(changed[hidden]) > 25
    assert not (with_cat.truth & ~without_cat.truth).any()


def test_photos_are_of_a_sensible_size_and_the_thing_in_them_is_large_enough() -> None:
    for album in make_albums(["cup"]):
        for photo in album.photos:
            assert max(photo.pixels.shape) <= 640
            assert photo.pixels.dtype == np.uint8
            assert photo.pixels.shape[:2] == photo.truth.shape
            assert photo.count == 0 or photo.truth.mean() > 0.04


def test_the_other_camera_sees_the_motorcycle_further_left() -> None:
    mask = originals.thing_mask("motorcycle")
    other = originals.other_view(mask)
    assert other.sum() == pytest.approx(mask.sum(), rel=0.1)
    shift = np.argwhere(mask).mean(axis=0) - np.argwhere(other).mean(axis=0)
    assert shift == pytest.approx([0, 50], abs=8)


def test_a_seed_always_makes_the_same_photos() -> None:
    first, again, other = (_photo("cup", "launch", seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert (first.truth != other.truth).any()


def test_the_demo_leaves_all_its_files_and_they_open(finished: tuple[DemoReport, list]) -> None:
    report, _ = finished
    thing = report.things[0]
    assert [photo.count for photo in thing.photos] == [1, 1, 0]
    for photo in thing.photos:
        size = read_image(report.folder / photo.photo).shape
        assert read_image(report.folder / photo.overlay).shape == size
        assert read_image(report.folder / photo.explained).shape[1] > 1000
        with Image.open(report.folder / "cup" / "masks" / f"{photo.name}.png") as mask:
            assert mask.size == (size[1], size[0])
    reference = read_image(report.folder / thing.reference)
    assert read_mask(report.folder / "cup" / "reference-mask.png").shape == reference.shape[:2]
    concept = Concept.load(report.folder / thing.concept)
    assert concept.tuned
    assert concept.thumbnail is not None
    assert read_image(report.sheet).shape[1] > 600
    assert not [path for path in report.folder.rglob(".*") if path.name != ".persam"]  # nothing half-written


def test_the_numbers_are_those_of_the_masks(finished: tuple[DemoReport, list]) -> None:
    report, _ = finished
    found, *_, absent = report.things[0].photos
    mask = read_mask(report.folder / "cup" / "masks" / f"{found.name}.png")
    truth = read_mask(report.folder / "cup" / "truth" / f"{found.name}.png")
    assert found.iou_persam_f == pytest.approx((mask & truth).sum() / (mask | truth).sum())
    assert absent.iou_persam is absent.iou_persam_f is None
    data = json.loads((report.folder / "results.json").read_text())
    assert data["mean_iou"]["persam_f"] == pytest.approx(report.mean_iou[1])
    assert sum(data["things"][0]["scale_weights"]) == pytest.approx(1, abs=1e-4)


def test_progress_goes_from_nothing_to_all_but_the_end(finished: tuple[DemoReport, list]) -> None:
    _, told = finished
    assert [done for _, done, _ in told] == list(range(5))
    assert {total for *_, total in told} == {5}


def test_the_page_needs_nothing_else_and_every_picture_enlarges(finished: tuple[DemoReport, list]) -> None:
    report, _ = finished
    page = report.page.read_text()
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    assert not re.search(r"https?://|url\(|<script|<link|@import", page)
    anchors = {address[1:] for address in addresses if address.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]*)"', page))
    assert len(anchors) == 2 * len(report.photos)
    assert ">nan<" not in page


def test_a_rerun_replaces_its_own_files_only(finished: tuple[DemoReport, list]) -> None:
    report, _ = finished
    theirs = report.folder / "cup" / "album" / "mine.txt"
    theirs.write_text("keep")
    before = (report.folder / report.photos[0].photo).read_bytes()
    result = CliRunner().invoke(app, ["demo", "-o", str(report.folder), "--thing", "cup", "--photos", "2"])
    assert result.exit_code == 0, result.output
    assert theirs.read_text() == "keep"
    assert (report.folder / report.photos[0].photo).read_bytes() == before
    assert "IoU PerSAM-F" in result.stdout
    assert "workshop" in result.stdout
    assert str(report.page) in result.stdout
    assert "persam learn" in result.stdout
    assert "\x1b" not in result.output  # clean text where there is no terminal
    assert result.stderr == ""


@pytest.mark.parametrize("file", ["index.html", "results.json", "cup/masks/workshop.png"])
def test_a_file_of_others_is_named_before_the_work_and_stays(tmp_path: Path, file: str) -> None:
    theirs = tmp_path / file
    theirs.parent.mkdir(exist_ok=True, parents=True)
    theirs.write_text("theirs")
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path), "--thing", "cup", "--model", "no/model"])
    assert result.exit_code == 2
    assert f"{theirs} was not written by persam and would be lost" in result.stderr
    assert "--overwrite" in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs]


def test_a_demo_of_a_persam_that_kept_no_list_is_its_own(finished: tuple[DemoReport, list], tmp_path: Path) -> None:
    home = tmp_path / "demo"
    shutil.copytree(finished[0].folder, home, ignore=shutil.ignore_patterns(".persam"))
    with claimed(home, _files(["cup"]), is_ours=_has_demo):
        pass
    (home / "results.json").unlink()
    shutil.rmtree(home / ".persam")
    with (
        pytest.raises(UsageError, match="index.html .* was not written by persam"),
        claimed(home, _files(["cup"]), is_ours=_has_demo),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--thing", "dog"], 'The demo has no "dog"; it has cup, cat, motorcycle.'),
        (["--mode", "magic"], 'There is no mode "magic"'),
    ],
)
def test_a_wrong_call_gets_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "out"), "--thing", "cup", "--photos", "2"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Cannot write ")


def test_without_scikit_image_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(originals, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "pip install 'persam[demo]'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_scikit_image_without_a_photo_gets_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(originals, "photo_folder", lambda: tmp_path)
    with pytest.raises(PersamError, match="does not ship unheard-of.png"):
        originals.original("unheard-of.png")


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2 photos"):
        make_albums(photos=1)
