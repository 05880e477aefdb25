"""Table I as text: for people, for spreadsheets and for papers."""

from __future__ import annotations

import csv
import io

from persam.study.results import StudyResult
from persam.study.summary import BAND_NAMES, PROTOCOL, Figure, Row, Summary

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def columns(result: StudyResult) -> list[str]:
    """The heads of table I."""
    people = [f"with {name}" for name in result.study.annotators]
    gold = ["with gold"] if any(category.has_gold for category in result.study.categories) else []
    return ["category", *people, "with all", "with majority", "with STAPLE", *gold, "among people", "alpha", "band"]


def cells(row: Row, result: StudyResult) -> list[str]:
    """One line of table I, below `columns`; a dash where there is nothing to tell."""
    gold = [row.gold] if any(category.has_gold for category in result.study.categories) else []
    figures = [*row.annotators.values(), row.model, row.majority, row.staple, *gold, row.people]
    return [
        row.name,
        *(shown(figure) for figure in figures),
        "-" if row.alpha is None else f"{row.alpha:.3f}",
        "-" if row.band is None else BAND_NAMES[row.band],
    ]


def shown(figure: Figure | None) -> str:
    """A figure with its interval, or a dash."""
    return "-" if figure is None else f"{figure.mean:.3f} [{figure.low:.2f}, {figure.high:.2f}]"


def title(result: StudyResult) -> str:
    """What every number of a study stands under: model, mode, method and how many photos."""
    model = result.model
    encoder = "" if model["encoder"] is None else f", encoder {model['encoder']}"
    measured = len({(answer.category, answer.photo) for answer in result.answers})
    return (
        f"{model['method']} with {model['model']} ({model['fingerprint']}){encoder}, mode {model['mode']}, 1 shot; "
        f"{measured} photos, {len(result.study.annotators)} annotators"
    )


def markdown(result: StudyResult, summary: Summary) -> str:
    """Table I as GitHub's Markdown."""
    heads = columns(result)
    lines = [
        heads,
        ["---", *["---:"] * (len(heads) - 1)],
        *(cells(row, result) for row in (*summary.rows, summary.total)),
    ]
    table = "\n".join(f"| {' | '.join(map(_markdown_escaped, line))} |" for line in lines)
    return f"{_markdown_escaped(title(result))}\n\n{table}\n\n{PROTOCOL}.\n"


def latex(result: StudyResult, summary: Summary) -> str:
    """Table I as a LaTeX table; it needs the package booktabs."""
    heads = columns(result)

    def line(values: list[str]) -> str:
        return " & ".join("".join(_TEX.get(letter, letter) for letter in value) for value in values) + r" \\"

    caption = "".join(_TEX.get(letter, letter) for letter in f"{title(result)}. {PROTOCOL}.")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{caption}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            line(heads),
            r"\midrule",
            *(line(cells(row, result)) for row in summary.rows),
            r"\midrule",
            line(cells(summary.total, result)),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def comma_separated(result: StudyResult, summary: Summary) -> str:
    """Table I with one line for each figure, for spreadsheets: category, with whom, mean, low, high, photos."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["category", "figure", "mean", "low", "high", "photos"])
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
                writer.writerow([row.name, what, figure.mean, figure.low, figure.high, figure.photos])
        if row.alpha is not None:
            writer.writerow([row.name, "Krippendorff's alpha of the people", row.alpha, "", "", ""])
    return text.getvalue()


def _markdown_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
