"""What is loaded on first use: names of a package, so that help texts need not wait, and libraries of extras."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from persam.errors import PersamError


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the ``__getattr__`` and ``__dir__`` of a package.

    >>> __getattr__, __dir__ = lazy_names("persam", {"persam.errors": "PersamError UsageError"})
    >>> __getattr__("UsageError").__name__
    'UsageError'

    Args:
        package: its ``__name__``; its ``__all__`` is what `dir` tells.
        homes: for each module the names that it gives, with blanks between them.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home_of[name]), name)

    return get, lambda: sorted(sys.modules[package].__all__)


def library(name: str, what: str, extra: str) -> Any:
    """Import a library that one of persam's extras brings.

    Args:
        name: of the module.
        what: needs it, in words.
        extra: that it is had with.

    Raises:
        PersamError: it is not installed.
    """
    if name.partition(".")[0] == "onnxruntime":
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read while it is imported
    try:
        return import_module(name)
    except ImportError as error:
        raise PersamError(f"{what} needs {name}, which is not installed: pip install 'persam[{extra}]'.") from error
