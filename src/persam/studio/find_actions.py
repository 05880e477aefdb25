"""What the tab "Find" does when somebody presses Find, chooses or draws. How it is laid out: `find.py`.
What only shows results is in `find_show.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from persam.album.worth import expected_gain
from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.studio.canvas import Canvas
from persam.studio.canvas.prompts import CanvasPrompts, check_mask, mask_of
from persam.studio.clip_search import ClipSearch
from persam.studio.clip_view import clip_summary, links_of, player_of, preview_of
from persam.studio.find_cards import (
    changes_table,
    key_from,
    status,
)
from persam.studio.find_session import Detail, FindSession, OpenCorrection
from persam.studio.find_show import FindShown, Updates, told
from persam.studio.given import given_files
from persam.studio.results import SearchResult
from persam.studio.searching import changes_in, explain_result, learn_correction

if TYPE_CHECKING:
    from persam.concept import Concept

EXPLAIN_HINT = "Choose a result, and its way from the photo to the mask is shown here step by step."


class FindActions(FindShown):
    """The actions of the tab."""

    def choose(self, name: str, kind: str, event: gr.EventData) -> Iterator[Updates]:
        """Choose a card."""
        yield from self._choose(name, kind, key_from(str(event.card)))

    @told
    def choose_worth(self, name: str, kind: str) -> Iterator[Updates]:
        """Choose the result that is most worth correcting."""
        open_ones = [one for one in self.sessions.get(name).search.results if one.found and not one.corrected]
        if not open_ones:
            raise UsageError("There is nothing left to correct; search first.")
        yield from self._choose(name, kind, max(open_ones, key=lambda one: expected_gain(one.found)).key)

    @told
    def _choose(self, name: str, kind: str, key: tuple[int, str] | None) -> Iterator[Updates]:
        session = self.sessions.get(name)
        session.search.shown, session.correction = key, None
        yield {
            **self.shown(session, kind),
            **self.chosen(session, kind),
            self.parts.steps: {"steps": [], "empty": EXPLAIN_HINT},
            self.parts.canvas: Canvas.show(None),
            self.parts.note: "",
        }
        one = session.search.get(key)
        if one is not None and not one.problem:  # else the picture says why
            yield from self._open(session)

    @told
    def open_detail(self, detail: Detail, name: str) -> Iterator[Updates]:
        """Turn to another view of the chosen result."""
        session = self.sessions.get(name)
        session.detail = detail
        yield from self._open(session)

    def _open(self, session: FindSession) -> Iterator[Updates]:
        """Fill the view that is open; the others are filled when somebody turns to them."""
        if session.detail == "explain":
            yield from self._explain(session)
        elif session.detail == "correct":
            yield from self._open_correction(session)

    # ---------------------------------------------------------------------------------------------------- searching

    @told
    def find(
        self, name: str, concepts: Sequence[str], files: Sequence[str] | None, folder: str, most: float, kind: str
    ) -> Iterator[Updates]:
        """Look for concepts in what was dropped or named."""
        session = self.sessions.get(name)
        if not session.running.acquire(blocking=False):
            raise UsageError("This page is searching already; stop that first.")
        try:
            if not concepts:
                known = self.workshop.concepts.names()
                what = (
                    "choose what to look for"
                    if known
                    else "teach one in the tab Teach, or load one in the tab Concepts"
                )
                raise UsageError(f"No concept is chosen; {what}.")
            given = given_files(files, folder, is_local=self.workshop.is_local)
            session.learned = {each: self.workshop.concepts.load(each) for each in concepts}
            session.most = max(1, round(most))
            if given.clip is not None:
                yield from self._follow(session, given.clip)
            else:
                yield from self._search(session, given.photos, kind, dropped=given.dropped)
        finally:
            session.running.release()

    def _search(
        self, session: FindSession, photos: Sequence[tuple[Path, str]], kind: str, *, dropped: bool
    ) -> Iterator[Updates]:
        parts, search = self.parts, session.search
        search.begin(photos, session.learned, dropped=dropped)
        session.correction = None
        yield {
            **self.busy(True),
            **self.shown(session, kind),
            **self.chosen(session, kind),
            parts.status: status(f"Looking at {_photos(len(photos))}.", share=0.0),
            parts.results: gr.update(visible=True),
            parts.clip: gr.update(visible=False),
            parts.states: gr.update(choices=[], value=[]),
            parts.only: gr.update(choices=search.concepts, value=[], visible=len(search.concepts) > 1),
            parts.changes: "",
            parts.note: "",
        }
        yield from self.look(session, search.photos, list(session.learned), kind)
        yield {**self.busy(False), **self.shown(session, kind), **self.chosen(session, kind)}

    @told
    def stop(self, name: str) -> Iterator[Updates]:
        """End it at the next photo or frame."""
        self.sessions.get(name).stop()
        yield {self.parts.stop: gr.update(interactive=False)}

    def _follow(self, session: FindSession, path: Path) -> Iterator[Updates]:
        parts, concepts = self.parts, list(session.learned.values())
        try:
            clip = ClipSearch(self.workshop.engine, path, concepts, self.workshop.download("clip"))
            session.clip = clip
            yield {
                **self.busy(True),
                parts.status: status(f"Following {', '.join(session.learned)} through {path.name}.", share=0.0),
                parts.results: gr.update(visible=False),
                parts.clip: gr.update(visible=True),
                parts.preview: "",
                parts.clip_links: "",
            }
            for so_far in clip.run():
                updates = {parts.status: status(f"{so_far}.", share=so_far.share)}
                if so_far.preview is not None:
                    updates[parts.preview] = preview_of(self.workshop.pictures.put(so_far.preview, "jpg"), so_far.done)
                    yield updates
        except PersamError as problem:
            yield self.busy(False)
            raise PersamError(str(problem).replace(str(path), path.name)) from problem
        yield {
            **self.busy(False),
            parts.status: status(clip_summary(clip)),
            parts.preview: player_of(session.search.name, clip),
            parts.clip_links: links_of(session.search.name, clip),
        }

    # -------------------------------------------------------------------------------------- one result from close by

    def _explain(self, session: FindSession) -> Iterator[Updates]:
        """Show how the chosen result was found."""
        one = self._one(session)
        yield {self.parts.steps: {"steps": [], "empty": "Looking once more, and keeping all on the way …"}}
        try:
            steps = explain_result(self.workshop.engine, session.search, one, session.learned[one.concept])
        except PersamError:
            yield {self.parts.steps: {"steps": [], "empty": EXPLAIN_HINT}}
            raise
        yield {self.parts.steps: {"steps": [vars(each) for each in steps], "empty": ""}}

    @staticmethod
    def _one(session: FindSession) -> SearchResult:
        one = session.search.get(session.search.shown)
        if one is None:
            raise UsageError("No result is chosen; choose one in the gallery first.")
        if one.problem:
            raise UsageError(f"{one.photo.name} could not be read, so there is nothing to show; choose another one.")
        return one

    def _open_correction(self, session: FindSession) -> Iterator[Updates]:
        """Put the chosen result's photo and mask on the canvas."""
        one = self._one(session)
        pixels = read_image(one.photo.path)
        mask = one.at(session.search.choice.threshold).assumed_mask
        start = mask if mask.any() else None
        shown = self.workshop.show(pixels)
        session.correction = OpenCorrection(one, shown, self.workshop.encode(pixels), start, start)
        yield {self.parts.canvas: Canvas.show(shown, start, note=f"{one.photo.name}: mend the mask of {one.concept}.")}

    @told
    def draw(self, name: str, value: Any) -> Iterator[Updates]:
        """Give the mask that belongs to what is drawn."""
        correction = self.sessions.get(name).correction
        if correction is None:
            return
        prompts = CanvasPrompts.of(value, correction.shown)
        try:
            correction.mask = mask_of(self.workshop.engine, correction.encoded, prompts, correction.start)
            note = ""
        except PersamError as problem:
            note = str(problem)
        yield {self.parts.canvas: Canvas.answer(prompts, correction.mask, note)}

    @told
    def keep_mask(self, name: str, kind: str) -> Iterator[Updates]:
        """Take the corrected mask for this photo, and learn nothing."""
        session = self.sessions.get(name)
        correction = self._correction(session)
        mask = check_mask(correction.mask)
        yield from self._said(session, correction.result, mask, kind, "the mask is as you drew it")

    @told
    def say_absent(self, name: str, kind: str) -> Iterator[Updates]:
        """Say that the thing is not in the chosen photo."""
        session = self.sessions.get(name)
        one = self._one(session)
        mask = np.zeros((one.found["height"], one.found["width"]), bool)
        told = f"{one.concept} is not there; a concept does not learn from that, so nothing is looked at again"
        yield from self._said(session, one, mask, kind, told)

    def _said(
        self, session: FindSession, one: SearchResult, mask: np.ndarray, kind: str, told: str
    ) -> Iterator[Updates]:
        session.search.put([SearchResult.said(one.photo, one.concept, mask)])
        session.correction = None
        yield {
            **self.shown(session, kind),
            **self.chosen(session, kind),
            self.parts.canvas: Canvas.show(None),
            **self.say(f"{one.photo.name}: {told}."),
        }

    @staticmethod
    def _correction(session: FindSession) -> OpenCorrection:
        if session.correction is None:
            raise UsageError("No mask is being corrected; choose a result and open Correct first.")
        return session.correction

    @told
    def learn(self, name: str, save_as: str, kind: str) -> Iterator[Updates]:
        """Let the concept learn from the corrected mask, and look again where it was unsure."""
        session, parts = self.sessions.get(name), self.parts
        correction = self._correction(session)
        one, mask = correction.result, check_mask(correction.mask)
        if not session.running.acquire(blocking=False):
            raise UsageError("This page is still searching; wait for its end, or stop it first.")
        try:
            yield self.say(f"Learning from {one.photo.name} …")
            better = learn_correction(self.workshop.engine, session.learned[one.concept], one.photo.path, mask)
            saved = self._save(better, replaces=save_as == "replace")
            session.learned[one.concept] = replace(better, name=saved)
            before = session.search.counts()
            session.search.put([SearchResult.said(one.photo, one.concept, mask)])
            unsure = session.search.unsure(one.concept)
            session.search.stop.clear()
            session.correction = None
            yield {
                **self.busy(True),
                **self.shown(session, kind),
                **self.chosen(session, kind),
                parts.canvas: Canvas.show(None),
            }
            yield from self.look(session, [each.photo for each in unsure], [one.concept], kind)
            changed = changes_in(session.search, unsure)
            how = "was replaced" if save_as == "replace" else "is saved beside the old one"
            line = f'"{saved}" has {len(better.references)} references now and {how}.'
            yield {
                **self.busy(False),
                **self.shown(session, kind),
                **self.chosen(session, kind),
                **self.say(line),
                parts.changes: changes_table(len(unsure), before, session.search.counts(), changed),
            }
        finally:
            session.running.release()

    def _save(self, concept: Concept, *, replaces: bool) -> str:
        store = self.workshop.concepts
        if replaces:
            return store.save(concept, overwrite=True)
        taken = {each.casefold() for each in store.names()}
        base = re.sub(r" \d+$", "", concept.name)
        free = next(name for number in count(2) if (name := f"{base} {number}").casefold() not in taken)
        return store.save(replace(concept, name=free))


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"
