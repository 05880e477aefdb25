"""The service as a process: its socket, its web server, and a stop that finishes what was taken."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import HANDLED_SIGNALS

from persam.errors import PersamError, PersamWarning, UsageError
from persam.server.settings import Limits, ServerSettings
from persam.server.telemetry import log

if TYPE_CHECKING:
    from persam.server.service import Service

_LONGEST_HEAD = 64_000  # bytes of a request's first line and headers
_KEEP_ALIVE = 15  # seconds for which a connection is kept that asks nothing
_LAST_WORDS = 5.0  # seconds of a stop, at most, for answers that are being sent, and for jobs
_HURRY = 1.0  # seconds after a second signal
_CHECKED_EVERY = 0.05  # seconds


def listen(settings: ServerSettings) -> socket.socket:
    """Take the address of a service, before the work of loading its model.

    Raises:
        PersamError: the port is taken, or may not be used.
        UsageError: this machine has no such address.
    """
    host, port = settings.host.strip("[]"), settings.port
    try:
        if host == "::" and socket.has_dualstack_ipv6():
            return socket.create_server((host, port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(address[:2], family=family, backlog=128)
    except socket.gaierror as error:
        raise UsageError(f"There is no address {settings.host}; give one of this machine's, or 0.0.0.0.") from error
    except OSError as error:
        raise _why_not(settings, error) from error


def _why_not(settings: ServerSettings, error: OSError) -> PersamError:
    port = settings.port
    if error.errno == errno.EADDRINUSE:
        return PersamError(f"The port {port} is taken by another program; choose another with --port, 0 for any.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PersamError(f"The port {port} is reserved for the system; choose one from 1024 on with --port.")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{settings.host} is no address of this machine; give one, or 0.0.0.0 for all.")
    return PersamError(f"Cannot listen on {settings.host}, port {port}: {error.strerror or error}.")


def address_of(settings: ServerSettings, taken: socket.socket) -> str:
    """The service's URL, as one would ask for it on this machine."""
    host, port = settings.host.strip("[]"), taken.getsockname()[1]
    if host == "0.0.0.0" or (host == "::" and not _is_only_ipv6(taken)):  # noqa: S104 - all of them are this machine
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_only_ipv6(taken: socket.socket) -> bool:
    return bool(taken.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))


def serve(
    app: FastAPI, settings: ServerSettings, taken: socket.socket, *, on_ready: Callable[[], object] = lambda: None
) -> int:
    """Run a service until SIGTERM or Ctrl-C, then finish what was taken, and return, in `Limits.stop_seconds` at most.

    A second signal ends it at once.

    Args:
        app: as `persam.server.app.create_app` made it.
        settings: of it.
        taken: its address, as `listen` gave it.
        on_ready: called when it answers.

    Returns:
        How many requests were given up.

    Raises:
        PersamError: it could not start.
    """
    config = uvicorn.Config(
        app,
        http=_protocol(settings.limits),
        ws="none",
        loop="asyncio",
        lifespan="off",  # started and ended here, so that what goes wrong in it is raised here
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
    )
    server = _Server(config, app, settings.limits, on_ready)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await server.serve([taken])

    with warnings.catch_warnings(), _handled(server.handle_exit):
        warnings.simplefilter("ignore", PersamWarning)  # of photos; who sent them is told, where there is a choice
        warnings.showwarning = lambda *_, **__: None
        asyncio.run(run())
    return server.given_up


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Signals go to a handler, also while the parts of the service end; uvicorn takes them only while it runs."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears them
        yield
        return
    before = {number: signal.signal(number, handler) for number in HANDLED_SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class _Server(uvicorn.Server):
    """Goes on listening while it finishes what was taken, so that whoever asks hears that it stops.

    Attributes:
        given_up: requests that it did not finish.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, limits: Limits, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._app, self._limits, self._on_ready = app, limits, on_ready
        self.given_up = self._signals = 0
        self._finishing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; the process ends well, so that nobody takes its end for a crash."""
        self._signals += 1
        service: Service | None = getattr(self._app.state, "service", None)
        if self._signals == 1 and self.started and service is not None:
            service.stop(self._limits.stop_seconds)
            log("stopping", signal=signal.Signals(sig).name)
            return
        self.should_exit = self.force_exit = True
        if self.started and service is not None:
            service.stop(_HURRY, hurry=True)
            self._give_up(service.requests)
            hurry: Any = _HURRY / 2
            self.config.timeout_graceful_shutdown = hurry

    async def on_tick(self, counter: int) -> bool:
        if self._signals and self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        return await super().on_tick(counter)

    async def _finish(self) -> None:
        service: Service = self._app.state.service
        last = min(_LAST_WORDS, self._limits.stop_seconds / 4)
        while service.requests and service.left > last and not service.is_hurried:
            await asyncio.sleep(_CHECKED_EVERY)
        if service.requests:
            self._give_up(service.requests)
            service.engine.give_up()  # so that whoever waits for it hears that it stops
        seconds: Any = min(_LAST_WORDS, service.left / 2)
        self.config.timeout_graceful_shutdown = seconds  # which need not be whole
        self.should_exit = True

    def _give_up(self, requests: int) -> None:
        if requests > self.given_up:
            self.given_up = requests
            log("given up", requests=requests)


def _protocol(limits: Limits) -> type[H11Protocol]:
    """HTTP as uvicorn speaks it, with two more limits: of connections, and of the time that a request's head takes."""

    class LimitedHttp(H11Protocol):
        _head_is_late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                transport.write(_busy())
                transport.close()
                return
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._head_is_there()
            elif self._head_is_late is None:
                self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_there()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            self._head_is_there()
            super().on_response_complete()

        def _expect_head(self) -> None:
            self._head_is_late = self.loop.call_later(limits.head_seconds, self._end)

        def _head_is_there(self) -> None:
            if self._head_is_late is not None:
                self._head_is_late.cancel()
                self._head_is_late = None

        def _end(self) -> None:
            self.transport.close()

    return LimitedHttp


def _busy() -> bytes:
    body = json.dumps({"detail": "Too many connections are open here; come back in a moment."}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body
