"""Many photos, several concepts: each photo is read and encoded once, a bad one is counted and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.coco import CocoFile
from persam.errors import PersamError, first_line
from persam.explain import explain
from persam.images import read_image
from persam.outputs import OutputFolder
from persam.reports.contact_sheet import ContactSheet

if TYPE_CHECKING:
    import numpy as np

    from persam.concept import Concept
    from persam.persam import PerSAM
    from persam.segmentation import Segmentation

COCO_NAME, SHEET_NAME = "coco.json", "sheet"


@dataclass(frozen=True)
class BatchOptions:
    """What to write for each photo, and how to look.

    Attributes:
        overlay: Also write overlays.
        cutout: Also write transparent cut-outs.
        coco: Also write all of the run as ``coco.json``.
        sheet: Also write all of the run as ``sheet.png`` and ``sheet.html``.
        explain: Also write the way to each mask as a picture.
        max_instances: Up to so many objects of a concept in a photo.
        threshold: Confidence from which on the object counts as present; None takes each concept's own.
    """

    overlay: bool = False
    cutout: bool = False
    coco: bool = False
    sheet: bool = False
    explain: bool = False
    max_instances: int = 1
    threshold: float | None = None


@dataclass
class BatchReport:
    """What a run did.

    Attributes:
        lines: The lines of ``results.jsonl`` that it wrote, one per photo and concept.
        failures: Photo and sentence for each photo that could not be done.
        files: Files for the whole run, relative to the folder.
        stopped: Whether Ctrl-C ended it early; what was done is kept.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    stopped: bool = False


def segment_photos(
    model: PerSAM,
    concepts: Sequence[Concept],
    photos: Sequence[Path],
    output: OutputFolder,
    options: BatchOptions | None = None,
    *,
    on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
) -> BatchReport:
    """Find concepts in photos and write what was found.

    Args:
        model: The model that the concepts were made with.
        concepts: One or several, of different names.
        photos: Files.
        output: Where to write.
        options: What to write.
        on_photo: Called after each photo with what went wrong, or None.

    Returns:
        What was done, what failed, and whether it was stopped by Ctrl-C.

    Raises:
        PersamError: The output cannot be written, or a concept does not belong to the model: then nothing can go on.
    """
    options = options or BatchOptions()
    for concept in concepts:
        model.check(concept)
    report, coco, sheet = BatchReport(), CocoFile(), ContactSheet(", ".join(concept.name for concept in concepts))
    try:
        for photo in photos:
            problem: str | None = None
            try:
                image = read_image(photo)
                found = _segment(model, concepts, photo, image, options)
            except PersamError as error:
                problem = str(error)
            except (RuntimeError, ValueError, MemoryError) as error:  # one odd photo must not end a run of thousands
                problem = f"{photo} could not be segmented ({type(error).__name__}: {first_line(error)})."
            if problem is not None:
                report.failures.append((str(photo), problem))
            else:
                for one, concept in zip(found, concepts, strict=True):
                    page = explain(image, one, concept=concept).page() if options.explain else None
                    report.lines.append(
                        output.write(one, image, overlay=options.overlay, cutout=options.cutout, explanation=page)
                    )
                    if options.coco:
                        coco.add(one)
                    if options.sheet:
                        sheet.add(one, image)
            on_photo(photo, problem)
    except KeyboardInterrupt:
        report.stopped = True
    output.close()
    if options.coco:
        coco.write(output.folder / COCO_NAME)
        report.files.append(COCO_NAME)
    if options.sheet:
        pages = sheet.write_png(output.folder / f"{SHEET_NAME}.png")
        sheet.write_html(output.folder / f"{SHEET_NAME}.html")
        report.files += [page.name for page in pages] + [f"{SHEET_NAME}.html"]
    return report


def _segment(
    model: PerSAM, concepts: Sequence[Concept], photo: Path, image: np.ndarray, options: BatchOptions
) -> list[Segmentation]:
    found = model.segment(
        image,
        list(concepts),
        max_instances=options.max_instances,
        threshold=options.threshold,
        explain=options.explain,
    )
    return [replace(one, image=str(photo)) for one in found]
