"""What the page says of a search: cards, counts, facts and changes, as small values that its scripts draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from persam.segmentation import UNSURE
from persam.studio.find.pictures import KINDS, address_of
from persam.studio.find.results import ORDERS, PAGE, STATES, PhotoSearch, SearchResult, State
from persam.studio.find.searching import Change
from persam.words import counted

#: What a state is called on the page.
WORDS: dict[str, str] = {
    "present": "found",
    "unsure": "unsure",
    "absent": "not there",
    "corrected": "corrected",
    "failed": "not read",
}
ORDER_CHOICES = [(name.capitalize(), key) for key, name in ORDERS.items()]
KIND_CHOICES = [(name, key) for key, name in KINDS.items()]
HINT = "Choose a concept, drop photos or a clip, and press Find."


def key_of(one: SearchResult) -> str:
    """A result's key as the page has it."""
    return f"{one.photo.number}/{one.concept}"


def key_from(text: str) -> tuple[int, str] | None:
    """Back to `SearchResult.key`; None for what is none."""
    number, _, concept = text.partition("/")
    return (int(number), concept) if number.isdecimal() else None


def gallery_of(search: PhotoSearch, kind: str) -> dict[str, Any]:
    """The page of cards that is shown, for ``gallery.js``."""
    shown, pages = search.page()
    empty = HINT if not search.photos else "No result is like that; show more of them with the filters above."
    every = len(search.chosen())
    start = search.choice.page * PAGE
    colours = {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in search.colours().items()}
    return {
        "cards": [_card(search, one, kind, colours.get(one.concept, "")) for one in shown],
        "empty": "" if shown else empty,
        "page": f"{start + 1} to {start + len(shown)} of {every}" if pages > 1 else "",
    }


def _card(search: PhotoSearch, one: SearchResult, kind: str, colour: str) -> dict[str, Any]:
    state = one.state(search.choice.threshold)
    of = f" of {one.concept}" if len(search.concepts) > 1 and one.concept else ""
    return {
        "key": key_of(one),
        "src": "" if one.problem else address_of(search, one, kind, "card"),
        "name": one.photo.name,
        "state": state,
        "word": WORDS[state],
        "score": None if one.problem or one.corrected else round(one.score, 3),
        "concept": one.concept if of else "",
        "colour": colour,
        "problem": one.problem,
        "alt": f"{one.photo.name}{of}: {WORDS[state]}",
        "chosen": one.key == search.shown,
    }


def count_choices(search: PhotoSearch) -> list[tuple[str, str]]:
    """The filter of states, with how many there are of each; states of which there is none are left out."""
    counts = search.counts()
    return [(f"{WORDS[state]} {counts[state]}", state) for state in STATES if counts[state]]


def summary(search: PhotoSearch) -> str:
    """What came of a search, in a sentence, and what was warned of."""
    photos, counts = len({one.photo.number for one in search.results}), search.counts()
    if not photos:
        return "No photo was looked at."
    about = counted(photos, "photo")
    if len(search.concepts) > 1:
        about += f", {len(search.concepts)} concepts"
    told = [f"found in {counts['present']}" if counts["present"] else "found in none"]
    if counts["unsure"]:
        at = search.choice.threshold
        rather = sum(one.is_there(at) for one in search.results if one.state(at) == "unsure")
        told.append(f"unsure in {counts['unsure']} (rather there in {rather or 'none'})")
    told += [f"not there in {counts['absent']}"] * bool(counts["absent"])
    told += [f"{counts['corrected']} corrected"] * bool(counts["corrected"])
    told += [f"{counts['failed']} could not be read"] * bool(counts["failed"])
    doubts = (each for one in search.results for each in one.doubts)
    return f"{about}: {', '.join(told)}.{in_short(doubts)}"


def in_short(doubts: Iterable[str]) -> str:
    """What was warned of, for the end of a line: one or two sentences, or the first of more; all of them stand in the
    facts of a photo, and below a clip."""
    every = list(dict.fromkeys(doubts))
    if len(every) > 2:
        every[1:] = [f"There are {len(every) - 1} more warnings."]
    return "".join(f" {each}" for each in every)


def status(text: str, *, problem: bool = False, share: float | None = None) -> str:
    """The line that says what the page is doing, with a bar of a share, 0 to 1.

    It changes several times a second, so it is for the eye alone; what is read aloud stands in a place of its own.
    """
    bar = "" if share is None else f'<progress max="1" value="{share:.3f}"></progress>'
    kind = "status problem" if problem else "status"
    return f'<div class="{kind}" aria-hidden="true">{bar}<span>{escape(text)}</span></div>'


def facts_of(search: PhotoSearch, one: SearchResult | None, *, calibrated: bool = False) -> str:
    """What is known of the chosen result, as a list of words and numbers.

    Args:
        search: whose result.
        one: it, or None.
        calibrated: whether its score is a probability, see `Segmentation.score`.
    """
    if one is None:
        return ""
    state: State = one.state(search.choice.threshold)
    facts = [("photo", one.photo.name)]
    facts += [("warning", each) for each in one.doubts]
    if one.problem:
        facts.append(("problem", one.problem))
    else:
        found = one.found
        facts += [("concept", one.concept), ("verdict", _verdict(search, one, state))]
        if not one.corrected:
            facts.append(("score", f"{one.score:.1%}" + ", how likely it is there" * calibrated))
        facts += [(word, f"{found[key]:.2f}") for word, key in _FIGURES if found[key] is not None]
        if one.before is not None:
            facts.append(("before", f"{WORDS[one.before[0]]}, {one.before[1]:.1%}"))
        facts += [("mask", f"{one.area:.1%} of the photo"), ("size", f"{found['width']} x {found['height']} pixels")]
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(value)}</dd>" for word, value in facts)
    return f'<dl class="facts">{rows}</dl>'


_FIGURES = (("similarity", "similarity"), ("predicted IoU", "predicted_iou"))


def _verdict(search: PhotoSearch, one: SearchResult, state: State) -> str:
    if state == "corrected":
        return "there, you said" if one.is_there(search.choice.threshold) else "not there, you said"
    if state == "unsure":
        rather = "there" if one.is_there(search.choice.threshold) else "not there"
        return f"unsure, rather {rather} (a score from {UNSURE[0]:.0%} to {UNSURE[1]:.0%}: look at it)"
    return WORDS[state]


def large_of(search: PhotoSearch, one: SearchResult | None, kind: str) -> str:
    """The chosen result's picture."""
    if one is None:
        return '<p class="hint">Choose a result above to see it large, to see how it was found, and to correct it.</p>'
    if one.problem:
        return ""
    alt = f"{KINDS[kind]} of {one.photo.name}"
    return f'<img class="large {kind}" src="{escape(address_of(search, one, kind, "large"))}" alt="{escape(alt)}">'


def changes_table(again: int, before: dict[State, int], after: dict[State, int], changed: Sequence[Change]) -> str:
    """What another look changed: counts before and after, and the photos whose state is another now.

    Args:
        again: how many photos were looked at again.
        before: results by state before the correction.
        after: likewise, now.
        changed: photos whose state is another.
    """
    told = [f"{WORDS[state]} {before[state]} → {after[state]}" for state in STATES if before[state] or after[state]]
    looked = "1 unsure photo was" if again == 1 else f"{again} unsure photos were"
    lines = [f"<p>{looked} looked at again. Before → after: {', '.join(told)}.</p>"]
    if changed:
        rows = "".join(
            f"<tr><td>{escape(each.photo)}</td><td>{_was(each.before)}</td><td>{_was(each.after)}</td></tr>"
            for each in changed
        )
        lines.append(f"<table><tr><th>photo</th><th>before</th><th>after</th></tr>{rows}</table>")
    elif again:
        lines.append("<p>The verdicts are the same as before.</p>")
    return f'<div class="changes">{"".join(lines)}</div>'


def _was(state: tuple[str, float]) -> str:
    return f"{WORDS[state[0]]}, {state[1]:.0%}"
