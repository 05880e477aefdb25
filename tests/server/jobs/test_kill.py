"""Servers that end in the middle of a job, killed or stopped: the next one goes on, and the result is the same."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.server.jobs.served import DEADLY, JOBS, Served
from tests.server.serving import png
from tests.video.drawn import write_clip

from persam.concept import Concept
from persam.server.store import ConceptStore

COUNT = 9  # photos and frames
CENTERS = [(30 + 8 * n, 40 + 3 * n) for n in range(COUNT)]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What is sent for a job of each kind."""
    scenes = [draw_scene(center=center, seed=n)[0] for n, center in enumerate(CENTERS)]
    photos = [("file", (f"{n:02}.png", png(scene))) for n, scene in enumerate(scenes)]
    photos.append(("file", ("05-broken.jpg", b"\xff\xd8\xff no photo")))
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", scenes).read_bytes()
    return {
        "album": {"kind": "album", "files": photos, "overlay": "1", "cutout": "1", "format": ["coco", "csv"]},
        "video": {"kind": "video", "files": [("file", ("clip.mp4", clip))], "overlay": "1", "coco": "1"},
    }


def _content(name: str, data: bytes) -> Any:
    """Of a file; of a video its times, for x264 and VP9 do not code the same frames twice in the same way, even when
    nothing disturbs them. What is drawn in it follows from labels, and they are compared byte for byte."""
    if not name.endswith((".mp4", ".webm")):
        return data
    with av.open(io.BytesIO(data)) as container:
        return [(frame.pts, frame.width, frame.height) for frame in container.decode(video=0)]


def made(served: Served, job: str) -> dict[str, Any]:
    """All that is to be had of a job that is done."""
    found = served.wait(job)
    assert found["state"] == "done", found
    with zipfile.ZipFile(io.BytesIO(served.http.get(f"{JOBS}/{job}/archive").content)) as zipped:
        files = {name: _content(name, zipped.read(name)) for name in zipped.namelist()}
    progress = {name: found["progress"][name] for name in ("done", "total", "problems")}
    return (
        {"": served.http.get(f"{JOBS}/{job}/results", params={"most": 1000}).text, "counts": found["counts"]}
        | progress
        | files
    )


@pytest.fixture(scope="module")
def undisturbed(
    sent: dict[str, dict[str, Any]], disc: Concept, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """What a server gives that is let alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ConceptStore(folder / "concepts").save(disc)
    with Served(folder) as served:
        found = {kind: made(served, served.start_job(**each)) for kind, each in sent.items()}
        assert served.stop() == 0
    return found


@pytest.fixture
def folder(tmp_path: Path, disc: Concept) -> Path:
    ConceptStore(tmp_path / "concepts").save(disc)
    return tmp_path


def heard(served: Served, job: str, after: int, until: int | None) -> list[tuple[int, dict[str, Any]]]:
    """Events after one of them, until so many are done, or to their end."""
    found = []
    headers = {"Last-Event-ID": str(after)} if after else {}
    with served.http.stream("GET", f"{JOBS}/{job}/events", headers=headers) as stream:
        number = 0
        for line in stream.iter_lines():
            if line.startswith("id: "):
                number = int(line.removeprefix("id: "))
            elif line.startswith("data: "):
                found.append((number, json.loads(line.removeprefix("data: "))))
                if until is not None and found[-1][1]["done"] >= until:
                    break
    return found


@pytest.mark.parametrize("kind", ["album", "video"])
def test_killed_twice_it_gives_the_same(
    folder: Path, sent: dict[str, dict[str, Any]], undisturbed: dict[str, dict[str, Any]], kind: str
) -> None:
    with Served(folder) as served:
        job = served.start_job(**sent[kind])
        events = heard(served, job, 0, until=3)
    with Served(folder) as served:
        events += heard(served, job, events[-1][0], until=6)
        told = events[-1][1]
        assert told["done"] < told["total"]  # as it was then; on a busy machine the rest may be done by now
    with Served(folder) as served:
        events += heard(served, job, events[-1][0], until=None)
        assert made(served, job) == undisturbed[kind]
    numbers = [number for number, _ in events]
    assert numbers == list(range(1, len(numbers) + 1))  # none is missing, none comes twice
    states = [told["state"] for _, told in events if "state" in told]
    assert states == ["queued", *["running", "queued"] * 2, "running", "done"]


def test_stopped_in_an_orderly_way_it_gives_the_same(
    folder: Path, sent: dict[str, dict[str, Any]], undisturbed: dict[str, dict[str, Any]]
) -> None:
    with Served(folder) as served:
        jobs = {kind: served.start_job(**sent[kind]) for kind in ("video", "album")}
        served.wait(jobs["video"], done=3)
        assert served.stop() == 0
    with Served(folder) as served:
        assert served.job(jobs["album"])["state"] == "queued"
        served.wait(jobs["video"])
        served.wait(jobs["album"], done=3)
        assert served.stop() == 0
    with Served(folder) as served:
        assert {kind: made(served, job) for kind, job in jobs.items()} == undisturbed


def test_a_job_that_kills_the_server_three_times_is_given_up(folder: Path) -> None:
    photos = [("file", (f"{n}.png", png(draw_scene(seed=n)[0]))) for n in range(3)]
    deadly = [*photos, ("file", ("1b.png", png(np.full((60, 80, 3), DEADLY, np.uint8))))]
    with Served(folder) as served:
        job, sound = (served.start_job(files, kind="album") for files in (deadly, photos))
        served.process.join(30)
        assert served.process.exitcode == -9
    for _ in range(2):
        with Served(folder) as served:
            served.process.join(30)
            assert served.process.exitcode == -9
    with Served(folder) as served:
        found = served.job(job)
        assert found["state"] == "failed"
        assert found["error"].startswith("The service was ended 3 times while it was at this job, after ")
        assert served.wait(sound)["state"] == "done"


def test_what_came_half_is_removed_and_a_stranger_stays(folder: Path) -> None:
    jobs = folder / "jobs"
    # A list that was lost leaves jobs that were begun; what was never taken on has nothing made in it.
    stay = ["0123456789abcdef/made/mask.png", "mine/letter.txt", "0123/sent/a.png"]
    for name in ("0123.coming/sent/a.png", "fedcba9876543210/sent/a.png", *stay):
        (jobs / name).parent.mkdir(parents=True)
        (jobs / name).write_bytes(b"a")
    with Served(folder) as served:
        assert served.http.get(JOBS).json() == []
    assert {path.name for path in jobs.iterdir()} == {name.split("/")[0] for name in stay}


def test_several_listen_and_one_hangs_up(folder: Path, sent: dict[str, dict[str, Any]]) -> None:
    with Served(folder) as served:
        job = served.start_job(**sent["album"])
        heard(served, job, 0, until=2)  # and hangs up
        streams = [heard(served, job, 0, until=None) for _ in range(2)]
        assert streams[0] == streams[1]
        assert streams[0][-1][1]["state"] == "done"
        with served.http.stream("GET", f"{JOBS}/{job}/archive") as archive:
            next(archive.iter_raw(100))
        assert served.job(job)["state"] == "done"
        assert served.stop() == 0
        with pytest.raises(httpx.HTTPError):
            httpx.get(served.http.base_url)
