"""Everything that a study's run leaves behind: one page, tables, numbers, masks and pictures."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from persam.errors import UsageError
from persam.files import check_folder, expanded, safe_name, write_text
from persam.instance import rle_mask
from persam.lazy import library
from persam.ledger import claimed, holds_json
from persam.metrics import RESAMPLES
from persam.reports.page import render
from persam.reports.pictures import write_mask
from persam.reports.provenance import versions
from persam.reports.tables import Table, to_csv
from persam.study.checks import REPORT_FILE, Problem
from persam.study.gallery import Triple, colour_of_annotator, triples, write_gallery
from persam.study.layout import Study
from persam.study.plots import plots
from persam.study.results import (
    BAND_NAMES,
    MAJORITY,
    PROTOCOL,
    STAPLE,
    Mean,
    Person,
    Row,
    StudyAnswer,
    StudyResult,
    StudySummary,
    summarise,
)
from persam.study.time_summary import times_json, times_table
from persam.words import counted

METRICS_FILE = "metrics.json"


def check_libraries() -> None:
    """See that the libraries of the extra ``study`` are there, before anything slow.

    Raises:
        PersamError: one is not installed.
    """
    library("SimpleITK", "STAPLE", "study")
    library("matplotlib", "The report's plots", "study")


def check_out(result_folder: str | Path, study: Study) -> None:
    """See before a long run that its report can be written.

    Raises:
        UsageError: the folder is a file, the study's own, or holds results of something else.
        PersamError: it cannot be written.
    """
    check_folder(result_folder)
    folder = expanded(result_folder)
    if folder.resolve() == study.folder.resolve():
        raise UsageError(f"{result_folder} is the study itself; give a folder of its own for the report.")
    if (folder / METRICS_FILE).exists() and not (folder / REPORT_FILE).exists():
        raise UsageError(f"{folder / METRICS_FILE} is not of a study and would be lost; choose another --output.")


def claimed_out(result_folder: str | Path, study: Study) -> AbstractContextManager[None]:
    """Hold the report's folder while the study runs, after the checks of `check_out`.

    Raises:
        UsageError: besides, a file of others has the name of one of the report's.
        PersamError: another command writes there.
    """
    check_out(result_folder, study)
    return claimed(
        result_folder,
        _files(study),
        is_ours=lambda folder: (folder / REPORT_FILE).is_file() and holds_json(folder / METRICS_FILE),
        advice="choose another --output, or move it away",
    )


def _files(study: Study) -> list[str]:
    """All files that a report may have, named from its folder on."""
    files = [REPORT_FILE, METRICS_FILE, "table1.csv", "table1.md", "table1.tex", "gallery.png"]
    for category in study.categories:
        files.append(f"gallery/{safe_name(category.name)}.png")
        for photo in category.photos:
            kinds = [f"consensus/{kind}/{category.name}" for kind in (MAJORITY, STAPLE)]
            people = [f"predictions/{category.name}/{who}" for who in study.annotators]
            files += [f"{place}/{photo.stem}.png" for place in (*kinds, *people)]
    return files


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
    folder = expanded(out)
    summary = summarise(result)
    drawn = plots(result, summary)  # before anything is written, because it needs a library
    chosen = triples(result)
    page = _page(result, summary, drawn, chosen)
    _write_masks(result, folder)
    write_gallery(result, folder, chosen)
    table = table_one(result, summary)
    write_text(folder / "table1.csv", table_one_csv(summary))
    write_text(folder / "table1.md", table.markdown())
    write_text(folder / "table1.tex", table.latex())
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


def _page(result: StudyResult, summary: StudySummary, drawn: dict[str, str], chosen: dict[str, list[Triple]]) -> str:
    dot, pill = (
        Markup('<span class="dot" style="background:rgb({} {} {})"></span>{}'),
        Markup('<span class="pill {}">{}</span>'),
    )
    people, kinds = result.study.annotators, ("good", "fair", "poor")
    return render(
        "study/report.html.j2",
        result=result,
        study=result.study,
        summary=summary,
        table1=table_one(result, summary),
        people=people_table(summary),
        times=None if summary.times is None else times_table(summary.times),
        shown=shown,
        dots={name: dot.format(*colour_of_annotator(result, name), name) for name in people},
        bands={name: pill.format(kind, name) for kind, name in zip(kinds, BAND_NAMES, strict=True)},
        plots={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704 (matplotlib has escaped the names)
        triples=chosen,
    )


# ------------------------------------------------------------------------- tables


def table_one(result: StudyResult, summary: StudySummary) -> Table:
    """Table I: the model with each person, one row a category; a dash where there is nothing to tell."""
    has_gold = any(category.has_gold for category in result.study.categories)

    def cells(row: Row) -> tuple[str, ...]:
        gold = [row.gold] if has_gold else []
        figures = [*row.annotators.values(), row.model, row.majority, row.staple, *gold, row.people]
        alpha = "-" if row.alpha is None else f"{row.alpha:.3f}"
        return row.name, *map(shown, figures), alpha, "-" if row.band is None else BAND_NAMES[row.band]

    people = [f"with {name}" for name in result.study.annotators]
    consensus = ["with all", "with majority", "with STAPLE", *(["with gold"] if has_gold else [])]
    columns = ("category", *people, *consensus, "among people", "alpha", "band")
    return Table(title(result), columns, tuple(map(cells, summary.rows)), (cells(summary.total),), (f"{PROTOCOL}.",))


def people_table(summary: StudySummary) -> Table:
    """Each person over all categories."""
    columns = (
        "annotator", "masks", "area beside majority", "area beside truth", "STAPLE sensitivity", "STAPLE specificity",
        "IoU with truth",
    )  # fmt: skip
    rows = (
        (
            person.name,
            str(person.masks),
            *(
                "-" if found is None else f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}] {found.verdict}"
                for found in (person.against_majority, person.against_gold)
            ),
            *map(shown, (person.sensitivity, person.specificity, person.gold)),
        )
        for person in summary.people
    )
    return Table("Each person", columns, tuple(rows))


def shown(figure: Mean | None) -> str:
    """A figure with its interval, or a dash."""
    return "-" if figure is None else f"{figure.mean:.3f} [{figure.low:.2f}, {figure.high:.2f}]"


def title(result: StudyResult) -> str:
    """What every number of a study stands under: model, mode, method and how many photos."""
    model = result.model
    encoder = "" if model["encoder"] is None else f", encoder {model['encoder']}"
    measured = len({(answer.category, answer.photo) for answer in result.answers})
    return (
        f"{model['method']} with {model['model']} ({model['fingerprint']}){encoder}, mode {model['mode']}, 1 shot; "
        f"{counted(measured, 'photo')}, {counted(len(result.study.annotators), 'annotator')}"
    )


def table_one_csv(summary: StudySummary) -> str:
    """Table I with one line for each figure, for spreadsheets: category, with whom, mean, low, high, photos."""
    lines: list[tuple[Any, ...]] = []
    for row in (*summary.rows, summary.total):
        named = {f"model with {name}": figure for name, figure in row.annotators.items()} | {
            "model with all annotators": row.model,
            "model with majority": row.majority,
            "model with STAPLE": row.staple,
            "model with gold": row.gold,
            "people with each other": row.people,
        }
        for what, figure in named.items():
            if figure is not None:
                lines.append((row.name, what, figure.mean, figure.low, figure.high, figure.photos))
        if row.alpha is not None:
            lines.append((row.name, "Krippendorff's alpha of the people", row.alpha, None, None, None))
    heads = ("category", "figure", "mean", "low", "high", "photos")
    return to_csv([dict(zip(heads, line, strict=True)) for line in lines], digits=None)


# ------------------------------------------------------------------- metrics.json


def metrics(result: StudyResult, summary: StudySummary) -> dict[str, Any]:
    """All that the report shows, and what is needed to do it again, as plain JSON values."""
    study, near = result.study, summary.nearness
    return {
        "run": result.model
        | {
            "reference_photos": result.references,
            "shots": 1,
            "protocol": PROTOCOL,
            "bootstrap": {"resamples": RESAMPLES, "seed": 0, "level": 0.95},
            "data_sha256": study.digest(),
            "versions": versions("SimpleITK", "matplotlib"),
        },
        "study": {
            "categories": {category.name: len(category.photos) for category in study.categories},
            "annotators": list(study.annotators),
            "masks": {person.name: person.masks for person in summary.people},
        },
        "table1": {row.name: _row_json(row) for row in (*summary.rows, summary.total)},
        "people": {person.name: _without(person, "name") for person in summary.people},
        "nearness": None
        if near is None
        else {"model": near.model, "people": near.people, "verdict": near.verdict, **near.test._asdict()},
        **({} if summary.times is None else {"times": times_json(summary.times)}),
        "disputed": [row.name for row in summary.disputed],
        "left_out": problems_json(result.left_out),
        "photos": [_without(answer, "mask") for answer in result.answers],
    }


def problems_json(problems: tuple[Problem, ...]) -> dict[str, Any]:
    """Problems, counted by kind and named."""
    kinds = [problem.kind for problem in problems]
    return {
        "count": len(problems),
        "by_kind": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "items": [asdict(problem) for problem in problems],
    }


def _row_json(row: Row) -> dict[str, Any]:
    return _without(row, "name") | {
        "pairs": [{"pair": list(pair), **asdict(figure)} for pair, figure in row.pairs.items()],
        "bands": dict(zip(BAND_NAMES, row.bands, strict=True)),
        "band": None if row.band is None else BAND_NAMES[row.band],
    }


def _without(record: Row | Person | StudyAnswer, name: str) -> dict[str, Any]:
    return {key: value for key, value in asdict(record).items() if key != name}
