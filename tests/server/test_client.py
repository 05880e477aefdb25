"""The client: against a real service, and against networks that do what networks do."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.fakes import ColourModel
from tests.server.threaded import served

from persam.client import Client, JobRecord, LateError, RefusedError
from persam.client import connection as connection_file
from persam.client.connection import reference_form
from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.instance import rle_mask
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.settings import Limits, ServerSettings

TOKEN = "0123456789abcdef"


def draw_scene(center: tuple[int, int] = (60, 70)) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on grey, and its truth."""
    y, x = np.mgrid[:120, :160]
    mask = (x - center[0]) ** 2 + (y - center[1]) ** 2 <= 28**2
    return np.where(mask[..., None], (200, 30, 40), (90, 100, 120)).astype(np.uint8), mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = ServerSettings(tmp_path_factory.mktemp("service"), token=TOKEN)
    with served(create_app(settings, PerSAM(ColourModel()))) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN) as client:
        for each in client.concepts():
            client.delete(each.name)
        yield client


def test_a_concept_is_learned_found_tuned_saved_and_removed(client: Client, tmp_path: Path) -> None:
    photo, mask = draw_scene()
    Image.fromarray(photo).save(tmp_path / "disc.png")
    other, truth = draw_scene((95, 50))
    assert client.is_ready()
    assert client.model()["name"] == "colours"

    learned = client.learn("my disc", tmp_path / "disc.png", mask)
    assert (learned.name, learned.tuned, learned.fits) == ("my disc", False, True)
    assert [each["source"] for each in learned.references] == ["disc.png"]
    assert client.tune("my disc").tuned
    added = client.add_reference("my disc", other, points=[(95, 50, 1), (5, 5, 0)])
    assert len(added.references) == 2
    assert [each.name for each in client.concepts()] == ["my disc"]
    assert client.concept("my disc").weights is not None

    result = client.segment(other, "my disc")
    (found,) = result.found
    assert (result.width, result.height) == (160, 120)
    assert (found.concept, found.present, found.verdict) == ("my disc", True, "present")
    assert found.mask.shape == (120, 160)
    assert iou(found.mask, truth) > 0.85
    assert len(found.instances) == 1
    assert np.array_equal(found.instances[0].mask, found.mask)
    with pytest.raises(PersamError, match="ask with masks=True"):
        _ = client.segment(other, "my disc", masks=False).found[0].mask

    file = client.save("my disc", tmp_path / "disc.safetensors")
    assert Concept.load(file).name == "my disc"
    client.delete("my disc")
    assert client.concepts() == []


def test_pictures_are_taken_in_every_form(client: Client, tmp_path: Path) -> None:
    photo, mask = draw_scene()
    picture = Image.fromarray(photo)
    picture.save(tmp_path / "disc.png")
    data = (tmp_path / "disc.png").read_bytes()
    client.learn("disc", tmp_path / "disc.png", mask)
    forms = [str(tmp_path / "disc.png"), data, ("named.png", data), picture, photo]
    found = list(client.segment_many(forms, "disc", at_once=5))
    assert [each.photo for each in found] == ["disc.png", "photo", "named.png", "photo.png", "photo.png"]
    assert all(np.array_equal(each.found[0].mask, found[0].found[0].mask) for each in found)
    two = client.learn("two", [photo, photo], points=[[(60, 70, 1)], [(62, 70, 1)]], keep=False, tune=True)
    assert (two.tuned, two.keeps_references, len(two.references)) == (True, False, 2)


def test_boxes_and_points_are_written_as_the_service_reads_them() -> None:
    one = reference_form(b"a", None, {"box": (1, 2.5, 3, 4), "points": [(1, 2, 1), (3, 4, 0)], "tune": True})
    assert one.values == {"box": ["1,2.5,3,4"], "points": ["1,2,1;3,4,0"], "tune": "true"}
    boxes = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    two = reference_form([b"a", b"b"], [b"c", b"d"], {"box": boxes, "scribble": [b"e", b"f"]})  # type: ignore[typeddict-item]
    assert two.values == {"box": ["1,2,3,4", "5,6,7,8"]}
    assert [name for name, _ in two.pictures] == ["photo", "photo", "mask", "mask", "scribble", "scribble"]


def test_many_photos_are_sent_in_groups_and_one_bad_one_has_an_error(client: Client, tmp_path: Path) -> None:
    photo, mask = draw_scene()
    client.learn("disc", photo, mask)
    client.learn("spot", photo, mask)
    (tmp_path / "notes.txt").write_text("no picture")
    asked = []

    def photos() -> Iterator[Any]:
        for number in range(5):
            asked.append(number)
            yield tmp_path / "notes.txt" if number in (1, 4) else photo

    results = client.segment_many(photos(), ["disc", "spot"], at_once=2)
    first = next(results)
    assert asked == [0, 1]
    assert [each.concept for each in first.found] == ["disc", "spot"]
    records = [first, *results]
    assert [each.error is None for each in records] == [True, False, True, True, False]
    assert records[1].photo == records[4].photo == "notes.txt"
    assert "not a picture" in str(records[4].error)
    with pytest.raises(RefusedError, match=r'There is no concept "cat"') as caught:
        list(client.segment_many([photo], "cat"))
    assert caught.value.status == 404


def test_photos_are_sent_in_smaller_groups_where_the_service_takes_fewer(tmp_path: Path) -> None:
    """Too many questions, or one photo among them that is too large: the others are found all the same."""
    photo, mask = draw_scene()
    large = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    settings = ServerSettings(tmp_path, limits=Limits(questions_per_request=6, photo_bytes=100_000))
    with served(create_app(settings, PerSAM(ColourModel()))) as url, Client(url) as client:
        for name in ("disc", "spot"):
            client.learn(name, photo, mask)
        records = list(client.segment_many([photo] * 9, ["disc", "spot"], at_once=8))
        assert [len(each.found) for each in records] == [2] * 9
        records = list(client.segment_many([photo, photo, large, photo], "disc"))
        assert [each.error is None for each in records] == [True, True, False, True]
        assert "100,000" in str(records[2].error) or "0.1 MB" in str(records[2].error)


def test_an_album_is_left_to_a_job_and_waited_for(client: Client, tmp_path: Path) -> None:
    photo, mask = draw_scene()
    other, truth = draw_scene((95, 50))
    client.learn("disc", photo, mask)
    for name, picture in (("one.png", photo), ("two.png", other)):
        Image.fromarray(picture).save(tmp_path / name)
    (tmp_path / "notes.jpg").write_text("no picture")
    files = [tmp_path / name for name in ("one.png", "two.png", "notes.jpg")]
    job = client.job_album(files, "disc", overlay=True, format=["csv"])
    assert (job.kind, job.concepts, job.ended) == ("album", ["disc"], False)

    seen: list[tuple[int, int | None]] = []
    ended = client.wait(job, progress=lambda done, total: seen.append((done, total)))
    assert (ended.state, ended.done, ended.total, ended.problems) == ("done", 3, 3, 1)
    assert seen[-1] == (3, 3)
    assert [each.id for each in client.jobs()] == [job.id]

    lines = {each["photo"]: each for each in client.results(job)}
    assert len(lines) == 3
    assert "notes.jpg" in lines["notes.jpg"]["error"]
    assert iou(rle_mask(lines["two.png"]["found"][0]["mask"]), truth) > 0.85
    assert [each["number"] for each in client.results(job, after=2)] == [3]
    sizes = {each["path"]: each["bytes"] for each in client.files(job)}
    table = next(path for path in sizes if path.endswith(".csv"))
    assert client.download(job, tmp_path / "table.csv", table).stat().st_size == sizes[table]
    with zipfile.ZipFile(client.download(job, tmp_path / "all.zip")) as archive:
        assert sorted(archive.namelist()) == sorted(sizes)
    client.forget(job)
    with pytest.raises(RefusedError, match="There is no job"):
        client.job(job)


def test_refusals_are_the_service_s_sentences(client: Client, url: str, tmp_path: Path) -> None:
    photo, mask = draw_scene()
    client.learn("disc", photo, mask)
    for call, status, says in (
        (lambda: client.learn("disc", photo, mask), 409, "There is a concept"),
        (lambda: client.tune("cat"), 404, "There is no concept"),
        (lambda: client.segment(b"no picture", "disc"), 415, "not a picture"),
        (lambda: client.segment(photo, "disc", threshold=7), 422, "threshold"),
        (lambda: client.save("cat", tmp_path / "cat.safetensors"), 404, "There is no concept"),
    ):
        with pytest.raises(RefusedError, match=says) as caught:
            call()
        assert caught.value.status == status
    assert not (tmp_path / "cat.safetensors").exists()
    with Client(url, "another-token-123") as stranger, pytest.raises(RefusedError, match="is not this service's"):
        stranger.concepts()
    with pytest.raises(PersamError, match="There is no file"):
        client.segment(tmp_path / "gone.png", "disc")
    with pytest.raises(UsageError, match="four numbers"):
        client.learn("x", photo, box=["a", 1, 2, 3])  # type: ignore[list-item]
    for address in ("localhost:8000", "http://:::", "https://", "ftp://localhost"):
        with pytest.raises(UsageError, match="is like http"):
            Client(address)
    with Client("http://127.0.0.1:9", patience=0) as nowhere:
        assert not nowhere.is_ready()
        with pytest.raises(PersamError, match="No service answers at http://127.0.0.1:9"):
            nowhere.concepts()


# ------------------------------------------------------------------------------------------------ other networks


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client slept; nobody waits."""
    slept: list[float] = []
    monkeypatch.setattr("persam.client.connection.time.sleep", slept.append)
    return slept


def through(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> Client:
    return Client("http://persam.test", transport=httpx.MockTransport(answer), **options)


def test_a_busy_service_is_asked_again_as_it_says(naps: list[float], tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"all of the photo")
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.read())
        if len(bodies) == 1:
            return httpx.Response(429, headers={"retry-after": "7"}, json={"detail": "Busy."})
        if len(bodies) < 4:
            return httpx.Response(503, json={"detail": "Stopping."})
        return httpx.Response(200, json={"results": [{"photo": "photo.png", "width": 1, "height": 1, "found": []}]})

    with through(answer) as client:
        assert client.segment(photo, "disc").photo == "photo.png"
    assert naps == [7, 2, 4]
    assert len(bodies) == 4
    assert all(b"all of the photo" in body for body in bodies)


def test_a_job_has_time_to_be_taken_on_and_what_is_late_may_have_been_done() -> None:
    waited = {}

    def answer(request: httpx.Request) -> httpx.Response:
        waited[request.url.path] = request.extensions["timeout"]["read"]
        raise httpx.ReadTimeout("late", request=request)

    with through(answer, timeout=7) as client:
        with pytest.raises(LateError, match=r"has not answered in 3600 s; it may have taken .* see jobs\(\)"):
            client.job_album([b"a"], "disc")
        with pytest.raises(LateError, match="has not answered in 7 s"):
            client.concepts()
    assert waited == {"/v1/jobs": 3600, "/v1/concepts": 7}


def test_a_photo_that_goes_or_changes_while_it_is_sent_is_told(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    own = connection_file._SentFile.read

    def meanwhile(change: Callable[[], object]) -> None:
        photo.write_bytes(bytes(100_000))
        monkeypatch.setattr(connection_file._SentFile, "read", lambda self, size: (change(), own(self, size))[1])

    meanwhile(photo.unlink)
    with pytest.raises(PersamError, match="photo.png could be read no more while it was sent"):
        client.segment(photo, "disc")
    for other in (b"shorter", bytes(200_000)):
        meanwhile(lambda other=other: photo.write_bytes(other))  # type: ignore[misc]
        with pytest.raises(PersamError, match="photo.png changed while it was sent"):
            client.segment(photo, "disc")


def test_patience_has_an_end(naps: list[float]) -> None:
    busy = httpx.Response(429, headers={"retry-after": "3600"}, json={"detail": "Busy for long."})
    with through(lambda _: busy, patience=60) as client, pytest.raises(RefusedError, match="Busy for long") as caught:
        client.concepts()
    assert caught.value.status == 429
    assert naps == []


def test_what_is_no_service_of_persam_is_told(naps: list[float]) -> None:
    for status, says in ((200, "no service of persam"), (502, "answers 502 Bad Gateway")):
        page = httpx.Response(status, text="<html>")
        with through(lambda _, page=page: page) as client, pytest.raises(PersamError, match=says):
            client.concepts()


def events(*numbers: int, end: bool = False) -> list[str]:
    told = [f"id: {each}\nevent: progress\ndata: {json.dumps({'done': each, 'total': 4})}\n\n" for each in numbers]
    return told + ['id: 9\nevent: state\ndata: {"state": "done",\ndata: "done": 4, "total": 4}\n\n'] * end


class Broken(httpx.SyncByteStream):
    """A stream that breaks after some pieces."""

    def __init__(self, pieces: list[str]) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            yield piece.encode()
        raise httpx.ReadError("the line is cut")


def test_events_go_on_where_the_line_was_cut_and_each_comes_once(naps: list[float]) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json={"id": "a1", "kind": "album", "state": "done", "done": 4, "total": 4})
        asked.append(request.headers.get("last-event-id"))
        if len(asked) == 1:
            return httpx.Response(200, stream=Broken([": welcome\n\n", *events(1, 2), "id: 3\nevent: prog"]))
        if len(asked) == 2:
            raise httpx.ConnectError("not yet")
        return httpx.Response(200, text="".join(events(3, 4, end=True)))

    seen: list[tuple[int, int | None]] = []
    with through(answer) as client:
        numbers = [(each.number, each.kind) for each in client.events("a1")]
        asked.clear()
        ended = client.wait(JobRecord("a1"), progress=lambda done, total: seen.append((done, total)))
    assert numbers == [(1, "progress"), (2, "progress"), (3, "progress"), (4, "progress"), (9, "state")]
    assert asked == [None, "2", "2"]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4), (4, 4)]
    assert ended.ended


def test_a_job_that_failed_is_told_and_one_whose_end_is_known_ends(naps: list[float]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, text="")
        return httpx.Response(200, json={"id": "a1", "state": "failed", "error": "The clip is damaged."})

    with through(answer) as client:
        assert list(client.events("a1", after=9)) == []
        with pytest.raises(PersamError, match="The clip is damaged"):
            client.wait("a1")


def test_the_client_needs_neither_torch_nor_fastapi_nor_numpy() -> None:
    code = (
        "import sys, persam.client, httpx; persam.client.Client('http://127.0.0.1:9').close(); "
        "print([name for name in ('torch', 'fastapi', 'numpy', 'cv2', 'PIL', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
