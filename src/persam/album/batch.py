"""Many photos, several concepts: each photo is read and encoded once, a bad one is counted and the others go on.

First it is planned: what is done already, and whether anything of others would be replaced; then photos are segmented,
while the next ones are read. A GPU encodes those that are read in one pass.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persam import __version__
from persam.album.formats.coco import write_coco
from persam.album.outputs import OutputFolder, full_path
from persam.concept import Concept
from persam.drawing import colours_of
from persam.encoding import Unread, read_ahead, read_photo
from persam.errors import PersamError, first_line
from persam.explain import explain as explained
from persam.models.base import EncodedImage
from persam.places import Place, StoreError, stamp_of
from persam.reports.coco import DESCRIPTION
from persam.reports.contact_sheet import ContactSheet, sheet_pages
from persam.segmentation import SURE_ENOUGH, SegmentOptions

if TYPE_CHECKING:
    from persam.persam import PerSAM

COCO_NAME, SHEET_NAME, SHEET_PAGE = "coco.json", "sheet.png", "sheet.html"
SHEET_COLUMNS = 5


@dataclass(frozen=True)
class Wanted:
    """How to look, and what to write besides masks and ``results.jsonl``.

    Attributes:
        overlay: Also overlays.
        cutout: Also transparent cut-outs.
        explain: Also the way to each mask as a picture.
        per_instance: Also a mask for every found thing.
        coco: Also all of the folder as ``coco.json``.
        sheet: Also all of the folder as ``sheet.png`` and ``sheet.html``.
        max_instances: Up to so many objects of a concept in a photo.
        threshold: Score from which on the object counts as present, 0 to 1.
        finder: Name of what also looks for the words of concepts that have any, or "".
    """

    overlay: bool = False
    cutout: bool = False
    explain: bool = False
    per_instance: bool = False
    coco: bool = False
    sheet: bool = False
    max_instances: int = 1
    threshold: float = SURE_ENOUGH
    finder: str = ""

    @property
    def outputs(self) -> list[str]:
        """The kinds of files for each photo and concept."""
        more = {
            "overlay": self.overlay,
            "cutout": self.cutout,
            "explain": self.explain,
            "instances": self.per_instance,
        }
        return ["mask", *(kind for kind, wanted in more.items() if wanted)]

    @property
    def draws(self) -> bool:
        """Whether anything is drawn on the photo itself."""
        return self.overlay or self.cutout or self.explain


@dataclass(frozen=True)
class Task:
    """A photo with the concepts that are to be found in it, and for each what its line depends on."""

    photo: Place
    concepts: tuple[Concept, ...]
    made: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Plan:
    """What is to be done in a folder.

    Attributes:
        output: The folder.
        wanted: How.
        photos: All that were named.
        names: Of the concepts.
        tasks: Those that are not done yet.
    """

    output: OutputFolder
    wanted: Wanted
    photos: tuple[Place, ...]
    names: tuple[str, ...]
    tasks: tuple[Task, ...]

    @property
    def done_before(self) -> int:
        """How many photos an earlier run did."""
        return len(self.photos) - len(self.tasks)


@dataclass
class BatchReport:
    """What a run did.

    Attributes:
        photos: How many were segmented now.
        lines: Photo as it was named, and line of ``results.jsonl``, for all that is done, now or before.
        failures: Photo and sentence for each photo that could not be done.
        files: Files for the whole folder, relative to it.
        stop: What ended it early, Ctrl-C or another signal; what was done is kept.
    """

    photos: int = 0
    lines: list[tuple[Place, dict[str, Any]]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    stop: KeyboardInterrupt | None = None


def plan_photos(
    concepts: Sequence[Concept],
    photos: Sequence[Place],
    output: OutputFolder,
    wanted: Wanted,
    *,
    dtypes: Sequence[str] = (),
) -> Plan:
    """See what is to be done, and that nothing of others would be replaced. It needs no model.

    Args:
        concepts: One or several, of different names.
        photos: Files.
        output: Where to write.
        wanted: How to look, and what to write.
        dtypes: Number formats of the encoders, as `persam.models.loading.dtypes_of` knows them before they are loaded:
            what was found with others is looked for again.

    Raises:
        UsageError: A file is in the way that persam did not write, or that was changed since.
    """
    searches = [search_of(concept, wanted, dtypes) for concept in concepts]
    tasks = []
    for photo in photos:
        made = [_made(photo, search, wanted) for search in searches]
        left = [
            (concept, each)
            for concept, each in zip(concepts, made, strict=True)
            if not output.is_done(photo, concept.name, each)
        ]
        if left:
            tasks.append(Task(photo, tuple(concept for concept, _ in left), tuple(each for _, each in left)))
    if output.ledger.is_new and (list(output.lines) or output.outdated):
        _adopt_summaries(output)
    files, keys = [], {(line["image"], line["concept"]) for line in output.lines}
    for task in tasks:
        for concept in task.concepts:
            files += output.planned(task.photo, concept.name, wanted.outputs, wanted.max_instances)
            keys.add((full_path(task.photo), concept.name))
    if wanted.coco:
        files.append(COCO_NAME)
    if wanted.sheet:
        files += [SHEET_PAGE, *map(str, sheet_pages(SHEET_NAME, len(keys)))]
    output.ledger.check(files)
    return Plan(output, wanted, tuple(photos), tuple(concept.name for concept in concepts), tuple(tasks))


def segment_photos(
    model: PerSAM | None,
    plan: Plan,
    *,
    on_photo: Callable[[Place, str | None], object] = lambda photo, problem: None,
    on_sheet: Callable[[int, int], object] = lambda done, total: None,
) -> BatchReport:
    """Find concepts in photos and write what was found.

    Args:
        model: The model that the concepts were made with; None is enough where the plan has no tasks.
        plan: What is to be done.
        on_photo: Called after each photo with what went wrong, or None.
        on_sheet: Called for each picture of the contact sheet with how many are done, of how many.

    Returns:
        What was done, what failed, and what stopped it.

    Raises:
        PersamError: The output cannot be written, or a concept does not belong to the model: then nothing can go on.
    """
    output, wanted = plan.output, plan.wanted
    report = BatchReport()
    if model is not None:
        for concept in {concept.name: concept for task in plan.tasks for concept in task.concepts}.values():
            model.check(concept)
    try:
        if plan.tasks:
            assert model is not None
            for task, image, encoded in _encoded(model, plan):
                problem = _do(model, task, image, encoded, output, wanted)
                report.photos += problem is None
                if problem is not None:
                    report.failures.append((str(task.photo), problem))
                on_photo(task.photo, problem)
    except KeyboardInterrupt as stop:
        report.stop = stop
    failed = {photo for photo, _ in report.failures}
    for photo in plan.photos:
        lines = [output.line(photo, name) for name in plan.names] if str(photo) not in failed else []
        report.lines += [(photo, line) for line in lines if line is not None]
    try:
        report.files = _write_summaries(output, _and_earlier_ones(plan) if report.photos else wanted, on_sheet)
    except KeyboardInterrupt as stop:  # again, or only now: every photo's own files and line are there
        report.stop = stop
    return report


def _encoded(model: PerSAM, plan: Plan) -> Iterator[tuple[Task, np.ndarray | None, EncodedImage | Unread]]:
    """Every task in order, with the photo's pixels, if something is drawn on it, and its encoding, or what is wrong."""
    encoder, tasks = model.photos, iter(plan.tasks)
    photos = [str(task.photo) for task in plan.tasks]
    for group in read_ahead(photos, read_photo, encoder.at_once, readers=encoder.readers):
        encoded = list(encoder.encode_each(group))
        # Where nothing is drawn, the pixels are not kept: those of a large photo take most of a gigabyte.
        images = [each[1] if plan.wanted.draws and isinstance(each, tuple) else None for each in group]
        del group
        for one in encoded:
            yield next(tasks), images.pop(0), one


def _do(
    model: PerSAM,
    task: Task,
    image: np.ndarray | None,
    encoded: EncodedImage | Unread,
    output: OutputFolder,
    wanted: Wanted,
) -> str | None:
    """Find the concepts in one photo and write what was found; return what went wrong."""
    how: SegmentOptions = {
        "max_instances": wanted.max_instances,
        "threshold": wanted.threshold,
        "explain": wanted.explain,
    }
    try:
        if isinstance(encoded, Unread):
            raise encoded.error
        found = [replace(one, image=str(task.photo)) for one in model.segment(encoded, task.concepts, **how)]
    except StoreError:  # nor can any other be had
        raise
    except PersamError as error:
        return str(error)
    except (RuntimeError, ValueError, MemoryError) as error:  # one odd photo must not end a run of thousands
        return could_not(task.photo, error)
    for one, concept, made in zip(found, task.concepts, task.made, strict=True):
        page = None if image is None or not wanted.explain else explained(image, one, concept=concept).page()
        output.write(
            one,
            image,
            overlay=wanted.overlay,
            cutout=wanted.cutout,
            per_instance=wanted.per_instance,
            explanation=page,
            made=made,
        )
    return None


def could_not(photo: Place, error: Exception) -> str:
    """The sentence for a photo with which something else went wrong than persam knows a sentence for."""
    return f"{photo} could not be segmented ({type(error).__name__}: {first_line(error)})."


def _write_summaries(output: OutputFolder, wanted: Wanted, on_sheet: Callable[[int, int], object]) -> list[str]:
    """Write all lines of the folder, earlier runs' too, as one COCO file and one contact sheet."""
    lines, files = list(output.lines), []
    if wanted.coco:
        write_coco(output.folder / COCO_NAME, lines)
        files.append(COCO_NAME)
    if wanted.sheet:
        names = list(dict.fromkeys(line["concept"] for line in lines))
        # Those of a photo stand beside each other, in one row.
        columns = max(1, SHEET_COLUMNS // len(names)) * len(names) if names else SHEET_COLUMNS
        sheet = ContactSheet(", ".join(names), columns=columns, colours=colours_of(names))
        lines.sort(key=lambda line: line["image"])
        for number, line in enumerate(lines, start=1):
            sheet.add_line(line, output.folder)
            on_sheet(number, len(lines))
        pages = [page.name for page in sheet.write_png(output.folder / SHEET_NAME)]
        sheet.write_html(output.folder / SHEET_PAGE)
        output.ledger.remove(set(_sheets_in(output)) - set(pages))
        files += [*pages, SHEET_PAGE]
    return files


def _and_earlier_ones(plan: Plan) -> Wanted:
    """What is wanted, and summaries that an earlier run wrote: they tell of all lines, so they are kept up to date."""
    groups = [COCO_NAME], [SHEET_PAGE, *_sheets_in(plan.output)]
    coco, sheet = (all(plan.output.ledger.is_own(file) for file in files) for files in groups)
    return replace(plan.wanted, coco=plan.wanted.coco or coco, sheet=plan.wanted.sheet or sheet)


def _sheets_in(output: OutputFolder) -> list[str]:
    first = Path(SHEET_NAME)
    return [SHEET_NAME, *(page.name for page in output.folder.glob(f"{first.stem}-*{first.suffix}"))]


def _adopt_summaries(output: OutputFolder) -> None:
    """Know the summaries that a persam without a ledger left beside its ``results.jsonl``."""
    if _says(output.folder / COCO_NAME, DESCRIPTION):
        output.ledger.adopt([COCO_NAME])
    if _says(output.folder / SHEET_PAGE, "Found in "):
        output.ledger.adopt([SHEET_PAGE, *_sheets_in(output)])


def _says(file: Path, words: str) -> bool:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return any(words in piece for piece in iter(partial(stream.readline, 1_000_000), ""))
    except OSError:
        return False


def search_of(concept: Concept, wanted: Wanted, dtypes: Sequence[str]) -> dict[str, Any]:
    """All that decides what a concept finds in a photo, beside the photo."""
    words = {"finder": wanted.finder, "finder_files": _files_in(wanted.finder), "text": concept.text}
    return (words if wanted.finder and concept.text else {}) | {
        "concept": concept.content_hash,
        "model": concept.model,
        "encoder": concept.encoder,
        "dtypes": list(dtypes),
        "max_instances": wanted.max_instances,
        "threshold": wanted.threshold,
        "persam": __version__,
    }


def _files_in(finder: str) -> str:
    """A short hash of the stamps of a finder's files, as other weights find other things; "" where it is no folder."""
    folder = Path(finder)
    if not finder or not folder.is_dir():
        return ""
    stamps = sorted((file.name, *stamp_of(file)) for file in folder.iterdir() if file.is_file())
    return hashlib.blake2b(json.dumps(stamps).encode(), digest_size=12).hexdigest()


def _made(photo: Place, search: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """All that a line depends on, so that what is the same need not be done again."""
    try:
        size, time, changed = stamp_of(photo)
    except StoreError:
        raise
    except (OSError, PersamError):  # reading it will say what is wrong
        size, time, changed = 0, 0, 0
    return {
        # The last is when anything was done to the file: tools such as `exiftool -P` set the time of a change back.
        "photo": {"size": size, "mtime_ns": time, "ctime_ns": changed},
        **search,
        "outputs": wanted.outputs,
    }
