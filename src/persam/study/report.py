"""Everything that a study's run leaves behind: one page, tables, numbers, masks and pictures."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from persam.errors import UsageError
from persam.files import check_folder, write_text
from persam.outputs import write_mask
from persam.segmentation import rle_mask
from persam.study.checks import REPORT_FILE
from persam.study.extra import library
from persam.study.gallery import Triple, colour_of_annotator, triples, write_gallery
from persam.study.layout import Study
from persam.study.metrics_json import metrics
from persam.study.plots import plots
from persam.study.results import MAJORITY, STAPLE, StudyResult
from persam.study.summary import BAND_NAMES, PROTOCOL, Summary, summarise
from persam.study.tables import cells, columns, comma_separated, latex, markdown, shown, title

METRICS_FILE = "metrics.json"
_THUMBNAIL = 300  # longest side of a picture in the page, pixels


def check_out(result_folder: str | Path, study: Study) -> None:
    """See before a long run that its report can be written.

    Raises:
        UsageError: the folder is a file, the study's own, or holds results of something else.
        PersamError: it cannot be written.
    """
    check_folder(result_folder)
    folder = Path(result_folder).expanduser()
    if folder.resolve() == study.folder.resolve():
        raise UsageError(f"{result_folder} is the study itself; give a folder of its own for the report.")
    if (folder / METRICS_FILE).exists() and not (folder / REPORT_FILE).exists():
        raise UsageError(f"{folder / METRICS_FILE} is not of a study and would be lost; choose another --out.")


def write_report(result: StudyResult, out: str | Path) -> Path:
    """Write a run's report.

    ``report.html`` holds all of its pictures and needs nothing else; ``metrics.json``; ``table1.csv``, ``.md`` and
    ``.tex``; ``gallery.png`` (figure 2) and ``gallery/CATEGORY.png``; ``consensus/majority`` and ``consensus/staple``
    with a mask for each photo that two or more people masked; ``predictions/CATEGORY/ANNOTATOR`` with the model's.

    Args:
        result: of `run`.
        out: folder; made if it is missing, and files of the same names in it are replaced.

    Returns:
        The page.

    Raises:
        PersamError: it cannot be written, or a library of the extra ``study`` is missing.
    """
    folder = Path(out).expanduser()
    summary = summarise(result)
    drawn = plots(result, summary)  # before anything is written, because it needs a library
    chosen = list(triples(result))
    page = _page(result, summary, drawn, chosen)
    _write_masks(result, folder)
    write_gallery(result, folder, chosen)
    write_text(folder / "table1.csv", comma_separated(result, summary))
    write_text(folder / "table1.md", markdown(result, summary))
    write_text(folder / "table1.tex", latex(result, summary))
    write_text(folder / METRICS_FILE, json.dumps(metrics(result, summary), indent=2, ensure_ascii=False) + "\n")
    write_text(folder / REPORT_FILE, page)
    return folder / REPORT_FILE


def _write_masks(result: StudyResult, folder: Path) -> None:
    for photo in result.rated:
        for kind in (MAJORITY, STAPLE):
            if kind in photo.consensus:
                file = folder / "consensus" / kind / photo.category / f"{photo.photo}.png"
                write_mask(file, rle_mask(photo.consensus[kind]))
    for answer in result.answers:
        file = folder / "predictions" / answer.category / answer.annotator / f"{answer.photo}.png"
        write_mask(file, rle_mask(answer.mask))


def _page(result: StudyResult, summary: Summary, drawn: dict[str, str], chosen: list[Triple]) -> str:
    jinja2 = library("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("persam.study", "."),
        autoescape=True,  # names of people, photos and categories may hold anything
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_category: dict[str, list[Triple]] = {}
    for triple in chosen:
        by_category.setdefault(triple.category, []).append(triple)
    rgb = {name: "rgb({} {} {})".format(*colour_of_annotator(result, name)) for name in result.study.annotators}
    page: str = environment.get_template("report.html.j2").render(
        title=title(result),
        result=result,
        study=result.study,
        summary=summary,
        columns=columns(result),
        cells=lambda row: cells(row, result),
        shown=shown,
        plots=drawn,
        triples=by_category,
        embedded=_embedded,
        colours=rgb,
        band_names=BAND_NAMES,
        protocol=PROTOCOL,
    )
    return page


def _embedded(picture: np.ndarray) -> str:
    """A picture as a data address."""
    image = Image.fromarray(picture)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
