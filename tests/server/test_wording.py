"""What the library says in words of the command line is said otherwise to users of forms and of the studio's page."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import persam
from persam.server.wording import _WORDS, in_form_words, on_page

SOURCE = Path(persam.__file__).parent


def _texts() -> list[str]:
    """All texts in the source, those in several pieces as one."""
    files = (each for each in SOURCE.rglob("*.py") if each.name != "wording.py")
    trees = (ast.parse(each.read_text(encoding="utf-8")) for each in files)
    return [
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_every_piece_is_something_that_the_library_says() -> None:
    texts = "\n".join(_texts())
    assert [piece for piece in _WORDS if piece not in texts] == []


@pytest.mark.parametrize("piece", _WORDS)
def test_neither_is_told_of_options(piece: str) -> None:
    for told, words in ((in_form_words(piece), _WORDS[piece].form), (on_page(piece), _WORDS[piece].page)):
        assert told == (piece if words is None else words)
        assert words is None or "--" not in told
    assert _WORDS[piece] != (None, None)
