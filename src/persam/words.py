"""Sentences for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its word, which has an s where there is not one, or is another word.

    >>> [counted(1, "photo"), counted(0, "photo"), counted(2, "category", "categories")]
    ['1 photo', '0 photos', '2 categories']
    """
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"
