"""What the tab "Find" does when somebody presses Find, chooses or draws. How it is laid out: `tab.py`.
What only shows results is in `show.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from persam.album import expected_gain
from persam.errors import PersamError, UsageError
from persam.images import read_image
from persam.server.store import NameTakenError, NoConceptError
from persam.studio.canvas import Canvas
from persam.studio.canvas.prompts import check_mask
from persam.studio.cards import Updates
from persam.studio.find.cards import changes_table, in_short, key_from
from persam.studio.find.clip_search import ClipSearch
from persam.studio.find.clip_view import clip_summary, links_of, player_of, preview_of
from persam.studio.find.given import GivenFiles, given_files
from persam.studio.find.results import SearchResult
from persam.studio.find.searching import changes_in, explain_result, learn_correction
from persam.studio.find.session import Detail, FindSession, OpenCorrection
from persam.studio.find.show import FindShown, Tenths, told
from persam.words import counted

if TYPE_CHECKING:
    from persam.concept import Concept

SAVE_AS_NEW = "Save as a new one"
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
        work = self._find(session, concepts, files, folder, most, kind)
        yield from self.running(session, work, "This page is searching already; stop that first.")

    def _find(
        self,
        session: FindSession,
        concepts: Sequence[str],
        files: Sequence[str] | None,
        folder: str,
        most: float,
        kind: str,
    ) -> Iterator[Updates]:
        if not concepts:
            known = self.workshop.concepts.names()
            what = "choose what to look for" if known else "teach one in the tab Teach, or load one in the tab Concepts"
            raise UsageError(f"No concept is chosen; {what}.")
        given = given_files(files, folder, is_local=self.workshop.is_local)
        learned = {each: self.workshop.concepts.load(each) for each in concepts}
        if given.clip is not None:
            yield from self._follow(session, learned, given.clip)
        else:
            session.most = max(1, round(most))
            yield from self._search(session, learned, given, kind)

    def _search(
        self, session: FindSession, learned: dict[str, Concept], given: GivenFiles, kind: str
    ) -> Iterator[Updates]:
        parts = self.parts
        session.begin(given.photos, learned, dropped=given.dropped)
        search, doubts = session.search, "".join(f" {each}" for each in given.doubts)
        yield {
            **self.busy(True),
            **self.shown(session, kind),
            **self.chosen(session, kind),
            **self.line(f"Looking at {counted(len(given.photos), 'photo')}.{doubts}", 0.0),
            parts.results: gr.update(visible=True),
            parts.clip: gr.update(visible=False),
            parts.states: gr.update(choices=[], value=[]),
            parts.only: gr.update(choices=search.concepts, value=[], visible=len(search.concepts) > 1),
            parts.changes: "",
            parts.note: "",
        }
        yield from self.look(session, search.photos, list(learned), kind, doubts)
        yield {**self.busy(False), **self.shown(session, kind), **self.chosen(session, kind)}

    @told
    def stop(self, name: str) -> Iterator[Updates]:
        """End it at the next photo or frame."""
        self.sessions.get(name).stop()
        yield {self.parts.stop: gr.update(interactive=False)}

    def _follow(self, session: FindSession, learned: dict[str, Concept], path: Path) -> Iterator[Updates]:
        parts, concepts, aloud = self.parts, list(learned.values()), Tenths()
        try:
            clip = ClipSearch(self.workshop.engine, path, concepts, self.workshop.download("clip"))
            session.clip = clip
            yield {
                **self.busy(True),
                **self.line(f"Following {', '.join(learned)} through {path.name}.", 0.0),
                parts.results: gr.update(visible=False),
                parts.clip: gr.update(visible=True),
                parts.preview: "",
                parts.clip_links: "",
            }
            try:
                for so_far in clip.run():
                    if so_far.preview is not None:
                        picture = self.workshop.pictures.put(so_far.preview, "jpg")
                        said = self.line(f"{so_far}.", so_far.share, aloud=aloud.is_new(so_far.share or 0.0))
                        yield {**said, parts.preview: preview_of(picture, so_far.done)}
            except Exception as problem:
                yield self._found_in(session, clip)  # until it broke off
                if isinstance(problem, PersamError):
                    raise PersamError(f"{problem}{in_short(clip.doubts)}") from problem
                raise
        except PersamError as problem:
            raise PersamError(str(problem).replace(str(path), path.name)) from problem
        yield {**self.busy(False), **self.line(clip_summary(clip)), **self._found_in(session, clip)}

    def _found_in(self, session: FindSession, clip: ClipSearch) -> Updates:
        parts = self.parts
        return {parts.preview: player_of(session.name, clip), parts.clip_links: links_of(session.name, clip)}

    # -------------------------------------------------------------------------------------- one result from close by

    def _explain(self, session: FindSession) -> Iterator[Updates]:
        """Show how the chosen result was found."""
        one, search = self._one(session), session.search
        yield {self.parts.steps: {"steps": [], "empty": "Looking once more, and keeping all on the way …"}}
        try:
            steps = explain_result(self.workshop.engine, search, one, session.learned[one.concept])
        except PersamError:
            if self._is_open(session, one):
                yield {self.parts.steps: {"steps": [], "empty": EXPLAIN_HINT}}
                raise
            return
        if self._is_open(session, one):
            yield {self.parts.steps: {"steps": [vars(each) for each in steps], "empty": ""}}

    @staticmethod
    def _is_open(session: FindSession, one: SearchResult) -> bool:
        """Whether a result is still the one that is chosen; meanwhile somebody may have chosen, or searched."""
        chosen = session.search.get(session.search.shown)
        return chosen is not None and chosen.key == one.key and chosen.photo is one.photo

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
        shown, encoded = self.workshop.show(pixels), self.workshop.encode(pixels)
        if not self._is_open(session, one):
            return
        one = self._one(session)  # it may have been looked at again
        mask = one.at(session.search.choice.threshold).assumed_mask
        start = mask if mask.any() else None
        session.correction = OpenCorrection(one, shown, encoded, start)
        yield {self.parts.canvas: Canvas.show(shown, start, note=f"{one.photo.name}: mend the mask of {one.concept}.")}

    @told
    def draw(self, name: str, value: Any) -> Iterator[Updates]:
        """Give the mask that belongs to what is drawn."""
        correction = self.sessions.get(name).correction
        prompts = None if correction is None else correction.prompts_of(value)
        if correction is None or prompts is None:
            return
        mask, note = correction.start, ""
        try:
            mask = correction.mask_of(self.workshop.engine, prompts)
        except PersamError as problem:
            note = str(problem)
        yield {self.parts.canvas: Canvas.answer(prompts, mask, note)}

    @told
    def keep_mask(self, name: str, value: Any, kind: str) -> Iterator[Updates]:
        """Take the corrected mask for this photo, and learn nothing."""
        session = self.sessions.get(name)
        one, mask = self._corrected(session, value)
        yield from self._said(session, one, mask, kind, "the mask is as you drew it")

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
        self._put(session, one, mask)
        yield {
            **self.shown(session, kind),
            **self.chosen(session, kind),
            self.parts.canvas: self._canvas(session),
            **self.say(f"{one.photo.name}: {told}."),
        }

    @staticmethod
    def _put(session: FindSession, one: SearchResult, mask: np.ndarray) -> None:
        """Keep what a person said of a result, unless the search is another one by now."""
        current = session.search.get(one.key)
        if current is None or current.photo is not one.photo:
            raise UsageError(f"{one.photo.name} is of an earlier search; choose a result of this one.")
        session.search.put([SearchResult.said(one.photo, one.concept, mask)])
        if session.correction is not None and session.correction.result.key == one.key:
            session.correction = None

    @staticmethod
    def _canvas(session: FindSession) -> Any:
        """The canvas after a correction: empty, unless another result was opened meanwhile."""
        return Canvas.show(None) if session.correction is None else gr.skip()

    def _corrected(self, session: FindSession, value: Any) -> tuple[SearchResult, np.ndarray]:
        """The result that is corrected, and its mask as it is drawn now, (H, W) bool."""
        correction = session.correction
        if correction is None:
            raise UsageError("No mask is being corrected; choose a result and open Correct first.")
        prompts = correction.prompts_of(value)
        if prompts is None:
            raise UsageError("What was drawn is of another photo than the open one; look at it and press again.")
        return correction.result, check_mask(correction.mask_of(self.workshop.engine, prompts))

    @told
    def learn(self, name: str, value: Any, save_as: str, kind: str) -> Iterator[Updates]:
        """Let the concept learn from the corrected mask, and look again where it was unsure."""
        session = self.sessions.get(name)
        work = self._learn(session, value, save_as, kind)
        yield from self.running(session, work, "This page is still searching; wait for its end, or stop it first.")

    def _learn(self, session: FindSession, value: Any, save_as: str, kind: str) -> Iterator[Updates]:
        parts = self.parts
        one, mask = self._corrected(session, value)
        yield self.say(f"Learning from {one.photo.name} …")
        better = self._learned_from(one, mask, session.learned[one.concept], replaces=save_as == "replace")
        session.learned[one.concept] = better
        before = session.search.counts()
        self._put(session, one, mask)
        unsure = session.search.unsure(one.concept)
        session.search.stop.clear()
        yield {
            **self.busy(True),
            **self.shown(session, kind),
            **self.chosen(session, kind),
            parts.canvas: self._canvas(session),
        }
        yield from self.look(session, [each.photo for each in unsure], [one.concept], kind)
        changed = changes_in(session.search, unsure)
        how = "took the place of the old one" if save_as == "replace" else "is saved beside the old one"
        line = f'"{better.name}" has {len(better.references)} references now and {how}.'
        yield {
            **self.busy(False),
            **self.shown(session, kind),
            **self.chosen(session, kind),
            **self.say(line),
            parts.changes: changes_table(len(unsure), before, session.search.counts(), changed),
        }

    def _learned_from(self, one: SearchResult, mask: np.ndarray, concept: Concept, *, replaces: bool) -> Concept:
        """The concept with one more shot, saved in its own place or beside it."""
        store, engine, photo = self.workshop.concepts, self.workshop.engine, one.photo.path
        if replaces:
            with self.workshop.changing(concept.name):
                try:
                    newest = store.load(concept.name)  # somebody else may have given it shots
                except NoConceptError as error:
                    raise UsageError(
                        f'"{concept.name}" was renamed or deleted meanwhile; choose "{SAVE_AS_NEW}" and press again.'
                    ) from error
                better = learn_correction(engine, newest, photo, mask)
                return replace(better, name=store.save(better, overwrite=True))
        better = learn_correction(engine, concept, photo, mask)
        base = re.sub(r" \d+$", "", concept.name)
        while True:
            taken = {each.casefold() for each in store.names()}
            free = next(name for number in count(2) if (name := f"{base} {number}").casefold() not in taken)
            with suppress(NameTakenError):  # by somebody else, just now
                return replace(better, name=store.save(replace(better, name=free)))
