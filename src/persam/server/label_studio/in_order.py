"""Work that nobody waits for, done in the order in which it came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from persam.server.engine import StoppingError
from persam.server.refusals import CrowdedError


class InOrder:
    """Does work in threads of its own: of one kind one after another, of several kinds at the same time.

    Args:
        threads: kinds at the same time.
        most: pieces of work that may wait, all together.
    """

    def __init__(self, *, threads: int = 4, most: int = 200) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="persam-in-order")
        self._change = threading.Condition()  # guards all below
        self._queues: dict[str, deque[Callable[[], object]]] = {}  # the first of each is being done
        self._closing = False

    def add(self, kind: str, work: Callable[[], object]) -> None:
        """Have some work done after all of its kind that came before.

        Args:
            kind: of the work.
            work: must raise nothing.

        Raises:
            CrowdedError: as much waits as may.
            StoppingError: it is closed.
        """
        with self._change:
            if self._closing:
                raise StoppingError
            if sum(map(len, self._queues.values())) >= self._most:
                raise CrowdedError(f"{self._most} events wait to be learned from already; send this one again later.")
            queue = self._queues.setdefault(kind, deque())
            queue.append(work)
            if len(queue) == 1:
                self._pool.submit(self._do_first, kind)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all is done; whether it is."""
        with self._change:
            return self._change.wait_for(lambda: not self._queues, timeout)

    def close(self, timeout: float | None = None) -> None:
        """Take nothing more, do what waits, and after `timeout` seconds only what is being done."""
        with self._change:
            self._closing = True
        self.wait(timeout)
        with self._change:
            for queue in self._queues.values():
                while len(queue) > 1:
                    queue.pop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _do_first(self, kind: str) -> None:
        with self._change:
            queue = self._queues[kind]
            work = queue[0]
        try:
            work()
        finally:
            with self._change:
                queue.popleft()
                if queue:
                    self._pool.submit(self._do_first, kind)  # behind those of other kinds
                else:
                    del self._queues[kind]
                self._change.notify_all()
