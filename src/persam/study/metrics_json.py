"""A study's numbers as one JSON document: all that the report shows, and what is needed to do it again."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from persam import __version__
from persam.metrics import RESAMPLES
from persam.study.bias import Bias
from persam.study.checks import Problem
from persam.study.results import StudyResult
from persam.study.summary import BAND_NAMES, PROTOCOL, Person, Row, Summary, summarise

_LIBRARIES = ("torch", "transformers", "numpy", "SimpleITK", "matplotlib")


def metrics(result: StudyResult, summary: Summary | None = None) -> dict[str, Any]:
    """The document, of plain JSON values."""
    summary = summarise(result) if summary is None else summary
    study, near = result.study, summary.nearness
    return {
        "run": result.model
        | {
            "reference_photos": result.references,
            "shots": 1,
            "protocol": PROTOCOL,
            "bootstrap": {"resamples": RESAMPLES, "seed": 0, "level": 0.95},
            "data_sha256": study.digest(),
            "versions": _versions(),
        },
        "study": {
            "categories": {category.name: len(category.photos) for category in study.categories},
            "annotators": list(study.annotators),
            "masks": {person.name: person.masks for person in summary.people},
        },
        "table1": {row.name: row_json(row) for row in (*summary.rows, summary.total)},
        "people": {person.name: _person(person) for person in summary.people},
        "nearness": None
        if near is None
        else {"model": near.model, "people": near.people, "verdict": near.verdict, **near.test._asdict()},
        "disputed": [row.name for row in summary.disputed],
        "left_out": problems_json(result.left_out),
        "photos": [
            {
                "category": answer.category,
                "photo": answer.photo,
                "annotator": answer.annotator,
                "iou": answer.ious,
                "score": answer.score,
                "present": answer.present,
            }
            for answer in result.answers
        ],
    }


def row_json(row: Row) -> dict[str, Any]:
    """One row of table I."""
    data = asdict(row) | {"pairs": [{"pair": list(pair), **asdict(figure)} for pair, figure in row.pairs.items()]}
    del data["name"]
    return data | {
        "bands": dict(zip(BAND_NAMES, row.bands, strict=True)),
        "band": None if row.band is None else BAND_NAMES[row.band],
    }


def problems_json(problems: tuple[Problem, ...]) -> dict[str, Any]:
    """Problems, counted by kind and named."""
    kinds = [problem.kind for problem in problems]
    return {
        "count": len(problems),
        "by_kind": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "items": [asdict(problem) for problem in problems],
    }


def _person(person: Person) -> dict[str, Any]:
    data = asdict(person) | {
        "against_majority": _bias(person.against_majority),
        "against_gold": _bias(person.against_gold),
        "by_category": {name: _bias(found) for name, found in person.by_category.items()},
    }
    del data["name"]
    return data


def _bias(found: Bias | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found) | {"verdict": found.verdict}


def _versions() -> dict[str, str]:
    found = {"persam": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
