"""Many photos, several concepts: each photo is read and encoded once, a bad one is counted and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.coco import CocoFile
from persam.errors import PersamError, first_line
from persam.explain import explain as explained
from persam.images import read_image
from persam.outputs import OutputFolder
from persam.reports.contact_sheet import ContactSheet

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM, SegmentOptions

COCO_NAME, SHEET_NAME = "coco.json", "sheet"


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
    *,
    overlay: bool = False,
    cutout: bool = False,
    coco: bool = False,
    sheet: bool = False,
    explain: bool = False,
    max_instances: int = 1,
    threshold: float = 0.5,
    on_photo: Callable[[Path, str | None], object] = lambda photo, problem: None,
) -> BatchReport:
    """Find concepts in photos and write what was found.

    Args:
        model: The model that the concepts were made with.
        concepts: One or several, of different names.
        photos: Files.
        output: Where to write.
        overlay: Also write overlays.
        cutout: Also write transparent cut-outs.
        coco: Also write all of the run as ``coco.json``.
        sheet: Also write all of the run as ``sheet.png`` and ``sheet.html``.
        explain: Also write the way to each mask as a picture.
        max_instances: Up to so many objects of a concept in a photo.
        threshold: Score from which on the object counts as present, 0 to 1.
        on_photo: Called after each photo with what went wrong, or None.

    Returns:
        What was done, what failed, and whether it was stopped by Ctrl-C.

    Raises:
        PersamError: The output cannot be written, or a concept does not belong to the model: then nothing can go on.
    """
    for concept in concepts:
        model.check(concept)
    report, annotations = BatchReport(), CocoFile()
    pictures = ContactSheet(", ".join(concept.name for concept in concepts))
    how: SegmentOptions = {"max_instances": max_instances, "threshold": threshold, "explain": explain}
    try:
        for photo in photos:
            problem: str | None = None
            try:
                image = read_image(photo)
                found = [replace(one, image=str(photo)) for one in model.segment(image, concepts, **how)]
            except PersamError as error:
                problem = str(error)
            except (RuntimeError, ValueError, MemoryError) as error:  # one odd photo must not end a run of thousands
                problem = f"{photo} could not be segmented ({type(error).__name__}: {first_line(error)})."
            if problem is not None:
                report.failures.append((str(photo), problem))
            else:
                for one, concept in zip(found, concepts, strict=True):
                    page = explained(image, one, concept=concept).page() if explain else None
                    line = output.write(one, image, overlay=overlay, cutout=cutout, explanation=page)
                    report.lines.append(line)
                    if coco:
                        annotations.add(one)
                    if sheet:
                        pictures.add(one, image)
            on_photo(photo, problem)
    except KeyboardInterrupt:
        report.stopped = True
    output.close()
    if coco:
        annotations.write(output.folder / COCO_NAME)
        report.files.append(COCO_NAME)
    if sheet:
        pages = pictures.write_png(output.folder / f"{SHEET_NAME}.png")
        pictures.write_html(output.folder / f"{SHEET_NAME}.html")
        report.files += [page.name for page in pages] + [f"{SHEET_NAME}.html"]
    return report
