"""A load test of the service: one client, many at once, a burst; and the same model without a service beside it.

All of it is done to a real service over HTTP. The bare loop runs in this process, in turns with the clients, so that
what else the machine does falls on both.
"""

from __future__ import annotations

import asyncio
import io
import random
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from persam.concept import Concept
from persam.errors import PersamError, first_line
from persam.instance import rle_mask
from persam.lazy import library
from persam.persam import PerSAM
from persam.server.load.setup import CONCEPTS, LoadedService, LoadPhoto, reference_of

SEVERAL, LEARNS = 0.1, 0.02  # shares of requests that bring three photos, and that learn
JOBS, JOB_PHOTOS = 3, 12  # albums while the clients ask, and photos in each
LEAST_ROUNDS = 5  # of clients and bare loop in turns
BURST = 4  # times as many requests at once as may wait
PROBES, RECOVERED = 5, 1.5  # the median of so many requests, over that of one client alone
PATIENCE = 120.0  # seconds after which an answer counts as lost
SAME = 0.95  # IoU from which on two masks of one photo are the same but for rounding


@dataclass
class LoadRequest:
    """One request, from when it was first sent to its answer.

    Attributes:
        kind: ``segment``, ``learn`` or ``album``.
        start: seconds since the clients began.
        photos: that were in it.
        seconds: that it took, with all waiting that a 429 asked for.
        refused: how often it was answered 429 before.
        without_advice: answers 429 that did not say in how many seconds to come again.
        problem: why it has no good answer; None if it has.
    """

    kind: str
    start: float
    photos: int = 1
    seconds: float = 0.0
    refused: int = 0
    without_advice: int = 0
    problem: str | None = None


@dataclass
class Burst:
    """Many more requests at once than may wait, each asked again as it was told until it was answered.

    Attributes:
        asked: all of them.
        seconds: until the last was answered.
        recovery: seconds from the start until one more client has its usual latency again; None if it never had.
    """

    asked: list[LoadRequest]
    seconds: float
    recovery: float | None


@dataclass
class Load:
    """What was seen.

    Attributes:
        alone, together: requests of one client, and of all at once.
        memory: (seconds since the clients began, bytes that are resident), two a second.
        rounds: photos a second with all clients, and in the bare loop, for each round.
        burst: of requests.
        differ: answers to one of many clients that are not those to one alone, a sentence each.
        lost_probes: requests beside the burst that have no good answer.
    """

    alone: list[LoadRequest] = field(default_factory=list)
    together: list[LoadRequest] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)
    rounds: list[tuple[float, float]] = field(default_factory=list)
    burst: Burst | None = None
    differ: list[str] = field(default_factory=list)
    lost_probes: list[LoadRequest] = field(default_factory=list)

    @property
    def lost(self) -> list[LoadRequest]:
        """Requests and jobs without a good answer."""
        burst = self.burst.asked if self.burst else []
        return [each for each in (*self.alone, *self.together, *burst, *self.lost_probes) if each.problem is not None]


class LoadTest:
    """Puts load on a service.

    Args:
        service: that runs.
        photos: that are sent.
        clients: at once.
        seconds: that they ask; one alone does so for a tenth of it, and rounds with the bare loop take a fifth.
        progress: called with the seconds that are done, and those that it takes in all.
    """

    def __init__(
        self,
        service: LoadedService,
        photos: Sequence[LoadPhoto],
        *,
        clients: int,
        seconds: float,
        progress: Callable[[float, float], object] = lambda done, total: None,
    ) -> None:
        self.service, self.photos, self.clients, self.seconds = service, photos, clients, seconds
        self._progress, self._done = progress, 0.0
        self.load = Load()
        self._httpx = library("httpx", "A load test", "serve")
        self._begin = time.perf_counter()
        self._answers: dict[str, Any] = {}  # to one client alone, by photo
        self._lock = threading.Lock()
        self._stop = threading.Event()  # somebody lost patience (Ctrl-C): clients end with the request that they are at

    def run(self, persam: PerSAM) -> Load:
        """All of it; `persam` is the model of the bare loop.

        Raises:
            PersamError: the service does not learn, or answers nothing at all.
        """
        with self._client() as client:
            self._learn_all(client)
            concepts = {name: self._concept(client, name) for name in CONCEPTS}
            for photo in self.photos:  # warms up, and is what all other answers are compared with
                self._segment(client, [photo])
        self._one_alone(max(self.seconds / 10, 2.0))
        self._rounds(persam, concepts, self.seconds / 5)
        self._all_at_once(self.seconds)
        self.load.burst = asyncio.run(self._burst())
        return self.load

    # ------------------------------------------------------------------------------------------------------- parts

    def _learn_all(self, client: Any) -> None:
        for number, name in enumerate(CONCEPTS):
            answer = self._learn(client, name, number)
            if answer.problem is not None:
                raise PersamError(f"The service does not learn: {answer.problem}.")

    def _concept(self, client: Any, name: str) -> Concept:
        """The very concept that the service looks for."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "concept.safetensors")
            file.write_bytes(client.get(f"/v1/concepts/{name}/file").raise_for_status().content)
            return Concept.load(file)

    def _one_alone(self, seconds: float) -> None:
        chance, end = random.Random(0), time.perf_counter() + seconds
        with self._client() as client:
            while time.perf_counter() < end:
                asked = self._segment(client, self._some(chance))
                self.load.alone.append(asked)
                self._step(asked.seconds)

    def _rounds(self, persam: PerSAM, concepts: dict[str, Concept], seconds: float) -> None:
        """The same photos through the service and through the bare loop, in turns; the first round warms up."""
        begin, number = time.perf_counter(), 0
        with self._threads(self.clients) as pool:
            while number <= LEAST_ROUNDS or time.perf_counter() - begin < seconds:
                start = time.perf_counter()
                halves = [self._round_of_clients, lambda _pool: self._round_of_loop(persam, concepts)]
                rates = [0.0, 0.0]
                for half in (0, 1) if number % 2 else (1, 0):  # who comes first changes
                    rates[half] = halves[half](pool)
                if number:
                    self.load.rounds.append((rates[0], rates[1]))
                number += 1
                self._step(time.perf_counter() - start)

    def _round_of_clients(self, pool: ThreadPoolExecutor) -> float:
        left, clients = list(self.photos), [self._client() for _ in range(self.clients)]

        def work(client: Any) -> None:
            while True:
                with self._lock:
                    if not left or self._stop.is_set():
                        return
                    photo = left.pop()
                asked = self._segment(client, [photo])
                with self._lock:
                    self.load.together += [asked] if asked.problem is not None else []

        start = time.perf_counter()
        list(pool.map(work, clients))
        rate = len(self.photos) / (time.perf_counter() - start)
        for client in clients:
            client.close()
        return rate

    def _round_of_loop(self, persam: PerSAM, concepts: dict[str, Concept]) -> float:
        start = time.perf_counter()
        for photo in self.photos:
            with Image.open(io.BytesIO(photo.data)) as picture:
                persam.segment(picture, [concepts[name] for name in photo.concepts])
        return len(self.photos) / (time.perf_counter() - start)

    def _all_at_once(self, seconds: float) -> None:
        """Clients with mixed requests, and albums in between; memory is read meanwhile."""
        self._begin = time.perf_counter()
        end = self._begin + seconds
        album_starts = [seconds * (number + 0.3) / JOBS for number in range(JOBS)]

        def ask(number: int) -> None:
            chance = random.Random(number + 1)
            with self._client() as client:
                while time.perf_counter() < end and not self._stop.is_set():
                    if chance.random() < LEARNS:
                        asked = self._learn(client, f"thing of client {number}", number % len(CONCEPTS))
                    else:
                        asked = self._segment(client, self._some(chance))
                    self._note(asked)

        def fill_albums() -> None:
            with self._client() as client:
                for number, start in enumerate(album_starts):
                    if self._stop.wait(max(0.0, self._begin + start - time.perf_counter())):
                        return
                    self._note(self._album(client, follow=number % 2 == 0))

        with self._threads(self.clients + 1) as pool:
            work = [pool.submit(ask, number) for number in range(self.clients)] + [pool.submit(fill_albums)]
            while not all(each.done() for each in work):
                if (resident := self.service.resident()) is not None:
                    self.load.memory.append((self._now(), resident))
                self._step(0.5)
                time.sleep(0.5)
        for each in work:
            each.result()

    @contextmanager
    def _threads(self, count: int) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(count) as pool:
            try:
                yield pool
            except BaseException:
                self._stop.set()
                raise

    async def _burst(self) -> Burst:
        """At once `BURST` times what may wait, all of one photo; and one more client that asks all the while."""
        photo = min(self.photos, key=lambda each: len(each.data))
        usual = await asyncio.to_thread(self._usual, photo)
        limits = self._httpx.Limits(max_connections=None)
        options = {"base_url": self.service.url, "headers": self.service.headers, "timeout": PATIENCE}
        async with self._httpx.AsyncClient(limits=limits, **options) as client:
            waiting = (await client.get("/v1/model")).json()["limits"]["waiting"]
            self._begin = time.perf_counter()
            burst = [asyncio.create_task(self._until_answered(client, photo)) for _ in range(BURST * waiting)]
            probe = asyncio.create_task(asyncio.to_thread(self._recovery, photo, usual, burst))
            try:
                asked = await asyncio.gather(*burst)
            except BaseException:
                self._stop.set()
                raise
            seconds = self._now()
            self._step(seconds)
            return Burst(list(asked), seconds, await probe)

    async def _until_answered(self, client: Any, photo: LoadPhoto) -> LoadRequest:
        asked = LoadRequest("segment", self._now())
        while True:
            try:
                answer = await client.post("/v1/segment", **_segment_form([photo]))
            except self._httpx.TransportError as error:
                asked.problem = _said(error)
                break
            if answer.status_code != 429 or self._now() - asked.start > PATIENCE:
                asked.problem = _problem_of(answer)
                break
            await asyncio.sleep(_told_to_wait(answer, asked))
        asked.seconds = self._now() - asked.start
        return asked

    def _usual(self, photo: LoadPhoto) -> float:
        with self._client() as client:
            return _median([self._probe(client, photo) for _ in range(PROBES)])

    def _probe(self, client: Any, photo: LoadPhoto) -> float:
        """Seconds that a request takes; one that fails is lost, and counts as endless: it may have failed at once."""
        asked = self._segment(client, [photo])
        if asked.problem is None:
            return asked.seconds
        with self._lock:
            self.load.lost_probes.append(asked)
        return float("inf")

    def _recovery(self, photo: LoadPhoto, usual: float, burst: Sequence[asyncio.Task[LoadRequest]]) -> float | None:
        """Seconds since the burst began, after which requests take at most `RECOVERED` times what they usually do."""
        took: list[float] = []
        end = float("inf")
        with self._client() as client:
            while (start := self._now()) < end and not self._stop.is_set():
                is_over = all(each.done() for each in burst)
                if is_over:
                    end = min(end, start + PATIENCE)
                took = [*took, self._probe(client, photo)][-PROBES:]
                if is_over and len(took) == PROBES and _median(took) <= RECOVERED * usual:
                    return start
        return None

    # ---------------------------------------------------------------------------------------------------- requests

    def _client(self) -> Any:
        return self._httpx.Client(base_url=self.service.url, headers=self.service.headers, timeout=PATIENCE)

    def _step(self, seconds: float) -> None:
        self._done += seconds
        self._progress(self._done, max(1.4 * self.seconds, self._done))

    def _now(self) -> float:
        return time.perf_counter() - self._begin

    def _note(self, asked: LoadRequest) -> None:
        with self._lock:
            self.load.together.append(asked)

    def _some(self, chance: random.Random) -> list[LoadPhoto]:
        return chance.sample(self.photos, 3 if chance.random() < SEVERAL and len(self.photos) > 2 else 1)

    def _post(self, client: Any, kind: str, way: str, photos: int = 1, **form: Any) -> tuple[LoadRequest, Any]:
        """Send a form until it is taken, and look whether it was; with the answer, if there is a good one."""
        asked, answer = LoadRequest(kind, self._now(), photos), None
        try:
            answer = client.post(way, **form)
            while answer.status_code == 429 and self._now() - asked.start < PATIENCE:
                time.sleep(_told_to_wait(answer, asked))
                answer = client.post(way, **form)
            asked.problem = _problem_of(answer)
        except self._httpx.TransportError as error:
            asked.problem = _said(error)
        asked.seconds = self._now() - asked.start
        return asked, None if asked.problem is not None else answer

    def _segment(self, client: Any, photos: Sequence[LoadPhoto]) -> LoadRequest:
        asked, answer = self._post(client, "segment", "/v1/segment", len(photos), **_segment_form(photos))
        for photo, result in zip(photos, answer.json()["results"] if answer is not None else (), strict=False):
            for name, found in zip(photos[0].concepts, result["found"], strict=True):
                self._compare(f"{name} in {photo.name}", found)
        return asked

    def _compare(self, what: str, found: dict[str, Any]) -> None:
        """See that it is what one client alone was told: the same mask, or none."""
        mask = found["mask"]
        with self._lock:
            first = self._answers.setdefault(what, mask)
        if mask != first and not _alike(mask, first):  # seldom: to decode masks would keep the processor from the model
            with self._lock:
                self.load.differ.append(f"{what} has another mask than at first")

    def _learn(self, client: Any, name: str, disc: int) -> LoadRequest:
        photo, mask = reference_of(disc)
        files = [("photo", ("photo.png", photo)), ("mask", ("mask.png", mask))]
        return self._post(client, "learn", "/v1/concepts", data={"name": name, "replace": "true"}, files=files)[0]

    def _album(self, client: Any, *, follow: bool) -> LoadRequest:
        """An album of some photos as a job, from being sent to its last result; `follow` its events, or ask again."""
        photos, start = self.photos[:JOB_PHOTOS], self._now()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for photo in photos:
                packed.writestr(photo.name, photo.data)
        form = {
            "data": {"kind": "album", "concept": list(CONCEPTS)},
            "files": [("file", ("photos.zip", archive.getvalue()))],
        }
        asked, answer = self._post(client, "album", "/v1/jobs", len(photos), **form)
        if answer is not None:
            try:
                asked.problem = self._finished(client, f"/v1/jobs/{answer.json()['id']}", len(photos), follow=follow)
            except (self._httpx.HTTPError, KeyError, ValueError) as error:
                asked.problem = _said(error)
        asked.seconds = self._now() - start
        return asked

    def _finished(self, client: Any, job: str, photos: int, *, follow: bool) -> str | None:
        """Wait for a job; what is wrong with its end, or None."""
        if follow:
            with client.stream("GET", f"{job}/events") as events:
                for _ in events.iter_lines():
                    if self._stop.is_set():
                        break
        end = time.perf_counter() + PATIENCE
        while (state := client.get(job).raise_for_status().json()["state"]) in ("queued", "running"):
            if follow or time.perf_counter() > end or self._stop.is_set():
                return f"a job is {state} though its events ended" if follow else f"a job is still {state}"
            time.sleep(0.5)
        lines = client.get(f"{job}/results").raise_for_status().text.splitlines()
        if state != "done" or len(lines) < photos:
            return f"a job ended as {state} with {len(lines)} results for {photos} photos"
        return None


def _segment_form(photos: Sequence[LoadPhoto]) -> dict[str, Any]:
    return {
        "data": {"concept": list(photos[0].concepts), "masks": "rle"},
        "files": [("photo", (photo.name, photo.data)) for photo in photos],
    }


def _alike(mask: dict[str, Any] | None, other: dict[str, Any] | None) -> bool:
    """Whether two masks are the same but for rounding."""
    if mask is None or other is None or mask["size"] != other["size"]:
        return False
    one, two = rle_mask(mask), rle_mask(other)
    return int((one & two).sum()) >= SAME * int((one | two).sum())


def _told_to_wait(answer: Any, asked: LoadRequest) -> float:
    """Seconds to wait after a 429; what it did not say counts against it."""
    asked.refused += 1
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        asked.without_advice += 1
        return 1.0


def _problem_of(answer: Any) -> str | None:
    return None if answer.status_code < 300 else f"status {answer.status_code}: {answer.text[:200]}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
