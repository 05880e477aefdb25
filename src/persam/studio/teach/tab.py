"""Tab "Teach": a photo, some clicks, a name, and it is a concept.

Ids of its controls: teach-photo (drop, camera, clipboard), teach-examples and teach-example-THING, teach-another,
teach-canvas, teach-status, teach-given (accordion), teach-mask-kind, teach-mask-file, teach-doctor, teach-name,
teach-keep, teach-learn, teach-add, teach-replace, teach-card, teach-tune, teach-download, teach-try,
teach-try-photo, teach-try-result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import wraps
from html import escape
from typing import Any

import gradio as gr
from gradio.context import Context

from persam.concept import Concept
from persam.drawing import colour_of, draw_overlay
from persam.geometry import fit_mask, shrink
from persam.segmentation import Segmentation
from persam.server.store import NameTakenError
from persam.studio.browser_tabs import BrowserTabs
from persam.studio.canvas import Canvas
from persam.studio.cards import Action, Updates, concept_card, findings_card, line, spoken
from persam.studio.components import AT_ONCE, PhotoInput, on_press
from persam.studio.examples import example_photo, example_things
from persam.studio.teach.lesson import Teaching, checked_name
from persam.studio.workshop import SHOWN_SIDE, Workshop

_HINT = "Drop a photo that shows your thing, then click on it: its mask appears."
_MARK = "Click on the object; click beside it (N) where too much is marked. Then give it a name."
_PAUSE = 0.4  # seconds


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    TeachTab(workshop)


class TeachTab:
    """The tab's controls, and what happens when they are used; all state is in the `Teaching` of a browser tab."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.lessons = BrowserTabs(lambda _: Teaching())
        # Its name alone, set when the page is loaded: what was never set, Gradio keeps until the studio ends.
        self.lesson = gr.State("", delete_callback=self.lessons.close)
        with gr.Row():
            with gr.Column(scale=5, min_width=320):
                self._lay_out_photo()
            with gr.Column(scale=3, min_width=300):
                self._lay_out_lesson()
        self._wire()

    # ---------------------------------------------------------------- what stands where

    def _lay_out_photo(self) -> None:
        self.hint = gr.HTML(f"<p>{_HINT}</p>", elem_classes="hint", elem_id="teach-hint")
        self.status = gr.HTML(line(""), elem_id="teach-status")
        self.photo = PhotoInput(
            label="Photo", sources=["upload", "webcam", "clipboard"], type="filepath", height=220, elem_id="teach-photo"
        )
        things = example_things()
        self.examples: dict[str, gr.Button] = {}
        with gr.Row(elem_classes="toolbar", elem_id="teach-examples", visible=bool(things)) as self.example_row:
            for thing in things:
                self.examples[thing] = gr.Button(
                    f"Try a {thing}", size="sm", elem_classes="quiet", elem_id=f"teach-example-{thing}"
                )
        self.canvas = Canvas(
            label="Reference photo", empty="The photo will stand here.", elem_id="teach-canvas", visible=False
        )
        with gr.Row(elem_classes="toolbar", visible=False) as self.another_row:
            self.another = gr.Button("Another photo", size="sm", elem_classes="quiet", elem_id="teach-another")

    def _lay_out_lesson(self) -> None:
        self.doctor = gr.HTML("", elem_id="teach-doctor")
        self.name = gr.Textbox(
            label="Name",
            placeholder="my mug",
            max_lines=1,
            elem_id="teach-name",
            info="A new one; or that of a concept, to give it another shot.",
        )
        with gr.Row(elem_classes="toolbar"):
            self.learn = gr.Button("Learn", variant="primary", elem_id="teach-learn")
            self.add = gr.Button("Add as another shot", elem_id="teach-add")
        with gr.Row(elem_classes="toolbar", visible=False) as self.taken:
            self.replace = gr.Button("Replace it", variant="stop", elem_id="teach-replace")
        self.keep = gr.Checkbox(
            True, label="Keep the photo in the concept's file, so that it can be tuned later", elem_id="teach-keep"
        )
        self.card = gr.HTML("", elem_id="teach-card")
        with gr.Row(elem_classes="toolbar", visible=False) as self.after:
            self.tune = gr.Button("Tune", elem_id="teach-tune")
            self.download = gr.DownloadButton("Download", elem_id="teach-download")
        with gr.Accordion("Try it on another photo", visible=False, elem_id="teach-try") as self.trial:
            self.try_photo = PhotoInput(
                label="Another photo",
                sources=["upload", "webcam", "clipboard"],
                type="filepath",
                height=140,
                elem_id="teach-try-photo",
            )
            self.try_result = gr.HTML("", elem_id="teach-try-result")
        with gr.Accordion("I have a mask already", open=False, elem_id="teach-given"):
            self.mask_kind = gr.Radio(
                [("A mask: the object is white", "mask"), ("A scribble over the object", "scribble")],
                value="mask",
                label="What it is",
                elem_id="teach-mask-kind",
                info="A transparent cut-out needs neither: give it as the photo.",
            )
            self.mask_file = PhotoInput(
                label="Mask or scribble",
                sources=["upload", "clipboard"],
                type="filepath",
                height=140,
                elem_id="teach-mask-file",
            )

    def _wire(self) -> None:
        lesson, page = self.lesson, Context.root_block
        assert page is not None
        page.load(self.lessons.new, outputs=lesson, show_progress="hidden")

        def said(handler: Action) -> Action:
            return spoken(self.status)(self.of_lesson(handler))

        shown = [
            self.hint,
            self.status,
            self.photo,
            self.example_row,
            self.canvas,
            self.another_row,
            self.doctor,
            self.mask_file,
        ]
        learned = [self.status, self.card, self.after, self.trial, self.tune, self.download, self.taken]

        opened = self.photo.change(said(self.open_photo), [lesson, self.photo], shown, **AT_ONCE)
        opened.then(said(self.examine), lesson, [self.status, self.doctor], **AT_ONCE)
        for thing, button in self.examples.items():
            on_press(button, said(self._example(thing)), lesson, [*shown, self.name], **AT_ONCE)
        self.another.click(self.ask_for_photo, None, [self.photo, self.example_row, self.status], **AT_ONCE)
        self.canvas.input(
            spoken(self.status, self.canvas)(self.of_lesson(self.draw)),
            [lesson, self.canvas],
            [self.canvas, self.status],
            trigger_mode="always_last",
            **AT_ONCE,
        ).then(said(self.examine), lesson, [self.status, self.doctor], trigger_mode="always_last", **AT_ONCE)
        self.mask_file.change(said(self.take_mask), [lesson, self.mask_file, self.mask_kind], shown, **AT_ONCE).then(
            said(self.examine), lesson, [self.status, self.doctor], **AT_ONCE
        )
        given = [lesson, self.canvas, self.name, self.keep]
        on_press(self.learn, said(self.learn_it), given, learned, also=self.name.submit, **AT_ONCE)
        on_press(self.replace, said(self.replace_it), given, learned, **AT_ONCE)
        on_press(self.add, said(self.add_it), given, learned, **AT_ONCE)
        on_press(self.tune, said(self.tune_it), lesson, learned, **AT_ONCE)
        self.try_photo.change(
            said(self.try_it), [lesson, self.try_photo], [self.status, self.try_result, self.try_photo], **AT_ONCE
        )

    def of_lesson(self, handler: Action) -> Action:
        """A handler that is given the name of a lesson in the place of the lesson."""

        @wraps(handler)
        def called(name: str, *given: Any) -> Iterator[Updates]:
            yield from handler(self.lessons.get(name), *given)

        return called

    # ---------------------------------------------------------------- a photo and what is marked on it

    def open_photo(self, lesson: Teaching, file: str | None) -> Iterator[Updates]:
        """Take a photo."""
        if file is None:  # the field was emptied for the next photo
            yield {self.status: gr.skip()}
            return
        yield {self.status: line("Looking at the photo ...")}
        lesson.open(self.workshop, file)
        yield self._opened(lesson)

    def _opened(self, lesson: Teaching) -> Updates:
        cut_out = lesson.mask is not None
        return {
            self.status: line("A cut-out: what is opaque is marked. Give it a name." if cut_out else _MARK),
            self.canvas: {**Canvas.show(lesson.shown, lesson.mask), "visible": True},
            self.hint: gr.update(visible=False),
            self.photo: gr.update(value=None, visible=False),
            self.example_row: gr.update(visible=False),
            self.another_row: gr.update(visible=True),
            self.doctor: "",
        }

    def _example(self, thing: str) -> Any:
        def load(lesson: Teaching) -> Iterator[Updates]:
            yield {self.status: line("Looking at the photo ...")}
            lesson.open(self.workshop, example_photo(self.workshop, thing))
            yield {**self._opened(lesson), self.name: f"my {thing}"}

        return load

    def ask_for_photo(self) -> Updates:
        """Show the field for a photo again."""
        return {
            self.photo: gr.update(value=None, visible=True),
            self.example_row: gr.update(visible=bool(self.examples)),
            self.status: line("Drop another photo."),
        }

    def draw(self, lesson: Teaching, value: Any) -> Iterator[Updates]:
        """Answer a drawing with its mask."""
        drawn = lesson.draw(self.workshop, value)
        if drawn is not None:
            prompts, mask = drawn
            share = 0.0 if mask is None else float(mask.mean())
            note = f"{share:.1%} of the photo is marked." if share else ""
            yield {self.canvas: Canvas.answer(prompts, mask, note)}

    def take_mask(self, lesson: Teaching, file: str | None, kind: Any) -> Iterator[Updates]:
        """Take a mask or a scribble from a file."""
        if file is None:
            yield {self.status: gr.skip()}
            return
        yield {self.status: line("Looking at the mask ..."), self.mask_file: None}
        lesson.take_mask(self.workshop, file, kind)
        yield {
            self.canvas: Canvas.show(lesson.shown, lesson.mask),
            self.status: line("The mask is on the photo; mend it with clicks or the brush, or give it a name."),
        }

    def examine(self, lesson: Teaching) -> Iterator[Updates]:
        """Let the doctor speak of what is marked, when the hand rests: a click must not wait for it."""
        mask = lesson.mask
        time.sleep(_PAUSE)
        if lesson.mask is not mask:  # the next click asks again
            yield {self.status: gr.skip()}
            return
        diagnosis = lesson.examine(self.workshop)
        if lesson.mask is mask:
            yield {self.doctor: findings_card(diagnosis)}

    # ---------------------------------------------------------------- what is learned

    def learn_it(self, lesson: Teaching, value: Any, name: str, keep: bool) -> Iterator[Updates]:
        """Learn a new concept."""
        try:
            yield {self.status: line("Learning ..."), self.taken: gr.update(visible=False)}
            concept = lesson.learn(self.workshop, value, name, keep=keep)
        except NameTakenError:
            sentence = (
                f'There is a concept "{checked_name(name)}" already; add this as another shot of it, replace it, or '
                "choose another name."
            )
            yield {self.status: line(sentence, problem=True), self.taken: gr.update(visible=True)}
            return
        yield self._learned(concept, f"Learned {concept.name}; try it on another photo, or go to Find.")

    def replace_it(self, lesson: Teaching, value: Any, name: str, keep: bool) -> Iterator[Updates]:
        """Learn it in place of the one of that name."""
        yield {self.status: line("Learning ...")}
        concept = lesson.learn(self.workshop, value, name, keep=keep, overwrite=True)
        yield self._learned(concept, f"Learned {concept.name} anew.")

    def add_it(self, lesson: Teaching, value: Any, name: str, keep: bool) -> Iterator[Updates]:
        """Add another shot to the concept of that name."""
        yield {self.status: line("Learning ...")}
        doubts: list[str] = []
        concept = lesson.add(self.workshop, value, name, keep=keep, doubts=doubts)
        told = [f"{concept.name} knows {len(concept.references)} photos now.", *doubts]
        yield self._learned(concept, " ".join(told))

    def tune_it(self, lesson: Teaching) -> Iterator[Updates]:
        """Tune what was learned."""
        yield {self.status: line("Tuning ...")}
        concept = lesson.tune(self.workshop)
        yield self._learned(concept, f"Tuned {concept.name}: two numbers say how its three scales are mixed.")

    def _learned(self, concept: Concept, sentence: str) -> Updates:
        return {
            self.status: line(sentence),
            self.card: concept_card(concept, self.workshop.concepts.thumbnail(concept.name)),
            self.after: gr.update(visible=True),
            self.trial: gr.update(visible=True),
            self.tune: gr.update(interactive=not concept.tuned),
            self.download: gr.update(value=str(self.workshop.concept_file(concept.name))),
            self.taken: gr.update(visible=False),
        }

    def try_it(self, lesson: Teaching, file: str | None) -> Iterator[Updates]:
        """Look for what was learned in another photo."""
        if file is None:
            yield {self.status: gr.skip()}
            return
        yield {self.status: line("Looking for it ..."), self.try_photo: None}
        pixels, found = lesson.try_on(self.workshop, file)
        small = shrink(pixels, SHOWN_SIDE)
        colour = colour_of(found.concept)
        drawn = draw_overlay(small, fit_mask(found.assumed_mask, small), colour, dim=0.0 if found.present else 0.3)
        sentence = _tried(found)
        address = self.workshop.show(drawn).url
        yield {
            self.status: line(sentence),
            self.try_result: f'<figure class="tried"><img src="{address}" alt="{escape(sentence)}"><figcaption>'
            f"{escape(sentence)}</figcaption></figure>",
        }


def _tried(found: Segmentation) -> str:
    """What came of it, in the words of Find."""
    verdict = "Found" if found.present else "Not found"
    if found.verdict == "unsure":
        verdict = f"Unsure, rather {'there' if found.present else 'not there'}"
    candidate = "" if found.present else "; the nearest candidate is outlined"
    return f"{verdict}, with a score of {found.score:.0%}{candidate}."
