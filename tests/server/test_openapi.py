"""The service keeps what its OpenAPI page promises, whatever is asked: schemathesis asks, with and without sense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
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
HOW = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
QUICK, LONG = settings(HOW, max_examples=4, derandomize=True), settings(HOW, max_examples=200)


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


def operations() -> list[tuple[str, str]]:
    """Paths and verbs of all operations."""
    paths = create_app(ServerSettings(Path("never made"))).openapi()["paths"]
    return [(path, verb) for path, verbs in paths.items() for verb in verbs]


@pytest.mark.parametrize(("path", "verb"), operations())
def test_promises(path: str, verb: str, api: Any, model: PerSAM) -> None:
    keeps_promises(api[path][verb.upper()], model, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("path", "verb"), operations())
def test_promises_at_length(path: str, verb: str, api: Any, model: PerSAM) -> None:
    keeps_promises(api[path][verb.upper()], model, LONG)


def keeps_promises(operation: schemathesis.APIOperation, model: PerSAM, how: settings) -> None:
    """Whatever schemathesis makes of what the page says of an operation, and of what it forbids."""
    cases = st.one_of(operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)

    @how
    @given(cases, st.booleans())
    def keep(case: schemathesis.Case, sensible: bool) -> None:
        if sensible:
            make_sense(case, model)
        ask(case)

    keep()


def ask(case: schemathesis.Case) -> None:
    """Ask, see that the answer is one that was promised, and that a refusal is one sentence that tells nothing."""
    answer = case.call(headers=HOST, timeout=20)
    case.validate_response(answer, checks=CHECKS)
    if 400 <= answer.status_code < 500 and case.method != "HEAD" and not case.path.startswith("/label-studio"):
        sentence_of(answer.content)


def make_sense(case: schemathesis.Case, model: PerSAM) -> None:
    """Ask for a concept that is there, and send photos that are some."""
    service = case.operation.app.state.service
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
