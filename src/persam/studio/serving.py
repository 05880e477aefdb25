"""The page as a process: its door, which lets in who may come, and a web server that stops when it is told to."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from html import escape
from types import FrameType
from urllib.parse import parse_qs

import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from persam.server.callers import is_another_page, takes_a_name
from persam.server.settings import ServerSettings

_COOKIE = "persam-studio"  # and its port: a browser sends a cookie to all ports of a host
_CODE_LASTS = 120  # seconds in which the browser that is opened has to come
_LONGEST_FORM = 4096  # bytes
_LAST_WORDS = 1  # seconds in which answers that are being sent may be taken when the studio ends


class Door:
    """ASGI middleware round the studio: pages of others, and whoever does not know the token, stay outside.

    The token is given once, in the address or in a form, and then a cookie says that it was. A browser that is opened
    by a program gets a code instead, which lets in once: other people of the machine see what programs are called with,
    and a browser remembers addresses.

    Args:
        app: what is behind it.
        settings: host and token.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        key = secrets.token_bytes(32)  # of this run, so that a cookie tells nobody the token
        self._pass = hmac.new(key, (settings.token or "").encode(), hashlib.sha256).hexdigest()
        self._codes: dict[str, float] = {}  # with the time until which they are good
        self._lock = threading.Lock()

    def code(self) -> str:
        """A code that lets one browser in, within two minutes, as ``/?code=CODE``."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes[code] = time.monotonic() + _CODE_LASTS
        return code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._check_address(request) or await self._check_token(request)
        await (answer or self.app)(scope, receive, send)

    def _check_address(self, request: Request) -> Response | None:
        if takes_a_name(self.settings, request.headers):
            return _refusal(403, "The studio answers to 127.0.0.1 and localhost only; open it by one of these names.")
        if is_another_page(self.settings, request.method, request.headers):
            return _refusal(403, "Another page may not use the studio; open it in a tab of its own.")
        return None

    async def _check_token(self, request: Request) -> Response | None:
        token = self.settings.token
        cookie = f"{_COOKIE}-{(request.scope.get('server') or ('', 0))[1]}"
        if token is None or hmac.compare_digest(request.cookies.get(cookie, "").encode(), self._pass.encode()):
            return None
        if code := request.query_params.get("code", ""):
            with self._lock:
                good_until = self._codes.pop(code, 0.0)
            if time.monotonic() < good_until:
                return self._let_in(cookie)
            return _entrance(401, "This address lets in once, and soon after the start; give the token.")
        given = request.query_params.get("token", "")
        if request.method == "POST" and request.url.path == "/enter":
            given = await _token_in_form(request)
        if not given:
            return _entrance(401)
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _entrance(401, "This is not the token; look where the studio was started.")
        return self._let_in(cookie)

    def _let_in(self, cookie: str) -> Response:
        answer = RedirectResponse("/", 303)
        # Lax: who follows a link of another site to the studio is known here; what changes anything is a POST, and of
        # that the origin is checked.
        answer.set_cookie(cookie, self._pass, httponly=True, samesite="lax")
        return answer


async def _token_in_form(request: Request) -> str:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>persam studio</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 30rem; margin: 12vh auto; padding: 0 1rem }}
input, button {{ font: inherit; padding: .5rem .7rem }}</style><h1>persam studio</h1>{0}"""
_FORM = """<form method="post" action="/enter"><p><label>Token<br>
<input name="token" type="password" autocomplete="current-password" autofocus required></label>
<button>Enter</button></p></form>"""


def _refusal(status: int, sentence: str, more: str = "") -> HTMLResponse:
    return HTMLResponse(_PAGE.format(f'<p role="alert">{escape(sentence)}</p>{more}'), status)


def _entrance(status: int, sentence: str = "The studio asks for the token that it was started with.") -> HTMLResponse:
    return _refusal(status, sentence, _FORM)


def serve(door: Door, taken: socket.socket, on_ready: Callable[[], object]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; a second one ends it at once.

    Args:
        door: of the page that `persam.studio.app.create_studio` made.
        taken: the address, as `persam.server.serving.listen` gave it.
        on_ready: called when it answers.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it tells of open tabs when it stops
    config = uvicorn.Config(
        door,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WORDS,
    )
    _StudioServer(config, on_ready).run([taken])


class _StudioServer(uvicorn.Server):
    """Says when it answers, and ends well on a signal."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; uvicorn would send it again when it has stopped."""
        self.force_exit = self.should_exit
        self.should_exit = True
