"""Colours of concepts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from persam.drawing import PALETTE, colour_of, colours_of


@given(st.sets(st.text(max_size=8), max_size=2 * len(PALETTE)))
def test_no_two_alike_while_there_are_others(names):
    colours = colours_of(names)
    assert set(colours) == names
    assert len(set(colours.values())) == min(len(names), len(PALETTE))


@given(st.lists(st.text(max_size=8), unique=True, max_size=6), st.randoms())
def test_the_order_does_not_matter_and_one_alone_has_its_own(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    assert colours_of(names) == colours_of(shuffled)
    for name in names:
        assert colours_of([name]) == {name: colour_of(name)}
