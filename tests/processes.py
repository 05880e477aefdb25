"""Processes that run `persam`, dozens a minute: forked from one that has loaded the libraries already."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

LIBRARIES = [
    "persam.cli.main",
    "persam.persam",
    "persam.album.batch",
    "persam.concept",
    "persam.models.tiny.architecture",
]


def start(arguments: list[object], stderr: Path) -> ForkServerProcess:
    """Start `persam` with these arguments; what it says goes to a file, its table nowhere."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=_run, args=([str(argument) for argument in arguments], str(stderr)))
    process.start()
    return process


def _run(arguments: list[str], stderr: str) -> None:
    for number, path in ((1, os.devnull), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    from persam.cli.main import app

    app(arguments)
