"""A real service in a process of its own, asked over the network, also in ways that no client has."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests import processes

from persam.errors import printable

TOKEN = "a token that nobody guesses 0123456789".replace(" ", "-")
# What an answer must not tell: places on the machine, tracebacks, names of libraries and of their classes.
_TELLTALE = re.compile(
    r"/(?:tmp|root|home|usr|var|proc|etc)\b|Traceback|File \"|line \d+, in|Errno|\bobject at 0x|<class|site-packages"
    r"|starlette|fastapi|pydantic|uvicorn|\bPIL\b|Pillow|UnidentifiedImage|\btorch\b|numpy|\bcv2\b|OpenCV|libpng"
    r"|SafetensorError|\bJSONDecodeError|\bh11\b|multipart\.|sqlite|ffmpeg|libav|Exception\b|NoneType|BytesIO",
    re.IGNORECASE,
)
CUT, SILENT = 0, -1  # instead of a status
_SENT = re.compile(r""""[^"]*"|'[^']*'|\([^)]*\)""")


@dataclass(frozen=True)
class RealService:
    """Where it runs, and in which folder."""

    port: int
    folder: Path
    pid: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = TOKEN) -> httpx.Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def resident(self) -> int:
        """Bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def peak(self) -> int:
        """Bytes, since the peak was last set back."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def say(self, *pieces: bytes, pause: float = 0.0, patience: float = 10.0) -> tuple[int, bytes]:
        """Send bytes as they are, and return the status and the whole answer.

        Where there is none the status is `CUT` if the line was cut, and `SILENT` if nothing came while we had patience.
        """
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as line:
            try:
                for piece in pieces:
                    line.sendall(piece)
                    time.sleep(pause)
            except OSError:
                pass  # it has hung up; perhaps it answered before
            answer, without = b"", CUT
            try:
                while data := line.recv(65_536):
                    answer += data
                    if _is_whole(answer):
                        break
            except TimeoutError:
                without = SILENT
            except OSError:
                pass
        found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
        return (int(found[1]) if found else without), answer


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return bool(found and length and len(body) >= int(length[1]))


@contextmanager
def running_service(folder: Path, *options: str) -> Iterator[RealService]:
    """One that asks for `TOKEN`, in this folder, until the block ends."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    said = folder / "said.txt"
    (folder / "token").write_text(TOKEN)
    arguments = ["serve", "--port", port, "--folder", folder / "service", "--token-file", folder / "token"]
    process = processes.start([*arguments, "--device", "cpu", *options], said)
    try:
        assert process.pid is not None
        service = RealService(port, folder / "service", process.pid)
        _wait(service, process.is_alive, said)
        yield service
    finally:
        process.terminate()
        process.join(20)
        process.kill()


def _wait(service: RealService, is_alive: object, said: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert is_alive(), said.read_text()  # type: ignore[operator]
        try:
            if httpx.get(f"{service.url}/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(said.read_text())


def refused(answer: httpx.Response, *statuses: int) -> str:
    """See that it was refused in one sentence that tells nothing of the machine; return the sentence."""
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text)
    assert not statuses or answer.status_code in statuses, (answer.status_code, answer.text)
    return sentence_of(answer.content)


def sentence_of(body: bytes) -> str:
    """The one sentence in the body of a refusal, which tells nothing of the machine; but it may say what was sent."""
    told = json.loads(body)
    assert isinstance(told["detail"], str), told
    sentence: str = told["detail"]
    assert sentence.endswith("."), sentence
    assert len(sentence) < 500, sentence
    assert printable(sentence) == sentence, ascii(sentence)
    own = _SENT.sub("", sentence)
    assert not (found := _TELLTALE.search(own)), f"{found}: {sentence}"
    return sentence
