"""A table, and the forms in which people take it away: Markdown, LaTeX, HTML, the terminal; and plain rows as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as Grid

_WORDS = ("method", "encoder", "source")  # columns of words, to the left
_ANY_WIDTH = 10_000


@dataclass(frozen=True)
class Table:
    """Cells of text. A page draws it with the macro ``table`` of ``reports/parts.html.j2``.

    Attributes:
        title: stands above.
        columns: their heads; the first is a name, the others are numbers or words.
        rows: the rows.
        below: rows of the same columns that stand under a line of their own: a total, or what others published.
        notes: whole sentences for below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    below: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As GitHub's Markdown."""
        lines = [f"# {_markdown(self.title)}", "", _pipes(map(_markdown, self.columns))]
        lines.append(_pipes("---" if left else "---:" for left in self.is_left()))
        lines += [_pipes(map(_markdown, row)) for row in (*self.rows, *self.below)]
        lines += ["", *(f"- {_markdown(note)}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """As a LaTeX table as wide as the text, its notes below; it needs the packages booktabs and graphicx."""
        notes = (rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {latex_text(note)}}}" for note in self.notes)
        return "\n".join(
            [
                r"% needs \usepackage{booktabs,graphicx}; table* gives it both columns of a page",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_text(self.title)}}}",
                r"\resizebox{\linewidth}{!}{%",
                rf"\begin{{tabular}}{{{''.join('l' if left else 'r' for left in self.is_left())}}}",
                r"\toprule",
                _ampersands(self.columns),
                r"\midrule",
                *map(_ampersands, self.rows),
                *([r"\midrule", *map(_ampersands, self.below)] if self.below else []),
                r"\bottomrule",
                r"\end{tabular}}",
                *notes,
                r"\end{table}",
                "",
            ]
        )

    def print(self, console: Console) -> None:
        """Print it on a terminal, its notes dim below; one that is too wide row by row, without empty cells."""
        console.print(escape(self.title), style="bold")
        grid = self.grid(below="dim")
        if Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), grid).maximum <= console.width:
            console.print(grid)
        else:
            for number, row in enumerate((*self.rows, *self.below)):
                style = None if number < len(self.rows) else "dim"
                cells = [f"{head} {cell}" for head, cell in zip(self.columns[1:], row[1:], strict=True) if cell != "–"]
                console.print(escape(row[0]), style=style)
                console.print(Padding(escape(" · ".join(cells)), (0, 0, 0, 2)), style=style)
        for note in self.notes:
            console.print(escape(note), style="dim")

    def grid(self, *, stacked: bool = False, below: str = "bold", words: Sequence[str] = ("own",)) -> Grid:
        """The rows alone, for a terminal.

        Args:
            stacked: put intervals below their means, so that many columns fit on a screen.
            below: style of the rows below.
            words: more columns that go to the left.
        """
        grid = Grid(box=None, pad_edge=False, header_style="bold")
        for column, left in zip(self.columns, self.is_left(words), strict=True):
            grid.add_column(escape(column), justify="left" if left else "right", overflow="fold")
        for number, (first, *others) in enumerate((*self.rows, *self.below)):
            cells = [cell.replace(" [", "\n[") if stacked else cell for cell in others]
            grid.add_row(*map(escape, (first, *cells)), style=None if number < len(self.rows) else below)
        return grid

    def is_left(self, words: Sequence[str] = ()) -> list[bool]:
        """Whether each column goes to the left: the first, and those of words, to which `words` may add."""
        return [number == 0 or column in (*_WORDS, *words) for number, column in enumerate(self.columns)]


def to_csv(rows: Sequence[Mapping[str, Any]], digits: int | None = 6) -> str:
    """Comma-separated values with a head; None is empty, true and false are 1 and 0.

    Args:
        rows: all with the same keys.
        digits: that numbers are rounded to; None for all of them.
    """
    if not rows:
        return ""

    def cell(value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool):
            return int(value)
        return f"{value:.{digits}g}" if isinstance(value, float) and digits is not None else value

    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: cell(value) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def _pipes(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text.replace("\n", " "))


def _ampersands(cells: Iterable[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "†": r"\textdagger{}",
    "–": "--",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "²": r"\textsuperscript{2}",
    "\n": " ",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


def latex_text(text: str) -> str:
    r"""Escape text for LaTeX.

    >>> print(latex_text("dog_toy & 50 %"))
    dog\_toy \& 50 \%
    """
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    escaped = re.sub(r'"([^"]*)"', r"``\1''", escaped)
    # A bracket that opens a row would be read as the option of the line break before it.
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped
