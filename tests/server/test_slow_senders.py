"""Who sends a byte a second, or never ends, holds a line and a deadline, and nobody else up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.server import bad_files
from tests.server.real_service import TOKEN, RealService, running_service

pytestmark = pytest.mark.slow
HEAD = f"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
FORM = b"Content-Type: multipart/form-data; boundary=B\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealService]:
    with running_service(tmp_path_factory.mktemp("slow")) as service:
        yield service


def cut_after(service: RealService, *starts: bytes, drip: bytes, longest: float, pause: float = 0.5) -> float:
    """Seconds until the service cuts a line on which `drip` comes again and again."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", service.port), timeout=pause) as line:
        for start in starts:
            line.sendall(start)
        while time.monotonic() - begin < longest:
            try:
                line.sendall(drip)
            except OSError:
                return time.monotonic() - begin
            try:
                if not line.recv(65_536):
                    return time.monotonic() - begin
            except TimeoutError:
                pass
            except OSError:
                return time.monotonic() - begin
    raise AssertionError(f"still open after {longest} s")


def test_a_head_byte_by_byte(service: RealService) -> None:
    assert cut_after(service, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", drip=b"a", longest=40) < 40


def test_a_line_on_which_nothing_comes(service: RealService) -> None:
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as line:
        assert line.recv(1) == b""
    assert time.monotonic() - begin < 60


def test_a_body_byte_by_byte(service: RealService) -> None:
    assert cut_after(service, HEAD + FORM + b"Content-Length: 100000\r\n\r\n--B\r\n", drip=b"a", longest=60) < 60


def test_chunks_byte_by_byte(service: RealService) -> None:
    head = HEAD + FORM + b"Transfer-Encoding: chunked\r\n\r\n"
    assert cut_after(service, head, drip=b"1\r\na\r\n", longest=60) < 60


def test_chunks_without_end_and_fast(service: RealService) -> None:
    """They end at the limit of bytes, and none of it stays."""
    before = service.resident()
    head = HEAD + FORM + b"Transfer-Encoding: chunked\r\n\r\n"
    start = b'--B\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
    chunk = b"%x\r\n" % len(start) + start + b"\r\n"
    drip = b"100000\r\n" + bytes(0x100000) + b"\r\n"
    cut_after(service, head, chunk, drip=drip, longest=120, pause=0.001)
    assert service.resident() - before < 100e6
    assert list(Path(service.folder / "uploads").glob("*")) == []


def test_others_are_served_meanwhile(service: RealService) -> None:
    """With a hundred slow senders."""
    lines = [socket.create_connection(("127.0.0.1", service.port), timeout=5) for _ in range(100)]
    for number, line in enumerate(lines):
        line.sendall(HEAD[:20] if number % 2 else HEAD + FORM + b"Content-Length: 9999\r\n\r\n-")
    try:
        with service.client() as client:
            start = time.monotonic()
            assert client.get("/v1/concepts").status_code == 200
            assert time.monotonic() - start < 5
    finally:
        for line in lines:
            line.close()


def test_who_hangs_up_leaves_nothing(service: RealService) -> None:
    threads, files = service.threads(), service.open_files()

    def hang_up(number: int) -> None:
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as line:
            photo = bad_files.photo("PNG", 640, 480)
            body = b'--B\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + photo
            line.sendall(HEAD + FORM + b"Content-Length: %d\r\n\r\n" % (2 * len(body)) + body)

    workers = [threading.Thread(target=hang_up, args=(number,)) for number in range(40)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    time.sleep(2)
    assert service.open_files() <= files + 5
    assert service.threads() <= threads + 45  # a pool of threads may have filled
    assert list(Path(service.folder / "uploads").glob("*")) == []
