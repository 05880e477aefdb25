"""The progress bar: on a terminal it moves, in a pipe it is silent."""

from __future__ import annotations

import io
import re

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


def test_a_log_gets_a_line_every_half_minute(monkeypatch):
    """Of a long run; a short one says nothing."""
    clock = [1000.0]
    stream = io.StringIO()
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "err", lambda: Console(file=stream, width=80))
    monkeypatch.setattr(progress, "say", lambda text: stream.write(text + "\n"))
    with progress_bar("Photos", 40) as advance:
        for _ in range(40):
            clock[0] += 10
            advance()
        advance(what="Contact sheet", done=0, total=6)
        for done in range(1, 7):
            clock[0] += 20
            advance(what="Contact sheet", done=done, total=6)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["Photos: 3 of 40 done, about 6 min left.", "Photos: 6 of 40 done, about 6 min left."]
    assert lines[12] == "Photos: 39 of 40 done, about 10 s left."
    assert lines[13] == "Contact sheet: 1 of 6 done, about 2 min left."
    assert len(lines) == 16


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_an_earlier_run_did_tells_nothing_of_the_time_left(monkeypatch, is_terminal):
    clock = [0.0]
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=80, get_time=lambda: clock[0])
    monkeypatch.setattr(progress, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "err", lambda: console)
    monkeypatch.setattr(progress, "say", lambda text: stream.write(text + "\n"))
    with progress_bar("Frames", 1000) as advance:
        advance(before=900)
        clock[0] += 100  # to catch up
        for _ in range(50):
            advance()
            clock[0] += 2
    if is_terminal:
        assert re.search(r"950/1000.*0:01:40", stream.getvalue())
    else:
        assert "Frames: 916 of 1000 done, about 3 min left." in stream.getvalue()


@pytest.mark.parametrize("seconds", [35, 300])
def test_a_terminal_shows_the_time_that_is_left_also_where_a_step_takes_long(monkeypatch, seconds):
    clock = [0.0]
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, get_time=lambda: clock[0])
    monkeypatch.setattr(progress, "err", lambda: console)
    with progress_bar("Photos", 10) as advance:
        for _ in range(4):
            clock[0] += seconds
            advance()
    minutes, rest = divmod(6 * seconds, 60)
    assert f"{minutes // 60}:{minutes % 60:02}:{rest:02}" in stream.getvalue()
