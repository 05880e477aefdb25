"""`persam album views` on a drawn scene."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.album.views.drawn import box_mask, scene, shifted, write_colmap, write_masks, write_transforms
from tests.cli.conftest import Run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Masks of six views, the third of them shifted; COLMAP's model and transforms.json."""
    views = scene(6, names="{:02}.jpg")
    masks = [box_mask(view) for view in views]
    masks[2] = shifted(masks[2], (0, 25))
    write_masks(views, masks, tmp_path / "album/colmap/box")
    write_colmap(views, tmp_path / "sparse/0", binary=True)
    write_transforms(views, tmp_path / "transforms.json")
    return tmp_path


def test_the_worst_view_comes_first(run: Run, project: Path) -> None:
    done = run("album", "views", "album", "--poses", "sparse/0", "-o", "out")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split()[0] == "02.jpg"
    assert "6 views compared by points; all of them, and the worst as a picture, in out/" in done.stderr
    assert (project / "out/views.png").stat().st_size > 1000


def test_by_the_hull_for_a_script(run: Run, project: Path) -> None:
    (project / "album/colmap/box/05.jpg.png").unlink()
    done = run("album", "views", "album", "--poses", "transforms.json", "-o", "out", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["views"][0]["view"] == "images/02.jpg"
    assert {one["method"] for one in told["views"]} == {"hull"}
    assert told["without_mask"] == ["images/05.jpg"]
    assert told["failed"] == []


def test_a_mask_that_cannot_be_read_is_told_and_counted(run: Run, project: Path) -> None:
    (project / "album/colmap/box/04.jpg.png").write_bytes(b"no picture")
    for more in ([], ["--json"]):
        done = run("album", "views", "album", "--poses", "sparse/0", "-o", "out", *more)
        assert done.exit_code == 1
        assert "1 of 6 photos could not be compared: 04.jpg." in done.stderr
        assert "Traceback" not in done.output
    assert len(json.loads(done.stdout)["views"]) == 5
    assert len((project / "out/views.csv").read_text().splitlines()) == 6


def test_the_hull_says_where_points_do_not(run: Run, project: Path) -> None:
    views = scene(6, names="{:02}.jpg")
    views[4] = replace(views[4], observed=views[4].observed[:0], points=views[4].points[:0])
    write_colmap(views, project / "other", binary=False)
    done = run("album", "views", "album", "--poses", "other", "-o", "out")
    assert done.exit_code == 0, done.output
    assert "6 views compared by points and hull;" in done.stderr


def test_wrong_calls(refused: Callable[..., str], project: Path) -> None:
    (project / "empty").mkdir()
    assert "There are no poses at gone" in refused("album", "views", "album", "--poses", "gone", code=2)
    assert "There is no folder gone" in refused("album", "views", "gone", "--poses", "sparse/0", code=2)
    sentence = refused("album", "views", "empty", "--poses", "sparse/0", code=1)
    assert sentence == (
        "empty has no mask of any view, such as 00.jpg.png; masks are named as the photos in sparse/0 are."
    )
    assert "--by takes points" in refused("album", "views", "album", "--poses", "sparse/0", "--by", "eye", code=2)
    assert not Path("views").exists()
