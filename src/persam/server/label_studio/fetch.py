"""Photos and tasks of Label Studio, had from nowhere but the hosts that whoever runs the service named.

A task's address comes from whoever may write into a project, so it may not lead the service to other machines of its
network: neither directly, nor by a redirect, nor to a file of this machine.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin

import httpx

from persam.errors import PersamError, UsageError
from persam.server.settings import origin_of

_REDIRECTS = 3
_AT_ONCE = 4  # photos, so that they take a bounded room in memory
_SECONDS_A_PART, _SECONDS = 10.0, 60.0  # for the host to go on, and for a photo or an answer as a whole
_ANSWER_BYTES = 100_000_000  # of what Label Studio tells, such as all annotations of a project
_TOKEN_SECONDS = 120.0  # an access token that a personal one is exchanged for lives five minutes


@dataclass(frozen=True)
class _Wanted:
    """What is fetched, in words that begin a sentence, and what may be done where it is too large."""

    what: str
    most_bytes: int
    advice: str


class PhotoFetcher:
    """Gets the photos of Label Studio's tasks. May be used from several threads.

    Args:
        url: of Label Studio, such as ``"http://localhost:8080"``; None: only photos that are in the task itself.
        key: an access token of a user of it: a legacy token, or a personal access token (a JWT).
        hosts: addresses such as ``"https://bucket.s3.amazonaws.com"``, to which it may send us for photos.
        most_bytes: of one photo.
        transport: instead of the network, for tests.

    Raises:
        UsageError: an address is none.
    """

    def __init__(
        self,
        url: str | None,
        key: str | None = None,
        *,
        hosts: Sequence[str] = (),
        most_bytes: int = 64_000_000,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = None if url is None else url.rstrip("/") + "/"
        self._home = None if url is None else origin_of(url)
        self._allowed = {*map(origin_of, hosts), *([self._home] if self._home else [])}
        self._key = key
        self._photo = _Wanted("A task's photo", most_bytes, "make it smaller")
        # Threads of its own: a host that hangs keeps nobody waiting but those who want its photos.
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="persam-fetch")
        self._at_once = threading.BoundedSemaphore(_AT_ONCE)
        self._access = ("", 0.0)  # an access token, and when it was had
        # No proxies or passwords from the environment or a file: where it goes is said here alone.
        self._http = httpx.Client(transport=transport, timeout=_SECONDS_A_PART, trust_env=False)

    def fetch(self, address: str) -> bytes:
        """The file of a photo.

        Args:
            address: as a task has it: a path of Label Studio, an address with ``http`` or ``https``, or a ``data:``
                address that holds it.

        Raises:
            PersamError: it is elsewhere than it may be, too large, or not to be had.
        """
        if address[:5].lower() == "data:":
            return self._held(address)
        with self._at_once:
            return self._fetch(self._absolute(address), self._photo)

    async def fetched(self, address: str) -> bytes:
        """The same, for the event loop."""
        is_here = address[:5].lower() == "data:"
        return await asyncio.get_running_loop().run_in_executor(None if is_here else self._pool, self.fetch, address)

    def ask(self, path: str) -> Any:
        """What Label Studio's API answers, read from JSON.

        Args:
            path: such as ``/api/tasks/1/``.

        Raises:
            PersamError: it does not answer so.
        """
        wanted = _Wanted("Label Studio's answer", _ANSWER_BYTES, "annotate tasks anew to teach from them")
        data = self._fetch(self._absolute(path), wanted)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            words = "Label Studio answers with something that is no JSON; check its address and key."
            raise PersamError(words) from error

    def close(self) -> None:
        """Let go of connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def _held(self, address: str) -> bytes:
        head, comma, body = address.partition(",")
        if not comma or len(body) > 2 * self._photo.most_bytes:
            raise PersamError("A photo in a task's data: address is damaged or too large; upload it as a file.")
        try:
            data = base64.b64decode(body, validate=True) if head.lower().endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise PersamError("A photo in a task's data: address is damaged; upload it as a file.") from error
        _check_size(len(data), self._photo)
        return data

    def _absolute(self, address: str) -> str:
        if address.startswith("/") and not address.startswith("//"):
            if self.url is None:
                raise PersamError(
                    "A task's photo is in Label Studio, whose address was not given; start the service with "
                    "--label-studio-url."
                )
            return urljoin(self.url, address)
        return address

    def _fetch(self, address: str, wanted: _Wanted) -> bytes:
        ends = time.monotonic() + _SECONDS
        for _ in range(_REDIRECTS + 1):
            with self._answer(address, wanted) as answer:
                if not answer.has_redirect_location:
                    return _body(answer, ends, wanted)
                address = urljoin(address, answer.headers["location"])
        raise PersamError(f"{wanted.what} was not to be had: Label Studio sends from one address to the next.")

    @contextmanager
    def _answer(self, address: str, wanted: _Wanted) -> Iterator[httpx.Response]:
        try:
            origin = origin_of(address)
        except UsageError:
            origin = None
        if origin not in self._allowed:
            raise PersamError(
                f"{wanted.what} is at an address from which this service may get nothing; name its host with "
                "--label-studio-url or --photo-host."
            )
        headers = {"Accept-Encoding": "identity"}
        try:
            if origin == self._home and self._key:  # nobody but Label Studio itself gets the key
                headers["Authorization"] = self._authorization()
            with self._http.stream("GET", address, headers=headers) as answer:
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PersamError(f"{wanted.what} was not to be had: its host does not answer as it should.") from error

    def _authorization(self) -> str:
        """A legacy token goes as it is; a personal one, a JWT of three parts, is exchanged for one of a few minutes."""
        key = self._key or ""
        if key.count(".") != 2:
            return f"Token {key}"
        token, since = self._access
        if not token or time.monotonic() - since > _TOKEN_SECONDS:
            answer = self._http.post(urljoin(self.url or "", "api/token/refresh"), json={"refresh": key})
            try:
                token = str(answer.json()["access"])
            except (ValueError, LookupError, TypeError) as error:
                words = "Label Studio does not take the personal access token; make a new one there."
                raise PersamError(words) from error
            self._access = token, time.monotonic()
        return f"Bearer {token}"


def _body(answer: httpx.Response, ends: float, wanted: _Wanted) -> bytes:
    if answer.status_code != 200:
        why = "; check the key of Label Studio" if answer.status_code in (401, 403) else ""
        raise PersamError(f"{wanted.what} was not to be had: its host answers {answer.status_code}{why}.")
    if answer.headers.get("content-encoding", "identity") != "identity":  # little becomes much when it is unpacked
        raise PersamError(f"{wanted.what} was not to be had: its host sends it packed, though asked not to.")
    data = bytearray()
    for part in answer.iter_bytes():
        data += part
        _check_size(len(data), wanted)
        if time.monotonic() > ends:
            raise PersamError(f"{wanted.what} took longer than {_SECONDS:.0f} s to come.")
    return bytes(data)


def _check_size(size: int, wanted: _Wanted) -> None:
    if size > wanted.most_bytes:
        raise PersamError(f"{wanted.what} has more than {wanted.most_bytes:,} bytes; {wanted.advice}.")
