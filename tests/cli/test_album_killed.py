"""`persam album` killed (-9) at ten random moments and gone on with: as if nothing had been."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.killing import AlbumCall, content

from persam import Concept
from persam.ledger import HIDDEN, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="needs signals")]

PHOTOS = 40
# All that an album writes, two things in every photo that compete for it, and twins of one concept.
OPTIONS = (
    *("--overlay", "--cutout", "--per-instance", "--max-instances", "2", "--cache", "20MB"),
    *("--format", "coco", "--format", "csv", "--format", "yolo", "--format", "sheet"),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PHOTOS):
        image, _ = draw_scene(120, 180, center=(40 + number, 60), radius=20 + number % 9, seed=number)
        Image.fromarray(image).save(folder / f"{number:02}.jpg")
    return folder


@pytest.fixture(scope="module")
def concepts(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The drawn disc, under two names."""
    other = tmp_path_factory.mktemp("concepts") / "other.safetensors"
    replace(Concept.load(learned), name="other name").save(other)
    return [learned, other]


@pytest.fixture(scope="module")
def whole(concepts: list[Path], photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What an album holds that was filled in one go."""
    out = tmp_path_factory.mktemp("whole") / "out"
    AlbumCall(concepts, photos, OPTIONS).fill(out)
    return content(out)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("engine", [pytest.param((), id="this-process")])
def test_killed_at_ten_moments_and_continued_it_ends_as_in_one_go(concepts, photos, whole, tmp_path, engine):
    call, out = AlbumCall(concepts, photos, (*OPTIONS, *engine)), tmp_path / "out"
    assert call.fill_killed(out, kills=10) >= 5
    found = content(out)
    assert found.keys() == whole.keys()
    assert [name for name in found if found[name] != whole[name]] == []
    assert len(found["index: lines"]) == 2 * PHOTOS
    assert not list(out.rglob(".*.tmp*"))
    with Ledger(out) as ledger:  # all of it is known as persam's own, so that no later run refuses to go on
        strange = [name for name in found if not name.startswith("index: ") and not ledger.is_own(name)]
    assert strange == []
    assert f"0 photos done, {PHOTOS} were done before" in call.fill(out)
    assert content(out) == whole
    assert (out / HIDDEN).is_dir()
