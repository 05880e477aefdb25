"""Events are done in the order in which they came, and no more of them wait than may."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from persam.server.engine import StoppingError
from persam.server.label_studio.in_order import InOrder
from persam.server.refusals import CrowdedError


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Something that work waits for."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_each_kind_is_done_in_order_and_waits_for_no_other(gate: threading.Event) -> None:
    work, done = InOrder(threads=2), []
    work.add("a", lambda: (gate.wait(20), done.append("a0")))
    for number in range(1, 20):
        work.add("a", lambda number=number: done.append(f"a{number}"))  # type: ignore[misc]
    work.add("b", lambda: done.append("b0"))
    assert not work.wait(0.05)
    assert done == ["b0"]
    gate.set()
    assert work.wait(20)
    assert done == ["b0", *(f"a{number}" for number in range(20))]
    work.add("a", lambda: done.append("again"))
    work.close(20)
    assert done[-1] == "again"
    with pytest.raises(StoppingError):
        work.add("a", lambda: None)


def test_no_more_wait_than_may_and_a_close_does_not_wait_for_ever(gate: threading.Event) -> None:
    work, done = InOrder(threads=1, most=3), []
    for kind in ("a", "a", "b"):
        work.add(kind, lambda kind=kind: (gate.wait(20), done.append(kind)))  # type: ignore[misc]
    with pytest.raises(CrowdedError, match="3 events wait"):
        work.add("c", lambda: None)
    work.close(0.05)
    gate.set()
    assert done in ([], ["a"])


def test_what_goes_wrong_keeps_no_other_waiting() -> None:
    work, done = InOrder(), []
    work.add("a", lambda: 1 / 0)
    work.add("a", lambda: done.append("next"))
    work.close(20)
    assert done == ["next"]
