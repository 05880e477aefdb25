"""What is sent for a job: zips of every kind of malice, names, and what is said of what is left out."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.jobs.conftest import zip_of
from tests.server.serving import png

from persam.server.jobs.intake import reader_of, take_photos
from persam.server.jobs.unpack import DistinctNames, Intake
from persam.server.refusals import NoRoomError, Refused, TooLargeError, WrongKindError
from persam.server.settings import Limits
from persam.server.uploads import UploadFolder

LIMITS = Limits(job_files=5, photo_bytes=2_000, job_upload_bytes=6_000, folder_bytes=100_000)


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., Intake]:
    """Take files, named and with their bytes, into the folder `sent`."""
    room = UploadFolder(tmp_path, tmp_path / "uploads", LIMITS)

    def taken(*files: tuple[str, bytes], room: UploadFolder = room) -> Intake:
        uploads = []
        for name, data in files:
            upload = room.new(name)
            upload.path.write_bytes(data)
            upload.size, upload.head = len(data), data[:64]
            uploads.append(upload)
        return take_photos(uploads, tmp_path / "sent", room, LIMITS)

    return taken


def sent(tmp_path: Path) -> dict[str, bytes]:
    home = tmp_path / "sent"
    return {file.relative_to(home).as_posix(): file.read_bytes() for file in home.rglob("*") if file.is_file()}


def test_photos_keep_their_names_and_double_ones_get_numbers(take, tmp_path):
    picture = png(np.zeros((1, 1, 3), np.uint8))
    names = ["a.jpg", "A.JPG", "a.jpg", "../x/é.png", "a_2.jpg"]
    intake = take(*[(name, picture + bytes([number])) for number, name in enumerate(names)])
    assert intake == Intake(5, 5 * (len(picture) + 1))
    found = {name: data[-1] for name, data in sent(tmp_path).items()}
    assert found == {"a.jpg": 0, "A_2.JPG": 1, "a_3.jpg": 2, "é.png": 3, "a_2_2.jpg": 4}


def test_one_at_least_has_to_be_a_picture(take, tmp_path):
    with pytest.raises(WrongKindError, match="a.jpg is not a picture"):
        take(("a.jpg", b"hello"), ("b.jpg", b""))
    assert take(("a.jpg", b"hello"), ("b.jpg", png(np.zeros((1, 1, 3), np.uint8)))).files == 2


def test_a_zip_keeps_its_folders_and_tells_what_it_leaves_out(take, tmp_path):
    entries = {
        "trip/a.jpg": b"1",
        "trip\\b.png": b"2",
        "trip/notes.txt": b"x",
        "trip/more.zip": b"x",
        "trip/.hidden.jpg": b"x",
        "__MACOSX/trip/._a.jpg": b"x",
        "Thumbs.db": b"x",
        "large.jpg": bytes(2_001),
    }
    intake = take(("my.zip", zip_of(entries)))
    assert (intake.files, intake.size) == (2, 2)
    assert sent(tmp_path) == {"trip/a.jpg": b"1", "trip/b.png": b"2"}
    assert set(intake.notes) == {
        "Left out of my.zip as no photo by its name: 1 (trip/notes.txt).",
        "Left out of my.zip as an archive in the archive: 1 (trip/more.zip).",
        "Left out of my.zip as larger than the 0 MB that a photo may have: 1 (large.jpg).",
    }


def test_strange_names_in_a_zip_become_names_of_files(take, tmp_path):
    entries = {
        "a.jpg/b.jpg": b"1",
        "a.jpg": b"2",
        "con?:*.jpg": b"3",
        "x" * 300 + ".jpg": b"4",
        "d/" * 50 + "e.jpg": b"5",
    }
    assert take(("my.zip", zip_of(entries))).files == 5
    found = sent(tmp_path)
    assert sorted(found.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert {"a.jpg", "a.jpg_/b.jpg", "con_.jpg", "d/" * 8 + "e.jpg"} <= found.keys()


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "..\\x.jpg", "C:\\x.jpg", "c:x.jpg", "\\\\host\\x.jpg"]
)
def test_a_zip_that_leads_out_is_refused(take, tmp_path, name):
    with pytest.raises(Refused, match="my.zip has an entry that leads out of it"):
        take(("my.zip", zip_of({"a.jpg": b"1", name: b"2"})))
    assert sent(tmp_path) == {}


def _marked(data: bytes, name: str, *, flags: int = 0, mode: int = 0) -> bytes:
    """A zip whose only entry is encrypted, or a link, as its list says."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.writestr(entry, data)
    whole = bytearray(stream.getvalue())
    place = whole.index(b"PK\1\2") + 8
    whole[place : place + 2] = struct.pack("<H", flags)
    return bytes(whole)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (_marked(b"1", "a.jpg", flags=1), "as encrypted: 1 (a.jpg)"),
        (_marked(b"/etc/passwd", "a.jpg", mode=stat.S_IFLNK | 0o777), "as a link: 1 (a.jpg)"),
        (zip_of({"inner.zip": zip_of({"a.jpg": b"1"})}), "as an archive in the archive: 1 (inner.zip)"),
        (zip_of({"a/": b"", "b/": b""}), "has no photo that could be taken."),
        (zip_of({}), "has no photo that could be taken."),
        (zip_of({"a.jpg": b"hello"}).replace(b"hello", b"jello"), "as damaged: 1 (a.jpg)"),
    ],
)
def test_a_zip_of_nothing_that_can_be_used_is_refused_and_says_why(take, data, words):
    with pytest.raises(Refused) as refused:
        take(("my.zip", data))
    assert words in str(refused.value)


def test_one_damaged_entry_costs_no_other(take, tmp_path):
    data = zip_of({"a.jpg": b"hello", "b.jpg": b"other"}).replace(b"hello", b"jello")
    intake = take(("my.zip", data))
    assert (intake.files, intake.notes) == (1, ("Left out of my.zip as damaged: 1 (a.jpg).",))
    assert sent(tmp_path) == {"b.jpg": b"other"}


def test_bombs_are_refused_before_they_are_unpacked(take, tmp_path):
    def packed(entries: dict[str, bytes]) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, data in entries.items():
                zipped.writestr(name, data)
        return stream.getvalue()

    with pytest.raises(Refused, match="larger than the 0 MB"):
        take(("one.zip", packed({"a.jpg": bytes(50_000_000)})))
    with pytest.raises(TooLargeError, match="unpacks to 0 MB, more than"):
        take(("sum.zip", packed({f"{n}.jpg": bytes(1_900) for n in range(4)})))
    with pytest.raises(TooLargeError, match="6 photos are more than the 5"):
        take(("count.zip", packed({f"{n}.jpg": b"" for n in range(6)})))
    assert sent(tmp_path) == {}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_bounds_is_left_out(take, tmp_path, monkeypatch, method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.writestr("bomb.jpg", bytes(3_000_000), compress_type=method)
        zipped.writestr("a.jpg", b"1")
        zipped.writestr("b.jpg", b"2" * 100, compress_type=zipfile.ZIP_DEFLATED)
    data = bytearray(stream.getvalue())
    place = data.index(b"PK\1\2") + 24
    data[place : place + 4] = struct.pack("<I", 1_000)  # of three million bytes, it says
    unpacked, own = [], zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda self, entry: unpacked.append(entry.filename) or own(self, entry)
    )
    intake = take(("my.zip", bytes(data)))
    assert intake.notes == ("Left out of my.zip as packed by another method than deflate: 1 (bomb.jpg).",)
    assert unpacked == ["a.jpg", "b.jpg"]
    assert sent(tmp_path) == {"a.jpg": b"1", "b.jpg": b"2" * 100}


def test_a_zip_whose_list_lies_of_a_size_gives_no_more_than_it_says(take, tmp_path):
    data = bytearray(zip_of({"a.jpg": bytes(1_500), "b.jpg": b"1"}))
    place = data.index(b"PK\1\2") + 24
    data[place : place + 4] = struct.pack("<I", 10)  # of 1,500 bytes, it says
    intake = take(("my.zip", bytes(data)))
    assert intake.files == 1
    assert sent(tmp_path) == {"b.jpg": b"1"}


def test_a_list_of_very_many_entries_is_not_read(take, monkeypatch):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        for number in range(20_000):
            zipped.writestr(f"{number}{'x' * 20}.jpg", b"")
    read = []
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda self: read.append(self))
    with pytest.raises(TooLargeError, match="lists more entries than a job may have photos"):
        take(("my.zip", stream.getvalue()))
    assert read == []


def test_what_is_unpacked_counts_against_the_folder(take, tmp_path):
    full = UploadFolder(tmp_path, tmp_path / "uploads", Limits(folder_bytes=900, photo_bytes=2_000))
    with pytest.raises(NoRoomError):
        take(("my.zip", zip_of({"a.jpg": bytes(1_000)})), room=full)


def test_a_zip_among_photos_is_refused(take):
    with pytest.raises(Refused, match="b.zip is a zip among 2 files; send one zip alone, or photos"):
        take(("a.jpg", b"1"), ("b.zip", zip_of({"a.jpg": b"1"})))
    with pytest.raises(TooLargeError, match="a.jpg has 0.0 MB, and a photo has at most 0"):
        take(("a.jpg", bytes(2_001)))


_NAMES = st.tuples(st.sampled_from(["", "a", "A", "a/b"]), st.text("ab.jpgé", min_size=1, max_size=4))


@given(st.lists(_NAMES, max_size=30))
def test_names_are_distinct_on_any_disk(pairs):
    names, known = DistinctNames(), set()
    for folder, name in pairs:
        if name.strip("."):
            found = names.of(name, folder)
            assert found.casefold() not in known
            known.add(found.casefold())


@pytest.mark.parametrize(
    ("head", "reader"),
    [
        (b"\0\0\0\x18ftypmp42", "mov"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "matroska"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"GIF89a\1\0", "gif"),
        ((b"\x47" + bytes(187)) * 3, "mpegts"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", None),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", None),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", None),
        (b"RIFF\0\0\0\0WEBPVP8 ", None),
        (b"\xff\xd8\xff\xe0", None),
        (b"", None),
    ],
)
def test_a_clip_is_known_by_its_content(tmp_path, head, reader):
    file = tmp_path / "clip.mp4"
    file.write_bytes(head)
    if reader is not None:
        assert reader_of(file, "clip.mp4") == reader
        return
    with pytest.raises(WrongKindError, match="The file clip.mp4 is no video that is taken here"):
        reader_of(file, "clip.mp4")


def test_every_reader_is_one_of_ffmpegs():
    av = pytest.importorskip("av")
    from persam.server.jobs import intake

    assert {*intake._READERS.values(), "mov", "avi", "mpegts"} <= set(av.formats_available)


def test_uploads_that_are_not_taken_stay_where_they_are(take, tmp_path):
    with pytest.raises(Refused):
        take(*[(f"{n}.jpg", b"") for n in range(6)])
    assert len(list((tmp_path / "uploads").iterdir())) == 6
