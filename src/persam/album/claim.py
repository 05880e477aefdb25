"""The right to write into an album elsewhere: a small object there says who writes, and is renewed while they do.

Stores know no locks. Of two who begin at the same moment both may win on a store that cannot refuse to replace an
object (S3 can); whoever was killed holds its claim until it expires, but for others of the same computer.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from persam.errors import PersamError
from persam.places import RemotePath

RENEWED = 60  # seconds between two renewals
EXPIRES = 300  # after so many seconds without one


class TakenError(PersamError):
    """Somebody else writes there."""


class Claim:
    """Hold a place.

    Args:
        file: the object.
        place: what is held, for sentences.

    Raises:
        TakenError: somebody else holds it; says who, and what to do.
    """

    def __init__(self, file: RemotePath, place: str) -> None:
        self._file, self._place = file, place
        self._token = secrets.token_hex(8)
        if not file.write_bytes(self._text(), new=True):
            other = self._read()
            if other is not None and _lives(other):
                raise self._refusal(other)
            file.write_bytes(self._text())
        self.check()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="persam-claim", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """See that the claim is still this one's.

        Raises:
            TakenError: it is not.
        """
        other = self._read()
        if other is None or other.get("token") != self._token:
            raise self._refusal(other or {})

    def release(self) -> None:
        """Let others have it. Again: nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(PersamError):  # it expires
            if (self._read() or {}).get("token") == self._token:
                self._file.unlink()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            with contextlib.suppress(PersamError):  # it is tried again before it expires
                if (self._read() or {}).get("token") == self._token:
                    self._file.write_bytes(self._text())

    def _text(self) -> bytes:
        mine = {
            "host": socket.gethostname(),
            "machine": _machine(),
            "process": os.getpid(),
            "time": time.time(),
            "token": self._token,
        }
        return json.dumps(mine).encode()

    def _read(self) -> dict[str, Any] | None:
        if not self._file.fresh():
            return None
        with contextlib.suppress(ValueError):
            other = json.loads(self._file.read_bytes())
            if isinstance(other, dict):
                return other
        return {}

    def _refusal(self, other: dict[str, Any]) -> TakenError:
        who = f"process {other['process']} on {other['host']}" if {"process", "host"} <= other.keys() else "unknown"
        ago = f", heard of {max(0, time.time() - _time_of(other)):.0f} seconds ago" if _time_of(other) else ""
        return TakenError(
            f"Another persam ({who}{ago}) is writing into {self._place}; wait until it is done, or, if it was killed, "
            f"wait {EXPIRES // 60} minutes or remove {self._file}."
        )


def _lives(other: dict[str, Any]) -> bool:
    """Whether a claim still holds; nobody knows how old one is that cannot be read, so it does."""
    if other.get("host") == socket.gethostname() and other.get("machine") == _machine():
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            # Before its age is asked: a computer that slept did not renew it.
            return _runs(int(other["process"]))
    told = _time_of(other)
    return not told or time.time() - told <= EXPIRES


def _machine() -> str:
    """What no other computer has of which the host has the same name, nor a container of this one."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{uuid.getnode():x}"


def _runs(process: int) -> bool:
    """Whether there is such a process on this computer.

    Raises:
        ValueError: that cannot be asked on this system.
    """
    if sys.platform == "win32" or process <= 0:  # there os.kill() ends it; 0 and less mean others
        raise ValueError(process)
    try:
        os.kill(process, 0)  # asks only
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _time_of(other: dict[str, Any]) -> float:
    told = other.get("time")
    return float(told) if isinstance(told, int | float) else 0.0
