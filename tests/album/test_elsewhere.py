"""Albums and photos elsewhere: as on this disk, gone on with from another computer, and nothing of others replaced."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.album.test_album import disc, draw
from tests.fakes import ColourModel

from persam import PerSAM
from persam.album import claim, mirror
from persam.album.album import Album
from persam.errors import PersamError, PersamWarning, UsageError
from persam.places import RemotePath, StoreError, place_of

MASK = "masks/red/a.png"
CLAIM = ".persam/writer.json"
HOST = socket.gethostname()
IN_MEMORY = pytest.mark.parametrize("store", ["memory"], indirect=True)  # what a bucket would only make slower


def png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


PHOTOS = {
    "a.png": png(draw(red=(50, 50))),
    "b #1?.png": png(draw(green=(100, 70))),
    "c.png": png(draw(red=(30, 80), green=(120, 40))),
}


@pytest.fixture
def model() -> PerSAM:
    model = PerSAM(ColourModel())
    assert model.longest_side > 0  # found out once a model, by encoding a tiny picture
    model.model.encoded = 0
    return model


@pytest.fixture
def red(model: PerSAM):
    concept = model.learn(draw(red=(40, 60), green=(110, 60)), disc(40, 60), name="red")
    model.model.encoded = 0
    return concept


@pytest.fixture(autouse=True)
def computer(monkeypatch, tmp_path):
    """Change to another computer: one with an empty cache folder."""

    def change(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    change("first")
    return change


@pytest.fixture
def photos(store: RemotePath) -> RemotePath:
    for name, data in PHOTOS.items():
        (store / "photos" / name).write_bytes(data)
    return store / "photos"


@pytest.fixture
def out(store: RemotePath) -> RemotePath:
    return store / "out"


def fill(out, model: PerSAM, concept, photos, **options):
    with Album(out, overwrite=options.pop("overwrite", False)) as album:
        return album.fill(model, concept, photos, **options)


def tree(place: RemotePath) -> dict[str, bytes]:
    """All files there, except what is persam's own."""
    files = {str(file.relative_to(place)): file for file in place.files(below=True)}
    return {name: file.read_bytes() for name, file in files.items() if not name.startswith(".persam/")}


def lines(place: RemotePath) -> dict[str, dict]:
    rows = map(json.loads, (place / "results.jsonl").read_bytes().splitlines())
    return {line["image"].rpartition("/")[2]: line for line in rows}


def test_photos_elsewhere_give_what_they_give_on_this_disk(tmp_path, photos, model, red):
    (tmp_path / "photos").mkdir()
    for name, data in PHOTOS.items():
        (tmp_path / "photos" / name).write_bytes(data)
    for source, output in ((photos, tmp_path / "there"), (tmp_path / "photos", tmp_path / "here")):
        report = fill(output, model, red, str(source), overlay=True, cutout=True)
        assert (report.done_now, report.failures) == (3, [])
    there, here = ({file: (tmp_path / each / file) for file in _files(tmp_path / each)} for each in ("there", "here"))
    assert there.keys() == here.keys()
    for file in there.keys() - {"results.jsonl", "unsure.csv", "correct.csv"}:
        assert there[file].read_bytes() == here[file].read_bytes(), file
    rows = [sorted(each["results.jsonl"].read_text().splitlines()) for each in (there, here)]
    assert [row.replace(str(photos), str(tmp_path / "photos")) for row in rows[0]] == rows[1]


def _files(folder: Path) -> set[str]:
    return {
        str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and ".persam" not in file.parts
    }


def test_again_nothing_is_read_or_done_and_what_changed_is(tmp_path, photos, model, red, monkeypatch):
    fill(tmp_path / "out", model, red, str(photos))
    reads = []
    own = RemotePath.read_bytes
    monkeypatch.setattr(RemotePath, "read_bytes", lambda self: reads.append(self.name) or own(self))
    model.model.encoded = 0
    assert fill(tmp_path / "out", model, red, str(photos)).done_before == 3
    assert reads == []
    time.sleep(0.01)
    (photos / "a.png").write_bytes(png(draw(red=(90, 90))))
    report = fill(tmp_path / "out", model, red, str(photos))
    assert (report.done_before, report.done_now, model.model.encoded) == (2, 1, 1)
    assert reads == ["a.png"]
    mask = np.asarray(Image.open(tmp_path / "out" / MASK)) > 0
    assert mask[90, 90]


def test_every_photo_is_downloaded_once(tmp_path, store, model, red, monkeypatch):
    for number in range(12):
        (store / "many" / f"{number}.png").write_bytes(png(draw(red=(40 + 5 * number, 60))))
    reads = []
    own = RemotePath.read_bytes
    monkeypatch.setattr(RemotePath, "read_bytes", lambda self: reads.append(self.name) or own(self))
    fill(tmp_path / "out", model, red, str(store / "many"), overlay=True)
    assert sorted(reads) == sorted(f"{number}.png" for number in range(12))


def test_one_that_is_gone_and_bad_ones(tmp_path, photos, model, red):
    (photos / "cut.png").write_bytes(PHOTOS["a.png"][:200])
    (photos / "empty.jpg").write_bytes(b"")
    report = fill(tmp_path / "out", model, red, str(photos))
    assert report.done_now == 3
    assert {photo.rpartition("/")[2]: "damaged" in words or "empty" in words for photo, words in report.failures} == {
        "cut.png": True,
        "empty.jpg": True,
    }
    (photos / "c.png").unlink()
    report = fill(tmp_path / "out", model, red, [str(photos / "a.png")])
    assert report.gone == [str(photos / "c.png")]
    assert not (tmp_path / "out" / "masks" / "red" / "c.png").exists()


def test_photos_that_a_list_lacks_are_not_gone(tmp_path, plain, model, red):
    for name, data in PHOTOS.items():
        (plain / name).write_bytes(data)
    fill(tmp_path / "out", model, red, str(plain))
    filesystem, _ = plain._located()
    for name, among in (("a.png", filesystem.links), ("c.png", filesystem.unlisted)):
        among.add((plain / name)._located()[1])
    assert fill(tmp_path / "out", model, red, str(plain / "b #1?.png")).gone == []
    (plain / "c.png").unlink()
    assert fill(tmp_path / "out", model, red, str(plain / "b #1?.png")).gone == [str(plain / "c.png")]


@IN_MEMORY
def test_an_album_on_a_store_that_knows_little(plain, photos, model, red, computer):
    fill(plain / "out", model, red, str(photos))
    computer("second")
    with Album(plain / "out"):
        computer("third")
        with pytest.raises(PersamError, match="Another persam"):
            Album(plain / "out")
    assert fill(plain / "out", model, red, str(photos)).done_before == 3


def test_formats_of_photos_elsewhere(tmp_path, photos, model, red):
    with Album(tmp_path / "out") as album:
        album.fill(model, red, str(photos))
        written = album.export(["sheet", "yolo", "blur", "colmap", "labelme", "coco", "cvat", "csv"])
        again = album.export(["yolo", "blur"])
    assert written.failures == again.failures == []
    copy = tmp_path / "out" / "yolo" / "images" / "a.png"
    assert copy.read_bytes() == PHOTOS["a.png"]
    assert not copy.is_symlink()
    blurred = np.asarray(Image.open(tmp_path / "out" / "blurred" / "a.png"))
    assert not np.array_equal(blurred, draw(red=(50, 50)))
    assert (tmp_path / "out" / "colmap" / "red" / "a.png.png").exists()


@IN_MEMORY
@pytest.mark.parametrize("name", ["sheet", "yolo", "blur", "colmap"])
def test_formats_end_where_the_store_goes_away(tmp_path, photos, model, red, monkeypatch, name):
    asked = []

    def gone(self: RemotePath, *_: object) -> bytes:
        asked.append(self)
        raise StoreError("The store cannot be reached.")

    with Album(tmp_path / "out") as album:
        album.fill(model, red, str(photos))
        for way in ("read_bytes", "read_whole", "info"):
            monkeypatch.setattr(RemotePath, way, gone)
        with pytest.raises(StoreError):
            album.export([name])
    assert len(asked) == 1  # each of thousands would wait for its time-out


@IN_MEMORY
def test_a_reference_elsewhere_is_not_worth_correcting(tmp_path, photos, model, red, monkeypatch):
    (tmp_path / "a.png").write_bytes(PHOTOS["a.png"])
    shot = model.learn(str(tmp_path / "a.png"), disc(50, 50), name="red")
    with Album(tmp_path / "out") as album:
        album.fill(model, red, str(photos))
        assert str(photos / "a.png") in {one.image for one in album.worth_correcting(red)}
        assert str(photos / "a.png") not in {one.image for one in album.worth_correcting(shot)}
        (photos / "a.png").unlink()
        assert str(photos / "a.png") in {one.image for one in album.worth_correcting(shot)}


def test_a_whole_album_elsewhere(tmp_path, photos, out, model, red, computer):
    report = fill(str(out), model, red, str(photos))
    assert report.done_now == 3
    fill(tmp_path / "here", model, red, str(photos))
    assert tree(out) == {name: (tmp_path / "here" / name).read_bytes() for name in _files(tmp_path / "here")}
    before = {str(file): told for file, told in out.files(below=True).items()}
    for name in ("first", "second"):  # the same computer, and another
        computer(name)
        model.model.encoded = 0
        report = fill(out, model, red, str(photos))
        assert (report.done_now, report.done_before, model.model.encoded) == (0, 3, 0)
    assert {str(file): told for file, told in out.files(below=True).items()} == before
    with Album(out) as album:
        assert album.find(model, red)[0].image in {str(photos / "a.png"), str(photos / "c.png")}
        album.export(["yolo", "csv"])
    assert (out / "yolo/images/a.png").read_bytes() == PHOTOS["a.png"]
    assert (out / "results.csv").exists()
    (photos / "a.png").unlink()
    assert fill(out, model, red, str(photos)).gone == [str(photos / "a.png")]
    assert MASK not in tree(out)


@IN_MEMORY
def test_pictures_that_persam_wrote_there_are_no_photos(store, photos, model, red):
    fill(photos / "found", model, red, str(photos), overlay=True)
    with pytest.warns(PersamWarning, match="pictures that persam wrote"):
        report = fill(photos / "found", model, red, f"{photos}/**/*.*g")
    assert report.photos == 3


class _Killed(BaseException):
    """Nearly as by `kill -9`: what waits in the cache folder is closed in order, but nothing is put or released."""


def dies(monkeypatch, at: str) -> None:
    """From now on a file of this name can be put nowhere, and nothing can be released."""
    own, whole = RemotePath.write_bytes, RemotePath.put_file

    def write(self: RemotePath, data: bytes, *, new: bool = False) -> bool:
        if self.name == at:
            raise _Killed
        return own(self, data, new=new)

    def put(self: RemotePath, file: Path) -> None:
        if self.name == at:
            raise _Killed
        whole(self, file)

    monkeypatch.setattr(RemotePath, "write_bytes", write)
    monkeypatch.setattr(RemotePath, "put_file", put)
    monkeypatch.setattr(claim.Claim, "release", lambda self: self._ended.set())


@IN_MEMORY
@pytest.mark.parametrize("at", ["files.jsonl", "a.png", "c.png", "index.sqlite", "results.jsonl"])
@pytest.mark.parametrize("goes_on", ["first", "second"])
def test_killed_while_it_is_put_there(store, photos, out, model, red, computer, monkeypatch, at, goes_on):
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "SECONDS", 0)
        patch.setattr(mirror, "_SHARE", 0)
        dies(patch, at)
        with pytest.raises(_Killed):
            fill(out, model, red, str(photos))
    monkeypatch.setattr(claim, "_lives", lambda other: False)  # this process lives
    computer(goes_on)
    model.model.encoded = 0
    report = fill(out, model, red, str(photos))
    assert (report.failures, report.kept) == ([], [])
    if goes_on == "first":  # nothing is lost here that was done
        assert model.model.encoded <= 2
        assert report.done_before >= 1
    after = tree(out)
    fill(store / "whole", model, red, str(photos))
    assert after == tree(store / "whole")
    computer("third")
    assert fill(out, model, red, str(photos)).done_before == 3


@IN_MEMORY
def test_another_computer_is_killed_and_the_first_goes_on(photos, out, model, red, computer, monkeypatch):
    fill(out, model, red, [str(photos / "a.png")])
    computer("second")
    with monkeypatch.context() as patch:
        dies(patch, "index.sqlite")
        with pytest.raises(_Killed):
            fill(out, model, red, str(photos))
    monkeypatch.setattr(claim, "_lives", lambda other: False)
    computer("first")
    report = fill(out, model, red, str(photos))
    assert (report.done_before, report.done_now, report.kept, report.failures) == (1, 2, [], [])
    assert lines(out).keys() == PHOTOS.keys()


@IN_MEMORY
def test_killed_while_it_is_brought_from_there(tmp_path, photos, out, model, red, monkeypatch):
    fill(out, model, red, str(photos))
    corrected = png(disc(60, 50).astype(np.uint8) * 255)
    (out / MASK).write_bytes(corrected)
    own = RemotePath.read_bytes

    def read(self: RemotePath) -> bytes:
        if self == out / MASK:
            raise _Killed
        return own(self)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "read_bytes", read)
        with pytest.raises(_Killed):
            Album(out)
    (notes,) = (tmp_path / "first/persam/albums").glob("*.json")
    assert MASK not in json.loads(notes.read_bytes())["files"]
    assert fill(out, model, red, str(photos), overlay=True).kept == [str(photos / "a.png")]
    assert (out / MASK).read_bytes() == corrected


@IN_MEMORY
def test_a_damaged_index_there_can_be_got_rid_of_as_is_told(photos, out, model, red):
    fill(out, model, red, str(photos))
    (out / ".persam/index.sqlite").write_bytes(b"no index" * 1000)
    with pytest.raises(PersamError, match=r"index .*first/persam.* cannot be used .*; remove it") as caught:
        Album(out)
    assert f"it stands for {out}/.persam/index.sqlite: remove that, too" in str(caught.value)
    (out / ".persam/index.sqlite").unlink()
    next(Path(os.environ["XDG_CACHE_HOME"]).rglob("index.sqlite")).unlink()
    assert fill(out, model, red, str(photos)).done_now == 3


@IN_MEMORY
def test_what_cannot_be_put_at_the_end_is_kept(photos, out, model, red, monkeypatch):
    album = Album(out)
    album.fill(model, red, str(photos))
    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "files", lambda self, **_: (_ for _ in ()).throw(StoreError("It is away.")))
        with pytest.raises(PersamError, match=r"It is away; .* is kept in .* until you run the same command again"):
            album.close()
    assert fill(out, model, red, str(photos)).done_before == 3


@IN_MEMORY
def test_another_computer_goes_on_and_then_the_first(photos, out, model, red, computer, monkeypatch):
    fill(out, model, red, [str(photos / "a.png")])
    computer("second")
    fill(out, model, red, str(photos))
    (photos / "b #1?.png").unlink()
    fill(out, model, red, str(photos))
    computer("first")
    model.model.encoded = 0
    report = fill(out, model, red, str(photos))
    assert (report.done_before, model.model.encoded) == (2, 0)
    assert lines(out).keys() == {"a.png", "c.png"}


def test_what_a_person_corrected_there_is_learned_from(photos, out, model, red, computer):
    fill(out, model, red, str(photos))
    (out / MASK).write_bytes(png(disc(60, 50).astype(np.uint8) * 255))
    for name in ("first", "second"):
        computer(name)
        report = fill(out, model, red, str(photos), overlay=True)
        assert report.kept == [str(photos / "a.png")]
    with Album(out) as album:
        fixed = album.fix(model, red)
    assert fixed.corrected == [str(photos / "a.png")]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO((out / MASK).read_bytes()))) > 0, disc(60, 50))
    computer("third")
    assert fill(out, model, fixed.concept, str(photos)).kept == []


@IN_MEMORY
def test_a_photo_elsewhere_is_corrected_by_its_name(tmp_path, photos, model, red):
    photo, mask = str(photos / "b #1?.png"), disc(100, 70)
    fill(tmp_path / "out", model, red, str(photos))
    with Album(tmp_path / "out") as album:
        fixed = album.fix(model, red, {photo: mask.astype(np.uint8) * 255})
        assert album.index.line(photo, "red")["verdict"] == "present"
    assert (fixed.corrected, fixed.report.failures) == ([photo], [])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/masks/red/b #1_.png")) > 0, mask)


@IN_MEMORY
def test_files_of_others_stay(photos, out, model, red, computer):
    (out / MASK).write_bytes(b"mine")
    with pytest.raises(UsageError, match="was not written by persam and would be lost") as caught:
        fill(out, model, red, str(photos))
    assert str(out / MASK) in str(caught.value)
    assert (out / MASK).read_bytes() == b"mine"
    assert not (out / CLAIM).exists()
    fill(out, model, red, str(photos), overwrite=True)
    assert (out / MASK).read_bytes() != b"mine"
    (out / "results.jsonl").unlink()
    (out / "results.jsonl").write_bytes(b"mine")
    (out / ".persam/index.sqlite").unlink()
    with pytest.raises(UsageError, match="holds the results of something else"):
        fill(out, model, red, str(photos))


@IN_MEMORY
def test_what_somebody_puts_there_meanwhile_stays(photos, out, model, red):
    album = Album(out)
    album.fill(model, red, str(photos))
    (out / MASK).write_bytes(b"mine")
    with pytest.warns(PersamWarning, match=r"a\.png changed while this ran"):
        album.close()
    assert (out / MASK).read_bytes() == b"mine"


EVIL = "masks/../../../../evil.png"


@IN_MEMORY
def test_no_key_there_leads_out_of_the_folder_here(tmp_path, photos, out, model, red, computer):
    fill(out, model, red, str(photos))
    names = [EVIL, "masks//evil.png", "masks/./evil.png", "masks/red/../evil.png"]
    for name in names:
        (out / name).write_bytes(b"evil")
    told = (out / ".persam/files.jsonl").read_bytes()
    more = b"".join(
        json.dumps({"path": name, "size": 4, "mtime_ns": 1, "digest": ""}).encode() + b"\n" for name in names
    )
    (out / ".persam/files.jsonl").write_bytes(told + more)
    computer("second")
    assert fill(out, model, red, str(photos)).done_before == 3
    assert list(tmp_path.rglob("evil.png")) == []
    assert (out / EVIL).read_bytes() == b"evil"  # it is not ours to remove


@IN_MEMORY
@pytest.mark.parametrize("change", [{"name": "../../evil"}, {"files": {"mask": EVIL}}, {"files": {"mask": "/a/b.png"}}])
def test_an_index_there_that_names_files_outside_is_refused(photos, out, model, red, change):
    fill(out, model, red, str(photos))
    with Album(out) as album:
        album.index.put(album.index.line(str(photos / "a.png"), "red") | change)
    with pytest.raises(PersamError, match="names files that no album has; remove it") as caught:
        Album(out)
    assert str(out / ".persam/index.sqlite") in str(caught.value)
    (out / ".persam/index.sqlite").unlink()
    assert fill(out, model, red, str(photos)).done_now == 3


class TestClaims:
    def test_a_second_run_is_refused(self, photos, out, model, red, computer):
        with Album(out) as album:
            album.fill(model, red, str(photos))
            computer("second")
            with pytest.raises(PersamError, match=rf"Another persam \(process {os.getpid()} on .*is writing into"):
                Album(out)
        with Album(out):
            pass

    @IN_MEMORY
    @pytest.mark.parametrize(
        ("host", "machine", "process", "ago", "holds"),
        [
            ("elsewhere", "x", 2**22 + 1, 20, True),
            ("elsewhere", "x", 2**22 + 1, 400, False),
            (HOST, claim._machine(), 2**22 + 1, 20, False),
            (HOST, claim._machine(), "this", 400, True),  # it slept
            (HOST, "of the same name", 2**22 + 1, 20, True),
            (HOST, "of the same name", "this", 400, False),
            (HOST, claim._machine(), "?", 20, True),
            (HOST, claim._machine(), "?", 400, False),
        ],
    )
    def test_of_who_was_killed(self, photos, out, model, red, host, machine, process, ago, holds):
        process = os.getpid() if process == "this" else process
        told = {"host": host, "machine": machine, "process": process, "time": time.time() - ago, "token": "x"}
        (out / CLAIM).write_bytes(json.dumps(told).encode())
        if holds:
            with pytest.raises(PersamError, match=rf"on {host}, .*remove {out / CLAIM}") as caught:
                Album(out)
            (seconds,) = re.findall(r"heard of (\d+) seconds ago", str(caught.value))
            assert ago - 1 <= int(seconds) < ago + 300  # a busy machine takes a while to ask
        else:
            Album(out).close()

    def test_no_process_is_asked_on_windows(self, monkeypatch):
        """There os.kill() with 0 is Ctrl-C."""
        monkeypatch.setattr(claim.sys, "platform", "win32")
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it was asked"))
        told = {"host": HOST, "machine": claim._machine(), "process": os.getpid(), "time": time.time()}
        assert claim._lives(told)
        assert not claim._lives(told | {"time": time.time() - 400})

    @IN_MEMORY
    def test_it_is_renewed_and_seen_when_it_is_lost(self, photos, out, model, red, monkeypatch):
        monkeypatch.setattr(claim, "RENEWED", 0.05)
        album = Album(out)
        first = json.loads((out / CLAIM).read_bytes())
        ends = time.monotonic() + 100
        while json.loads((out / CLAIM).read_bytes())["time"] <= first["time"]:
            assert time.monotonic() < ends
            time.sleep(0.01)
        stolen = json.dumps(first | {"token": "another", "host": "thief"}).encode()
        monkeypatch.setattr(claim.Claim, "_text", lambda _: stolen)  # a renewal amid the theft undoes nothing
        (out / CLAIM).write_bytes(stolen)
        album.fill(model, red, str(photos))
        with pytest.raises(PersamError, match=r"on thief.* then run the same command again: .* is done again"):
            album.close()
        assert "results.jsonl" not in tree(out)


@IN_MEMORY
def test_what_cannot_be_put_now_is_put_later(photos, out, model, red, monkeypatch, tmp_path):
    own, refused = RemotePath.write_bytes, []

    def write(self: RemotePath, data: bytes, *, new: bool = False) -> bool:
        if self.name == "c.png" and not refused:
            refused.append(self)
            raise StoreError("The store cannot be reached.")
        return own(self, data, new=new)

    monkeypatch.setattr(RemotePath, "write_bytes", write)
    monkeypatch.setattr(mirror, "SECONDS", 0)
    monkeypatch.setattr(mirror, "_SHARE", 0)
    with pytest.warns(PersamWarning, match="cannot be reached.*tried again later"):
        fill(out, model, red, str(photos))
    assert len(refused) == 1
    fill(tmp_path / "here", model, red, str(photos))
    assert tree(out) == {name: (tmp_path / "here" / name).read_bytes() for name in _files(tmp_path / "here")}


@IN_MEMORY
def test_a_store_that_goes_away_ends_the_run_and_keeps_what_was_done(photos, out, model, red, monkeypatch):
    own = RemotePath.read_whole

    def gone(self: RemotePath) -> bytes:
        if self.name == "c.png":
            raise StoreError("The store cannot be reached.")
        return own(self)

    with monkeypatch.context() as patch:
        patch.setattr(RemotePath, "read_whole", gone)
        with pytest.raises(StoreError):
            fill(out, model, red, str(photos))
    model.model.encoded = 0
    report = fill(out, model, red, str(photos))
    assert report.failures == []
    assert report.done_before + report.done_now == 3
    assert model.model.encoded <= 3


@IN_MEMORY
def test_a_place_is_sent_as_its_text(photos):
    (first, *_) = sorted(photos.files())
    assert place_of(str(first)) == first
