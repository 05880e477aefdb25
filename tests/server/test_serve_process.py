"""A real `persam serve`: it starts, learns, finds, and finishes what it took when it is told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel
from tests.server.serving import client_of, png, shot
from typer.testing import CliRunner

from persam.cli.main import app
from persam.errors import PersamError
from persam.persam import PerSAM
from persam.server.app import create_app
from persam.server.holding import held
from persam.server.jobs.store import JobStore
from persam.server.serving import address_of, listen, serve
from persam.server.settings import Limits, ServerSettings

PHOTO, MASK = draw_scene()


class Running:
    """A service in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        words = [sys.executable, "-m", "persam", "serve", "--folder", str(folder), "--port", "0", "--device", "cpu"]
        self.process = subprocess.Popen(
            [*words, "--json", "--log-format", "json", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        text = ""
        while not text.endswith("}\n"):
            line = self.process.stdout.readline()
            assert line, self.process.communicate()[1]
            text += line
        self.told = json.loads(text)
        self.client = httpx.Client(base_url=self.told["url"], timeout=60)

    def stop(self) -> tuple[int, list[dict[str, object]]]:
        """Tell it to stop; its exit code and its log."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> tuple[int, list[dict[str, object]]]:
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("serve") / "service", "--limit", "head_seconds=0.5")
    yield running
    running.process.kill()
    running.process.communicate()


def test_starts_learns_finds_and_stops_well(service: Running) -> None:
    """In one test, for starting takes seconds."""
    client = service.client
    assert service.told["model"] == "tiny"
    assert client.get("/ready").json() == {"status": "ready"}
    assert client.post("/v1/concepts", data={"name": "mug"}, files=shot(PHOTO, MASK)).status_code == 201
    found = client.post("/v1/segment", data={"concept": "mug"}, files=[("photo", ("k.png", png(PHOTO)))]).json()
    assert found["results"][0]["found"][0]["present"]

    host, port = client.base_url.host, client.base_url.port
    assert port is not None
    with socket.create_connection((host, port)) as slow:  # a head that does not come ends
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        slow.settimeout(10)
        assert slow.recv(100) == b""
    with socket.create_connection((host, port)) as large:  # and so does one without end
        large.settimeout(10)
        try:
            for _ in range(100):
                large.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 100_000)
        except OSError:
            pass
        else:
            assert large.recv(100)[:12] in (b"HTTP/1.1 400", b"")
    assert client.get("/health").status_code == 200

    answers: list[httpx.Response] = []
    files = [("photo", (f"{n}.png", png(draw_scene(240, 320, seed=n)[0]))) for n in range(8)]

    def ask() -> None:
        answers.append(
            httpx.post(f"{service.told['url']}/v1/segment", data={"concept": "mug"}, files=files, timeout=60)
        )

    asking = threading.Thread(target=ask)
    asking.start()
    ends = time.monotonic() + 30
    while "persam_queue_depth 0.0" in client.get("/metrics").text:
        assert time.monotonic() < ends
    service.process.send_signal(signal.SIGTERM)
    statuses = set()
    while not answers and time.monotonic() < ends:
        try:
            statuses.add((client.get("/ready").status_code, client.get("/v1/concepts").status_code))
        except httpx.TransportError:
            break
    asking.join(30)
    code, log = service.end()
    assert code == 0
    assert [len(answer.json()["results"]) for answer in answers] == [8]  # what was taken is done
    assert (503, 503) in statuses  # and meanwhile nothing more is taken
    events = [line["event"] for line in log]
    assert events[0] == "ready"
    assert "stopping" in events
    assert "error" not in events


class Stopping:
    """Told to stop while the model is busy: a request and a job wait for it."""

    def __init__(self, folder: Path, signals: int, **limits: float) -> None:
        self.busy, self.signals, self.problems = threading.Event(), signals, []  # type: ignore[var-annotated]
        settings = ServerSettings(folder, port=0, limits=Limits(**limits))  # type: ignore[arg-type]
        model = PerSAM(ColourModel())
        self.app = create_app(settings, model, is_held=True)
        with held(folder), listen(settings) as taken:
            self.url = address_of(settings, taken)
            self.concept = model.learn(PHOTO, MASK, name="mug")
            self.given_up = serve(self.app, settings, taken, on_ready=threading.Thread(target=self._ask).start)
        self.seconds = time.monotonic() - self.signalled
        self.busy.set()

    def _ask(self) -> None:
        try:
            service = self.app.state.service
            service.concepts.save(self.concept)
            service.engine.call(lambda _: self.busy.wait(20))
            files = [("file", ("k.png", png(PHOTO)))]
            told = httpx.post(f"{self.url}/v1/jobs", data={"kind": "album", "concept": "mug"}, files=files)
            assert told.status_code == 202, told.text
            threading.Thread(target=self._wait_for_an_answer).start()
            while not (service.engine.depth and service.engine._patient):
                time.sleep(0.01)
        except BaseException as error:
            self.problems.append(error)
        finally:
            self.signalled = time.monotonic()
            for _ in range(self.signals):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.2)

    def _wait_for_an_answer(self) -> None:
        files = [("photo", ("k.png", png(PHOTO)))]
        with suppress(httpx.TransportError):
            self.answer = httpx.post(f"{self.url}/v1/segment", data={"concept": "mug"}, files=files, timeout=20)


@pytest.mark.parametrize(("signals", "stop_seconds", "most"), [(1, 1.6, 2.6), (2, 60.0, 2.2)])
def test_a_stop_takes_no_longer_than_it_may(tmp_path: Path, signals: int, stop_seconds: float, most: float) -> None:
    """All parts together, whatever hangs; and after a second signal hardly any time."""
    before = signal.getsignal(signal.SIGTERM)
    stopped = Stopping(tmp_path, signals, stop_seconds=stop_seconds)
    assert not stopped.problems
    assert stopped.seconds < most
    assert stopped.given_up == 1
    assert signal.getsignal(signal.SIGTERM) is before
    with JobStore(tmp_path) as store:
        assert store.counts()["queued"] == 1  # it was put back
        assert store.take().tries == 1  # which is no crash
    if signals == 1:
        assert stopped.answer.status_code == 503
        assert "stopping" in stopped.answer.json()["detail"]


def test_the_address_that_is_told_answers(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "0.0.0.0", "::", "[::1]"):
        settings = ServerSettings(tmp_path, host=host, port=0, token="0123456789abcdef")
        try:
            taken = listen(settings)
        except PersamError:
            assert ":" in host  # a machine without IPv6
            continue
        with taken:
            parts = urlsplit(address_of(settings, taken))
            assert parts.hostname is not None
            with socket.create_connection((parts.hostname, parts.port or 0), timeout=5):
                pass


def test_two_services_do_not_share_a_folder_or_a_port(tmp_path: Path) -> None:
    with listen(ServerSettings(tmp_path, port=0)) as taken, held(tmp_path / "service"):
        port = taken.getsockname()[1]
        with pytest.raises(PersamError, match=f"The port {port} is taken"):
            listen(ServerSettings(tmp_path, port=port))
        with pytest.raises(PersamError, match="Another service works in"), held(tmp_path / "service"):
            pass


def test_an_application_in_a_folder_of_another_touches_nothing_there(tmp_path: Path) -> None:
    """However it is run, its start would begin the other's jobs anew, and remove what is being sent to it."""
    settings, model = ServerSettings(tmp_path / "service"), PerSAM(ColourModel())
    with client_of(settings.folder, model) as client:
        job = client.app.state.service.jobs.store.add("album", ["mug"], {})  # type: ignore[attr-defined]
        coming = settings.uploads_folder / "coming"
        coming.touch()
        sentence = r"Another service works in .*; stop it, or give another folder"
        with pytest.raises(PersamError, match=sentence), client_of(settings.folder, model):
            pass
        assert coming.exists()
        assert client.get(f"/v1/jobs/{job.id}").status_code == 200
    with held(settings.folder):  # and is let go of at the end
        pass


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "0.0.0.0"], 2, "needs a token"),
        (["--host", "192.0.2.1", "--token-file", "{token}"], 2, "no address of this machine"),
        (["--host", "no.such.host.example", "--token-file", "{token}"], 2, "no address no.such.host"),
        (["--token-file", "{folder}/none"], 2, "cannot be read from"),
        (["--token-file", "{folder}/empty"], 2, "is empty"),
        (["--folder", "{folder}/empty"], 2, "is a file; give a folder"),
        (["--folder", "/proc/service"], 1, "Cannot write"),
        (["--model", "nothing-like-that"], 1, "nothing-like-that"),
        (["--limit", "photos=3"], 2, "There is no limit 'photos'"),
        (["--limit", "waiting=none"], 2, "takes a number"),
        (["--log-format", "xml"], 2, "text or json"),
        (["--mode", "other"], 2, "mode"),
    ],
)
def test_what_keeps_it_from_starting_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, words: str
) -> None:
    monkeypatch.delenv("PERSAM_TOKEN", raising=False)
    (tmp_path / "empty").touch()
    (tmp_path / "token").write_text("0123456789abcdef0123456789abcdef\n")
    given = [each.format(folder=tmp_path, token=tmp_path / "token") for each in options]
    folder = [] if "--folder" in options else ["--folder", str(tmp_path / "service")]
    result = CliRunner().invoke(app, ["serve", "--port", "0", *folder, *given])
    assert result.exit_code == code, result.output
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
    assert len(result.output.strip().splitlines()) == 1
