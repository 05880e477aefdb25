"""The page as a process: its door, which lets in who may come, and a web server that stops when it is told to."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import socket
from collections.abc import Callable
from html import escape
from types import FrameType
from urllib.parse import parse_qs, urlsplit

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from persam.server.settings import ServerSettings, is_loopback

_COOKIE = "persam-studio"
_READING = ("GET", "HEAD", "OPTIONS")
_LONGEST_FORM = 4096  # bytes
_LAST_WORDS = 1  # seconds in which answers that are being sent may be taken when the studio ends


class Door:
    """ASGI middleware round the studio: pages of others, and whoever does not know the token, stay outside.

    The token is given once, in the address or in a form, and then a cookie says that it was.

    Args:
        app: what is behind it.
        settings: host and token.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app, self.settings = app, settings
        key = secrets.token_bytes(32)  # of this run, so that a cookie tells nobody the token
        self._pass = hmac.new(key, (settings.token or "").encode(), hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = self._check_address(request) or await self._check_token(request)
        await (answer or self.app)(scope, receive, send)

    def _check_address(self, request: Request) -> Response | None:
        """A page of the web may neither take a name that means this machine, nor send anything here."""
        host = request.headers.get("host", "")
        if self.settings.is_loopback and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return _refusal(403, "The studio answers to 127.0.0.1 and localhost only; open it by one of these names.")
        origin = request.headers.get("origin")
        if origin is not None and request.method not in _READING and urlsplit(origin).netloc != host:
            return _refusal(403, "Another page may not use the studio; open it in a tab of its own.")
        return None

    async def _check_token(self, request: Request) -> Response | None:
        token = self.settings.token
        if token is None or hmac.compare_digest(request.cookies.get(_COOKIE, "").encode(), self._pass.encode()):
            return None
        given = request.query_params.get("token", "")
        if request.method == "POST" and request.url.path == "/enter":
            given = await _token_in_form(request)
        if not given:
            return _entrance(401)
        if not hmac.compare_digest(given.encode(), token.encode()):
            return _entrance(401, "This is not the token; look where the studio was started.")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(_COOKIE, self._pass, httponly=True, samesite="strict")
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


def serve(app: FastAPI, settings: ServerSettings, taken: socket.socket, on_ready: Callable[[], object]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; a second one ends it at once.

    Args:
        app: as `persam.studio.app.create_studio` made it.
        settings: who may come.
        taken: the address, as `persam.server.serving.listen` gave it.
        on_ready: called when it answers.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it tells of open tabs when it stops
    config = uvicorn.Config(
        Door(app, settings),
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
