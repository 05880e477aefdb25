"""A task's address leads to the named hosts and nowhere else."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable

import httpx
import pytest

from persam.errors import PersamError, UsageError
from persam.server.label_studio import fetch as fetch_file
from persam.server.label_studio.fetch import PhotoFetcher

HOME = "http://studio.local:8080"
Answer = Callable[[httpx.Request], httpx.Response]


class Network(httpx.MockTransport):
    """Answers, and remembers who was asked for what, and with which authorization."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer)
        self.asked: list[tuple[str, str | None]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((str(request.url), request.headers.get("authorization")))
        return super().handle_request(request)


def photos(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"photo")


def fetcher(answer: Answer = photos, *, key: str | None = "legacy", **options: object) -> tuple[PhotoFetcher, Network]:
    network = Network(answer)
    return PhotoFetcher(HOME, key, transport=network, **options), network  # type: ignore[arg-type]


def test_a_path_of_label_studio_is_had_with_its_key() -> None:
    get, network = fetcher()
    assert get.fetch("/data/upload/2/a%20b.jpg") == b"photo"
    assert get.fetch("http://Studio.local:8080/data/local-files/?d=a.jpg") == b"photo"
    assert network.asked[0] == (f"{HOME}/data/upload/2/a%20b.jpg", "Token legacy")
    assert network.asked[1][1] == "Token legacy"


def test_a_photo_in_the_task_itself_needs_no_host() -> None:
    get, network = fetcher()
    assert get.fetch("data:image/png;base64," + base64.b64encode(b"photo").decode()) == b"photo"
    assert get.fetch("DATA:,pho%74o") == b"photo"
    assert network.asked == []
    for bad in ("data:image/png;base64,???", "data:image/png", "data:;base64," + "A" * 3_000):
        with pytest.raises(PersamError, match="upload it as a file|make it smaller"):
            fetcher(most_bytes=1_000)[0].fetch(bad)


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:8080/",
        "http://[::1]/",
        "http://studio.local/",  # another port
        "https://studio.local:8080/",  # another scheme
        "http://studio.local:8080@evil.example/a.jpg",
        "http://evil.example\\@studio.local:8080/a.jpg",
        "http://studio.local:8080.evil.example/",
        "//evil.example/a.jpg",
        "///etc/passwd",
        "file:///etc/passwd",
        "ftp://studio.local:8080/a.jpg",
        "s3://bucket/a.jpg",
        "gopher://studio.local:8080/",
        "../../etc/passwd",
        "C:\\a.jpg",
        "http://[not an address",
        "http://studio.local:99999/",
        "http://studio.local:8080\r\nHost: evil/",
        "",
    ],
)
def test_every_other_address_is_refused_before_anybody_is_asked(address: str) -> None:
    get, network = fetcher()
    with pytest.raises(PersamError, match="may get nothing|does not answer"):
        get.fetch(address)
    assert [url for url, _ in network.asked if not url.startswith(HOME)] == []


def test_a_redirect_leads_to_named_hosts_alone_and_takes_no_key_along() -> None:
    def to_bucket(request: httpx.Request) -> httpx.Response:
        if request.url.host == "studio.local":
            return httpx.Response(303, headers={"location": "https://bucket.example/a.jpg?signature=1"})
        return httpx.Response(200, content=b"photo")

    get, network = fetcher(to_bucket)
    with pytest.raises(PersamError, match="may get nothing"):
        get.fetch("/tasks/1/presign/?fileuri=czM6")
    assert len(network.asked) == 1

    get, network = fetcher(to_bucket, hosts=["https://bucket.example"])
    assert get.fetch("/tasks/1/presign/?fileuri=czM6") == b"photo"
    assert network.asked[1] == ("https://bucket.example/a.jpg?signature=1", None)

    get, network = fetcher(lambda _: httpx.Response(302, headers={"location": f"{HOME}/again"}))
    with pytest.raises(PersamError, match="from one address to the next"):
        get.fetch("/data/a.jpg")
    assert len(network.asked) == 4


def test_a_personal_token_is_exchanged_once() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh":
            assert request.read() == b'{"refresh":"a.b.c"}'
            return httpx.Response(200, json={"access": "short"})
        return httpx.Response(200, content=b"photo")

    get, network = fetcher(answer, key="a.b.c")
    get.fetch("/data/a.jpg")
    get.fetch("/data/b.jpg")
    assert [asked for _, asked in network.asked] == [None, "Bearer short", "Bearer short"]
    refusals = (httpx.Response(401, json={}), httpx.Response(200, text="<html>"), httpx.Response(200, json=["access"]))
    for refusal in refusals:
        with pytest.raises(PersamError, match="make a new one"):
            fetcher(lambda _, refusal=refusal: refusal, key="a.b.c")[0].fetch("/data/a.jpg")  # type: ignore[misc]


def test_what_is_too_large_is_not_read_to_its_end() -> None:
    sent = []

    def endless(_: httpx.Request) -> httpx.Response:
        def parts() -> object:
            for number in range(1_000):
                sent.append(number)
                yield b"x" * 1_000

        return httpx.Response(200, content=parts())  # type: ignore[arg-type]

    with pytest.raises(PersamError, match="more than 10,000 bytes"):
        fetcher(endless, most_bytes=10_000)[0].fetch("/data/a.jpg")
    assert len(sent) < 20


def test_an_answer_of_label_studio_has_its_own_limit_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [{"id": number} for number in range(1_000)]
    get, network = fetcher(lambda _: httpx.Response(200, json=told), most_bytes=100)
    assert get.ask("/api/projects/2/export") == told
    assert network.asked == [(f"{HOME}/api/projects/2/export", "Token legacy")]
    monkeypatch.setattr(fetch_file, "_ANSWER_BYTES", 1_000)
    with pytest.raises(PersamError, match="^Label Studio's answer has more than 1,000 bytes"):
        get.ask("/api/projects/2/export")
    with pytest.raises(PersamError, match="^Label Studio's answer was not to be had: its host answers 404"):
        fetcher(lambda _: httpx.Response(404))[0].ask("/api/tasks/1/")
    with pytest.raises(PersamError, match="no JSON; check its address and key"):
        fetcher(lambda _: httpx.Response(200, text="<html>"))[0].ask("/api/tasks/1/")


def test_what_a_host_does_wrong_is_told_in_a_sentence() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused by 10.0.0.1")

    for key in ("legacy", "a.b.c"):
        with pytest.raises(PersamError, match="does not answer") as caught:
            fetcher(broken, key=key)[0].fetch("/a.jpg")
    assert "10.0.0.1" not in str(caught.value)
    packed = httpx.Response(200, headers={"content-encoding": "gzip"}, content=gzip.compress(bytes(10_000)))
    with pytest.raises(PersamError, match="sends it packed"):
        fetcher(lambda _: packed)[0].fetch("/a.jpg")
    with pytest.raises(PersamError, match="answers 404"):
        fetcher(lambda _: httpx.Response(404))[0].fetch("/a.jpg")
    with pytest.raises(PersamError, match="answers 403; check the key"):
        fetcher(lambda _: httpx.Response(403))[0].fetch("/a.jpg")
    with pytest.raises(PersamError, match="--label-studio-url"):
        PhotoFetcher(None).fetch("/data/a.jpg")
    with pytest.raises(UsageError, match="like http://localhost:8080"):
        PhotoFetcher("localhost:8080")
