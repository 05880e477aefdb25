"""One table in every form: names are escaped, nothing is lost, a narrow terminal can show it."""

from __future__ import annotations

import io
import re

from rich.console import Console

from persam.reports.tables import Table, latex_text, to_csv


def test_markdown_escapes_names():
    shown = Table("a|b", ("method", "x"), (("my_tool|<b>", "[1]"), ("*a*", "`c`")), (), ("#1",))
    text = shown.markdown()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)
    assert r"my\_tool\|\<b\>" in text
    assert r"\*a\*" in text
    assert r"- \#1" in text


def test_latex_escapes_names():
    assert latex_text("a_b & 50 % {x} $1 #2 ~ ^ \\") == (
        r"a\_b \& 50 \% \{x\} \$1 \#2 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert latex_text("[1] x") == "{[1] x}"  # else LaTeX reads an option of the line break before it
    assert latex_text("†") == r"\textdagger{}"
    assert latex_text('the "last" <1|2>') == r"the ``last'' \textless{}1\textbar{}2\textgreater{}"


def test_csv():
    rows = [{"a": 0.123456789, "b": None, "c": True, "d": 'x,"y"'}, {"a": 1, "b": 2, "c": False, "d": "z"}]
    assert to_csv(rows) == 'a,b,c,d\n0.123457,,1,"x,""y"""\n1,2,0,z\n'
    assert to_csv([]) == ""
    assert to_csv(rows[:1], digits=None).startswith("a,b,c,d\n0.123456789,,")


def test_a_narrow_terminal_gets_row_by_row():
    stream = io.StringIO()
    columns, ours = ("method", "encoder", "mIoU", "photos"), ("persam", "tiny", "61.2 [55.0, 67.3]", "4")
    shown = Table("A title", columns, (ours,), (("PerSAM (paper)", "SAM ViT-H", "–", "–"),), ("A note.",))
    shown.print(Console(file=stream, width=40))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines[:2] == ["A title", "persam"]
    assert " ".join(line.strip() for line in lines[2:4]) == "encoder tiny · mIoU 61.2 [55.0, 67.3] · photos 4"
    assert lines[4:] == ["PerSAM (paper)", "  encoder SAM ViT-H", "A note."]
