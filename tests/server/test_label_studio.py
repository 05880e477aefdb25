"""Label Studio's requests, as its connector and webhooks send them, against the service with the bundled model."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from tests.conftest import draw_scene
from tests.server import bad_files
from tests.server.serving import decoding_threads

from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.engine import BusyError
from persam.server.label_studio import bridge as bridge_file
from persam.server.label_studio.bridge import Bridge
from persam.server.label_studio.brush import encode_brush
from persam.server.label_studio.fetch import PhotoFetcher
from persam.server.label_studio.labelling import Control, Project, drawn_by_label, regions_of
from persam.server.settings import ServerSettings

HOME = "http://studio.local:8080"
UID = "2.1629208966"  # number of the project, and when it was made
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="Disc"/></BrushLabels>
<RectangleLabels name="box" toName="image"><Label value="Disc"/></RectangleLabels>
<KeyPointLabels name="click" toName="image" smart="true"><Label value="Disc"/></KeyPointLabels></View>"""
PLACES = {1: (60, 70), 2: (95, 50), 3: (45, 75)}  # of the disc in the photos of tasks
SCENES = {number: draw_scene(center=center, seed=number) for number, center in PLACES.items()}
SIZE = (120, 160)


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SCENES[number][0]).save(buffer, "PNG")
    return buffer.getvalue()


def task(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "data": {"image": f"/data/upload/2/{number:08x}-photo.png"},
        "project": 2,
        "annotations": [],
        "predictions": [],
    }


def studio(request: httpx.Request) -> httpx.Response:
    """A Label Studio that asks for its token."""
    if request.headers.get("authorization") != "Token key":
        return httpx.Response(401)
    path = request.url.path
    if path.startswith("/data/upload/2/"):
        return httpx.Response(200, content=png(int(path.rpartition("/")[2][:8], 16)))
    if path == "/api/tasks/1/":
        return httpx.Response(200, json=task(1))
    if path == "/api/projects/2/export":
        return httpx.Response(200, json=[task(1) | {"annotations": [annotation(17, 1)]}, task(2)])
    return httpx.Response(404)


def region(kind: str, value: dict[str, Any]) -> dict[str, Any]:
    about = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0, "origin": "manual"}
    names = {"brushlabels": "tag", "rectanglelabels": "box", "keypointlabels": "click"}
    named = {"id": "a1", "type": kind, "from_name": names[kind], "to_name": "image"}
    return {**named, **about, "value": {**value, kind: ["Disc"]}}


def brush(number: int) -> dict[str, Any]:
    return region("brushlabels", {"format": "rle", "rle": encode_brush(SCENES[number][1])})


def annotation(number: int, of: int, *regions: dict[str, Any]) -> dict[str, Any]:
    result = list(regions) or [brush(of)]
    return {"id": number, "task": of, "result": result, "was_cancelled": False, "ground_truth": False, "lead_time": 3.1}


def event(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, "project": {"id": 2, "title": "Discs", "label_config": CONFIG}, **more}


def asked(*tasks: dict[str, Any], context: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    params = {"login": None, "password": None, "context": None if context is None else {"result": context}}
    return {"tasks": list(tasks), "project": UID, "label_config": CONFIG, "params": params}


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM.from_pretrained()


@pytest.fixture
def client(tmp_path: Path, model: PerSAM) -> Iterator[TestClient]:
    settings = ServerSettings(tmp_path, label_studio_url=HOME, label_studio_key="key")
    app = create_app(settings, model)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        app.state.service.label_studio.fetcher = PhotoFetcher(HOME, "key", transport=httpx.MockTransport(studio))
        yield client


def version(client: TestClient) -> str:
    answer = client.post("/label-studio/setup", json={"project": UID, "schema": CONFIG, "hostname": HOME})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["model_version"])


def bridge_of(client: TestClient) -> Bridge:
    found: Bridge = client.app.state.service.label_studio  # type: ignore[attr-defined]
    return found


def learned(client: TestClient) -> None:
    """Wait until all that was told is learned."""
    assert bridge_of(client).learning.wait(30)


def sources(client: TestClient, label: str = "Disc") -> list[str]:
    found = client.get(f"/v1/concepts/label-studio-2-{label}").json()
    return [each["source"] for each in found["references"]]


def annotate(client: TestClient, payload: dict[str, Any]) -> None:
    answer = client.post("/label-studio/webhook", json=payload)
    assert (answer.status_code, answer.json()["status"]) == (201, "ok"), answer.text
    learned(client)
    assert client.get("/label-studio/health").json() == {
        "status": "UP",
        "model_class": "persam",
        "last_problem": None,
    }


def test_what_is_annotated_in_one_task_is_proposed_in_the_others(client: TestClient) -> None:
    before = version(client)
    nothing = client.post("/label-studio/predict", json=asked(task(2))).json()
    assert nothing == {"results": [{"model_version": before, "score": 0.0, "result": []}]}

    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    after = version(client)
    assert after.startswith("label-studio-2-Disc@")
    assert [each["name"] for each in client.get("/v1/concepts").json()] == ["label-studio-2-Disc"]

    answer = client.post("/label-studio/predict", json=asked(task(2), task(3)))
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert len(results) == 2
    for number, prediction in zip((2, 3), results, strict=True):
        assert prediction["model_version"] == after
        assert 0.5 <= prediction["score"] <= 1
        (found,) = prediction["result"]
        assert (found["from_name"], found["to_name"], found["type"]) == ("tag", "image", "brushlabels")
        assert (found["original_width"], found["original_height"], found["image_rotation"]) == (160, 120, 0)
        assert (found["value"]["format"], found["value"]["brushlabels"]) == ("rle", ["Disc"])
        mask = drawn_by_label([found], SIZE)["Disc"].mask
        assert mask is not None
        assert iou(mask, SCENES[number][1]) > 0.85


def test_an_annotation_that_is_changed_or_deleted_is_unlearned(client: TestClient) -> None:
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    first = version(client)
    annotate(client, event("ANNOTATION_CREATED", task=task(2), annotation=annotation(18, 2)))
    assert len(client.get("/v1/concepts/label-studio-2-Disc").json()["references"]) == 2
    annotate(client, event("ANNOTATION_UPDATED", task=task(2), annotation=annotation(18, 2)))
    assert sources(client) == ["task-1-annotation-17", "task-2-annotation-18"]
    annotate(client, event("ANNOTATIONS_DELETED", annotations=[{"id": 18}]))
    assert version(client) == first
    empty = annotation(17, 1) | {"result": []}
    annotate(client, event("ANNOTATION_UPDATED", task=task(1), annotation=empty))
    assert client.get("/v1/concepts").json() == []
    assert version(client) == "persam: nothing learned yet"


def test_a_task_that_is_skipped_after_all_is_unlearned(client: TestClient) -> None:
    for number in (1, 2):
        annotate(client, event("ANNOTATION_CREATED", task=task(number), annotation=annotation(16 + number, number)))
    skipped = annotation(18, 2) | {"was_cancelled": True}
    annotate(client, event("ANNOTATION_UPDATED", task=task(2), annotation=skipped))
    assert sources(client) == ["task-1-annotation-17"]


class Hanging(httpx.BaseTransport):
    """A Label Studio whose photos do not come before they may."""

    def __init__(self) -> None:
        self.may, self.asked = threading.Event(), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/data/"):
            self.asked += 1
            assert self.may.wait(30)
        return studio(request)


@pytest.fixture
def hanging(client: TestClient) -> Iterator[Hanging]:
    hanging = Hanging()
    bridge_of(client).fetcher = PhotoFetcher(HOME, "key", transport=hanging)
    yield hanging
    hanging.may.set()


def test_events_are_learned_in_the_order_in_which_they_came(client: TestClient, hanging: Hanging) -> None:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    small = (x - PLACES[1][0]) ** 2 + (y - PLACES[1][1]) ** 2 < 15**2
    redrawn = annotation(17, 1, region("brushlabels", {"format": "rle", "rle": encode_brush(small)}))
    for payload in (
        event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)),
        event("ANNOTATION_UPDATED", task=task(1), annotation=redrawn),
        event("ANNOTATION_CREATED", task=task(2), annotation=annotation(18, 2)),
        event("ANNOTATIONS_DELETED", annotations=[{"id": 18}]),
    ):
        assert client.post("/label-studio/webhook", json=payload).status_code == 201  # before the first is learned
    hanging.may.set()
    learned(client)
    (reference,) = client.get("/v1/concepts/label-studio-2-Disc").json()["references"]
    assert reference["source"] == "task-1-annotation-17"
    assert reference["coverage"] == pytest.approx(small.mean(), rel=0.1)


def test_a_host_that_hangs_stalls_nobody_else(client: TestClient, hanging: Hanging) -> None:
    hanging.may.set()
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    hanging.may.clear()
    hanging.asked = 0
    with ThreadPoolExecutor(9) as pool:
        ask = lambda: client.post("/label-studio/predict", json=asked(task(2)))  # noqa: E731
        waiting = [pool.submit(ask) for _ in range(8)]
        while hanging.asked < 4:  # as many as are fetched at the same time
            time.sleep(0.01)
        assert pool.submit(version, client).result(10).startswith("label-studio-2-Disc@")
        assert not any(each.done() for each in waiting)
        hanging.may.set()
        assert {each.result(30).status_code for each in waiting} == {200}


def test_others_who_change_a_concept_are_waited_for_and_it_stays_tuned(client: TestClient) -> None:
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    assert client.post("/v1/concepts/label-studio-2-Disc/tune").json()["tuned"]
    lock = client.app.state.service.changing("label-studio-2-Disc")  # type: ignore[attr-defined]
    assert client.portal is not None
    client.portal.call(lock.acquire)
    client.post("/label-studio/webhook", json=event("ANNOTATION_CREATED", task=task(2), annotation=annotation(18, 2)))
    assert not bridge_of(client).learning.wait(0.3)
    assert sources(client) == ["task-1-annotation-17"]
    client.portal.call(lock.release)
    learned(client)
    assert sources(client) == ["task-1-annotation-17", "task-2-annotation-18"]
    assert client.get("/v1/concepts/label-studio-2-Disc").json()["tuned"]


def test_a_busy_service_says_so_and_proposes_not_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))

    def busy(*_: Any, **__: Any) -> Any:
        raise BusyError(7, 64)

    monkeypatch.setattr(bridge_of(client).engine, "segment", busy)
    answer = client.post("/label-studio/predict", json=asked(task(2), task(3)))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_training_learns_the_last_of_every_label_and_nothing_else(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_file, "MOST_SHOTS", 1)
    labels = "".join(f'<Label value="{each}"/>' for each in ("Disc", "Rare", "Gone", "Lost"))
    config = CONFIG.replace('<Label value="Disc"/>', labels)

    def called(label: str, number: int, of: int) -> dict[str, Any]:
        one = brush(of)
        return annotation(number, of, one | {"value": one["value"] | {"brushlabels": [label]}})

    for label in ("Disc", "Gone", "Lost"):
        old = event("ANNOTATION_CREATED", task=task(3), annotation=called(label, 9, 3))
        annotate(client, old | {"project": {"id": 2, "label_config": config}})
    never = {"id": 6, "data": {"image": "/data/lost.png"}}
    annotated = [
        *[(task(3) | never, [called("Lost", 21, 3)])] * 4,
        (task(1), [called("Rare", 17, 1)]),
        (task(2), [called("Disc", 18, 2)]),
        (task(3), [called("Gone", 9, 3), called("Disc", 19, 3), called("Gone", 9, 3) | {"was_cancelled": True}]),
        (task(3) | {"id": 4, "data": {"image": "/data/lost.png"}}, [called("Disc", 20, 3)]),
        (task(3) | {"id": 5, "data": {"image": "/data/lost.png"}}, [called("Lost", 21, 3)]),
    ]
    tasks = [one | {"annotations": those} for one, those in annotated]
    shots, asked_for = bridge_of(client)._shots, []
    monkeypatch.setattr(
        bridge_of(client), "_shots", lambda *of, only: asked_for.append((of[1]["id"], only)) or shots(*of, only=only)
    )
    client.post("/label-studio/train", json={"annotations": tasks, "project": UID, "label_config": config})
    learned(client)
    assert asked_for == [(4, "Disc"), (3, "Disc"), (1, "Rare"), (5, "Lost"), (6, "Lost")]  # no more of what is lost
    assert sources(client, "Rare") == ["task-1-annotation-17"]
    assert sources(client) == ["task-3-annotation-19"]  # the one after it has no photo
    assert client.get("/v1/concepts/label-studio-2-Gone").status_code == 404  # nothing is called so any more
    assert sources(client, "Lost") == ["task-3-annotation-9"]  # what cannot be had is no reason to forget
    assert "answers 404" in client.get("/label-studio/health").json()["last_problem"]


def test_what_goes_wrong_inside_is_told_without_what_it_was(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_of(client), "learn", lambda *_: 1 / 0)
    client.post("/label-studio/webhook", json=event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    learned(client)
    problem = client.get("/label-studio/health").json()["last_problem"]
    assert problem == "Something went wrong in the service while it learned; its log says what."


def test_a_box_teaches_what_is_in_it(client: TestClient) -> None:
    x, y = PLACES[1]
    value = {"x": (x - 28) / 1.6, "y": (y - 28) / 1.2, "width": 57 / 1.6, "height": 57 / 1.2, "rotation": 0}
    drawn = annotation(17, 1, region("rectanglelabels", value))
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=drawn))
    (found,) = client.post("/label-studio/predict", json=asked(task(2))).json()["results"][0]["result"]
    mask = drawn_by_label([found], SIZE)["Disc"].mask
    assert mask is not None
    assert iou(mask, SCENES[2][1]) > 0.8


@pytest.mark.parametrize("tag", ["BitmaskLabels", "EllipseLabels", "PolygonLabels"])
def test_what_is_drawn_with_a_tag_is_proposed_with_it(client: TestClient, tag: str) -> None:
    config = CONFIG.replace("BrushLabels", tag)
    about = {"project": {"id": 2, "label_config": config}}
    shown = regions_of(SCENES[1][1], Control(tag.lower(), "tag", "image", "image", ("Disc",)), "Disc", 1.0)
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1, *shown)) | about)
    answer = client.post("/label-studio/predict", json=asked(task(2)) | {"label_config": config})
    (found,) = answer.json()["results"][0]["result"]
    assert (found["type"], found["from_name"], found["value"][tag.lower()]) == (tag.lower(), "tag", ["Disc"])
    mask = drawn_by_label([found], SIZE)["Disc"].mask
    assert mask is not None
    assert iou(mask, SCENES[2][1]) > 0.8


def test_masks_of_all_labels_together_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persam.server.label_studio.labelling._MOST_DRAWN", 3 * SIZE[0] * SIZE[1])
    config = CONFIG.replace('<Label value="Disc"/>', '<Label value="Disc"/><Label value="Spot"/>')
    assert config != CONFIG
    spot = brush(1)
    spot["value"] = spot["value"] | {"brushlabels": ["Spot"]}
    about = {"project": {"id": 2, "label_config": config}}
    payload = event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1, *[brush(1), spot] * 2)) | about
    client.post("/label-studio/webhook", json=payload)
    learned(client)
    assert "more regions than are read" in client.get("/label-studio/health").json()["last_problem"]
    assert client.get("/v1/concepts").json() == []


@pytest.mark.parametrize("data", [bad_files.claims()["PNG"], bad_files.png_bomb(), b"no picture"])
def test_a_bitmask_that_is_none_teaches_nothing_and_is_said_to_be_damaged(client: TestClient, data: bytes) -> None:
    config = CONFIG.replace("BrushLabels", "BitmaskLabels")
    address = "data:image/png;base64," + base64.b64encode(data).decode()
    bad = region("brushlabels", {}) | {"type": "bitmasklabels"}
    bad["value"] = {"imageDataURL": address, "bitmasklabels": ["Disc"]}
    answer = client.post("/label-studio/predict", json=asked(task(1), context=[bad]) | {"label_config": config})
    assert answer.status_code == 400
    assert "draw the region again." in answer.json()["detail"]
    about = {"project": {"id": 2, "label_config": config}}
    payload = event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1, bad)) | about
    client.post("/label-studio/webhook", json=payload)
    learned(client)
    assert "draw the region again." in client.get("/label-studio/health").json()["last_problem"]
    assert client.get("/v1/concepts").json() == []


def test_strokes_teach_what_they_are_drawn_on(client: TestClient) -> None:
    x, y = PLACES[1]
    stroke = np.zeros(SIZE, bool)
    stroke[y - 2 : y + 3, x - 15 : x + 15] = stroke[y - 20 : y + 20, x - 2 : x + 3] = True
    drawn = annotation(17, 1, region("brushlabels", {"format": "rle", "rle": encode_brush(stroke)}))
    with_strokes = CONFIG.replace('<BrushLabels name="tag"', '<BrushLabels name="tag" model_strokes="true"')
    payload = event("ANNOTATION_CREATED", task=task(1), annotation=drawn)
    annotate(client, payload | {"project": {"id": 2, "label_config": with_strokes}})
    (reference,) = client.get("/v1/concepts/label-studio-2-Disc").json()["references"]
    assert reference["coverage"] == pytest.approx(SCENES[1][1].mean(), rel=0.2)


def test_a_click_gets_a_mask_at_once_and_teaches_until_something_is_submitted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = decoding_threads(monkeypatch)
    x, y = PLACES[1]
    click = region("keypointlabels", {"x": x / 1.6, "y": y / 1.2, "width": 0.3}) | {"is_positive": 1}
    answer = client.post("/label-studio/predict", json=asked(task(1), context=[click]))
    (found,) = answer.json()["results"][0]["result"]
    assert [name.startswith("persam-decode") for name in threads] == [True]
    mask = drawn_by_label([found], SIZE)["Disc"].mask
    assert mask is not None
    assert mask[y, x]
    assert mask.mean() < 0.3
    learned(client)

    (proposed,) = client.post("/label-studio/predict", json=asked(task(2))).json()["results"]
    assert proposed["result"]
    annotate(client, event("ANNOTATION_CREATED", task=task(3), annotation=annotation(20, 3)))
    client.post("/label-studio/predict", json=asked(task(1), context=[click]))
    learned(client)
    assert sources(client) == ["task-3-annotation-20"]


def test_events_without_their_task_and_training_ask_label_studio(client: TestClient) -> None:
    annotate(client, event("ANNOTATION_CREATED", annotation=annotation(17, 1)))
    first = version(client)
    annotate(client, event("ANNOTATIONS_DELETED", annotations=[{"id": 17}]))
    annotate(client, event("START_TRAINING"))
    assert version(client) == first
    annotate(client, event("ANNOTATIONS_DELETED", annotations=[{"id": 17}]))
    tasks = [task(1) | {"annotations": [annotation(17, 1)]}, task(2), {"annotations": [3]}, {"annotations": None}]
    answer = client.post("/label-studio/train", json={"annotations": tasks, "project": UID, "label_config": CONFIG})
    assert answer.status_code == 201
    learned(client)
    assert version(client) == first


def test_other_events_are_taken_and_teach_nothing(client: TestClient) -> None:
    for payload in (
        event("TASKS_CREATED", tasks=[task(1)]),
        {"action": "PROJECT_DELETED", "project": {"id": 2}},
        {"action": "ANNOTATION_CREATED"},
        {},
    ):
        answer = client.post("/label-studio/webhook", json=payload)
        assert (answer.status_code, answer.json()) == (201, {"status": "nothing to learn"})
    skipped = annotation(17, 1) | {"was_cancelled": True}
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=skipped))
    assert client.get("/v1/concepts").json() == []


def test_one_bad_photo_of_several_is_an_error_of_its_own(client: TestClient) -> None:
    annotate(client, event("ANNOTATION_CREATED", task=task(1), annotation=annotation(17, 1)))
    bad = task(9) | {"data": {"image": "http://169.254.169.254/latest"}}
    answer = client.post("/label-studio/predict", json=asked(bad, task(2)))
    first, second = answer.json()["results"]
    assert first["result"] == []
    assert "may get nothing" in first["error"]
    assert second["result"]
    alone = client.post("/label-studio/predict", json=asked(bad))
    assert alone.status_code == 400
    assert "may get nothing" in alone.json()["detail"]


def test_a_photo_in_the_task_itself(client: TestClient) -> None:
    held = task(2) | {"data": {"image": "data:image/png;base64," + base64.b64encode(png(2)).decode()}}
    annotate(client, event("ANNOTATION_CREATED", task=held, annotation=annotation(17, 2)))
    no_picture = task(3) | {"data": {"image": "data:image/png;base64,bm8gcGljdHVyZQ=="}}
    answer = client.post("/label-studio/predict", json=asked(no_picture))
    assert answer.status_code == 415
    assert "not a picture" in answer.json()["detail"]


def test_what_could_not_be_learned_is_told_afterwards(client: TestClient) -> None:
    damaged = annotation(17, 1, region("brushlabels", {"format": "rle", "rle": [1, 2, 3]}))
    answer = client.post("/label-studio/webhook", json=event("ANNOTATION_CREATED", task=task(1), annotation=damaged))
    assert answer.status_code == 201
    learned(client)
    assert "draw the region again" in client.get("/label-studio/").json()["last_problem"]
    lost = task(1) | {"data": {"image": "/data/lost.png"}}
    client.post("/label-studio/webhook", json=event("ANNOTATION_CREATED", task=lost, annotation=annotation(17, 1)))
    learned(client)
    assert "answers 404" in client.get("/label-studio/health").json()["last_problem"]


def test_label_studio_sends_the_token_as_a_password(tmp_path: Path, model: PerSAM) -> None:
    token = "0123456789abcdef"
    with TestClient(create_app(ServerSettings(tmp_path, token=token), model), base_url="http://127.0.0.1") as client:
        assert client.get("/label-studio/health").status_code == 401
        assert client.get("/label-studio/health", auth=("anybody", "wrong")).status_code == 401
        assert client.get("/label-studio/health", auth=("anybody", token)).status_code == 200


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({}, 422),
        ({"tasks": "all", "project": UID, "label_config": CONFIG}, 422),
        ({"tasks": [], "project": "../2", "label_config": CONFIG}, 400),
        ({"tasks": [], "project": UID, "label_config": "<View>"}, 400),
        ({"tasks": [{"id": 1}], "project": UID, "label_config": CONFIG, "params": {"context": {"result": 3}}}, 422),
        (asked(task(1) | {"data": None}, context=[{"type": "brushlabels", "value": {"brushlabels": ["Disc"]}}]), 400),
    ],
)
def test_a_malformed_request_is_refused_in_a_sentence(client: TestClient, payload: Any, status: int) -> None:
    answer = client.post("/label-studio/predict", json=payload)
    assert answer.status_code == status
    assert answer.json()["detail"].endswith(".")


def test_labels_that_no_file_can_be_called_after_are_kept_apart() -> None:
    config = CONFIG.replace('value="Disc"', 'value="a/b"')
    project = Project.of(2, config)
    assert project.concept("Disc") == "label-studio-2-Disc"
    assert project.concept("a/b") != project.concept("a:b")
    assert project.concept("a/b").startswith("label-studio-2-a_b-")
    assert project.concept("x" * 300) != project.concept("x" * 301)
