"""Which photos files, folders and globs name."""

from __future__ import annotations

from pathlib import Path

import pytest

from persam.errors import UsageError
from persam.finding import find_images


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt", "deep/c.webp", "[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(album: Path, *given: str) -> list[str]:
    return [str(path.relative_to(album)) for path in find_images([str(album / name) for name in given])]


def test_folder_is_sorted_without_hidden_and_other_files(album):
    assert names(album, "") == ["[1].png", "a.png", "b.JPG"]


def test_glob(album):
    assert names(album, "*.png") == ["[1].png", "a.png"]
    assert names(album, "**/*") == ["[1].png", "a.png", "b.JPG", "deep/c.webp"]


def test_name_that_looks_like_a_glob(album):
    assert names(album, "[1].png") == ["[1].png"]


def test_each_once_in_the_order_given(album):
    assert names(album, "b.JPG", "*.png", "b.JPG") == ["b.JPG", "[1].png", "a.png"]


def test_named_files_stay_whatever_they_are(album):
    assert names(album, "notes.txt", "gone.jpg") == ["notes.txt", "gone.jpg"]


@pytest.mark.parametrize(
    ("given", "words"), [("nothing", "no pictures in the folder"), ("*.tiff", "No picture matches")]
)
def test_nothing_found(album, given, words):
    (album / "nothing").mkdir()
    with pytest.raises(UsageError, match=words):
        names(album, given)


def test_nothing_named():
    with pytest.raises(UsageError, match="No photos were named"):
        find_images([])
