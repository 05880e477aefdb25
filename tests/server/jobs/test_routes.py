"""Jobs over HTTP: what is sent is done, told, and handed out."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.jobs.conftest import ended, files_of, start
from tests.server.serving import HERE
from tests.video.drawn import write_clip

from persam.instance import rle_mask
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.settings import ServerSettings


def lines(client: TestClient, job: str, **page: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/jobs/{job}/results", params=page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(row) for row in answer.text.splitlines()]


def events(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Of a stream that has ended."""
    found = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        parts = dict(row.split(": ", 1) for row in block.split("\n") if not row.startswith(":"))
        found.append((int(parts["id"]), parts["event"], json.loads(parts["data"])))
    return found


def test_an_album(client: TestClient, photos: dict[str, bytes], disc: Any) -> None:
    sent = photos | {"broken.jpg": b"\xff\xd8\xff no photo"}
    job = start(client, files_of(sent), overlay="true", format="coco")["id"]
    found = ended(client, job)
    assert found["state"] == "done"
    assert found["progress"] | {"per_second": 0} == {
        "done": 7,
        "total": 7,
        "problems": 1,
        "per_second": 0,
        "eta_seconds": None,
    }
    assert found["counts"] == {"photos": 7, "problems": 1, "verdicts": {"disc": {"present": 6}}}
    results = lines(client, job)
    assert [(each["number"], each["photo"]) for each in results] == list(enumerate(sorted(sent), start=1))
    assert results[0]["error"] == "The photo broken.jpg is truncated or damaged; copy or download it again."
    model = PerSAM(ColourModel())
    for each in results[1:]:
        (one,) = each["found"]
        alone = model.segment(np.asarray(Image.open(io.BytesIO(photos[each["photo"]]))), disc)
        np.testing.assert_array_equal(rle_mask(one["mask"]), alone.mask)
        assert (one["concept"], one["box"]) == ("disc", list(alone.box or ()))
        assert one["score"] == pytest.approx(alone.score, abs=1e-4)  # a concept's file has fewer digits
    assert lines(client, job, after=2, most=3) == results[2:5]
    assert lines(client, job, after=7) == []
    paths = {each["path"] for each in client.get(f"/v1/jobs/{job}/files").json()}
    assert {"results.jsonl", "coco.json", "masks/disc/photo0.png", "overlays/disc/photo5.jpg"} <= paths


def test_a_clip(client: TestClient, tmp_path: Path) -> None:
    frames = [draw_scene(center=(40 + 6 * n, 60))[0] for n in range(5)]
    clip = write_clip(tmp_path / "clip.mp4", frames)
    job = start(client, [("file", ("my clip.mp4", clip.read_bytes()))], kind="video", overlay="true", coco="true")["id"]
    found = ended(client, job)
    assert found["state"] == "done", found
    assert found["counts"]["present"] == {"disc": 5}
    results = lines(client, job)
    assert [(each["number"], each["frame"]) for each in results] == [(n + 1, n) for n in range(5)]
    assert all(each["found"][0]["present"] and each["found"][0]["mask"]["size"] == [120, 160] for each in results)
    archive = client.get(f"/v1/jobs/{job}/archive")
    with zipfile.ZipFile(io.BytesIO(archive.content)) as zipped:
        assert zipped.testzip() is None
        listed = {each["path"]: each["bytes"] for each in client.get(f"/v1/jobs/{job}/files").json()}
        assert {each.filename: each.file_size for each in zipped.infolist()} == listed
        assert {"overlay.mp4", "coco.json", "labels/00004.png", "timeline.png"} <= set(listed)
        for path in listed:
            assert client.get(f"/v1/jobs/{job}/files/{path}").content == zipped.read(path)


def test_nobody_is_told_where_it_lies(client: TestClient, settings: Any, photos: dict[str, bytes]) -> None:
    formats = ["coco", "csv", "yolo", "labelme", "cvat", "colmap", "sheet", "blur", "blank"]
    job = start(client, files_of(photos | {"b.jpg": b"nothing"}), overlay="1", cutout="1", format=formats)["id"]
    told = [client.get(f"/v1/jobs/{job}/{each}").content for each in ("results", "events")]
    assert ended(client, job)["state"] == "done"
    told += [client.get(f"/v1/jobs{each}").content for each in ("", f"/{job}", f"/{job}/results", f"/{job}/events")]
    with zipfile.ZipFile(io.BytesIO(client.get(f"/v1/jobs/{job}/archive").content)) as zipped:
        told += [zipped.read(each) for each in zipped.namelist()]
        kept = [json.loads(row) for row in zipped.read("results.jsonl").splitlines()]
    assert {each["image"] for each in kept} == set(photos)
    assert not any(str(settings.folder.parent).encode() in each for each in told)


def test_events_are_numbered_and_gone_on_with(client: TestClient, photos: dict[str, bytes]) -> None:
    job = start(client, files_of(photos | {"bad.jpg": b"bad"}))["id"]
    ended(client, job)
    heard = events(client.get(f"/v1/jobs/{job}/events").text)
    assert [number for number, _, _ in heard] == list(range(1, len(heard) + 1))
    states = [data["state"] for _, name, data in heard if name == "state"]
    assert states == ["queued", "running", "done"]
    told = [data for _, name, data in heard if name == "progress"]
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)
    assert told[-1]["done"] == told[-1]["total"] == 7
    assert [each["photo"] for data in told for each in data["errors"]] == ["bad.jpg"]
    assert heard[-1][2]["counts"]["problems"] == 1
    for said in ("2", str(len(heard)), "-1", "1e9", "999999", "9" * 40, "huge", ""):
        rest = client.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": said})
        known = int(said) if said in ("2", str(len(heard))) else 0
        assert events(rest.text) == heard[known:] if known < len(heard) else rest.text == ""


class Patient(ColourModel):
    """Waits with every photo until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may, self.began = threading.Event(), threading.Event()

    def encode(self, image: np.ndarray) -> Any:
        if image.any():  # black is what the engine measures the model with
            self.began.set()
            assert self.may.wait(30)
        return super().encode(image)


@pytest.fixture
def slow(settings: ServerSettings, disc: Any) -> Iterator[tuple[TestClient, Patient]]:
    """A service whose model waits until it is told to go on."""
    patient = Patient()
    app = create_app(settings, PerSAM(patient))
    with TestClient(app, base_url=HERE) as started:
        app.state.service.concepts.save(disc)
        try:
            yield started, patient
        finally:
            patient.may.set()


def test_cancelled_while_it_waits_and_while_it_runs(slow: tuple[TestClient, Patient], photos: dict[str, bytes]) -> None:
    client, model = slow
    running, waiting = (start(client, files_of(photos))["id"] for _ in range(2))
    assert model.began.wait(30)
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    told = client.post(f"/v1/jobs/{running}/cancel").json()
    assert (told["state"], told["stopping"]) == ("running", True)
    assert client.get(f"/v1/jobs/{running}/archive").status_code == 409
    model.may.set()
    found = ended(client, running)
    assert found["state"] == "cancelled"
    done = found["progress"]["done"]
    assert done < len(photos)
    assert len(lines(client, running)) == done
    assert client.post(f"/v1/jobs/{running}/cancel").json() == found  # again: nothing
    assert client.get(f"/v1/jobs/{running}/archive").status_code == 200


def test_deleted_at_any_time(
    slow: tuple[TestClient, Patient], photos: dict[str, bytes], settings: ServerSettings
) -> None:
    client, model = slow
    running, waiting = (start(client, files_of(photos))["id"] for _ in range(2))
    assert model.began.wait(30)
    for job in (waiting, running):
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
        assert client.get(f"/v1/jobs/{job}").status_code == 404
        assert client.delete(f"/v1/jobs/{job}").status_code == 404
    assert client.get("/v1/jobs").json() == []
    assert not (settings.jobs_folder / waiting).exists()
    model.may.set()
    last = start(client, files_of(photos))["id"]
    ended(client, last)  # so the one before is over
    assert [path.name for path in settings.jobs_folder.iterdir()] == [last]


def test_who_listens_to_a_job_that_is_deleted_hears_its_end(
    slow: tuple[TestClient, Patient], photos: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, model = slow
    running, waiting = (start(client, files_of(photos))["id"] for _ in range(2))
    assert model.began.wait(30)
    looked: dict[str, threading.Event] = {job: threading.Event() for job in (running, waiting)}
    store = client.app.state.service.jobs.store  # type: ignore[attr-defined]
    own = store.last_event
    monkeypatch.setattr(store, "last_event", lambda job: looked[job].set() or own(job))
    with ThreadPoolExecutor(2) as pool:
        streams = [pool.submit(client.get, f"/v1/jobs/{job}/events") for job in (running, waiting)]
        for job, stream in zip((running, waiting), streams, strict=True):
            assert looked[job].wait(10)  # all was told, and more is waited for
            client.delete(f"/v1/jobs/{job}")
            assert events(stream.result(10).text)[0][2]["state"] == "queued"
        model.may.set()


def test_no_more_wait_than_may(slow: tuple[TestClient, Patient], photos: dict[str, bytes]) -> None:
    client, model = slow
    first = start(client, files_of(photos))["id"]
    assert model.began.wait(30)  # it runs, and three may wait
    for _ in range(3):
        start(client, files_of(photos))
    refused = client.post("/v1/jobs", data={"kind": "album", "concept": "disc"}, files=files_of(photos))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["detail"].startswith("3 jobs wait already, and no more may; try again in ")
    model.may.set()
    ended(client, first)
    start(client, files_of(photos))
    told = client.get("/metrics").text
    assert 'persam_jobs{state="done"}' in told


def test_requests_are_answered_while_a_job_runs(client: TestClient, photos: dict[str, bytes]) -> None:
    many = {f"{n:03}.png": data for n, data in enumerate(list(photos.values()) * 3)}
    job = start(client, files_of(many))["id"]
    answer = client.post("/v1/segment", data={"concept": "disc"}, files=[("photo", next(iter(photos.items())))])
    assert answer.status_code == 200
    found = client.get(f"/v1/jobs/{job}").json()
    assert found["state"] in ("queued", "running")
    assert ended(client, job)["progress"]["done"] == 18


@pytest.mark.parametrize(
    ("fields", "files", "status", "words"),
    [
        ({"kind": "film"}, [("a.png", b"a")], 422, "The field kind does not fit"),
        ({"concept": "cup"}, [("a.png", b"a")], 404, 'There is no concept "cup"; learned so far: disc.'),
        ({"concept": ["disc", "disc"]}, [("a.png", b"a")], 422, "A concept is named twice"),
        ({"threshold": "nan"}, [("a.png", b"a")], 422, "The field threshold does not fit"),
        ({"coco": "1"}, [("a.png", b"a")], 422, "coco belongs to jobs of kind video, and this is one of kind album"),
        ({"size": "1"}, [("a.png", b"a")], 422, "There is no field 'size' here"),
        ({"kind": "video"}, [("a.mp4", b"a"), ("b.mp4", b"b")], 400, "A video job takes one clip, not 2 files"),
        ({"kind": "video"}, [("a.mp4", b"#EXTM3U\n/etc/passwd\n")], 415, "The file a.mp4 is no video that is taken"),
        ({"kind": "video"}, [("a.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n")], 415, "The file a.mp4 is no"),
        ({"kind": "video"}, [("a.mp4", b"\0\0\0\x20ftypisom" + bytes(100))], 400, "The clip a.mp4 is damaged"),
        ({"kind": "video"}, [("a.gif", b"<!--ftyp--><MPD/>")], 400, "The clip a.gif is damaged"),
        ({}, [(f"{n}.png", b"") for n in range(21)], 413, "The form has more than 20 files"),
        ({}, [("a.png", b"hello"), ("b.png", b"")], 415, "The file a.png is not a picture"),
        ({}, [("a.zip", b"PK\3\4 no zip")], 400, "a.zip is a damaged zip"),
        ({}, [("a.zip", b"PK\5\6" + bytes(18))], 400, "a.zip has no photo that could be taken."),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    client: TestClient, settings: ServerSettings, fields: dict[str, Any], files: Any, status: int, words: str
) -> None:
    answer = client.post(
        "/v1/jobs", data={"kind": "album", "concept": "disc"} | fields, files=[("file", each) for each in files] or None
    )
    assert answer.json()["detail"].startswith(words), answer.text
    assert answer.status_code == status
    assert client.get("/v1/jobs").json() == []
    assert list(settings.jobs_folder.iterdir()) == list(settings.uploads_folder.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fjobs.sqlite",
        "%2e%2e/finds.jsonl",
        ".persam/index.sqlite",
        "/etc/passwd",
        "a%00b",
        "x" * 5000,
        "masks",
    ],
)
def test_no_other_file_is_handed_out(client: TestClient, photos: dict[str, bytes], path: str) -> None:
    job = start(client, files_of(dict(list(photos.items())[:1])))["id"]
    ended(client, job)
    answer = client.get(f"/v1/jobs/{job}/files/{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


def test_pages_of_jobs(client: TestClient, photos: dict[str, bytes]) -> None:
    one = files_of(dict(list(photos.items())[:1]))
    ids = []
    for _ in range(3):
        ids.append(start(client, one)["id"])
        ended(client, ids[-1])
    listed = [each["id"] for each in client.get("/v1/jobs").json()]
    assert listed == ids[::-1]
    assert [each["id"] for each in client.get("/v1/jobs", params={"before": ids[2], "most": 1}).json()] == [ids[1]]
    assert client.get("/v1/jobs", params={"state": "failed"}).json() == []
    assert client.get("/v1/jobs", params={"before": "nobody"}).status_code == 404


def test_what_a_concept_becomes_changes_no_job(slow: tuple[TestClient, Patient], photos: dict[str, bytes]) -> None:
    client, model = slow
    start(client, files_of(photos))
    job = start(client, files_of(photos))["id"]
    assert client.delete("/v1/concepts/disc").status_code == 204
    model.may.set()
    assert ended(client, job)["counts"]["verdicts"] == {"disc": {"present": 6}}
