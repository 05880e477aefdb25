"""The libraries of the extra ``study``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from persam.errors import PersamError

_WHAT = {"SimpleITK": "STAPLE", "matplotlib": "The report's plots"}


def library(name: str) -> Any:
    """Import one of them.

    Raises:
        PersamError: it is not installed; says what needs it and how it is had.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise PersamError(
            f"{_WHAT[name]} needs {name}, which is not installed: pip install 'persam[study]'."
        ) from error


def check_libraries() -> None:
    """See that all are there, before anything slow.

    Raises:
        PersamError: one is not installed.
    """
    for name in _WHAT:
        library(name)
