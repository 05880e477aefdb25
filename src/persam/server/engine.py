"""The engine: one model, one thread that runs it, one bounded queue before it.

Whoever wants something of the model, from whatever thread, asks here and gets a future. Photos that wait together are
encoded in one pass, whatever each is searched for; what is wrong with one reaches only who asked for it. Photos are
read (decoded) in threads of their own, a batch ahead of the model, so that what waits takes no room.
"""

from __future__ import annotations

import os
import threading
import time
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal, Protocol, TypeVar, Unpack, runtime_checkable

import numpy as np
import torch

from persam.concept import Concept
from persam.encoding import Photo, Unread, read_photo
from persam.errors import PersamError, UsageError
from persam.files import Held
from persam.geometry import Size
from persam.images import read_smaller
from persam.models.base import EncodedImage
from persam.persam import PerSAM
from persam.segmentation import Segmentation, SegmentOptions, check_search
from persam.server.refusals import Refused

T = TypeVar("T")
Turn = Literal["photos", "call", "patient"]
OnTurn = Callable[[Turn, int, float], object]

_PATIENT_EVERY = 4  # asks, of which a patient one is served while others wait; a batch of photos is as many
_FIRST_GUESS = 0.5  # seconds that an ask takes, until some were measured
_WEIGHT_OF_NEW = 0.2  # of the last turn in the running mean of seconds per ask


class BusyError(Refused):
    """As many wait as may wait; come again after `retry_after` seconds."""

    status = 429

    def __init__(self, retry_after: float, waiting: int) -> None:
        super().__init__(
            f"The model is busy and {waiting} are waiting already; try again in {max(1, round(retry_after))} s."
        )
        self.retry_after = retry_after


class StoppingError(Refused):
    """The service is stopping and takes nothing more."""

    status, retry_after = 503, 5.0

    def __init__(self) -> None:
        super().__init__("The service is stopping and takes nothing more; try again when it runs again.")


@runtime_checkable
class UnreadPhoto(Protocol):
    """A photo that the engine reads when its turn is near."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def read(self, longest: int | None) -> tuple[np.ndarray, Size]:
        """Its pixels, (h, w, 3) uint8 RGB, perhaps of a smaller copy (`read_smaller`), and its own size (H, W)."""
        ...


@dataclass(frozen=True, eq=False)
class _Read:
    """A photo that was read."""

    name: str | None
    pixels: np.ndarray
    size: Size


@dataclass(eq=False)
class _Ask(Generic[T]):
    """What somebody waits for. `number` tells who came first."""

    number: int
    future: Future[T]


@dataclass(eq=False)
class _Call(_Ask[Any]):
    work: Callable[[PerSAM], Any]
    turn: Turn


@dataclass(eq=False)
class _Search(_Ask[list[Segmentation]]):
    photo: Photo | UnreadPhoto | _Read
    concepts: list[Concept]
    options: SegmentOptions = field(default_factory=lambda: SegmentOptions())


class Engine(Held):
    """Runs a model for everybody.

    Args:
        model: it belongs to the engine's thread from now on.
        waiting: asks that may wait, all together, but for patient ones.
        batch: photos of one pass at most.
        on_turn: called after every turn with its kind, the number of asks served and seconds; must be quick.
    """

    def __init__(self, model: PerSAM, *, waiting: int = 64, batch: int = 8, on_turn: OnTurn | None = None) -> None:
        self.model = model
        self.waiting, self.batch = waiting, batch
        self._longest = model.longest_side  # asked now: finding it out takes the model
        self._on_turn = on_turn
        self._numbers = count()
        self._change = threading.Condition()  # guards all below; told whenever any of it changes
        self._unread: deque[_Search] = deque()
        self._ready: deque[_Search] = deque()
        self._calls: deque[_Call] = deque()
        self._patient: deque[_Call] = deque()
        self._being_read = self._since_patient = 0
        self._closing = self._is_given_up = False
        self._seconds = _FIRST_GUESS
        readers = min(2, os.cpu_count() or 1)
        works = [self._run, *[self._read_photos] * readers]
        self._threads = [threading.Thread(target=work, name="persam-engine", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------------ asking, from any thread

    def segment(
        self,
        photo: Photo | UnreadPhoto,
        concepts: Sequence[Concept],
        *,
        goes_on: bool = False,
        **options: Unpack[SegmentOptions],
    ) -> Future[list[Segmentation]]:
        """Find concepts in a photo: what `PerSAM.segment` gives, or raises, in the future.

        A photo in a file is read when its turn is near, and no larger than the model can see.

        Args:
            photo: where the concepts are looked for.
            concepts: of the engine's model.
            goes_on: it takes the place of one that was served, of somebody who has more photos than he asks about at
                once; what was begun is never refused for others that wait.
            **options: as `PerSAM.segment` takes them.

        Raises:
            BusyError: as many wait as may.
            StoppingError: it is closed.
            UsageError: an option out of range, or something else than concepts.
        """
        for each in concepts:
            if not isinstance(each, Concept):
                raise UsageError(f"A concept is wanted, not {each!r}; read a file with Concept.load(...).")
        check_search(options.get("max_instances", 1), options.get("threshold", 0.5))
        with self._change:
            self._check_room(goes_on)
            ask = _Search(next(self._numbers), Future(), photo, list(concepts), options)
            (self._ready if isinstance(photo, EncodedImage) else self._unread).append(ask)
            self._change.notify_all()
        return ask.future

    def call(self, work: Callable[[PerSAM], T], *, patient: bool = False) -> Future[T]:
        """Anything else that needs the model, on its thread.

        Args:
            work: is given the model; it must not wait for the engine, whose thread it is on.
            patient: a piece of a long job: served when nobody else waits, but also after four asks or a batch, and
                never refused for others that wait.

        Raises:
            BusyError: as many wait as may.
            StoppingError: it is closed.
        """
        future: Future[T] = Future()
        with self._change:
            if patient:
                self._check_open()
            else:
                self._check_room()
            ask = _Call(next(self._numbers), future, work, "patient" if patient else "call")
            (self._patient if patient else self._calls).append(ask)
            self._change.notify_all()
        return future

    @property
    def depth(self) -> int:
        """Asks that wait, but for patient ones."""
        with self._change:
            return self._depth()

    @property
    def seconds_per_ask(self) -> float:
        """How long one takes, as measured lately."""
        return self._seconds

    def close(self, finish: bool = True, timeout: float | None = None) -> None:
        """Take nothing more, and stop.

        Args:
            finish: first do what was taken; otherwise only what is being done, and others get a `StoppingError`.
            timeout: seconds for that; then the rest is dropped all the same.
        """
        with self._change:
            self._closing = True
            if not finish:
                self._drop_all()
            self._change.notify_all()
        ends = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if ends is None else max(0.0, ends - time.monotonic()))
        with self._change:
            self._drop_all()
            self._change.notify_all()

    def give_up(self) -> None:
        """Take nothing but patient asks any more, and let go of what else waits: it gets a `StoppingError`."""
        with self._change:
            self._is_given_up = True
            self._drop(self._unread, self._ready, self._calls)
            self._change.notify_all()

    def _check_open(self) -> None:
        if self._closing:
            raise StoppingError

    def _check_room(self, goes_on: bool = False) -> None:
        self._check_open()
        if self._is_given_up:
            raise StoppingError
        if goes_on:
            return
        if self._depth() >= self.waiting:
            self._forget_cancelled()
        if (depth := self._depth()) >= self.waiting:
            raise BusyError(depth * self._seconds, depth)

    def _forget_cancelled(self) -> None:
        for asks in (self._unread, self._ready, self._calls):
            kept = [ask for ask in asks if not ask.future.cancelled()]
            asks.clear()
            asks.extend(kept)  # type: ignore[arg-type]  # each gets its own back

    def _depth(self) -> int:
        return len(self._unread) + self._being_read + len(self._ready) + len(self._calls)

    def _drop_all(self) -> None:
        self._is_given_up = True  # a photo that is being read now comes too late, too
        self._drop(self._unread, self._ready, self._calls, self._patient)

    def _drop(self, *queues: deque[Any]) -> None:
        for asks in queues:
            while asks:
                _fail(asks.popleft(), StoppingError())

    # ------------------------------------------------------------------ reading, a batch ahead

    def _read_photos(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._may_read() or self._is_over())
                if not self._may_read():
                    return
                ask = self._unread.popleft()
                self._being_read += 1
            problem = None
            try:
                if not ask.future.cancelled():
                    ask.photo = self._read(ask.photo, ask.concepts)
            except BaseException as error:
                problem = error
            with self._change:
                self._being_read -= 1
                if problem is None and self._is_given_up:
                    problem = StoppingError()
                if problem is None:
                    insort(self._ready, ask, key=lambda each: each.number)  # who came first is served first
                self._change.notify_all()
            if problem is not None:
                _fail(ask, problem)
            del ask, problem  # with the photo's pixels

    def _may_read(self) -> bool:
        return bool(self._unread) and len(self._ready) + self._being_read < max(2, self.batch)

    def _read(self, photo: Any, concepts: Sequence[Concept]) -> _Read:
        # The published modes read a photo whole.
        smaller = all(concept.mode == "persam" for concept in concepts)
        longest = self._longest if smaller else None
        if isinstance(photo, UnreadPhoto):
            return _Read(photo.name, *photo.read(longest))
        if isinstance(photo, (str, os.PathLike)):
            return _Read(str(photo), *read_smaller(str(photo), longest))
        name, pixels = read_photo(photo)
        return _Read(name, pixels, (pixels.shape[0], pixels.shape[1]))

    # ------------------------------------------------------------------ the model's thread

    def _run(self) -> None:
        while True:
            asks = self._next_turn()
            if asks is None:
                return
            started = time.perf_counter()
            try:
                turn, served = self._serve(asks)
            except BaseException as error:  # such as no memory between two asks: whoever comes next is served
                for ask in asks if isinstance(asks, list) else [asks]:
                    _fail(ask, error)
                continue
            finally:
                asks = None  # photos and masks are not kept until somebody comes
            seconds = time.perf_counter() - started
            if served and turn != "patient":
                self._seconds += _WEIGHT_OF_NEW * (seconds / served - self._seconds)
            if served and self._on_turn is not None:
                with suppress(Exception):  # of whoever counts; the model serves on
                    self._on_turn(turn, served, seconds)

    def _is_over(self) -> bool:
        return self._closing and not (self._depth() or self._patient)

    def _next_turn(self) -> list[_Search] | _Call | None:
        """Who is served now: photos that are ready, a call, or a patient one; None when it is over."""
        with self._change:
            self._change.wait_for(lambda: self._ready or self._calls or self._patient or self._is_over())
            others_wait = bool(self._ready or self._calls)
            if self._patient and (not others_wait or self._since_patient >= _PATIENT_EVERY - 1):
                self._since_patient = 0
                patient = self._patient.popleft()
                self._change.notify_all()  # perhaps it was the last
                return patient
            if not others_wait:
                self._change.notify_all()  # it is over for the readers, too
                return None
            if self._calls and not (self._ready and self._ready[0].number < self._calls[0].number):
                asks: list[_Search] | _Call = self._calls.popleft()
            else:
                asks = [self._ready.popleft() for _ in range(min(self.batch, len(self._ready)))]
            if self._patient:
                self._since_patient += len(asks) if isinstance(asks, list) else 1
            self._change.notify_all()  # there is room to read more
            return asks

    def _serve(self, asks: list[_Search] | _Call) -> tuple[Turn, int]:
        """Serve them; return the kind of turn, and how many were still wanted."""
        if isinstance(asks, list):
            return "photos", self._find_all(asks)
        if not asks.future.set_running_or_notify_cancel():
            return asks.turn, 0
        try:
            asks.future.set_result(asks.work(self.model))
        except BaseException as error:  # it is the asker's, whatever it is
            _fail(asks, error)
        return asks.turn, 1

    def _find_all(self, asks: Sequence[_Search]) -> int:
        wanted = [ask for ask in asks if ask.future.set_running_or_notify_cancel()]
        with torch.inference_mode():
            for ask, encoded in self._encoded([ask for ask in wanted if self._fits(ask)]):
                try:
                    ask.future.set_result(self.model.segment(encoded, ask.concepts, **ask.options))
                except BaseException as error:
                    _fail(ask, error)
        return len(wanted)

    def _fits(self, ask: _Search) -> bool:
        """Whether its concepts belong to the model, which is seen before the work of encoding its photo."""
        try:
            for concept in ask.concepts:
                self.model.check(concept)
        except BaseException as error:
            _fail(ask, error)
            return False
        return True

    def _encoded(self, asks: Sequence[_Search]) -> Iterator[tuple[_Search, EncodedImage]]:
        """Encode their photos in as few passes as it takes; who has one that cannot be encoded is told here."""
        unencoded: list[tuple[_Search, _Read]] = []
        for ask in asks:
            if isinstance(ask.photo, EncodedImage):
                yield ask, ask.photo
            elif isinstance(ask.photo, _Read):
                unencoded.append((ask, ask.photo))
        each_encoded = self.model.photos.encode_each([(photo.name, photo.pixels) for _, photo in unencoded])
        for (ask, photo), encoded in zip(unencoded, each_encoded, strict=True):
            if isinstance(encoded, Unread):
                _fail(ask, encoded.error)
            else:
                yield ask, encoded.of_photo(photo.size)


def _fail(ask: _Ask[Any], problem: BaseException) -> None:
    """Tell who asked, if he still waits and knows nothing yet."""
    if isinstance(problem, PersamError):  # a sentence says it all; of a bug the log shows where it was
        _forget_frames(problem)
    if not ask.future.done() and (ask.future.running() or ask.future.set_running_or_notify_cancel()):
        ask.future.set_exception(problem)


def _forget_frames(problem: BaseException | None) -> None:
    """Let go of what an error came through.

    Frames of the engine know the ask, whose future knows the error: a circle that would keep photo and masks until
    garbage is collected.
    """
    while problem is not None:
        problem.__traceback__ = None
        problem = problem.__cause__ or problem.__context__
