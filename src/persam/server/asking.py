"""Waiting for the model: not longer than a request may take, nor for somebody who has hung up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from persam.server.refusals import GoneError, TooLateError

T = TypeVar("T")

_LOOKS = 0.02  # seconds between two looks whether a lock is free


async def answer(request: Request, work: Awaitable[T]) -> T:
    """Wait for some work of a request, whose body was read already.

    The work is cancelled, and with it what it asked of the engine, where nobody waits for it any more.

    Args:
        request: that it is done for.
        work: a coroutine, or an engine's future through `asyncio.wrap_future`.

    Raises:
        TooLateError: it takes longer than a request may.
        GoneError: who asked has hung up.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request))
    for each in (task, gone):
        each.add_done_callback(_hear)
    most = request.app.state.service.settings.limits.request_seconds
    left = getattr(request.state, "deadline", time.monotonic() + most) - time.monotonic()
    try:
        await asyncio.wait({task, gone}, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise GoneError("Nobody waits for this answer any more.")
        raise TooLateError(
            f"This takes longer than the {most:g} s of a request; send fewer photos at once, or come when fewer wait."
        )
    finally:
        task.cancel()
        gone.cancel()


@asynccontextmanager
async def locked(request: Request, lock: threading.Lock) -> AsyncIterator[None]:
    """Hold a lock of threads while the block lasts; it is waited for as `answer` waits, and keeps no thread meanwhile.

    Raises:
        TooLateError: it is not free in the time of a request.
        GoneError: who asked has hung up.
    """
    is_held = False

    async def take() -> None:
        nonlocal is_held
        while not (is_held := lock.acquire(blocking=False)):
            await asyncio.sleep(_LOOKS)

    try:
        await answer(request, take())
        yield
    finally:
        if is_held:  # perhaps in the moment in which it was given up
            lock.release()


def _hear(task: asyncio.Future[Any]) -> None:
    """What goes wrong when nobody waits any more is nobody's: asyncio would write of it to stderr."""
    if not task.cancelled():
        task.exception()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
