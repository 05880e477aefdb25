"""Changes of concepts, one after another: a concept is read, changed and written, and of two changes none gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from persam.server.refusals import TooLateError
from persam.server.store import ConceptStore

_LONGEST_WAIT = 120.0  # seconds that a thread waits for its turn; a change is one turn of the model or two


class ConceptChanges:
    """A lock for each concept, for requests and for other threads alike. Made in the event loop of the requests.

    Args:
        concepts: tells which names are one concept's.
    """

    def __init__(self, concepts: ConceptStore) -> None:
        self._concepts = concepts
        self._loop = asyncio.get_running_loop()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, name: str) -> asyncio.Lock:
        """To be held in the event loop while a concept is changed."""
        return self._locks.setdefault(self._concepts.path(name).stem, asyncio.Lock())

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold the same lock in another thread, which waits for it.

        Raises:
            TooLateError: it does not become free.
        """

        async def locked() -> asyncio.Lock:
            lock = self.lock(name)
            await lock.acquire()
            return lock

        turn = asyncio.run_coroutine_threadsafe(locked(), self._loop)
        try:
            lock = turn.result(_LONGEST_WAIT)
        except TimeoutError as error:
            if turn.cancel():
                raise TooLateError("Others have been changing the concept for too long; try again.") from error
            lock = turn.result()  # it came in that moment
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(lock.release)
