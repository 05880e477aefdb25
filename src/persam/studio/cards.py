"""What the page says in HTML: lines that are read aloud, what the doctor found, a concept in words and bars."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import wraps
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from persam.errors import PersamError, first_line
from persam.method.settings import Settings
from persam.reports.pictures import data_uri
from persam.segmentation import SURE_ENOUGH
from persam.server.wording import on_page
from persam.studio.canvas import Canvas
from persam.words import counted

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.doctor import Diagnosis

Updates = dict[Any, Any]  # of the page, by component
Action = Callable[..., Iterator[Updates]]
Tell = Callable[[str, tuple[Any, ...]], Updates]

_VERDICTS = {
    "good reference": "Good reference.",
    "will work, but": "This will work, but less well than it could:",
    "do not use": "Do not learn from this as it is:",
}


def line(text: str, *, problem: bool = False) -> str:
    """A line that says what the page is doing, or what went wrong; read aloud."""
    role, kind = ("alert", "status problem") if problem else ("status", "status")
    return f'<div class="{kind}" role="{role}"><span>{escape(text)}</span></div>'


def own_error(error: Exception) -> str:
    """The sentence for an error of the studio's own; the log has all of it."""
    logging.getLogger("persam.studio").error("An error of the studio's own", exc_info=error)
    what = f"{type(error).__name__}: {first_line(error)}"
    return f"Something went wrong here ({what:.80}); the terminal says where."


def telling(tell: Tell) -> Callable[[Action], Action]:
    """Make an action say what went wrong in one sentence on the page; all else stays as it was.

    Args:
        tell: makes the updates that say it, from the sentence and all that the action was given.
    """

    def wrap(action: Action) -> Action:
        @wraps(action)
        def told(*given: Any) -> Iterator[Updates]:
            try:
                answered = False
                for updates in action(*given):
                    yield updates
                    answered = True
                if not answered:
                    yield gr.skip()  # else Gradio would empty all that it might have changed
            except PersamError as error:
                yield tell(on_page(str(error)), given)
            except Exception as error:
                yield tell(own_error(error), given)

        return told

    return wrap


def spoken(status: Any, canvas: Any = None) -> Callable[[Action], Action]:
    """Make an action say what went wrong in a status line, or below the photo that was drawn on.

    Args:
        status: the component of the line.
        canvas: a `Canvas`, if the action answers a gesture on it; then the value of it is its last argument.
    """

    def tell(sentence: str, given: tuple[Any, ...]) -> Updates:
        if canvas is not None and isinstance(given[-1], dict):
            return {status: gr.skip(), canvas: Canvas.refuse(given[-1], sentence)}
        return {status: line(sentence, problem=True)}

    return telling(tell)


def findings_card(diagnosis: Diagnosis | None) -> str:
    """What the reference doctor says."""
    if diagnosis is None:
        return ""
    kind = diagnosis.verdict.split(maxsplit=1)[0]
    items = "".join(f"<li>{escape(on_page(each.sentence))}</li>" for each in diagnosis.findings)
    found = f"<ul>{items}</ul>" if items else ""
    return f'<div class="findings {kind}" role="status"><strong>{_VERDICTS[diagnosis.verdict]}</strong>{found}</div>'


def concept_card(concept: Concept, thumbnail: bytes | None, note: str = "") -> str:
    """A concept: thumbnail, name, shots, and the weights of the three scales as bars."""
    facts = [
        counted(len(concept.references), "photo"),
        f"mode {concept.mode}",
        "tuned" if concept.tuned else "not tuned",
    ]
    picture = f'<img src="{data_uri(thumbnail, "png")}" alt="">' if thumbnail else ""
    words = f"<h3>{escape(concept.name)}</h3><p>{escape(', '.join(facts))}</p>"
    said = f"<p>{escape(note)}</p>" if note else ""
    return f'<div class="concept-card">{picture}<div>{words}{said}{weight_bars(concept)}</div></div>'


def weight_bars(concept: Concept) -> str:
    """PerSAM-F's weights as bars; nothing for a concept that is not tuned."""
    if concept.scale_weights is None:
        return ""
    low, high = min(0.0, *concept.scale_weights), max(1.0, *concept.scale_weights)
    rows = []
    for number, weight in enumerate(concept.scale_weights, 1):  # a weight may be negative: its bar ends at 0
        start, width = (min(weight, 0.0) - low) / (high - low), abs(weight) / (high - low)
        kind = ' class="below"' if weight < 0 else ""
        rows.append(
            f'<div class="weight"><span>scale {number}</span><span class="bar" aria-hidden="true">'
            f'<i{kind} style="left:{start:.1%};width:{width:.1%}"></i></span><span>{weight:.3f}</span></div>'
        )
    first, second, _ = concept.scale_weights
    learned = f"The two learned numbers are {first:.3f} and {second:.3f}; the third is what is left to 1."
    return f'<div class="weights" role="group" aria-label="Weights of the scales">{"".join(rows)}<p>{learned}</p></div>'


def concept_details(concept: Concept, sha256: str, stranger: str) -> str:
    """All that is known of a concept.

    Args:
        concept: it.
        sha256: of its file.
        stranger: why it cannot be used here; "" if it can.
    """
    references = [
        f"{Path(each.source).name or 'a photo'}, {each.size[1]} x {each.size[0]}, {each.coverage:.1%} of it marked"
        for each in concept.references
    ]
    chosen = {name: value for name, value in asdict(concept.settings).items() if name != "mode"}
    plain = asdict(Settings.of(concept.mode))
    special = [f"{name} {value}" for name, value in chosen.items() if plain.get(name) != value]
    facts = {
        "model": f"{concept.model_name} ({concept.model})",
        "encoder": "the model's own" if concept.encoder == concept.model else concept.encoder_name,
        "learned from": "; ".join(references),
        "settings": f"mode {concept.mode}" + (f", but {', '.join(special)}" if special else ", nothing changed"),
        "present from": f"a similarity of {concept.threshold:.3f}"
        if concept.fitted is None
        else f"a score of {SURE_ENOUGH:.0%}, or what you choose in Find",
        "photos kept": "yes, so that it can be tuned and learned from again" if concept.keeps_references else "no",
        "learned": concept.created,
        "file, SHA-256": sha256,
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    warning = line(f"It cannot be used here. {stranger}", problem=True) if stranger else ""
    return f'{warning}{concept_card(concept, concept.thumbnail)}<dl class="facts">{rows}</dl>'


def concept_tile(name: str, facts: str, thumbnail: bytes | None, *, chosen: bool) -> str:
    """One concept of a gallery, as a button; its name travels in ``data-name``."""
    picture = f'<img src="{data_uri(thumbnail, "png")}" alt="">' if thumbnail else '<span class="blank"></span>'
    words = f"<strong>{escape(name)}</strong><span>{escape(facts)}</span>"
    pressed = "true" if chosen else "false"
    return (
        f'<li><button type="button" data-name="{escape(name)}" aria-pressed="{pressed}">{picture}{words}</button></li>'
    )
