"""Memory: to be written."""

from __future__ import annotations

from typing import Any


def check_memory(*_: Any) -> None:
    """Not yet."""
