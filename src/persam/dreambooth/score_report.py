"""Scores as people take them away: a table over all prompts beside the paper's, one by prompt, changes, files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persam.dreambooth.kid import KernelDistance
from persam.dreambooth.scores import ALL, FIGURES, Key, Scores
from persam.files import write_text
from persam.metrics import Interval, PairedTest
from persam.reports.tables import Table, to_csv

SCORES, TABLES, LATEX, ROWS, PICTURES = "scores.json", "scores.md", "scores.tex", "scores.csv", "pictures.csv"
FILES = (SCORES, TABLES, LATEX, ROWS, PICTURES)
_COLUMNS = {
    "clip_score": "Text-Align (CLIPScore)",
    "text_align": "Text-Align (cosine)",
    "clip_image_align": "Image-Align (CLIP)",
    "dino_image_align": "Image-Align (DINO)",
}
_KID = "KID × 10³"
_SCALE = 1000
# Of the PerSAM paper (arXiv 2305.03048), section 4: CLIPScore, CLIP's Image-Align, KID × 10³.
PAPER = {
    "DreamBooth (paper)": (0.812, 0.793, 29.7),
    "+ PerSAM (paper)": (0.830, 0.814, 29.2),
    "+ PerSAM-F (paper)": (0.834, 0.818, 28.9),
}
_PAIRED = (
    "Over pictures of the same prompt and seed, which begin with {noise} noise; [..] is a 95 % bootstrap interval, p "
    "that of a permutation test, both with whole prompts drawn (pictures, if there is one prompt)."
)
_OTHER_NOISE = "other (the runs differ in family or size)"
_ALIGN = (
    "Text-Align: the picture and its prompt without the identifier; CLIPScore is 2.5 × the cosine, 0 below 0. "
    "Image-Align: mean cosine with all photos of the subject."
)
_OF_WHOM = (
    "The paper's numbers (arXiv 2305.03048) are of Stable Diffusion, fully fine-tuned on its authors' photos and asked "
    "with their prompts: another model and other pictures than these."
)
_CLIP_SCORE = (
    "Its Text-Align stands under CLIPScore because of its size: cosines of CLIP with a caption are near 0.3, and the "
    "evaluation of Custom Diffusion (arXiv 2212.04488) prints 2.5 × the cosine as text alignment."
)
_OTHER_SCALE = "Its KID is of InceptionV3's features; that of other features has another scale."
_FEW = 10  # pictures, prompts or photos, below which the bootstrap has hardly anything to draw from


def tables(scores: Scores) -> list[Table]:
    """All of them: over all prompts, changes against the first run where there are several, and by prompt."""
    over_all = [key for key in scores.keys if key[1] is ALL]
    by_prompt = [key for key in scores.keys if key[1] is not ALL]
    subjects = ", ".join(f"{count} of {name}" for name, count in scores.about["references"].items())
    title = f"Generated pictures and real photos ({subjects})"
    heads = (*_COLUMNS.values(), _KID, "pictures")
    published = tuple(
        (name, f"{text:.3f}", "–", f"{image:.3f}", "–", f"{kid:.1f}", "–") for name, (text, image, kid) in PAPER.items()
    )
    found = [
        Table(
            title,
            ("run", *heads),
            tuple((key[0], *_cells(scores, key)) for key in over_all),
            published,
            (*_notes(scores), *_of_the_paper(scores)),
        )
    ]
    if scores.changes:
        found.append(_changes(scores, over_all[0][0]))
    if len(scores.generated.prompts) > 1:
        rows = tuple((scores.generated.prompts[key[1] or 0], key[0], *_cells(scores, key)) for key in by_prompt)
        note = "[..] is a 95 % bootstrap interval over pictures: a rough guess with few of them."
        found.append(Table("By prompt", ("prompt", "run", *heads), rows, notes=(note,)))
    return found


def _cells(scores: Scores, key: Key) -> list[str]:
    means, kid = scores.means[key], scores.kid[key]
    count = len(scores.generated.of(*key))
    return [*(_interval(means[figure]) for figure in _COLUMNS), _distance(kid), str(count)]


def _interval(figure: Interval) -> str:
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _distance(kid: KernelDistance | None) -> str:
    return "–" if kid is None else f"{_SCALE * kid.value:.1f} [{_SCALE * kid.low:.1f}, {_SCALE * kid.high:.1f}]"


def _changes(scores: Scores, first: str) -> Table:
    def cell(test: PairedTest | None) -> str:
        if test is None:
            return "–"
        return f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}] p {test.p_value:.2g}"

    rows = tuple((run, *(cell(tests.get(figure)) for figure in _COLUMNS)) for run, tests in scores.changes.items())
    note = _PAIRED.format(noise="the same" if scores.generated.same_noise else _OTHER_NOISE)
    return Table(f"Change against {first}", ("run", *_COLUMNS.values()), rows, notes=(note,))


def _notes(scores: Scores) -> list[str]:
    about, prompts = scores.about, len(scores.generated.prompts)
    photos = f"{about['real']} other photos" if about["real"] else "the subject's photos"
    drawn = "prompts, each with all of its pictures" if prompts > 1 else "pictures"
    compared = "the subject alone, cut out by its mask" if about["foreground"] else "whole photos"
    own = prompts if prompts > 1 else min(len(scores.generated.of(run)) for run, prompt in scores.keys if prompt is ALL)
    fewest = min(*about["references"].values(), own)
    return [
        f"CLIP: {about['clip']}; DINO: {about['dino']}; compared with {compared}.",
        _ALIGN,
        f"KID: unbiased, cubic kernel, features of {about['kid']}, against {photos}; smaller is more alike.",
        f"[..] is a 95 % bootstrap interval: over {drawn}; of KID over pictures and photos.",
        *([f"An interval over {fewest} is a rough guess: the bootstrap knows no others."] if fewest < _FEW else []),
        *scores.notes,
    ]


def _of_the_paper(scores: Scores) -> list[str]:
    return [_OF_WHOM, _CLIP_SCORE, *([] if scores.about["kid"] == "InceptionV3" else [_OTHER_SCALE])]


def to_json(scores: Scores) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        **scores.about,
        "scores": [_row(scores, key, nested=True) for key in scores.keys],
        "changes": {
            run: {figure: test._asdict() for figure, test in tests.items()} for run, tests in scores.changes.items()
        },
        "published": [
            {"method": name, "clip_score": text, "clip_image_align": image, "kid": kid / _SCALE}
            for name, (text, image, kid) in PAPER.items()
        ],
        "notes": list(scores.notes),
    }


def _row(scores: Scores, key: Key, *, nested: bool) -> dict[str, Any]:
    """The figures of a run and prompt, with intervals nested or, for a table of numbers, flat."""
    run, prompt = key
    row: dict[str, Any] = {
        "run": run,
        "prompt": None if prompt is None else scores.generated.prompts[prompt],
        "pictures": len(scores.generated.of(run, prompt)),
    }
    kid = scores.kid[key]
    figures: Mapping[str, tuple[float, float, float] | None] = {**scores.means[key], "kid": kid}
    for name, figure in figures.items():
        if nested:
            keys = ("value", "low", "high")
            row[name] = None if figure is None else dict(zip(keys, figure, strict=True))
        else:
            value, low, high = (None, None, None) if figure is None else figure
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row


def write_scores(scores: Scores, folder: Path) -> list[Path]:
    """Write all forms into a folder: JSON, Markdown, LaTeX, and CSV by run and prompt and by picture.

    Returns:
        The files.
    """
    found = tables(scores)
    of_pictures = [
        {
            "run": each.picture.run,
            "prompt": scores.generated.prompts[each.picture.prompt],
            "seed": each.picture.seed,
            "file": each.picture.file.relative_to(scores.generated.folder).as_posix(),
            "caption": each.picture.caption,
            **{figure: getattr(each, figure) for figure in (*FIGURES, "clip_score")},
        }
        for each in scores.pictures
    ]
    texts = {
        SCORES: json.dumps(to_json(scores), indent=1, ensure_ascii=False) + "\n",
        TABLES: "\n".join(table.markdown() for table in found),
        LATEX: "\n".join(table.latex() for table in found),
        ROWS: to_csv([_row(scores, key, nested=False) for key in scores.keys]),
        PICTURES: to_csv(of_pictures),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
