"""The gate: what every request passes, whatever it is about.

Who asks (address, page, token), whether the service takes requests at all, how large a body is and how fast it comes;
and on the way out its number, metrics, log, and one sentence where something went wrong inside.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ctypes
import hmac
import json
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from persam.server.callers import is_another_page, takes_a_name
from persam.server.engine import StoppingError
from persam.server.refusals import (
    CrowdedError,
    ForbiddenError,
    GoneError,
    Refused,
    TooLargeError,
    TooSlowError,
    UnknownCallerError,
    headers_of,
    told,
)
from persam.server.settings import ServerSettings
from persam.server.telemetry import Telemetry, log

# Nothing of it is shown by pages of others, or taken for what it is not.
_FOR_BROWSERS = ((b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin"))
OPEN_PATHS = frozenset(("/health", "/ready"))  # for whoever looks after the process; they tell nothing
_JOBS = "/v1/jobs"
# Whose bodies are written as they come; whatever a body calls itself, that of any other address is read into memory.
_TO_THE_DISK = re.compile(r"/v1/(segment|concepts|concepts/[^/]+/(references|file))/?")
_GRACE = 10.0  # seconds in which a body need not be quick
_SEND_SECONDS = 60.0  # in which a piece of an answer has to be taken
_DRAINED_BYTES, _DRAINED_SECONDS = 64_000_000, 2.0  # of a refused body, so that its sender gets to read the answer
_TRIM_FROM, _TRIM_EVERY = 300_000, 10.0  # bytes of a body, after which memory is given back, and seconds
_BODIES_IN_MEMORY = 16  # of the largest size that is read into memory, all together


class _TakesNothingError(Exception):
    """Whoever asked does not take the answer."""


@dataclass(eq=False)
class _Passage:
    """One request on its way through.

    Attributes:
        id: that the log and the answer carry.
        started: by the monotonic clock.
        body_bytes, body_ends: what its body may have, and when it has to be there.
        ends: when its answer has to be there.
        body_limit: which of the `Limits` says how long its body may take.
        is_whole: nothing of its body is to come.
        keeps_body: its route reads the body into memory, not to the disk.
        waited: seconds for which its body did not come.
        received: bytes of the body so far.
        status: of the answer; 0: none yet.
        refused: why its body is not read further.
        is_over: it was refused, and what the route answers is thrown away.
    """

    scope: Scope
    body_bytes: int
    body_ends: float
    ends: float
    is_whole: bool
    keeps_body: bool = False
    body_limit: str = "request_seconds"
    id: str = field(default_factory=lambda: uuid4().hex[:12])
    started: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    received: int = 0
    status: int = 0
    refused: Refused | None = None
    is_over: bool = False

    @property
    def seconds(self) -> float:
        """How long it has been under way."""
        return time.monotonic() - self.started

    @property
    def path(self) -> str:
        """The template of its path; "other" where there is nothing."""
        return getattr(self.scope.get("route"), "path", "other")


class Gate:
    """ASGI middleware round all of the service.

    Args:
        app: what is behind it.
        settings: of the service.
        telemetry: takes note of every request.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, telemetry: Telemetry) -> None:
        self.app, self.settings, self.telemetry = app, settings, telemetry
        self.limits = settings.limits
        self._in_memory = 0  # bytes of bodies that are read into memory just now
        self._trimmed = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)  # the start and the end of the application
            return
        service = scope["app"].state.service
        passage = self._passage(scope)
        scope.setdefault("state", {}).update(request_id=passage.id, deadline=passage.ends)
        counted = self._counted(passage, receive)
        deliver = self._delivering(passage, receive, send)
        service.requests += 1
        try:
            self._check(passage, stopping=service.stopping)
            await self.app(scope, counted, self._answering(passage, deliver))
        except Refused as refused:
            await self._refuse(passage, refused, deliver)
        except ClientDisconnect:
            passage.status = passage.status or GoneError.status
        except _TakesNothingError:
            pass  # its connection is closed, because the answer is not whole
        except Exception:
            log("error", level=logging.ERROR, trace=True, id=passage.id, path=passage.path)
            if not passage.status:  # else it is too late for a sentence
                words = f"Something went wrong here; the log has it under {passage.id}."
                await _send_json(deliver, 500, {"detail": words})
        finally:
            service.requests -= 1
            self._in_memory -= passage.received * passage.keeps_body
            self._note(passage)
            await self._give_memory_back(passage)

    # ------------------------------------------------------------------ who asks

    def _check(self, passage: _Passage, *, stopping: bool) -> None:
        scope, headers = passage.scope, Headers(scope=passage.scope)
        if takes_a_name(self.settings, headers):
            raise ForbiddenError(
                "This service answers to 127.0.0.1 and localhost only; ask for it by one of these names, or start it "
                "with a token."
            )
        if scope["path"] in OPEN_PATHS:
            return
        if is_another_page(self.settings, scope["method"], headers):
            raise ForbiddenError(
                "This page may not use the service; start it with --allow-origin and the page's address."
            )
        if self.settings.token is not None and scope["method"] != "OPTIONS":
            _check_token(headers.get("authorization", ""), self.settings.token)
        if stopping and scope["path"] != "/metrics":
            raise StoppingError
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > passage.body_bytes:
            raise _too_large(passage.body_bytes)

    # ------------------------------------------------------------------ the body

    def _passage(self, scope: Scope) -> _Passage:
        headers, limits, now = Headers(scope=scope), self.limits, time.monotonic()
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        if scope["method"] == "POST" and scope["path"].rstrip("/") == _JOBS:
            ends = now + limits.job_upload_seconds
            whole = ends + limits.request_seconds
            return _Passage(scope, limits.job_upload_bytes, ends, whole, not has_body, body_limit="job_upload_seconds")
        ends = now + limits.request_seconds
        if _TO_THE_DISK.fullmatch(scope["path"]):
            return _Passage(scope, limits.upload_bytes, ends, ends, not has_body)
        return _Passage(scope, limits.json_bytes, ends, ends, not has_body, keeps_body=True)

    def _counted(self, passage: _Passage, receive: Receive) -> Receive:
        """What comes in, counted: a body that is too large, too slow or too late ends here."""

        async def receive_some() -> Message:
            if passage.refused is not None:
                raise passage.refused
            if passage.is_whole:
                return await receive()
            now = time.monotonic()
            slow = max(_GRACE, passage.received / self.limits.upload_rate) - passage.waited
            try:
                async with asyncio.timeout(max(0.0, min(slow, passage.body_ends - now))):
                    message = await receive()
            except TimeoutError:
                passage.refused = self._too_slow(passage)
                raise passage.refused from None
            passage.waited += time.monotonic() - now
            count = len(message.get("body", b""))
            passage.received += count
            self._in_memory += count * passage.keeps_body
            if self._in_memory > _BODIES_IN_MEMORY * self.limits.json_bytes:
                passage.refused = CrowdedError("Many large requests are under way; try again in a moment.")
                raise passage.refused
            passage.is_whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
            if passage.received > passage.body_bytes:
                passage.refused = _too_large(passage.body_bytes)
                raise passage.refused
            return message

        return receive_some

    def _too_slow(self, passage: _Passage) -> TooSlowError:
        if time.monotonic() >= passage.body_ends:
            seconds = getattr(self.limits, passage.body_limit)
            return TooSlowError(
                f"The body is not there within {seconds:g} s ({passage.body_limit}): {passage.received / 1e6:,.1f} MB "
                "came; send fewer files at once, or over a quicker line."
            )
        return TooSlowError(
            f"The body comes too slowly: {passage.received} bytes in {passage.seconds:.0f} s; "
            f"send it in one go, quicker than {self.limits.upload_rate:g} bytes per second."
        )

    def _answering(self, passage: _Passage, deliver: Send) -> Send:
        """What goes out: the route's answer, unless the request was refused while the route read it."""

        async def send_some(message: Message) -> None:
            if passage.refused is not None:
                await self._refuse(passage, passage.refused, deliver)
            if not passage.is_over:
                await deliver(message)

        return send_some

    def _delivering(self, passage: _Passage, receive: Receive, send: Send) -> Send:
        """Send with the request's number; and if a part of its body was not read, so that its sender can read this."""

        async def deliver(message: Message) -> None:
            closes = not passage.is_whole
            if message["type"] == "http.response.start":
                passage.status = message["status"]
                headers = [(b"x-request-id", passage.id.encode()), *_FOR_BROWSERS]
                headers += [(b"connection", b"close")] if closes else []
                message = {**message, "headers": [*message.get("headers", []), *headers]}
            elif closes and not message.get("more_body", False):
                await _send_in_time(send, {**message, "more_body": True})
                await _drain(receive)
                message = {"type": "http.response.body"}
            await _send_in_time(send, message)

        return deliver

    async def _refuse(self, passage: _Passage, refused: Refused, deliver: Send) -> None:
        if passage.status:  # it is said already, or too late
            return
        passage.is_over = True
        await _send_json(deliver, refused.status, {"detail": told(refused)}, headers_of(refused))

    # ------------------------------------------------------------------ notes

    def _note(self, passage: _Passage) -> None:
        seconds = passage.seconds
        method = passage.scope["method"]
        self.telemetry.on_request(method, passage.path, passage.status, seconds, passage.received)
        if passage.path not in (*OPEN_PATHS, "/metrics"):
            log(
                "request",
                id=passage.id,
                method=method[:16],  # which is whatever was sent
                path=passage.path,
                status=passage.status,
                ms=round(1000 * seconds, 1),
                received=passage.received,
            )

    async def _give_memory_back(self, passage: _Passage) -> None:
        """What large photos leave behind in the allocator's arenas goes back to the system, now and then."""
        now = time.monotonic()
        if passage.received >= _TRIM_FROM and now - self._trimmed >= _TRIM_EVERY:
            self._trimmed = now
            await asyncio.to_thread(_trim)


async def _send_json(send: Send, status: int, content: object, more: Mapping[str, str] | None = None) -> None:
    body = json.dumps(content).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **(more or {})}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _send_in_time(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await send(message)
    except TimeoutError as error:
        raise _TakesNothingError from error


async def _drain(receive: Receive) -> None:
    """Throw away what still comes of a body, for a while: whose connection breaks while sending reads no answer."""
    left = _DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAINED_SECONDS):
            while left > 0 and (message := await receive()).get("more_body", False):
                left -= len(message["body"])
    except TimeoutError:
        return


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(
        f"The request has more than {most / 1e6:,.1f} MB, which is more than is taken here; send less."
    )


def _check_token(authorization: str, token: str) -> None:
    """See that a header knows the token: as Bearer, or as the password of Basic."""
    scheme, _, given = authorization.partition(" ")
    given = given.strip()
    if scheme.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode("utf-8", "replace").partition(":")[2]
        except (binascii.Error, ValueError):
            given = ""
    elif scheme.lower() != "bearer":
        given = ""
    if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        if authorization:
            raise UnknownCallerError(
                "What was sent is not this service's token; send that as `Authorization: Bearer TOKEN`."
            )
        raise UnknownCallerError("This service asks for its token: send it as `Authorization: Bearer TOKEN`.")


def _trim() -> None:
    with suppress(AttributeError, OSError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
