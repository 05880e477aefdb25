"""CVAT's functions: asked as its lambda manager asks, and read as it reads, with the bundled model."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.server.serving import decoding_threads
from tests.server.threaded import served

from persam.client import Client
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.settings import ServerSettings

FOLDER = Path(__file__).parents[2] / "integrations" / "cvat"
TOKEN = "0123456789abcdef"
PHOTO, MASK = draw_scene()
OTHER, TRUTH = draw_scene(center=(95, 50), seed=1)
NOTHING = np.full((120, 160, 3), (90, 110, 140), np.uint8)


def encoded(photo: np.ndarray) -> str:
    """A frame as the lambda manager sends it."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def read_shape(shape: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """A detector's mask, taken apart as CVAT does it: the box stands in the last four numbers, its end included."""
    *pixels, left, top, right, bottom = shape["mask"]
    mask = np.zeros(size, bool)
    mask[top : bottom + 1, left : right + 1] = np.array(pixels).reshape(bottom - top + 1, right - left + 1)
    return mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = PerSAM.from_pretrained()
    app = create_app(ServerSettings(tmp_path_factory.mktemp("service"), token=TOKEN), model)
    with served(app) as url:
        concepts = app.state.service.concepts
        concepts.save(model.learn(PHOTO, MASK, name="my disc"))
        concepts.save(model.learn(PHOTO, MASK, name="spot"))
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN) as client:
        yield client


def test_a_detector_answers_with_masks_as_cvat_reads_them(client: Client) -> None:
    shapes = client.call("POST", "/cvat", json={"image": encoded(OTHER), "threshold": 0.4, "concepts": ["my disc"]})
    (shape,) = shapes
    assert (shape["label"], shape["type"]) == ("my disc", "mask")
    assert 0.4 <= float(shape["confidence"]) <= 1
    assert set(shape["mask"][:-4]) == {0, 1}
    mask = read_shape(shape, TRUTH.shape)
    assert iou(mask, TRUTH) > 0.85
    outline = np.array(shape["points"]).reshape(-1, 2)
    again = cv2.fillPoly(np.zeros(TRUTH.shape, np.uint8), [np.round(outline - 0.5).astype(np.int32)], 1)
    assert iou(again.astype(bool), mask) > 0.97


def test_without_names_all_concepts_are_looked_for_and_an_absent_one_has_no_shape(client: Client) -> None:
    shapes = client.call("POST", "/cvat", json={"image": encoded(OTHER)})
    assert sorted(each["label"] for each in shapes) == ["my disc", "spot"]
    assert client.call("POST", "/cvat", json={"image": encoded(NOTHING), "concepts": ["spot"]}) == []


@pytest.mark.parametrize(
    "shown",
    [
        {"pos_points": [[95, 50], [80, 60]], "neg_points": [[5, 5]], "obj_bbox": None},
        {"pos_points": [], "neg_points": [], "obj_bbox": [[66, 21], [124, 79]]},
        {"pos_points": [[95.4, 50.2]], "neg_points": [], "obj_bbox": [[124, 79], [66, 21]]},
    ],
)
def test_an_interactor_answers_with_a_mask_of_the_frame(
    client: Client, shown: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = decoding_threads(monkeypatch)
    found = client.call("POST", "/cvat", json={"image": encoded(OTHER), **shown})
    mask = np.array(found["mask"], bool)
    assert mask.shape == TRUTH.shape
    assert iou(mask, TRUTH) > 0.8
    assert all(len(each) == 2 for each in found["points"])
    assert [name.startswith("persam-decode") for name in threads] == [True]


@pytest.mark.parametrize(
    ("payload", "status", "says"),
    [
        ({}, 422, "image is missing"),
        ({"image": 3}, 422, "image"),
        ({"image": "no base64!"}, 422, "no base64"),
        ({"image": ""}, 415, "empty"),
        ({"image": "bm8gcGljdHVyZQ=="}, 415, "not a picture"),
        ({"image": encoded(OTHER), "concepts": ["cat"]}, 404, "no concept"),
        ({"image": encoded(OTHER), "threshold": 2}, 422, "threshold"),
        ({"image": encoded(OTHER), "pos_points": [], "neg_points": []}, 422, "click on it"),
        ({"image": encoded(OTHER), "pos_points": [[1]]}, 422, "pos_points"),
        ({"image": encoded(OTHER), "pos_points": [[1, "NaN"]]}, 422, "pos_points"),
        ({"image": encoded(OTHER), "pos_points": [], "obj_bbox": [[1, 2]]}, 422, "two corners"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(client: Client, payload: Any, status: int, says: str) -> None:
    with pytest.raises(Exception, match=says) as caught:
        client.call("POST", "/cvat", json=payload)
    assert getattr(caught.value, "status", None) == status
    assert str(caught.value).endswith(".")


# ------------------------------------------------------------------------------------------------ the function


class Nuclio:
    """What nuclio gives a Python handler: a context with a logger, user data and a class for answers."""

    def __init__(self) -> None:
        self.user_data = SimpleNamespace()
        self.logger = logging.getLogger("nuclio")

    class Response:
        def __init__(self, body: str, headers: dict[str, str], content_type: str, status_code: int) -> None:
            self.body, self.headers, self.content_type, self.status_code = body, headers, content_type, status_code


@pytest.fixture
def function(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Nuclio]]:
    spec = importlib.util.spec_from_file_location("cvat_function", FOLDER / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, value in (("URL", url), ("TOKEN", TOKEN), ("CONCEPTS", "my disc, spot"), ("MAX_INSTANCES", "2")):
        monkeypatch.setenv(f"PERSAM_{name}", value)
    context = Nuclio()
    module.init_context(context)
    yield module, context
    context.user_data.client.close()


def test_the_function_hands_frames_to_the_service(function: tuple[Any, Nuclio]) -> None:
    module, context = function
    for body in ({"image": encoded(OTHER), "threshold": 0.5}, json.dumps({"image": encoded(OTHER)}).encode()):
        answer = module.handler(context, SimpleNamespace(body=body))
        assert (answer.status_code, answer.content_type, answer.headers) == (200, "application/json", {})
        shapes = json.loads(answer.body)
        assert [each["label"] for each in shapes] == ["my disc", "spot"]
        assert iou(read_shape(shapes[0], TRUTH.shape), TRUTH) > 0.85


def test_the_function_says_why_not(function: tuple[Any, Nuclio]) -> None:
    module, context = function
    answer = module.handler(context, SimpleNamespace(body={"image": "bm8gcGljdHVyZQ=="}))
    assert answer.status_code == 415
    assert "not a picture" in json.loads(answer.body)["detail"]
    context.user_data.client = Client("http://127.0.0.1:9", patience=0)
    answer = module.handler(context, SimpleNamespace(body={"image": encoded(OTHER)}))
    assert answer.status_code == 503
    assert "No service answers" in json.loads(answer.body)["detail"]


def test_the_function_is_described_as_cvat_reads_it() -> None:
    """Type, labels and environment, with the reader of YAML that MkDocs brings."""
    yaml = pytest.importorskip("yaml")
    described = yaml.safe_load((FOLDER / "function.yaml").read_text(encoding="utf-8"))
    annotations = described["metadata"]["annotations"]
    assert (described["metadata"]["namespace"], annotations["type"]) == ("cvat", "detector")
    labels = json.loads(annotations["spec"])
    assert all(each["type"] == "mask" for each in labels)
    variables = {each["name"]: each["value"] for each in described["spec"]["env"]}
    assert variables["PERSAM_CONCEPTS"].split(",") == [each["name"] for each in labels]
    assert described["spec"]["handler"] == "main:handler"
    assert {f"PERSAM_{name}" for name in ("URL", "TOKEN", "CONCEPTS", "MAX_INSTANCES")} == set(variables)


@pytest.mark.parametrize("wheel", ["persam-0.1.0-py3-none-any.whl", None])
def test_a_wheel_beside_the_function_is_installed_where_nuclio_has_copied_it(tmp_path: Path, wheel: str | None) -> None:
    yaml = pytest.importorskip("yaml")
    described = yaml.safe_load((FOLDER / "function.yaml").read_text(encoding="utf-8"))
    (directive,) = described["spec"]["build"]["directives"]["postCopy"]  # the folder is in the image from then on
    if wheel is not None:
        (tmp_path / wheel).touch()
    command = directive["value"].replace("/opt/nuclio", str(tmp_path)).replace("pip", "echo pip", 1)
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    wanted = "persam" if wheel is None else str(tmp_path / wheel)
    assert said.split() == ["pip", "install", "--no-cache-dir", "--no-deps", wanted]
