"""Photos of tasks, from nowhere but the hosts that whoever runs the service named.

A task's address comes from whoever may write into a project, so it may not lead the service to other machines of its
network: neither directly, nor by a redirect, nor to a file of this machine.
"""

from __future__ import annotations

import base64
import binascii
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes, urljoin

import httpx

from persam.errors import PersamError, UsageError
from persam.server.settings import origin_of

_REDIRECTS = 3
_AT_ONCE = 4  # photos, so that they take a bounded room in memory
_SECONDS_A_PART, _SECONDS = 10.0, 60.0  # for the host to go on, and for a photo as a whole
_TOKEN_SECONDS = 120.0  # an access token that a personal one is exchanged for lives five minutes


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
        self._key, self._most = key, most_bytes
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
            return self._fetch(self._absolute(address))

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def _held(self, address: str) -> bytes:
        head, comma, body = address.partition(",")
        if not comma or len(body) > 2 * self._most:
            raise PersamError("A photo in a task's data: address is damaged or too large; upload it as a file.")
        try:
            data = base64.b64decode(body, validate=True) if head.lower().endswith(";base64") else unquote_to_bytes(body)
        except (binascii.Error, ValueError) as error:
            raise PersamError("A photo in a task's data: address is damaged; upload it as a file.") from error
        self._check_size(len(data))
        return data

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise PersamError(f"A task's photo has more than {self._most:,} bytes; make it smaller.")

    def _absolute(self, address: str) -> str:
        if address.startswith("/") and not address.startswith("//"):
            if self.url is None:
                raise PersamError(
                    "A task's photo is in Label Studio, whose address was not given; start the service with "
                    "--label-studio-url."
                )
            return urljoin(self.url, address)
        return address

    def _fetch(self, address: str) -> bytes:
        ends = time.monotonic() + _SECONDS
        for _ in range(_REDIRECTS + 1):
            with self._answer(address) as answer:
                if not answer.has_redirect_location:
                    return self._body(answer, ends)
                address = urljoin(address, answer.headers["location"])
        raise PersamError("A task's photo was not to be had: Label Studio sends from one address to the next.")

    @contextmanager
    def _answer(self, address: str) -> Iterator[httpx.Response]:
        try:
            origin = origin_of(address)
        except UsageError:
            origin = None
        if origin not in self._allowed:
            raise PersamError(
                "A task's photo is at an address from which this service may get nothing; name its host with "
                "--label-studio-url or --photo-host."
            )
        headers = {"Accept-Encoding": "identity"}
        try:
            if origin == self._home and self._key:  # nobody but Label Studio itself gets the key
                headers["Authorization"] = self._authorization()
            with self._http.stream("GET", address, headers=headers) as answer:
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PersamError("A task's photo was not to be had: its host does not answer as it should.") from error

    def _body(self, answer: httpx.Response, ends: float) -> bytes:
        if answer.status_code != 200:
            what = "; check the key of Label Studio" if answer.status_code in (401, 403) else ""
            raise PersamError(f"A task's photo was not to be had: its host answers {answer.status_code}{what}.")
        if answer.headers.get("content-encoding", "identity") != "identity":  # little becomes much when it is unpacked
            raise PersamError("A task's photo was not to be had: its host sends it packed, though asked not to.")
        data = bytearray()
        for part in answer.iter_bytes():
            data += part
            self._check_size(len(data))
            if time.monotonic() > ends:
                raise PersamError(f"A task's photo took longer than {_SECONDS:.0f} s to come.")
        return bytes(data)

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
