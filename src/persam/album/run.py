"""Fill an album, or rank its photos: photos are read ahead, and whatever is known already is not done again.

What a concept finds in a photo is kept in the index, by the photo's content.  The files and lines of the results follow
from what all concepts of the album found there, so they are the same in whatever order photos and concepts came.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from persam.album.batch import Wanted, search_of
from persam.album.index import AlbumIndex
from persam.album.looking import LookingEngine, ThreadsHere
from persam.album.outputs import RESULTS, OutputFolder
from persam.album.worker import Worker, corrected
from persam.album.worth import CORRECT_LIST, Worth, best_first, worth_of, write_list
from persam.errors import PersamError
from persam.files import atomic_path, write_csv
from persam.journal import json_line
from persam.places import Place, RemotePath, place_of

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM

UNSURE_LIST = "unsure.csv"
HERE = ThreadsHere()


@dataclass
class AlbumReport:
    """What a run did, and what the album holds now.

    Attributes:
        photos: how many were named.
        done_before: of these, how many needed nothing.
        done_now: how many were done in this run.
        known: how many of those needed no model, such as copies, and photos that were renamed.
        kept: photos with a mask that a person corrected, which is not replaced.
        verdicts: for each concept, how many photos of the album have which verdict.
        failures: photo and sentence for each that could not be done.
        gone: photos that are there no longer; their results are removed.
        worth: the photos of the album that are most worth correcting, the best first.
    """

    photos: int = 0
    done_before: int = 0
    done_now: int = 0
    known: int = 0
    kept: list[str] = field(default_factory=list)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    worth: list[Worth] = field(default_factory=list)


@dataclass(frozen=True)
class Ranked:
    """A photo of the album and how sure it is that a concept is in it; its box there, or where it would be."""

    image: str
    score: float
    verdict: str
    box: tuple[int, int, int, int] | None


OnPhoto = Callable[[Place, str | None], object]


def fill_album(
    load: Callable[[], PerSAM],
    concepts: Sequence[Concept],
    photos: Sequence[Place],
    output: OutputFolder,
    index: AlbumIndex,
    wanted: Wanted,
    *,
    cache: int = 0,
    dtypes: Sequence[str] = (),
    engine: LookingEngine = HERE,
    on_photo: OnPhoto = lambda photo, problem: None,
) -> AlbumReport:
    """Find concepts in the photos of an album and write what was found.

    Args:
        load: gives the model that the concepts were made with; called only if something is to be looked for.
        concepts: one or several, of different names, which join those that the album has.
        photos: files, on this disk or elsewhere.
        output: the album's folder, with `index` as the store of its lines.
        index: what is known.
        wanted: how to look, and what to write.
        cache: bytes of encodings that are kept on disk.
        dtypes: number formats of the encoders, see `persam.models.loading.dtypes_of`.
        engine: where photos are looked at.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        UsageError: a file is in the way that persam did not write.
        PersamError: the output cannot be written, or a concept does not belong to the model: then nothing can go on.
        KeyboardInterrupt: it was stopped; what was done is kept, and the report is the exception's ``report``.
    """
    made = {concept.name: how_made(concept, wanted, dtypes) for concept in concepts}
    _check_files(photos, [*{*index.concepts, *made}], output, wanted)
    for name, mark in made.items():
        index.add_concept(name, mark)
    worker = Worker(load, {made[each.name]: each for each in concepts}, output, index, wanted, cache)
    report = AlbumReport(photos=len(photos))
    try:
        for seen in engine.looked_at(worker, photos):
            outcome, problem = ("done", seen.problem) if seen.problem else worker.settle(seen)
            if problem is not None:
                report.failures.append((str(seen.photo), problem))
            elif outcome == "kept":
                report.kept.append(str(seen.photo))
            else:
                report.done_before += outcome == "before"
                report.done_now += outcome != "before"
                report.known += outcome == "known"
            on_photo(seen.photo, problem)
    except BaseException as stop:
        if report.done_now or report.done_before or report.kept:  # else nothing is to be left in a new folder
            with contextlib.suppress(PersamError):  # what stopped it may also stop this
                _summarise(output, index, report, concepts)
        if isinstance(stop, KeyboardInterrupt):
            stop.report = report  # type: ignore[attr-defined]
        raise
    report.gone = _drop_what_is_gone(output, index)
    _summarise(output, index, report, concepts)
    return report


def rank_photos(
    load: Callable[[], PerSAM],
    concept: Concept,
    output: OutputFolder,
    index: AlbumIndex,
    wanted: Wanted,
    *,
    cache: int = 0,
    dtypes: Sequence[str] = (),
    engine: LookingEngine = HERE,
    on_photo: OnPhoto = lambda photo, problem: None,
) -> list[Ranked]:
    """The photos of an album by the chance that a concept is in them, the likeliest first. No results are written.

    What is found is remembered in the index, so that the concept can join the album at no cost.

    Args:
        load: gives the model that the concept was made with; called only if it is needed.
        concept: what is looked for.
        output: the album's folder.
        index: what is known.
        wanted: how to look.
        cache: bytes of encodings that are kept on disk.
        dtypes: number formats of the encoders, see `persam.models.loading.dtypes_of`.
        engine: where photos are looked at.
        on_photo: called after each photo with what went wrong, or None.

    Raises:
        PersamError: the concept does not belong to the model.
    """
    made = how_made(concept, wanted, dtypes)
    worker = Worker(load, {made: concept}, output, index, wanted, cache)
    ranked = []
    for seen in engine.looked_at(worker, [place_of(image) for image in index.images()]):
        problem = seen.problem or worker.look_for_missing(seen)
        if problem is None:
            find = index.find(seen.content, corrected(concept.name)) or index.find(seen.content, made)
            assert find is not None
            box = find["box"] or (find["candidate"] or {}).get("box")
            ranked.append(Ranked(str(seen.photo), find["score"], find["verdict"], box and tuple(box)))
        on_photo(seen.photo, problem)
    return sorted(ranked, key=lambda one: (-one.score, one.image))


def how_made(concept: Concept, wanted: Wanted, dtypes: Sequence[str] = ()) -> str:
    """A short hash of all that decides what a concept finds in a photo; where it is equal, nothing is done again."""
    words = json.dumps(search_of(concept, wanted, dtypes), sort_keys=True)
    return hashlib.blake2b(words.encode(), digest_size=12).hexdigest()


def _check_files(photos: Sequence[Place], names: Sequence[str], output: OutputFolder, wanted: Wanted) -> None:
    """See before the work that no file of others is in the way. What persam wrote and a person corrected is not."""
    files = [RESULTS, UNSURE_LIST, CORRECT_LIST]
    for photo in photos:
        for name in names:
            if not output.has_line(photo, name):
                files += output.planned(photo, name, wanted.outputs, wanted.max_instances)
    output.ledger.check(files)


def _drop_what_is_gone(output: OutputFolder, index: AlbumIndex) -> list[str]:
    """Remove the results of photos that were renamed or removed; not those of a folder or disk that is away."""
    images = [place_of(image) for image in index.images()]
    there = _listed({image.parent for image in images if isinstance(image, RemotePath)})
    gone = [
        str(image)
        for image in images
        if (_is_gone(image) if isinstance(image, Path) else _is_gone_there(image, there.get(image.parent, (image,))))
    ]
    for image in gone:
        output.drop(image)
    return gone


def _is_gone(photo: Path) -> bool:
    try:
        # An empty folder may be the place of a disk that is not connected.
        return not photo.exists() and any(photo.parent.iterdir())
    except OSError:  # the folder is not there, or may not be read
        return False


def _is_gone_there(photo: RemotePath, listed: Container[RemotePath]) -> bool:
    if photo in listed:
        return False
    try:
        return not photo.fresh()  # lists may lack files: that of a web server has what a page links to
    except PersamError:
        return False


def _listed(folders: Iterable[RemotePath]) -> Mapping[RemotePath, Container[RemotePath]]:
    """The files of folders that are not on this disk; of those only that can be looked into and have some."""
    found = {}
    for folder in folders:
        with contextlib.suppress(PersamError):
            files = folder.files()
            if files:
                found[folder] = files
    return found


def _summarise(output: OutputFolder, index: AlbumIndex, report: AlbumReport, concepts: Sequence[Concept]) -> None:
    """Write `results.jsonl` and the lists of what one should look at and correct, and count."""
    unsure, worth = [], []
    with atomic_path(output.results_path) as temporary, temporary.open("wb") as stream:
        for line in index.lines():
            stream.write(json_line(line))
            report.verdicts.setdefault(line["concept"], Counter())[line["verdict"]] += 1
            worth.append(worth_of(line))
            if line["verdict"] == "unsure":
                unsure.append((abs(line["score"] - 0.5), line["image"], line["concept"], line["score"]))
    write_csv(output.folder / UNSURE_LIST, [("photo", "concept", "score"), *(row[1:] for row in sorted(unsure))])
    report.worth = best_first(filter(None, worth), output, concepts)
    write_list(report.worth, output.folder / CORRECT_LIST)
