"""Who may see the page, and what it asks for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes import ColourModel

from persam import PerSAM

pytest.importorskip("gradio")
from fastapi import FastAPI
from starlette.testclient import TestClient

from persam.server.engine import Engine
from persam.server.settings import ServerSettings
from persam.server.store import ConceptStore
from persam.studio.app import create_studio
from persam.studio.serving import Door
from persam.studio.workshop import Workshop

HERE = "http://127.0.0.1:7860"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("studio")
    with Engine(PerSAM(ColourModel())) as engine, Workshop(engine, ConceptStore(folder), folder=folder / "run") as made:
        yield made


@pytest.fixture(scope="module")
def studio(workshop: Workshop) -> FastAPI:
    return create_studio(workshop)


def visitor(studio: FastAPI, url: str = HERE, **settings: str) -> TestClient:
    return TestClient(Door(studio, ServerSettings(Path(), **settings)), base_url=url, follow_redirects=False)  # type: ignore[arg-type]


def test_the_page_names_its_tabs_and_asks_nobody_else(studio: FastAPI) -> None:
    page = visitor(studio).get("/")
    assert page.status_code == 200
    for name in ("Teach", "Find", "Concepts", "Study"):
        assert f'"label":"{name}"' in page.text.replace(" ", "")
    fetched = re.findall(r"""(?:src|href)=["'](https?://[^"']+)""", page.text)
    assert fetched == []
    config = visitor(studio).get("/config").json()
    assert config["stylesheets"] == []
    assert config["analytics_enabled"] is False


def test_pictures_come_by_names_that_nobody_guesses(workshop: Workshop, studio: FastAPI) -> None:
    here = visitor(studio)
    got = here.get(f"/pictures/{workshop.pictures.put(b'pixels', 'jpg')}")
    assert (got.headers["content-type"], got.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert here.get("/pictures/0.jpg").status_code == 404


@pytest.mark.parametrize("kind", ["html", "svg", "xml", "js"])
def test_what_could_run_is_no_picture(workshop: Workshop, studio: FastAPI, kind: str) -> None:
    for shelf in (workshop.pictures, workshop.reports):
        assert visitor(studio).get(f"/pictures/{shelf.put(b'<script>', kind)}").status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860"])
def test_names_of_this_machine_are_answered(studio: FastAPI, host: str) -> None:
    assert visitor(studio, f"http://{host}").get("/config").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.7:7860", "["])
def test_a_name_that_was_made_to_mean_this_machine_is_not(studio: FastAPI, host: str) -> None:
    refused = visitor(studio).get("/config", headers={"host": host})
    assert refused.status_code == 403
    assert "127.0.0.1 and localhost only" in refused.text


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://["])
def test_another_page_may_not_send_anything(studio: FastAPI, origin: str) -> None:
    sent = visitor(studio).post("/gradio_api/queue/join", json={}, headers={"origin": origin})
    assert sent.status_code == 403
    assert visitor(studio).post("/gradio_api/queue/join", json={}, headers={"origin": HERE}).status_code != 403


def test_with_a_token_it_is_asked_for_once(studio: FastAPI) -> None:
    stranger = visitor(studio, "http://0.0.0.0", host="0.0.0.0", token=TOKEN)
    asked = stranger.get("/")
    assert asked.status_code == 401
    assert "<form" in asked.text
    assert stranger.get("/config").status_code == 401
    wrong = stranger.get("/?token=fedcba9876543210")
    assert wrong.status_code == 401
    assert "not the token" in wrong.text
    let_in = stranger.get(f"/?token={TOKEN}")
    assert (let_in.status_code, let_in.headers["location"]) == (303, "/")
    cookie = let_in.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()  # who follows a link to the studio is known
    assert stranger.get("/config").status_code == 200  # the cookie is sent
    assert visitor(studio, "http://0.0.0.0", host="0.0.0.0", token=TOKEN).get("/config").status_code == 401


def test_who_knows_the_token_may_call_it_by_any_name(studio: FastAPI) -> None:
    """A proxy on the same machine, which brings TLS, asks by the name that it has itself."""
    behind = visitor(studio, "https://studio.example", token=TOKEN)
    assert behind.get("/config").status_code == 401
    assert behind.get(f"/?token={TOKEN}").status_code == 303
    assert behind.get("/config").status_code == 200
    for page, is_served in (("https://studio.example", True), ("https://evil.example", False)):
        sent = behind.post("/gradio_api/queue/join", json={}, headers={"origin": page})
        assert (sent.status_code != 403) == is_served


def test_the_form_lets_in_and_a_huge_one_does_not(studio: FastAPI) -> None:
    stranger = visitor(studio, "http://0.0.0.0", host="0.0.0.0", token=TOKEN)
    assert stranger.post("/enter", content="token=" + "x" * 10_000).status_code == 401
    assert stranger.post("/enter", data={"token": TOKEN}).status_code == 303
    assert stranger.get("/config").status_code == 200


def test_a_browser_that_is_opened_gets_a_code_that_is_good_once(
    studio: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(studio, ServerSettings(Path(), token=TOKEN))

    def comes(code: str) -> int:
        return TestClient(door, base_url=HERE, follow_redirects=False).get(f"/?code={code}").status_code

    code = door.code()
    assert TOKEN not in code
    assert [comes(code), comes(code), comes("guessed")] == [303, 401, 401]
    late, now = door.code(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 121)
    assert comes(late) == 401


def test_two_studios_of_a_host_do_not_throw_each_other_out(studio: FastAPI) -> None:
    jar: dict[str, str] = {}  # a browser has one for all ports of a host
    doors = [Door(studio, ServerSettings(Path(), token=TOKEN)) for _ in range(2)]
    urls = [f"http://127.0.0.1:{port}" for port in (7860, 7861)]

    def asks(place: int, path: str) -> int:
        client = TestClient(doors[place], base_url=urls[place], follow_redirects=False)
        got = client.get(path, headers={"cookie": "; ".join(f"{name}={value}" for name, value in jar.items())})
        jar.update(got.cookies)
        return got.status_code

    assert [asks(place, f"/?token={TOKEN}") for place in (0, 1)] == [303, 303]
    assert [asks(place, "/config") for place in (0, 1)] == [200, 200]


def test_a_cookie_of_another_run_is_worth_nothing(studio: FastAPI) -> None:
    first = visitor(studio, token=TOKEN)
    first.get(f"/?token={TOKEN}")
    other = visitor(studio, token=TOKEN)
    other.cookies.update(first.cookies)
    assert other.get("/config").status_code == 401
