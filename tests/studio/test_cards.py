"""What the page says in HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import Concept, PerSAM
from persam.errors import PersamError

pytest.importorskip("gradio")
import gradio as gr

from persam.album import learned_with
from persam.doctor.findings import Finding
from persam.studio.cards import concept_card, concept_details, concept_tile, findings_card, line, spoken, weight_bars

NASTY = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def concept() -> Concept:
    return PerSAM(ColourModel()).learn(*draw_scene(), name="disc")


def test_what_people_wrote_is_shown_and_not_run(concept: Concept) -> None:
    named = replace(concept, name=NASTY)
    sentence = SimpleNamespace(verdict="do not use", findings=[Finding("x", "severe", NASTY)])
    shown = (
        line(NASTY),
        concept_card(named, None),
        concept_details(named, "0" * 64, NASTY),
        concept_tile(NASTY, NASTY, None, chosen=True),
        findings_card(sentence),  # type: ignore[arg-type]
    )
    for html in shown:
        assert "<img src=x" not in html
        assert "&lt;img" in html


def test_weights_are_bars_from_nought_whatever_their_sign(concept: Concept) -> None:
    assert weight_bars(concept) == ""
    html = weight_bars(replace(concept, scale_weights=(-0.25, 1.0, 0.25)))
    bars = [tuple(map(float, each)) for each in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", html)]
    assert bars == [(0.0, 20.0), (20.0, 80.0), (20.0, 20.0)]
    assert "-0.250" in html
    assert "two learned numbers are -0.250 and 1.000" in html


def test_the_doctors_verdict_and_sentences_are_read_aloud() -> None:
    assert findings_card(None) == ""
    sentence = "It is blurred; give a sharp one."
    html = findings_card(SimpleNamespace(verdict="will work, but", findings=[Finding("b", "mild", sentence)]))  # type: ignore[arg-type]
    assert 'role="status"' in html
    assert sentence in html
    assert "This will work" in html


def test_details_say_what_it_was_learned_from_and_what_was_chosen(concept: Concept) -> None:
    html = concept_details(replace(concept, settings=concept.settings.but(refine=False)), "ab" * 32, "")
    assert "a photo, 160 x 120" in html
    assert "refine False" in html
    assert "ab" * 32 in html
    assert "cannot be used" not in html


def test_errors_become_a_sentence_and_nothing_else_changes(caplog: pytest.LogCaptureFixture) -> None:
    def answers(*given: Any) -> Iterator[dict[str, Any]]:
        yield {"status": "Working ..."}
        if given:
            raise given[0]

    def silent() -> Iterator[dict[str, Any]]:
        yield from ()

    told = spoken("status")(answers)
    assert list(told()) == [{"status": "Working ..."}]
    *_, last = told(PersamError("It is too dark."))
    assert 'role="alert"' in last["status"]
    assert "It is too dark." in last["status"]
    *_, last = told(ValueError("/home/me/secret\nTraceback"))
    assert "Something went wrong here" in last["status"]
    assert "Traceback" not in last["status"]
    assert caplog.records[-1].exc_info is not None  # whoever runs it sees where
    (nothing,) = spoken("status")(silent)()
    assert nothing == gr.skip()


def test_sentences_of_the_command_line_are_said_in_words_of_the_page(tmp_path: Path) -> None:
    model = PerSAM(ColourModel())
    model.learn(*draw_scene(), name="disc").save(tmp_path / "disc.safetensors")
    concept = Concept.load(tmp_path / "disc.safetensors")
    tuned = replace(concept, scale_weights=(0.2, 0.3, 0.5))
    for refuse in (lambda: model.tune(concept), concept.kept_references, lambda: learned_with(model, tuned, [])):

        def handler(refuse: Any = refuse) -> Iterator[dict[str, Any]]:
            yield {"status": refuse()}

        *_, last = spoken("status")(handler)()
        assert "--" not in last["status"]
        assert "learn it again" in last["status"]
        assert "Keep the photo" in last["status"]
    card = findings_card(SimpleNamespace(verdict="do not use", findings=[Finding("x", "severe", _OF_PICTURE)]))  # type: ignore[arg-type]
    assert "It has two sizes; draw the mask anew." in card


_OF_PICTURE = "It has two sizes; see with --picture which of the two is right, draw the mask anew."


def test_a_concept_without_thumbnail_has_a_tile(concept: Concept) -> None:
    assert "<img" not in concept_tile("disc", "damaged", None, chosen=False)
    assert 'aria-pressed="true"' in concept_tile("disc", "persam", concept.thumbnail, chosen=True)
    assert np.size(concept.thumbnail) > 0
