"""Generated photos become a data set that the benchmark's own loader reads; what is unsure is left out and listed."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.dreambooth.drawn_subjects import pixels_of

from persam import Concept, PerSAM, Segmentation
from persam.benchmark.datasets.perseg import read_perseg
from persam.dreambooth import GeneratedFolder, GeneratedPicture, enlarge, read_generated
from persam.dreambooth.generated import picture_file, write_generated
from persam.dreambooth.perseg_set import generated_photos
from persam.errors import PersamError, PersamWarning, UsageError
from persam.files import write_text
from persam.instance import Instance
from persam.ledger import Ledger

SCORES = {"0": 0.8, "1": 0.95, "2": 0.6, "3": 0.4, "4": 0.02}


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained()


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    """A folder as `persam dreambooth generate` makes it; the grey of a picture's first pixel says which it is."""
    home = tmp_path / "generated"
    pictures = []
    for number in range(5):
        photo, _ = draw_scene(64, 96, center=(40, 30), radius=16, seed=number)
        photo[:8, :8] = 10 * number
        file = picture_file(home, "run", number % 2, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(file)
        pictures.append(GeneratedPicture(file, "run", number % 2, number, "a t@y disc", "a disc"))
    write_listed(home, pictures)
    Image.new("RGB", (8, 8)).save(home / "grid.png")
    return home


def write_listed(home: Path, pictures: Sequence[GeneratedPicture]) -> None:
    write_generated(GeneratedFolder(home, ("one", "other"), tuple(range(5)), {"run": {}}, tuple(pictures)))


@pytest.fixture
def scored(model: PerSAM, monkeypatch: pytest.MonkeyPatch) -> PerSAM:
    """Finds the drawn disc, as sure as `SCORES` says."""
    mask = draw_scene(64, 96, center=(40, 30), radius=16)[1]

    def segment(self: PerSAM, photo: np.ndarray, concept: Concept) -> Segmentation:
        score = SCORES[str(round(int(photo[2, 2, 0]) / 10))]
        none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        return Segmentation.of(concept.name, None, (Instance(mask, score),), 0.5, *none)

    monkeypatch.setattr(PerSAM, "segment", segment)
    return model


def test_a_set_is_read_by_the_benchmarks_loader(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    concept = scored.learn(*draw_scene(64, 96, center=(40, 30), radius=16), name="my disc")
    done = enlarge(scored, generated, concept, tmp_path / "set")
    (episode,) = read_perseg(tmp_path / "set").episodes
    assert episode.object == done.object == "my_disc"
    photos = [sample.read() for sample in (*episode.references, *episode.tests)]
    assert len(photos) == 2
    for photo, mask in photos:
        assert photo.shape == (64, 96, 3)
        assert np.array_equal(mask, draw_scene(64, 96, center=(40, 30), radius=16)[1])
    used = [photo for photo in done.photos if photo.used]
    assert [(photo.name, Path(photo.source).name) for photo in used] == [
        ("00", "seed_0001.png"),
        ("01", "seed_0000.png"),
    ]
    with done.listed.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    left = {Path(row["source"]).name: row["verdict"] for row in rows if row["used"] == "0"}
    assert left == {"seed_0002.png": "unsure", "seed_0003.png": "unsure", "seed_0004.png": "absent"}
    page = done.sheet.read_text(encoding="utf-8")
    assert "none was looked at by a person" in page
    assert "unsure 0.60" in page


def test_the_unsure_ones_are_taken_if_asked_for(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    concept = scored.learn(*draw_scene(64, 96), name="disc")
    done = enlarge(scored, generated, concept, tmp_path / "set", keep_unsure=True)
    assert [photo.verdict for photo in done.photos if photo.used] == ["present", "present", "unsure", "unsure"]
    again = enlarge(scored, generated, concept, tmp_path / "set")  # fewer: what is of no use now goes
    assert sorted(file.name for file in (tmp_path / "set" / "Images" / "disc").iterdir()) == ["00.jpg", "01.jpg"]
    assert len(read_perseg(again.folder).episodes) == 1


def test_photo_00_is_the_real_one_where_it_is_kept(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    photo, mask = draw_scene(64, 96, seed=9)
    concept = scored.learn(photo, mask, name="disc", keep_references=True)
    done = enlarge(scored, generated, concept, tmp_path / "set", name="duck toy")
    assert done.photos[0].verdict == "reference"
    assert np.array_equal(pixels_of(tmp_path / "set" / "Annotations" / "duck toy" / "00.png") > 0, mask)
    enlarge(scored, generated, concept, tmp_path / "set")
    assert {folder.name for folder in (tmp_path / "set" / "Images").iterdir()} == {"disc", "duck toy"}


def test_a_mask_that_was_corrected_is_not_replaced(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    concept = scored.learn(*draw_scene(64, 96), name="disc")
    enlarge(scored, generated, concept, tmp_path / "set")
    file = tmp_path / "set" / "Annotations" / "disc" / "01.png"
    Image.fromarray(255 - pixels_of(file)).save(file)
    corrected = pixels_of(file)
    with pytest.raises(UsageError, match=r"01.png was changed after persam wrote it and would be lost"):
        enlarge(scored, generated, concept, tmp_path / "set")
    assert np.array_equal(pixels_of(file), corrected)


def test_nothing_that_is_sure_leaves_nothing(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    write_listed(generated, [each for each in read_generated(generated).pictures if each.seed > 1])
    concept = scored.learn(*draw_scene(64, 96), name="disc")
    with (
        pytest.warns(PersamWarning, match="Left out of .*: 2 pictures of earlier calls"),
        pytest.raises(PersamError, match="sure of disc in none of 3 pictures; in 2 of them it is unsure, which --keep"),
    ):
        enlarge(scored, generated, concept, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_mask_of_all_of_a_photo_is_left_out(
    scored: PerSAM, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    concept, found = scored.learn(*draw_scene(64, 96), name="disc"), PerSAM.segment

    def segment(self: PerSAM, photo: np.ndarray, concept: Concept) -> Segmentation:
        if photo[2, 2, 0] != 10:
            return found(self, photo, concept)
        none = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
        return Segmentation.of(concept.name, None, (Instance(np.ones((64, 96), bool), 0.99),), 0.5, *none)

    monkeypatch.setattr(PerSAM, "segment", segment)
    done = enlarge(scored, generated, concept, tmp_path / "set", keep_unsure=True)
    assert [Path(photo.source).name for photo in done.photos if photo.used] == [
        "seed_0000.png",
        "seed_0002.png",
        "seed_0003.png",
    ]
    (full,) = (photo for photo in done.photos if Path(photo.source).name == "seed_0001.png")
    assert "covers all of the photo" in full.doubts[0]
    assert "covers all of the photo" in done.sheet.read_text(encoding="utf-8")


def test_a_kept_reference_is_not_its_own_test(scored: PerSAM, generated: Path, tmp_path: Path) -> None:
    mask = draw_scene(64, 96, center=(40, 30), radius=16)[1]
    photo = shutil.copy(read_generated(generated).pictures[0].file, tmp_path / "mug.png")
    concept = scored.learn(photo, mask, name="disc", keep_references=True)
    done = enlarge(scored, generated, concept, tmp_path / "set")
    assert [(photo.verdict, photo.used) for photo in done.photos[:3]] == [
        ("reference", True),
        ("present", True),
        ("reference", False),
    ]
    assert [Path(photo.source).name for photo in done.photos[:3]] == ["mug.png", "seed_0001.png", "seed_0000.png"]
    assert ',0,"It is there already, as a reference."' in done.listed.read_text(encoding="utf-8")


def test_what_persam_wrote_is_no_photo(generated: Path, tmp_path: Path) -> None:
    album = tmp_path / "al[b]um"
    (album / "trip").mkdir(parents=True)
    photo = shutil.copy(generated / "grid.png", album / "trip" / "0.png")
    for own in (album / "found", album):
        with Ledger(own):
            write_text(own / "masks" / "disc" / "0.png", "a mask")
        with pytest.warns(PersamWarning, match="persam wrote"):
            assert generated_photos([album]) == [Path(photo)]


def test_any_pictures_will_do(generated: Path, tmp_path: Path) -> None:
    assert len(generated_photos([generated])) == 5  # not the grid
    (generated / "generated.json").unlink()
    assert len(generated_photos([generated])) == 6
    assert [place.name for place in generated_photos([generated / "grid.png"])] == ["grid.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="There are no pictures in"):
        generated_photos([tmp_path / "empty"])
