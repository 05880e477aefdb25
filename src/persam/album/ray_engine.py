"""Photos are looked at by Ray's workers, each with a model of its own, on this machine or on a cluster.

Workers read photos and find concepts; what they found comes back to this process, which alone writes index and files,
as with one worker.  So an album is the same however many workers there were, and whichever of them died: Ray starts a
dead one again and gives its photos to it or to others.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from persam import __version__
from persam.album.batch import Wanted
from persam.album.index import hash_of
from persam.album.looking import Finder, LookedAt
from persam.album.worker import Worker, changed, corrected, problem_with
from persam.errors import PersamError, PersamWarning, UsageError, first_line
from persam.images import read_image, read_smaller
from persam.lazy import library
from persam.places import Place, RemotePath, StoreError, place_of, stamp_of
from persam.reports.pictures import mask_file

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM
    from persam.segmentation import Segmentation

MOST_WORKERS = 8  # by default: every one holds a model
LARGEST_BLOCK = 4  # photos that a worker gets at once, and that are looked at again if it dies
TRIES = 3  # for photos whose worker dies


@dataclass(frozen=True)
class RayEngine:
    """Look at photos with Ray Data: a pool of workers, of which each loads the model once.

    Photos must have the same paths on all machines, or be on storage that all of them reach.

    Attributes:
        workers: how many; None: one for every GPU if the model is to run on them, else one a core, at most 8.
        address: of a running cluster, as `ray.init` takes it; None: this machine alone.
        on_gpu: every worker gets a GPU.
    """

    workers: int | None = None
    address: str | None = None
    on_gpu: bool = False

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise UsageError(f"There must be a worker or more, not {self.workers}.")

    def looked_at(self, worker: Worker, photos: Sequence[Place]) -> Iterator[LookedAt]:
        """What is known already first, then photos as they are done.

        Raises:
            PersamError: Ray is not installed, cannot be started or goes away, or no worker can load the model.
        """
        to_do = []
        for photo in photos:
            known = worker.known(photo)
            if known is None:
                to_do.append(photo)
            else:
                yield known
        if to_do:
            with _started(self.address, self.workers), _in_words():
                yield from self._looked_at(worker, to_do)

    def _looked_at(self, worker: Worker, photos: Sequence[Place]) -> Iterator[LookedAt]:
        import ray

        count = self._count(ray.cluster_resources())
        order = ray.put(_Order(worker.load, worker.concepts, worker.wanted, worker.found_before()))
        left = dict(enumerate(photos))
        # Photos that come back from neither round have each killed their worker alone.
        for largest in (LARGEST_BLOCK, 1):
            if left:
                for number, seen in self._round(order, left, count, largest):
                    del left[number]
                    yield seen
        for photo in left.values():
            yield LookedAt(
                photo, problem=f"{photo} could not be looked at: its worker died each time, perhaps for lack of memory."
            )

    def _count(self, resources: Mapping[str, float]) -> int:
        there = int(resources.get("GPU" if self.on_gpu else "CPU", 0))
        if self.on_gpu and not there:
            raise PersamError("Ray sees no GPU; give --device cpu, or an --address of a cluster that has some.")
        most = there if self.on_gpu else min(there, MOST_WORKERS)
        return max(1, most if self.workers is None else min(self.workers, there))

    def _round(
        self, order: Any, photos: Mapping[int, Place], count: int, largest: int
    ) -> Iterator[tuple[int, LookedAt]]:
        """Look at photos, and give back those that came back, with their numbers."""
        import ray.data

        rows = [{"number": number, "photo": os.fsencode(str(photo.absolute()))} for number, photo in photos.items()]
        blocks = math.ceil(len(rows) / max(1, min(largest, len(rows) // (4 * count))))
        dataset = ray.data.from_items(rows, override_num_blocks=blocks)
        dataset.context.max_errored_blocks = -1  # of workers that died too often
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the last argument has no successor yet
            looked_at = dataset.map(
                cast("Any", _Looker),  # Ray makes one in every worker
                fn_constructor_args=(order,),
                compute=ray.data.ActorPoolStrategy(size=min(count, blocks)),
                num_cpus=0 if self.on_gpu else 1,
                num_gpus=1 if self.on_gpu else 0,
                max_task_retries=TRIES - 1,
            )
        for row in looked_at.iter_rows():
            number = int(row["number"])
            yield number, _received(photos[number], row["seen"])


@dataclass(frozen=True)
class _Order:
    """What a worker needs to know."""

    load: Callable[[], PerSAM]
    concepts: Mapping[str, Concept]
    wanted: Wanted
    known: set[tuple[str, str]]
    version: str = __version__


class _Looker:
    """A worker: it lives in a process of its own, and loads the model when it has something to look for."""

    def __init__(self, order: Any) -> None:
        import cv2
        import ray

        cv2.setNumThreads(1)  # as Ray tells PyTorch: a worker has one core, and OpenCV would take all of them
        self._order: _Order = ray.get(order)
        self._check_version()

    def _check_version(self) -> None:
        import persam

        self._problem = None
        if persam.__version__ != self._order.version:
            self._problem = (
                f"A worker has persam {persam.__version__}, and this is {self._order.version}; install the same on all "
                "machines."
            )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Look at a photo: all that came of it, as JSON."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", PersamWarning)
            seen = self._looked_at(place_of(os.fsdecode(row["photo"])))
        words = [str(each.message) for each in caught if issubclass(each.category, PersamWarning)]
        return {"number": row["number"], "seen": json.dumps({**seen, "warnings": words}).encode()}

    def _looked_at(self, photo: Place) -> dict[str, Any]:
        if self._problem is not None:
            return {"fatal": self._problem}
        try:
            return self._look(photo)
        except (_NoModelError, StoreError) as error:  # no other photo can be done
            return {"fatal": str(error)}
        except Exception as error:
            return {"problem": problem_with(photo, error)}

    def _look(self, photo: Place) -> dict[str, Any]:
        try:
            stamp = stamp_of(photo)
            data = photo.read_whole() if isinstance(photo, RemotePath) else None
            content = hash_of(photo, data)
        except OSError as error:  # reading it has a sentence for whatever it is
            read_image(photo)
            raise PersamError(f"{photo} cannot be read ({error.strerror}).") from error
        known = self._order.known
        missing = [
            made
            for made, concept in self._order.concepts.items()
            if (content, made) not in known and (content, corrected(concept.name)) not in known
        ]
        finds: dict[str, Segmentation] = {}
        if missing:
            for side, those in self._finder.by_side(missing).items():
                pixels, size = read_smaller(photo, side, data)
                finds |= self._finder.find(self._finder.model.encode(pixels, size=size), those)
            if stamp_of(photo)[:2] != stamp[:2]:
                raise changed(photo)
        # What takes time is done here, and not by the one process that writes.
        masks = {made: base64.b64encode(mask_file(one.mask)).decode() for made, one in finds.items()}
        found = {made: one.to_dict() for made, one in finds.items()}
        return {"content": content, "stamp": stamp, "finds": found, "masks": masks}

    @cached_property
    def _finder(self) -> Finder:
        try:
            return Finder(self._order.load(), self._order.concepts, self._order.wanted)
        except PersamError as error:
            raise _NoModelError(str(error)) from error
        except Exception as error:
            raise _NoModelError(f"The model cannot be loaded ({type(error).__name__}: {first_line(error)}).") from error


class _NoModelError(PersamError):
    """Then no photo can be done."""


def _received(photo: Place, data: bytes) -> LookedAt:
    seen = json.loads(data)
    for words in seen["warnings"]:
        warnings.warn(words, PersamWarning, stacklevel=2)
    if "fatal" in seen:
        raise PersamError(seen["fatal"])
    if "problem" in seen:  # it names the photo as the worker does
        return LookedAt(photo, problem=seen["problem"].replace(str(photo.absolute()), str(photo)))
    masks = {made: base64.b64decode(data) for made, data in seen["masks"].items()}
    return LookedAt(photo, seen["content"], finds=seen["finds"], masks=masks, stamp=tuple(seen["stamp"]))


@contextlib.contextmanager
def _started(address: str | None, workers: int | None) -> Iterator[None]:
    """Start Ray, or join a cluster, and leave it again; one that runs in this process already is used as it is.

    Raises:
        PersamError: it is not installed, or cannot be started or joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are of no use to whoever has photos
    ray = library("ray", "--engine ray", "ray")
    library("ray.data", "--engine ray", "ray")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    cores = None if address else max(workers or 1, os.cpu_count() or 1)
    try:
        with _own_signals(), _without_stderr():
            ray.init(
                address=address or "local",
                num_cpus=cores,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray raises that itself, where a node does not come up in time
        where = f"join Ray's cluster at {address}" if address else "start Ray"
        raise PersamError(f"Could not {where} ({first_line(error)}).") from error
    try:
        yield
    finally:
        with _own_signals():
            ray.shutdown()


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What goes wrong in Ray itself, such as a cluster that goes away, as a sentence."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        raise PersamError(
            f"Ray could not go on ({first_line(error)}); see that all machines have this persam, and run this again."
        ) from error


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Hide what Ray's C++ says of its own settings; what goes wrong is raised."""
    sys.stderr.flush()
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what SIGTERM does here: Ray would end the process without a word."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, before)
