"""The progress bar: on a terminal it moves, in a pipe it is silent."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from persam.cli import progress
from persam.cli.progress import progress_bar


@pytest.mark.parametrize("is_terminal", [True, False])
def test_bar(monkeypatch, is_terminal):
    stream = io.StringIO()
    monkeypatch.setattr(progress, "err", lambda: Console(file=stream, force_terminal=is_terminal, width=80))
    with progress_bar("Photos") as advance:
        advance(total=3)
        advance()
        advance(done=3, what="Masks")
    if is_terminal:
        assert "Masks" in stream.getvalue()
        assert "3/3" in stream.getvalue()
    else:
        assert stream.getvalue().strip() == ""
