"""The gate: who may ask, how large and how slow a body may be, and what is said where something goes wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import HERE, client_of, png, shot

from persam.persam import PerSAM
from persam.server import gate
from persam.server.app import create_app
from persam.server.settings import Limits, ServerSettings
from persam.server.telemetry import LogLines

TOKEN = "a-token-that-nobody-guesses"
PHOTO, MASK = draw_scene(48, 64, center=(24, 30), radius=12)


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture
def client(model: PerSAM, tmp_path: Path) -> Iterator[TestClient]:
    with client_of(tmp_path, model, limits=Limits(waiting=2, request_seconds=20)) as client:
        yield client


def detail(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    sentence: str = answer.json()["detail"]
    assert sentence.endswith(".")
    return sentence


# ---------------------------------------------------------------------------------------------------- who asks


@pytest.mark.parametrize(
    "host", ["evil.example.org", "127.0.0.1.evil.org", "169.254.1.1", "", "localhost.evil.org:80", "["]
)
def test_a_name_that_was_made_to_mean_this_machine_gets_nothing(client: TestClient, host: str) -> None:
    for path in ("/v1/concepts", "/docs", "/ready", "/metrics"):
        assert "127.0.0.1" in detail(client.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize("host", ["127.0.0.1:9", "localhost", "LOCALHOST:80", "[::1]:8000"])
def test_this_machine_by_any_of_its_names_is_served(client: TestClient, host: str) -> None:
    assert client.get("/v1/concepts", headers={"Host": host}).status_code == 200


def test_who_knows_the_token_may_call_this_machine_by_any_name(model: PerSAM, tmp_path: Path) -> None:
    """A proxy on the same machine, which brings TLS, asks by the name that it has itself."""
    with client_of(tmp_path, model, token=TOKEN) as client:
        headers = {"Host": "persam.example.org", "Authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/concepts", headers=headers).status_code == 200
        page = headers | {"Origin": "https://persam.example.org"}
        detail(client.delete("/v1/concepts/x", headers=page), 404)
        detail(client.get("/v1/concepts", headers={"Host": "persam.example.org"}), 401)


def test_pages_of_others_change_nothing(client: TestClient) -> None:
    others = ("http://evil.example.org", "null", "https://127.0.0.1.evil.org", "http://127.0.0.1:81", "http://[", "")
    for origin in others:
        assert "page" in detail(client.delete("/v1/concepts/x", headers={"Origin": origin}), 403)
        assert "access-control-allow-origin" not in client.get("/v1/concepts", headers={"Origin": origin}).headers
    detail(client.delete("/v1/concepts/x", headers={"Origin": HERE}), 404)  # a page of its own


def test_a_page_that_was_allowed_may(model: PerSAM, tmp_path: Path) -> None:
    page = "https://app.example.org"
    with client_of(tmp_path, model, origins=(f"{page}:443/",), token=TOKEN) as client:
        asks = {"Origin": page, "Access-Control-Request-Method": "DELETE"}
        assert client.options("/v1/concepts/x", headers=asks).headers["access-control-allow-origin"] == page
        answer = client.delete("/v1/concepts/x", headers={"Origin": page})
        detail(answer, 401)  # and it can read why
        assert answer.headers["access-control-allow-origin"] == page
        readable = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"retry-after", "location", "x-request-id", "x-persam-score", "x-persam-present"} == set(readable)
        detail(client.delete("/v1/concepts/x", headers={"Origin": "https://other.example.org"}), 403)


def test_without_the_token_nothing_is_told(model: PerSAM, tmp_path: Path) -> None:
    basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    wrong = base64.b64encode(f"{TOKEN}:wrong".encode()).decode()
    with client_of(tmp_path, model, token=TOKEN, host="0.0.0.0") as client:
        assert client.get("/health").status_code == client.get("/ready").status_code == 200
        paths = ("/v1/concepts", "/docs", "/openapi.json", "/metrics", "/nothing", f"/v1/model?token={TOKEN}")
        for path in paths:
            answer = client.get(path)
            assert "token" in detail(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Basic")
        assert "sent" not in detail(client.get("/v1/concepts"), 401).partition(":")[0]
        wrong_one = detail(client.get("/v1/concepts", headers={"Authorization": "Bearer wrong"}), 401)
        assert wrong_one.startswith("What was sent is not this service's token")
        for bad in ("", "Bearer", "Bearer wrong", f"bearer {TOKEN}x", f"Token {TOKEN}", f"Basic {wrong}", "Basic ??"):
            detail(client.get("/v1/concepts", headers={"Authorization": bad}), 401)
        for good in (f"Bearer {TOKEN}", f"bearer  {TOKEN} ", f"Basic {basic}"):
            assert client.get("/v1/concepts", headers={"Authorization": good}).status_code == 200
            assert client.get("/v1/concepts", headers={"Authorization": good, "Host": "any"}).status_code == 200


# ---------------------------------------------------------------------------------------------------- the queue


def hold(client: TestClient) -> tuple[threading.Event, Future[Any]]:
    """Keep the model busy."""
    event, started = threading.Event(), threading.Event()
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    held = engine.call(lambda _: (started.set(), event.wait(20))[1])
    assert started.wait(20)
    return event, held


def test_more_than_may_wait_are_told_when_to_come_again(client: TestClient) -> None:
    client.post("/v1/concepts", data={"name": "disc"}, files=shot(PHOTO, MASK))
    event, held = hold(client)
    service = client.app.state.service  # type: ignore[attr-defined]
    waiting = [service.engine.call(lambda _: 1) for _ in range(2)]
    answer = client.post("/v1/segment", data={"concept": "disc"}, files=[("photo", ("k.png", png(PHOTO)))])
    assert "busy" in detail(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    event.set()
    assert held.result(20)
    assert [future.result(20) for future in waiting] == [1, 1]
    answer = client.post("/v1/segment", data={"concept": "disc"}, files=[("photo", ("k.png", png(PHOTO)))])
    assert answer.status_code == 200


def test_a_request_asks_for_no_more_photos_than_may_wait(client: TestClient) -> None:
    files = [("photo", (f"{n}.png", png(PHOTO))) for n in range(3)]
    assert "2 files" in detail(client.post("/v1/segment", data={"concept": "disc"}, files=files), 413)


def test_when_it_stops_it_says_so_and_finishes(client: TestClient) -> None:
    client.app.state.service.stopping = True  # type: ignore[attr-defined]
    for answer in (client.get("/v1/concepts"), client.post("/v1/segment", files={"photo": b"x"})):
        assert "stopping" in detail(answer, 503)
        assert answer.headers["retry-after"]
    assert client.get("/health").status_code == 200
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "stopping"})
    assert client.get("/metrics").status_code == 200


# ---------------------------------------------------------------------------------------------------- bodies


class Line:
    """A connection to the application, of which a test decides what comes and when."""

    def __init__(self, app: Any, method: str, path: str, headers: dict[str, str]) -> None:
        raw = {"host": "127.0.0.1", **headers}
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "http_version": "1.1",
            "state": {},
        }
        self.app, self.sent = app, []  # type: ignore[var-annotated]
        self.taken = 0

    async def ask(self, pieces: AsyncIterator[dict[str, Any]]) -> None:
        async def receive() -> dict[str, Any]:
            message = await anext(pieces)
            self.taken += len(message.get("body", b""))
            return message

        async def send(message: dict[str, Any]) -> None:
            self.sent.append(message)

        await self.app(self.scope, receive, send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def detail(self) -> str:
        return str(json.loads(b"".join(message.get("body", b"") for message in self.sent[1:]))["detail"])


async def piece(data: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def said(app: Any, line: Line, pieces: AsyncIterator[dict[str, Any]]) -> None:
    async def run() -> None:
        async with app.router.lifespan_context(app):
            await line.ask(pieces)

    asyncio.run(asyncio.wait_for(run(), 30))


HEAD = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="big.png"\r\n\r\n'
FORM = {"content-type": "multipart/form-data; boundary=x"}


async def endless(chunk: bytes, wait: float = 0.0) -> AsyncIterator[dict[str, Any]]:
    yield await piece(HEAD)
    while True:
        await asyncio.sleep(wait)
        yield await piece(chunk)


@pytest.mark.parametrize(
    ("limits", "headers", "words"),
    [
        ({"upload_bytes": 200_000}, {}, "0.2 MB"),
        ({"upload_bytes": 200_000}, {"content-length": "1000"}, "0.2 MB"),  # which is a lie
        ({"photo_bytes": 200_000}, {}, "big.png has more than 0.2 MB"),
        ({"folder_bytes": 200_000}, {}, "no room"),
    ],
)
def test_a_body_without_end_ends(
    model: PerSAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Any, headers: Any, words: str
) -> None:
    monkeypatch.setattr(gate, "_DRAINED_BYTES", 1_000_000)
    app = create_app(ServerSettings(tmp_path, limits=Limits(**limits)), model)
    line = Line(app, "POST", "/v1/segment", FORM | {"transfer-encoding": "chunked"} | headers)
    said(app, line, endless(b"\0" * 50_000))
    assert line.status == (507 if "folder_bytes" in limits else 413)
    assert words in line.detail
    assert (b"connection", b"close") in line.sent[0]["headers"]
    assert line.taken < 1_500_000
    assert not list((tmp_path / "uploads").iterdir())


def test_a_body_that_is_too_large_by_its_own_word_is_not_read(client: TestClient) -> None:
    line = Line(client.app, "POST", "/v1/segment", FORM | {"content-length": "9" * 30})

    async def pieces() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.disconnect"}

    asyncio.run(line.ask(pieces()))
    assert line.status == 413
    assert "256.0 MB" in line.detail


def test_a_body_for_memory_may_be_less_large(model: PerSAM, tmp_path: Path) -> None:
    with client_of(tmp_path, model, limits=Limits(json_bytes=1000)) as client:
        assert "0.0 MB" in detail(client.post("/v1/concepts/x/tune", content=b" " * 2000), 413)
        for kind in ("application/json", "multipart/form-data; boundary=x", "Multipart/Mixed"):
            answer = client.post("/cvat", content=b" " * 2000, headers={"Content-Type": kind})
            assert "0.0 MB" in detail(answer, 413)


def test_bodies_go_to_the_disk_where_files_are_taken_and_nowhere_else(client: TestClient) -> None:
    bodies = {
        path: set(about["requestBody"]["content"])
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for about in operations.values()
        if "requestBody" in about and path != "/v1/jobs"
    }
    files = {path for path, kinds in bodies.items() if kinds <= {"multipart/form-data", "application/octet-stream"}}
    assert len(files) == 4
    assert files == {path for path in bodies if gate._TO_THE_DISK.fullmatch(path)}


@pytest.mark.timeout(50)  # less than the longer wait
@pytest.mark.parametrize("wait", [0.02, 60.0])
def test_a_body_that_dribbles_ends(model: PerSAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: float) -> None:
    monkeypatch.setattr(gate, "_GRACE", 0.2)
    monkeypatch.setattr(gate, "_DRAINED_SECONDS", 0.05)
    app = create_app(ServerSettings(tmp_path, limits=Limits(upload_rate=10_000)), model)
    line = Line(app, "POST", "/v1/segment", FORM | {"content-length": "100000"})
    said(app, line, endless(b"\0" * 20, wait))
    assert (line.status, "too slowly" in line.detail) == (408, True)
    assert not list((tmp_path / "uploads").iterdir())


def test_a_body_has_to_be_there_in_time(model: PerSAM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_DRAINED_SECONDS", 0.05)
    app = create_app(ServerSettings(tmp_path, limits=Limits(request_seconds=0.3, upload_rate=1)), model)
    line = Line(app, "POST", "/v1/segment", FORM | {"transfer-encoding": "chunked"})
    said(app, line, endless(b"\0" * 20_000, 0.01))
    assert line.status == 408
    assert "0.3 s (request_seconds)" in line.detail  # not that it is to come quicker than it did


def test_who_hangs_up_is_not_waited_for(model: PerSAM, tmp_path: Path) -> None:
    """Neither in the middle of a body, nor while the model works: what was asked of it is taken back."""
    app = create_app(ServerSettings(tmp_path), model)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            service = app.state.service
            service.concepts.save(model.learn(PHOTO, MASK, name="disc"))

            async def half() -> AsyncIterator[dict[str, Any]]:
                yield await piece(HEAD)
                yield {"type": "http.disconnect"}

            line = Line(app, "POST", "/v1/segment", FORM | {"content-length": "1000"})
            await line.ask(half())
            assert not line.sent
            event, asked_again = threading.Event(), []
            held = service.engine.call(lambda _: event.wait(20))
            body = (
                HEAD
                + png(PHOTO)
                + b'\r\n--x\r\nContent-Disposition: form-data; name="concept"\r\n\r\ndisc\r\n--x--\r\n'
            )

            async def whole() -> AsyncIterator[dict[str, Any]]:
                yield await piece(body, more=False)
                while not service.engine.depth:
                    await asyncio.sleep(0.01)
                yield {"type": "http.disconnect"}
                asked_again.append(True)

            await Line(app, "POST", "/v1/segment", FORM | {"content-length": str(len(body))}).ask(whole())
            before = model.model.encoded  # type: ignore[attr-defined]
            event.set()
            await asyncio.wrap_future(held)
            await asyncio.to_thread(service.engine.close)
            assert model.model.encoded == before  # type: ignore[attr-defined]
            assert not list(service.uploads.folder.iterdir())
            assert not asked_again

    asyncio.run(asyncio.wait_for(run(), 30))


def test_what_takes_longer_than_a_request_may_is_given_up(model: PerSAM, tmp_path: Path) -> None:
    with client_of(tmp_path, model, limits=Limits(request_seconds=0.5)) as client:
        client.post("/v1/concepts", data={"name": "disc"}, files=shot(PHOTO, MASK))
        event, held = hold(client)
        answer = client.post("/v1/segment", data={"concept": "disc"}, files=[("photo", ("k.png", png(PHOTO)))])
        assert "0.5 s" in detail(answer, 503)
        event.set()
        assert held.result(20)


# ---------------------------------------------------------------------------------------------------- what is said


def test_what_breaks_inside_is_told_by_a_number(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("secret of /home/somebody")

    monkeypatch.setattr("persam.server.store.ConceptStore.names", breaks)
    with caplog.at_level(logging.INFO, "persam.server"):
        sentence = detail(client.get("/v1/concepts"), 500)
    number = re.search(r"under ([0-9a-f]{12})\.", sentence)
    assert number is not None
    assert "secret" not in sentence
    (record,) = [record for record in caplog.records if record.message == "error"]
    line = json.loads(LogLines("json").format(record))
    assert line["id"] == number[1]
    assert "RuntimeError: secret" in line["traceback"]


def test_lines_of_log_hold_nothing_that_was_sent(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "persam.server"):
        client.get("/v1/concepts/my%20secret%0Aname", headers={"Authorization": "Bearer secret"})
        client.get("/secret?secret=secret")
        client.post("/v1/concepts", data={"name": "secret"}, files=shot(PHOTO, MASK, "secret.png"))
    lines = [LogLines("json").format(record) for record in caplog.records if record.message == "request"]
    assert not any("secret" in line for line in lines)
    assert [json.loads(line)["path"] for line in lines] == ["/v1/concepts/{name}", "other", "/v1/concepts"]
    assert [json.loads(line)["status"] for line in lines] == [404, 404, 201]
    text = LogLines("text").format(caplog.records[0])
    assert "\n" not in text
    assert "path=/v1/concepts/{name} status=404" in text


def test_every_answer_has_its_number(client: TestClient) -> None:
    numbers = {client.get(path).headers["x-request-id"] for path in ("/health", "/v1/concepts", "/nothing", "/docs")}
    assert len(numbers) == 4
