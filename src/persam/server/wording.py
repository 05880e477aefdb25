"""The library's sentences as others than users of the command line are told them.

What the library says of its commands and options is another thing for who sends a form, and for who looks at the
studio's page: one list of such pieces, with the words of each.
"""

from __future__ import annotations

from typing import NamedTuple


class _Words(NamedTuple):
    form: str | None = None  # None: this piece is never told there, or may stay as it is
    page: str | None = None


_KEPT = _Words("learn it again with keep=true.", 'learn it again with "Keep the photo" ticked.')
_WORDS = {
    ", with --keep-reference to keep them from now on.": _Words(" with keep=true.", ' with "Keep the photo" ticked.'),
    "learn it again with --tune, and with --keep-reference to tune it later too.": _KEPT,
    "learn it again with --keep-reference.": _KEPT,
    "or say that it is to be replaced.": _Words("or replace it with replace=true."),
    "see with --picture which of the two is right, ": _Words("", ""),
    "a scribble, a transparent cut-out, or a text and a finder that looks for it.": _Words("a scribble, or a cut-out."),
    "make one with `persam study new`.": _Words(page='make one under "Make a new study".'),
    "see `persam study check`.": _Words(page='press "Who has done how much".'),
}


def in_form_words(sentence: str) -> str:
    """As who sends a form is told it."""
    for piece, words in _WORDS.items():
        sentence = sentence if words.form is None else sentence.replace(piece, words.form)
    return sentence


def on_page(sentence: str) -> str:
    """As who looks at the studio's page is told it."""
    for piece, words in _WORDS.items():
        sentence = sentence if words.page is None else sentence.replace(piece, words.page)
    return sentence
