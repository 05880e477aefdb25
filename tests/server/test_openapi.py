"""The service keeps what its OpenAPI page promises, whatever is asked: schemathesis asks, with and without sense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.fakes import ColourModel
from tests.server import bad_files
from tests.server.real_service import sentence_of

from persam.persam import PerSAM
from persam.reference import Reference
from persam.server.app import create_app
from persam.server.settings import Limits, ServerSettings

HOST = {"Host": "127.0.0.1"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUICK = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
LONG = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, model: PerSAM) -> Iterator[Any]:
    """The page of a service with a model that finds by colour, in this process."""
    limits = Limits(upload_bytes=2_000_000, job_upload_bytes=2_000_000, jobs_waiting=10_000)
    app = create_app(ServerSettings(tmp_path_factory.mktemp("service"), limits=limits), model)
    page = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)
    page.config.update(base_url="http://127.0.0.1")
    yield page
    asgi.shutdown_lifespans()


page = schemathesis.pytest.from_fixture("api")


@page.parametrize()
@QUICK
def test_promises(case: schemathesis.Case, model: PerSAM) -> None:
    ask(case, model)


@page.parametrize()
@LONG
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_promises_at_length(case: schemathesis.Case, model: PerSAM) -> None:
    ask(case, model)


def ask(case: schemathesis.Case, model: PerSAM) -> None:
    """Ask, see that the answer is one that was promised, and that a refusal is one sentence that tells nothing."""
    make_sense(case, model)
    answer = case.call(headers=HOST, timeout=20)
    case.validate_response(answer, checks=CHECKS)
    if 400 <= answer.status_code < 500 and case.method != "HEAD" and not case.path.startswith("/label-studio"):
        sentence_of(answer.content)


def make_sense(case: schemathesis.Case, model: PerSAM) -> None:
    """Every other time: ask for a concept that is there, and send photos that are some."""
    service = case.operation.app.state.service
    if len(repr(case.path_parameters) + repr(case.query) + str(case.meta and case.meta.generation)) % 2:
        return
    if "name" in (case.path_parameters or {}):
        photo, mask = (pixels_of(each) for each in (bad_files.photo(), bad_files.mask()))
        service.concepts.save(model.learn(Reference.read(photo, mask), name="disc"), overwrite=True)
        case.path_parameters["name"] = "disc"
    if isinstance(case.body, dict):
        for field, data in (("photo", bad_files.photo()), ("mask", bad_files.mask()), ("file", bad_files.photo())):
            if field in case.body:
                case.body[field] = [data] if isinstance(case.body[field], list) else data
        if "concept" in case.body:
            case.body["concept"] = ["disc"]


def pixels_of(data: bytes) -> Any:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(data))


def test_the_page_is_whole(api: Any) -> None:
    """Every operation has words, an answer that is described, and no name that stands for two things."""
    names = []
    for path, verbs in api.raw_schema["paths"].items():
        for verb, operation in verbs.items():
            names.append(operation["operationId"])
            assert operation.get("summary"), (verb, path)
            assert any(status.startswith("2") for status in operation["responses"]), (verb, path)
    assert len(set(names)) == len(names)
    json.dumps(api.raw_schema)
