"""Jobs over HTTP: what is sent is done, told, and handed out."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.jobs.conftest import ended, files_of, start, zip_of
from tests.video.drawn import write_clip

from persam.instance import rle_mask
from persam.persam import PerSAM


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
        "done": 7, "total": 7, "problems": 1, "per_second": 0, "eta_seconds": None
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
        assert (one["concept"], one["score"], one["box"]) == ("disc", round(alone.score, 6), list(alone.box or ()))
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
