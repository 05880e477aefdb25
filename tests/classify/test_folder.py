"""Folders of classes as people have them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.classify.drawn import write_classes

from persam.classify.folder import read_classes
from persam.errors import PersamWarning, UsageError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def masks_of(folder: Path, **options: Path) -> dict[str, dict[str, str]]:
    return {
        each.name: {photo.name: mask.relative_to(folder).as_posix() for photo, mask in each.masks.items()}
        for each in read_classes(folder, **options)
    }


def test_photos_and_masks(tmp_path: Path) -> None:
    red, *others = reversed(read_classes(write_classes(tmp_path, photos=3, masks=2)))
    assert red.name == "red"
    assert [each.name for each in others] == ["green", "blue"]
    assert [photo.name for photo in red.photos] == ["0.png", "1.png", "2.png"]
    assert {photo.name: mask.parent.name for photo, mask in red.masks.items()} == {"0.png": "masks", "1.png": "masks"}
    assert red.is_shown


def test_other_places_for_masks(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/2.JPG", "cat/1_mask.png", "cat/notes.txt", "cat/.hidden.jpg")
    touch(tmp_path, "dog/images/1.jpg", "dog/masks/1.png")
    touch(tmp_path, "masks/emu/1.png", "emu/1.webp", "emu/emu.safetensors")
    assert masks_of(tmp_path) == {
        "cat": {"1.jpg": "cat/1_mask.png"},
        "dog": {"1.jpg": "dog/masks/1.png"},
        "emu": {"1.webp": "masks/emu/1.png"},
    }
    cat, _, emu = read_classes(tmp_path)
    assert [photo.name for photo in cat.photos] == ["1.jpg", "2.JPG"]
    assert emu.concept == tmp_path / "emu/emu.safetensors"


def test_a_folder_of_masks_beside(tmp_path: Path) -> None:
    touch(tmp_path, "Images/cat/00.jpg", "Images/dog/00.jpg", "Annotations/cat/00.png", "Annotations/dog/01.png")
    cat, dog = read_classes(tmp_path / "Images", tmp_path / "Annotations")
    assert cat.is_shown
    assert not dog.is_shown


def test_empty_classes_are_left_out_and_told(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "emu/notes.txt")
    with pytest.warns(PersamWarning, match=r"^Left out, for there is no photo in it: emu\.$"):
        assert [each.name for each in read_classes(tmp_path)] == ["cat", "dog"]


def test_photos_that_are_not_looked_at_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/1.png", "cat/2.jpg", "dog/images/1.jpg", "dog/2.jpg")
    with pytest.warns(PersamWarning) as told:
        cat, dog = read_classes(tmp_path)
    assert [photo.name for photo in (*cat.photos, *dog.photos)] == ["1.jpg", "2.jpg", "1.jpg"]
    assert [str(each.message) for each in told] == [
        f"Left out, for another photo has the same name but for the suffix: {tmp_path}/cat/1.png.",
        f"Left out, for the photos of dog are those in {tmp_path}/dog/images: {tmp_path}/dog/2.jpg.",
    ]


def test_what_is_no_folder_of_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^There is no folder .*gone; give a folder with a folder for each class"):
        read_classes(tmp_path / "gone")
    with pytest.raises(UsageError, match="There is no class with photos in"):
        read_classes(tmp_path)
    touch(tmp_path, "cat/1.jpg")
    with pytest.raises(UsageError, match=r"photos of one class only \(cat\), so there is nothing to tell apart; add"):
        read_classes(tmp_path)
    touch(tmp_path, "dog/1.jpg")
    with pytest.raises(UsageError, match="There is no folder of masks at"):
        read_classes(tmp_path, tmp_path / "gone")


def test_the_package_gives_its_functions_whatever_was_imported() -> None:
    from persam import classify
    from persam.classify import accuracy, descriptions

    assert classify.bench is accuracy.bench
    assert classify.describe is descriptions.describe
