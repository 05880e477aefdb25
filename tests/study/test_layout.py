"""A study's folder: made from photos, and read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.study.people import save, write_photos

from persam.errors import PersamError, UsageError
from persam.study import create, new, read
from persam.study.create import photo_folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos" / "disc", 2)
    write_photos(tmp_path / "photos" / "plate", 3, seed=5)
    return tmp_path / "photos"


def test_new_copies_and_tells_what_to_do(tmp_path: Path, photos: Path) -> None:
    made = new(tmp_path / "study", photo_folders([str(photos)]), ["anna", " ben "])
    assert [(category.name, len(category.photos)) for category in made.categories] == [("disc", 2), ("plate", 3)]
    assert made.annotators == ("anna", "ben")
    assert made == read(tmp_path / "study")
    copy = tmp_path / "study" / "disc" / "images" / "00.png"
    assert copy.read_bytes() == (photos / "disc" / "00.png").read_bytes()  # the original is still there, too
    text = (tmp_path / "study" / "README.txt").read_text()
    assert "disc/annotators/anna/00.png" in text
    assert "anna, ben" in text
    assert "persam study check" in text


def test_an_empty_folder_may_be_there_but_nothing_is_overwritten(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "study").mkdir()
    new(tmp_path / "study", {"disc": photos / "disc"}, ["anna"])
    mask = tmp_path / "study" / "disc" / "annotators" / "anna" / "00.png"
    save(mask, np.eye(4, dtype=bool))
    with pytest.raises(UsageError, match="study is there already; name a new folder"):
        new(tmp_path / "study", {"disc": photos / "disc"}, ["anna"])
    assert mask.is_file()


def test_a_failure_leaves_nothing(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(create.shutil, "copyfile", full)
    with pytest.raises(PersamError, match="no room left on the disk"):
        new(tmp_path / "study", {"disc": photos / "disc"}, ["anna"])
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("categories", "people", "sentence"),
    [
        (["disc"], [""], "No annotator was named"),
        (["disc"], ["anna", "Anna"], "anna, Anna are the same annotator"),
        (["disc"], ["a/b"], "'a/b' cannot be the name of a folder"),
        (["disc"], [".hidden"], "'.hidden' cannot be the name of a folder"),
        (["disc"], ["gold"], "cannot be called 'gold'"),
        (["di:sc"], ["anna"], "'di:sc' cannot be the name of a folder"),
        ([], ["anna"], "No category was named"),
    ],
)
def test_names_that_are_refused(
    tmp_path: Path, photos: Path, categories: list[str], people: list[str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        new(tmp_path / "study", dict.fromkeys(categories, photos / "disc"), people)
    assert not (tmp_path / "study").exists()


def test_photos_of_one_stem_are_refused(tmp_path: Path, photos: Path) -> None:
    shutil.copy(photos / "disc" / "00.png", photos / "disc" / "00.jpg")
    with pytest.raises(UsageError, match=r"would have masks of one name, 00\.png; rename one"):
        new(tmp_path / "study", {"disc": photos / "disc"}, ["anna"])


def test_photos_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="There are no pictures in the folder"):
        new(tmp_path / "study", {"disc": tmp_path / "empty"}, ["anna"])
    with pytest.raises(UsageError, match="There is no folder .*gone; give a folder of photos"):
        new(tmp_path / "study", {"disc": tmp_path / "gone"}, ["anna"])


def test_folders_of_photos_are_named_in_two_ways(tmp_path: Path, photos: Path) -> None:
    both = {"disc": photos / "disc", "plate": photos / "plate"}
    assert photo_folders([str(photos)]) == both
    assert photo_folders([f"disc={photos / 'disc'}", f"plate={photos / 'plate'}"]) == both
    with pytest.raises(UsageError, match="There are no folders in .*give CATEGORY="):
        photo_folders([str(photos / "disc")])
    with pytest.raises(UsageError, match="There is no folder .*gone; give CATEGORY=DIR"):
        photo_folders([str(tmp_path / "gone")])
    with pytest.raises(UsageError, match="'disc' is named twice"):
        photo_folders([str(photos), f"disc={photos / 'plate'}"])


def test_what_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no study at .*persam study new"):
        read(tmp_path / "gone")
    (tmp_path / "study" / "disc").mkdir(parents=True)
    with pytest.raises(UsageError, match="not laid out as a study: looked for STUDY/CATEGORY/images"):
        read(tmp_path / "study")
    Image.new("RGB", (9, 9)).save(tmp_path / "study" / "disc" / "00.png")
    with pytest.raises(UsageError, match="disc holds photos and is no study; make one with `persam study new`"):
        read(tmp_path / "study" / "disc")
    (tmp_path / "study" / "disc" / "images").mkdir()
    with pytest.raises(UsageError, match="Nobody has a folder for masks"):
        read(tmp_path / "study")
    (tmp_path / "study" / "disc" / "annotators" / "gold").mkdir(parents=True)
    with pytest.raises(UsageError, match="an annotator is called 'gold'"):
        read(tmp_path / "study")
    with pytest.raises(UsageError, match="is one category of a study; the study is the folder above it, .*study\\.$"):
        read(tmp_path / "study" / "disc")


def test_the_digest_changes_with_a_mask_and_a_name(tmp_path: Path, photos: Path) -> None:
    made = new(tmp_path / "study", {"disc": photos / "disc"}, ["anna"])
    mask = made.categories[0].mask_file("anna", made.categories[0].photos[0])
    digests = [made.digest()]
    for size in (3, 4):
        save(mask, np.eye(size, dtype=bool))
        digests.append(made.digest())
    mask.rename(mask.with_name("01.png"))
    digests.append(made.digest())
    assert len(set(digests)) == 4
    assert made.digest() == digests[-1]
