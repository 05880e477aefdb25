"""What the page says in HTML: lines that are read aloud, what the doctor found, a concept in words and bars."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import wraps
from html import escape
from typing import TYPE_CHECKING, Any

from persam.errors import PersamError, first_line
from persam.reports.pictures import data_uri

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.doctor import Diagnosis

_SCALES = ("whole", "part", "detail")  # the decoder's three masks; its order is that of the sizes, the smallest first
_VERDICTS = {
    "good reference": "Good reference.",
    "will work, but": "This will work, but less well than it could:",
    "do not use": "Do not learn from this as it is:",
}
# What the doctor says of the command line is of no use on a page.
_OF_COMMANDS = ("see with --picture which of the two is right, ",)


def line(text: str, *, problem: bool = False) -> str:
    """A line that says what the page is doing, or what went wrong; read aloud."""
    role, kind = ("alert", "status problem") if problem else ("status", "status")
    return f'<div class="{kind}" role="{role}"><span>{escape(text)}</span></div>'


def spoken(status: Any) -> Callable[[Callable[..., Iterator[Any]]], Callable[..., Iterator[Any]]]:
    """Make a handler say what went wrong in a status line, in one sentence.

    Args:
        status: the component of the line.
    """

    def wrap(handler: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        @wraps(handler)
        def told(*given: Any) -> Iterator[Any]:
            try:
                yield from handler(*given)
            except PersamError as error:
                yield {status: line(str(error), problem=True)}
            except Exception as error:
                logging.getLogger("persam.studio").exception("An error of the studio's own")
                what = f"{type(error).__name__}: {first_line(error)}"
                yield {status: line(f"Something went wrong here ({what:.80}); the terminal says where.", problem=True)}

        return told

    return wrap


def findings_card(diagnosis: Diagnosis | None) -> str:
    """What the reference doctor says."""
    if diagnosis is None:
        return ""
    kind = diagnosis.verdict.split(maxsplit=1)[0]
    sentences = [each.sentence for each in diagnosis.findings]
    for words in _OF_COMMANDS:
        sentences = [each.replace(words, "") for each in sentences]
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    found = f"<ul>{items}</ul>" if items else ""
    return f'<div class="findings {kind}" role="status"><strong>{_VERDICTS[diagnosis.verdict]}</strong>{found}</div>'


def concept_card(concept: Concept, thumbnail: bytes | None, note: str = "") -> str:
    """A concept: thumbnail, name, shots, and the weights of the three scales as bars."""
    count = len(concept.references)
    facts = [f"{count} photo{'s' * (count > 1)}", f"mode {concept.mode}", "tuned" if concept.tuned else "not tuned"]
    picture = f'<img src="{data_uri(thumbnail, "png")}" alt="">' if thumbnail else ""
    words = f"<h3>{escape(concept.name)}</h3><p>{escape(', '.join(facts))}</p>"
    said = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="concept-card">{picture}<div>{words}{said}{weight_bars(concept)}</div></div>'


def weight_bars(concept: Concept) -> str:
    """PerSAM-F's weights as bars; nothing for a concept that is not tuned."""
    if concept.scale_weights is None:
        return ""
    rows = []
    for number, weight in enumerate(concept.scale_weights, 1):
        width = 100 * min(max(weight, 0.0), 1.0)
        rows.append(
            f'<div class="weight"><span>scale {number}</span><span class="bar" aria-hidden="true">'
            f'<i style="width:{width:.1f}%"></i></span><span>{weight:.3f}</span></div>'
        )
    first, second, _ = concept.scale_weights
    learned = f"The two learned numbers are {first:.3f} and {second:.3f}; the third is what is left to 1."
    return f'<div class="weights" role="group" aria-label="Weights of the scales">{"".join(rows)}<p>{learned}</p></div>'
