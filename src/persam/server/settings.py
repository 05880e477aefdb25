"""How a service is set up: where it listens and keeps its things, and its limits.

A service that somebody else can reach asks for a token; that is not left to whoever starts it.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from persam.errors import UsageError

_MEGA, _GIGA = 10**6, 10**9
_PORTS = {"http": 80, "https": 443}
_SHORTEST_TOKEN = 16  # characters; `openssl rand -hex 16` gives 32


Origin = tuple[str, str, int]  # scheme, host, port


@dataclass(frozen=True)
class Limits:
    """What the service takes; every one is a positive number.

    Attributes:
        upload_bytes: bytes of a request's body, but for those that start a job.
        json_bytes: bytes of a body that is no form and no file, such as JSON, which is read into memory.
        job_upload_bytes: bytes of the body of a request that starts a job: a clip, or the photos of an album.
        photo_bytes: bytes of one photo, mask or concept file.
        photo_pixels: pixels of one photo or mask, looked up before it is decoded.
        field_bytes: bytes of all the fields of a form that are no files, together.
        photos_per_request: photos in one request to segment.
        references_per_request: photos in one request to learn.
        concepts_per_request: concepts that one request looks for.
        questions_per_request: photos times concepts of one request to segment, each of which the model is asked.
        waiting: asks that wait for the model; who comes then is told when to come again (429).
        batch: photos that wait together are encoded in one pass, up to so many.
        connections: open connections; who comes then is told that it is busy (503).
        request_seconds: seconds from a request's headers to its answer, but for events and downloads.
        job_upload_seconds: seconds in which the body of a request that starts a job has to be there.
        head_seconds: seconds until the first line and the headers of a request have to be there.
        upload_rate: bytes per second below which a body counts as dribbling, after the first ten seconds.
        stop_seconds: seconds in which what was taken is finished when the service is told to stop.
        concepts: concepts in the folder.
        folder_bytes: bytes of all that is in the folder; beyond, nothing more is taken (507).
        jobs_waiting: jobs that wait for their turn.
        job_files: photos of one album.
        clip_frames: frames of one clip, an hour of 30 a second.
    """

    upload_bytes: int = 256 * _MEGA
    json_bytes: int = 16 * _MEGA
    job_upload_bytes: int = 4 * _GIGA
    photo_bytes: int = 64 * _MEGA
    photo_pixels: int = 50 * _MEGA
    field_bytes: int = 64_000
    photos_per_request: int = 32
    references_per_request: int = 16
    concepts_per_request: int = 16
    questions_per_request: int = 128
    waiting: int = 64
    batch: int = 8
    connections: int = 512
    request_seconds: float = 120.0
    job_upload_seconds: float = 3_600.0
    head_seconds: float = 10.0
    upload_rate: float = 4_000.0
    stop_seconds: float = 30.0
    concepts: int = 1_000
    folder_bytes: int = 50 * _GIGA
    jobs_waiting: int = 32
    job_files: int = 20_000
    clip_frames: int = 108_000

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < math.inf:
                raise UsageError(f"The limit {each.name} must be above 0, not {getattr(self, each.name)}.")


@dataclass(frozen=True)
class ServerSettings:
    """Where a service listens, and what it may do.

    Attributes:
        folder: everything that the service keeps lies in it: concepts, jobs, uploads while they last.
        host: address to listen on; others than this machine's own need a token.
        port: 0 for any that is free.
        token: what callers have to know; None: whoever can reach it may use it, so only this machine can.
        origins: web pages that may call it, such as ``"https://app.example.org"``, kept as browsers write them; others
            cannot.
        label_studio_url: of a Label Studio whose photos it may get, such as ``"http://localhost:8080"``.
        label_studio_key: an access token of a user of that Label Studio.
        photo_hosts: further addresses to which that Label Studio may send it for photos, such as a bucket's.
        keep_days: for which jobs that have ended are kept; None: until somebody deletes them.
        limits: what it takes.

    Raises:
        UsageError: it could be reached from elsewhere without a token, a token is too short to be one, no such port,
            or no such address.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    origins: tuple[str, ...] = ()
    label_studio_url: str | None = None
    label_studio_key: str | None = field(default=None, repr=False)
    photo_hosts: tuple[str, ...] = ()
    keep_days: float | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"A port is a number from 0 to 65535, not {self.port}.")
        if self.keep_days is not None and not self.keep_days >= 0:
            raise UsageError(f"Jobs are kept for 0 days or more, not {self.keep_days:g}.")
        if self.token is None and not self.is_loopback:
            raise UsageError(
                f"On {self.host} others can reach this service, so it needs a token; give one with --token-file or in "
                "PERSAM_TOKEN, or listen on 127.0.0.1."
            )
        if self.token is not None:
            _check_strength(self.token)
        object.__setattr__(self, "origins", tuple(map(page_of, self.origins)))
        for address in (self.label_studio_url, *self.photo_hosts):
            if address is not None:
                origin_of(address)

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach it."""
        return is_loopback(self.host)

    @property
    def concepts_folder(self) -> Path:
        """Where concept files lie."""
        return self.folder / "concepts"

    @property
    def uploads_folder(self) -> Path:
        """Where uploads lie while their request lasts."""
        return self.folder / "uploads"

    @property
    def jobs_folder(self) -> Path:
        """Where jobs keep what they were given and what they made."""
        return self.folder / "jobs"


def origin_of(address: str) -> Origin:
    """Scheme, host and port of an address, by which hosts are told apart.

    >>> origin_of("http://localhost:8080/data/a.jpg"), origin_of("https://Example.org/")
    (('http', 'localhost', 8080), ('https', 'example.org', 443))

    Raises:
        UsageError: it is none with ``http`` or ``https``, or it holds a name and password.
    """
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        scheme = host = ""
        port = None
    if scheme not in _PORTS or not host or "@" in parts.netloc or "\\" in address:
        raise UsageError(f"The address of a host is like http://localhost:8080 or https://example.org, not {address}.")
    return scheme, host, port or _PORTS[scheme]


def page_of(address: str) -> str:
    """The origin of a web page, as browsers write it into the header ``Origin``.

    >>> page_of("HTTPS://App.Example.org:443/"), page_of("http://localhost:3000")
    ('https://app.example.org', 'http://localhost:3000')

    Raises:
        UsageError: it is no address, names more than a host and a port, or means all of them.
    """
    try:
        scheme, host, port = origin_of(address)
        host = host if host.isascii() else host.encode("idna").decode()
    except (UsageError, UnicodeError):
        host = ""
    parts = urlsplit(address) if host else None
    if parts is None or parts.path not in ("", "/") or parts.query or parts.fragment or "*" in host:
        raise UsageError(
            "A page that may call the service is given by scheme, host and port alone, such as https://app.example.org "
            f"or http://localhost:3000, not {address}; for several give --allow-origin several times."
        )
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == _PORTS[scheme] else f"{scheme}://{name}:{port}"


def is_loopback(host: str) -> bool:
    """Whether an address or a name is this machine's own, and nobody else's.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_strength(token: str) -> None:
    if len(token) < _SHORTEST_TOKEN:
        raise UsageError(
            f"A token has at least {_SHORTEST_TOKEN} characters, so that nobody guesses it; `openssl rand -hex 16` "
            "makes one."
        )
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError("A token goes into a header, so it is made of ASCII letters, digits and signs without blanks.")
