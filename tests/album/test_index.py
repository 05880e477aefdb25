"""The index: contents of files, finds and lines, in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from persam.album.index import VERSION, AlbumIndex
from persam.errors import PersamError


@pytest.fixture
def index(tmp_path):
    opened = AlbumIndex(tmp_path / "new" / "index.sqlite")
    yield opened
    opened.close()


def line(image: str, concept: str, score: float = 0.5) -> dict:
    return {"image": image, "concept": concept, "score": score}


def test_content_tells_files_apart_and_copies_not(index, tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    assert index.content_of(tmp_path / "a") == index.content_of(tmp_path / "b") != index.content_of(tmp_path / "c")


def test_a_file_is_read_again_only_when_it_changed(index, tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    first = index.content_of(file)
    opened = []
    own = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or own(self, *a, **k))
    assert index.content_of(file) == first
    assert opened == []
    file.write_bytes(b"three")
    assert index.content_of(file) != first
    before = file.stat()
    file.write_bytes(b"33333")  # of equal size, a moment later
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    opened.clear()
    index.content_of(file)
    assert opened == [file]


def test_finds_belong_to_content_and_way(index):
    index.keep("photo", "way", {"mask": "é\u2028"})
    assert index.find("photo", "way") == {"mask": "é\u2028"}
    assert index.has("photo", "way")
    assert not index.has("photo", "other way")
    assert index.find("other photo", "way") is None


def test_lines_are_sorted_whatever_the_order_and_outlive_the_process(tmp_path):
    first = AlbumIndex(tmp_path / "i")
    for image, concept in (("/b", "cup"), ("/a", "cup"), ("/a", "cat")):
        first.put(line(image, concept))
    first.put(line("/a", "cat", 0.9))
    first.close()
    again = AlbumIndex(tmp_path / "i")
    assert [(each["image"], each["concept"], each["score"]) for each in again.lines()] == [
        ("/a", "cat", 0.9),
        ("/a", "cup", 0.5),
        ("/b", "cup", 0.5),
    ]
    assert again.images() == ["/a", "/b"]
    assert [each["concept"] for each in again.drop("/a")] == ["cat", "cup"]
    assert again.drop("/a") == []
    assert again.images() == ["/b"]
    again.close()


def test_whether_there_is_a_line_is_told_without_reading_it(index, monkeypatch):
    index.put(line("/a", "cup"))
    monkeypatch.setattr("persam.album.index.json.loads", lambda _: pytest.fail("a line was read"))
    assert index.has_line("/a", "cup")
    assert not index.has_line("/a", "cat")
    assert not index.has_line("/b", "cup")


def test_names_that_are_no_utf8(index, tmp_path):
    name = os.fsdecode(b"/photos/caf\xe9.jpg")
    index.put(line(name, "cup"))
    assert index.line(name, "cup")["image"] == name
    assert index.has_line(name, "cup")
    assert index.images() == [name]


def test_many_threads(index, tmp_path):
    files = [tmp_path / f"{number}" for number in range(40)]
    for file in files:
        file.write_bytes(file.name.encode())

    def work(file: Path) -> str:
        index.put(line(str(file), "cup"))
        return index.content_of(file)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(work, files))) == 40
    assert len(index.images()) == 40


def test_what_is_no_index_gets_a_sentence(tmp_path):
    (tmp_path / "i").write_bytes(b"dear diary " * 500)
    with pytest.raises(PersamError, match="remove it, and all photos are done again"):
        AlbumIndex(tmp_path / "i")


def test_an_index_of_a_newer_persam_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "i") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(PersamError, match="newer persam"):
        AlbumIndex(tmp_path / "i")
