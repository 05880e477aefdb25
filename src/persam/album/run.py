"""Fill an album: photos are read ahead, encoded once for all concepts, and whatever is known already is not done again.

What a concept finds in a photo is kept in the index, by the photo's content.  The files and lines of the results follow
from what all concepts of the album found there, so they are the same in whatever order photos and concepts came.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from persam import __version__
from persam.album.cache import EncodingCache
from persam.album.disjoint import disjoint
from persam.album.index import AlbumIndex
from persam.batch import Wanted, fingerprint_of
from persam.errors import PersamError, first_line
from persam.files import atomic_path, write_text
from persam.images import read_image, read_smaller
from persam.journal import json_line
from persam.ledger import HIDDEN
from persam.outputs import RESULTS, OutputFolder, full_path
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

AHEAD = 3  # photos that are read while one is worked on
READERS = 2
UNSURE_LIST = "unsure.csv"


@dataclass
class AlbumReport:
    """What a run did, and what the album holds now.

    Attributes:
        photos: how many were named.
        done_before: of these, how many needed nothing.
        done_now: how many were done in this run.
        known: how many of those were known by their content alone: copies, and photos that were renamed.
        verdicts: for each concept, how many photos of the album have which verdict.
        failures: photo and sentence for each that could not be done.
        gone: photos that are there no longer; their results are removed.
        stop: what ended the run early; what was done is kept.
    """

    photos: int = 0
    done_before: int = 0
    done_now: int = 0
    known: int = 0
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None


@dataclass(frozen=True)
class _Looked:
    """A photo that was looked at: its content, and where they are needed its pixels, perhaps of a smaller copy of the
    photo of `size` (H, W); or what is wrong with it."""

    photo: Path
    content: str = ""
    pixels: np.ndarray | None = None
    size: tuple[int, int] | None = None
    problem: str | None = None


def fill_album(
    load: Callable[[], PerSAM],
    concepts: Sequence[Concept],
    photos: Sequence[Path],
    output: OutputFolder,
    index: AlbumIndex,
    wanted: Wanted,
    *,
    cache: int = 0,
    on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
) -> AlbumReport:
    """Find concepts in the photos of an album and write what was found.

    Args:
        load: gives the model that the concepts were made with; called only if something is to be looked for.
        concepts: one or several, of different names, which join those that the album has.
        photos: files.
        output: the album's folder, with `index` as the store of its lines.
        index: what is known.
        wanted: how to look, and what to write.
        cache: bytes of encodings that are kept on disk.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        UsageError: a file is in the way that persam did not write, or that was changed since.
        PersamError: the output cannot be written, or a concept does not belong to the model: then nothing can go on.
    """
    names = [*{*index.concepts, *(concept.name for concept in concepts)}]
    output.ledger.check(
        [RESULTS, UNSURE_LIST]
        + [
            file
            for photo in photos
            for name in names
            for file in output.planned(photo, name, wanted.outputs, wanted.max_instances)
        ]
    )
    made = {concept.name: how_made(concept, wanted) for concept in concepts}
    for name, mark in made.items():
        index.add_concept(name, mark)
    worker = _Worker(load, {made[each.name]: each for each in concepts}, output, index, wanted, cache)
    report = AlbumReport(photos=len(photos))
    try:
        for seen in _ahead(worker.look, photos):
            problem = seen.problem or worker.settle(seen, report)
            if problem is not None:
                report.failures.append((str(seen.photo), problem))
            on_photo(seen.photo, problem)
    except KeyboardInterrupt as stop:
        report.stop = stop
    if report.stop is None:
        report.gone = _drop_what_is_gone(output, index)
    _summarise(output, index, report)
    return report


@dataclass(frozen=True)
class Ranked:
    """A photo of the album and how sure it is that a concept is in it; its box there, or where it would be."""

    image: str
    score: float
    verdict: str
    box: tuple[int, int, int, int] | None


def rank_photos(
    load: Callable[[], PerSAM],
    concept: Concept,
    output: OutputFolder,
    index: AlbumIndex,
    wanted: Wanted,
    *,
    cache: int = 0,
    on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
) -> list[Ranked]:
    """The photos of an album by the chance that a concept is in them, the likeliest first. Nothing is written.

    What is found is remembered, so that the concept can join the album at no cost.

    Args:
        load: gives the model that the concept was made with; called only if it is needed.
        concept: what is looked for.
        output: the album's folder.
        index: what is known.
        wanted: how to look.
        cache: bytes of encodings that are kept on disk.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        PersamError: the concept does not belong to the model.
    """
    made = how_made(concept, wanted)
    worker = _Worker(load, {made: concept}, output, index, wanted, cache)
    ranked = []
    for seen in _ahead(worker.look, map(Path, index.images())):
        problem = seen.problem or worker.look_for_missing(seen)
        if problem is None:
            find = index.find(seen.content, made)
            assert find is not None
            box = find["box"] or (find["candidate"] or {}).get("box")
            ranked.append(Ranked(str(seen.photo), find["score"], find["verdict"], box and tuple(box)))
        on_photo(seen.photo, problem)
    return sorted(ranked, key=lambda one: (-one.score, one.image))


def how_made(concept: Concept, wanted: Wanted) -> str:
    """A short hash of all that decides what a concept finds in a photo; where it is equal, nothing is done again."""
    words = {
        "concept": fingerprint_of(concept),
        "model": concept.model,
        "encoder": concept.encoder,
        "max_instances": wanted.max_instances,
        "threshold": wanted.threshold,
        "persam": __version__,
    }
    return hashlib.blake2b(json.dumps(words, sort_keys=True).encode(), digest_size=12).hexdigest()


class _Worker:
    """What is done for one photo: `look` in any thread, then `settle` in one."""

    def __init__(
        self,
        load: Callable[[], PerSAM],
        concepts: dict[str, Concept],
        output: OutputFolder,
        index: AlbumIndex,
        wanted: Wanted,
        cache: int,
    ) -> None:
        self._load, self._concepts = load, concepts
        self._output, self._index, self._wanted = output, index, wanted
        self._bytes = cache
        self._model: PerSAM | None = None
        self._cache: EncodingCache | None = None
        self._side: int | None = None
        self._loading = Lock()

    # ------------------------------------------------------------------------------- reading, in threads

    def look(self, photo: Path) -> _Looked:
        """See what a photo is, and read it if something is to be looked for in it."""
        try:
            content = self._index.content_of(photo)
            if not self._missing(content):
                return _Looked(photo, content)
        except OSError:  # reading it has a sentence for whatever it is
            content = ""
        longest = self._longest()
        if self._cache is not None and content in self._cache:
            return _Looked(photo, content)
        try:
            pixels, size = read_smaller(photo, longest)
        except PersamError as error:
            return _Looked(photo, problem=str(error))
        if not content:
            return _Looked(photo, problem=f"{photo} came into being while it was read; run this again.")
        return _Looked(photo, content, pixels, size)

    def _longest(self) -> int | None:
        """Pixels of the longest side at which photos are read; the published modes read them whole."""
        with self._loading:
            model = self._ready()
            if self._side is None and all(each.settings.mode == "persam" for each in self._concepts.values()):
                self._side = model.longest_side
            return self._side

    def _missing(self, content: str) -> list[str]:
        return [made for made in self._concepts if not self._index.has(content, made)]

    # ------------------------------------------------------------------- finding and writing, one after another

    def settle(self, seen: _Looked, report: AlbumReport) -> str | None:
        """Look for what is missing, and bring the photo's lines and files up to date; return what went wrong."""
        missing = self._missing(seen.content)
        problem = self.look_for_missing(seen)
        if problem is not None:
            return problem
        try:
            finds = list(filter(None, (self._index.find(seen.content, made) for made in self._index.concepts.values())))
            made = {"content": seen.content, "finds": _mark(finds), "outputs": self._wanted.outputs}
            if all(self._output.is_done(seen.photo, find["concept"], made) for find in finds):
                report.done_before += not missing
                report.done_now += bool(missing)
                return None
            image = None
            if self._wanted.overlay or self._wanted.cutout:
                image = read_image(seen.photo)
        except PersamError as error:
            return str(error)
        self._write(seen.photo, finds, image, made)
        report.done_now += 1
        report.known += not missing
        return None

    def look_for_missing(self, seen: _Looked) -> str | None:
        """Look for the concepts that this photo was not searched for; return what went wrong."""
        missing = self._missing(seen.content)
        try:
            if missing:
                self._find(seen, missing)
        except PersamError as error:
            return str(error)
        except (RuntimeError, ValueError, MemoryError) as error:  # one odd photo must not end a run of thousands
            return f"{seen.photo} could not be segmented ({type(error).__name__}: {first_line(error)})."
        return None

    def _find(self, seen: _Looked, missing: Sequence[str]) -> None:
        model = self._model
        assert model is not None
        encoded = None if self._cache is None else self._cache.get(seen.content)
        if encoded is None:
            pixels, size = (seen.pixels, seen.size)
            if pixels is None:  # it was in the cache when it was looked at
                pixels, size = read_smaller(seen.photo, self._side)
            encoded = model.encode(pixels, size=size)
            if self._cache is not None:
                self._cache.put(seen.content, encoded)
        concepts = [self._concepts[made] for made in missing]
        found = model.segment(
            encoded, concepts, max_instances=self._wanted.max_instances, threshold=self._wanted.threshold
        )
        for made, one in zip(missing, found, strict=True):
            self._index.keep(seen.content, made, replace(one, image=None).to_dict())

    def _ready(self) -> PerSAM:
        if self._model is None:
            self._model = self._load()
            for concept in self._concepts.values():
                self._model.check(concept)
            if self._bytes:
                marks = [each.fingerprint for each in (self._model.model, self._model.encoder) if each is not None]
                folder = self._output.folder / HIDDEN / "encodings"
                self._cache = EncodingCache(folder, self._bytes, " ".join(marks), self._model.model.device)
        return self._model

    def _write(
        self, photo: Path, finds: Sequence[dict[str, Any]], image: np.ndarray | None, made: dict[str, Any]
    ) -> None:
        source = full_path(photo)
        for one in disjoint([Segmentation.from_dict(find | {"image": source}) for find in finds]):
            self._output.write(
                one,
                image,
                overlay=self._wanted.overlay,
                cutout=self._wanted.cutout,
                per_instance=self._wanted.per_instance,
                made=made,
            )


def _mark(finds: Sequence[dict[str, Any]]) -> str:
    """A short hash of everything that was found in a photo, on which each of its lines depends."""
    return hashlib.blake2b(b"".join(map(json_line, finds)), digest_size=12).hexdigest()


def _ahead(look: Callable[[Path], _Looked], photos: Iterable[Path]) -> Iterator[_Looked]:
    """Photos that were looked at, in order, while the next ones are being read."""
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="persam-reader")
    waiting = deque[Any]()
    try:
        for photo in photos:
            waiting.append(pool.submit(look, photo))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _drop_what_is_gone(output: OutputFolder, index: AlbumIndex) -> list[str]:
    """Remove the results of photos that were renamed or removed; not those of a whole folder or disk that is away."""
    gone = [image for image in index.images() if not Path(image).exists() and Path(image).parent.is_dir()]
    for image in gone:
        output.drop(image)
    return gone


def _summarise(output: OutputFolder, index: AlbumIndex, report: AlbumReport) -> None:
    """Write `results.jsonl` and the list of what one should look at, and count."""
    unsure = []
    with atomic_path(output.results_path) as temporary, temporary.open("wb") as stream:
        for line in index.lines():
            stream.write(json_line(line))
            report.verdicts.setdefault(line["concept"], Counter())[line["verdict"]] += 1
            if line["verdict"] == "unsure":
                unsure.append((abs(line["score"] - 0.5), line["image"], line["concept"], line["score"]))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["photo", "concept", "score"])
    rows.writerows(row[1:] for row in sorted(unsure))
    write_text(output.folder / UNSURE_LIST, text.getvalue())
