"""Tab "Study": people mask the photos of a study, one after another, each without seeing what the others did.

Ids of its controls, besides those of `persam.studio.study.choosing` where no study was given: ``study-annotator``,
``study-category``, ``study-assistance``, ``study-start``, ``study-readme``; at work ``study-progress``,
``study-canvas``, ``study-save``, ``study-previous``, ``study-next``, ``study-nothing``, ``study-over``,
``study-change``; at the end ``study-done``, ``study-again``; ``study-status`` says what happens. What the person who
runs the study sees is in `persam.studio.study.organise`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from persam.errors import PersamError, UsageError
from persam.server.wording import on_page
from persam.studio.canvas import Canvas
from persam.studio.canvas.canvas import TOOLS
from persam.studio.cards import line, own_error
from persam.studio.study import choosing, organise
from persam.studio.study.desk_watch import READ, DeskWatch, active_seconds
from persam.studio.study.sitting import AT_END, AWAY, IDLE_LIMIT, Sitting, StaleError
from persam.studio.study.texts import (
    categories,
    ending,
    instructions,
    kept,
    progress,
    size,
    thanks,
    welcome,
    within,
)
from persam.studio.workshop import Shown, Workshop
from persam.study import BY_HAND, PROPOSAL, WITH_MODEL, Annotation, add_annotator, read

_ASSISTANCE = [
    ("With the model: click on the object or draw a box, then mend", WITH_MODEL),
    ("By hand alone: brush and eraser", BY_HAND),
    ("Correct what the model proposes, once it has your mask of the first photo", PROPOSAL),
]
_KEYS = {
    "s": "study-save",
    "enter": "study-save",
    "ctrl+enter": "study-save",
    "pagedown": "study-next",
    "arrowright": "study-next",
    "pageup": "study-previous",
    "arrowleft": "study-previous",
}
_LANDING = ("#study-canvas .pc-stage", "#study-more", "#study-annotator input")
Update = dict[Any, Any]
SittingKey = tuple[Path, str, str, str]  # folder of the study, category, annotator, assistance


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    _StudyTab(workshop)


class _StudyTab:
    """The tab's controls, and what happens when they are used. What one browser tab does is in its own `Sitting`."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.folder = gr.State(None if workshop.study is None else str(workshop.study))
        self.sitting = gr.State(None)
        self.sittings = gr.State({})  # of this page, by whose they are: what was drawn and not saved is in them
        none = "Open a study, or make a new one." if workshop.is_local else "This studio was given no study."
        self.status = gr.HTML(line("" if workshop.study else none), elem_id="study-status")
        self._lay_out_setup()
        self._lay_out_desk()
        self._lay_out_end()
        if workshop.is_local:  # the comparison shows everybody's masks
            with gr.Accordion("For the person who runs the study", open=False, elem_id="study-organiser"):
                organise.build(workshop, self.folder)
        self._unchanged: Update = {self.status: gr.skip()}
        self._listen()

    # ------------------------------------------------------------------------------------------------- the layout

    def _lay_out_setup(self) -> None:
        given = self.workshop.study
        with gr.Column(elem_id="study-setup") as self.setup:
            gr.Markdown(
                "Several people mask the same photos, each alone; then the model is compared with all of them. "
                "Say who you are and begin: you can stop at any time, and go on where you stopped.",
                elem_classes="hint",
            )
            if given is None and self.workshop.is_local:
                choosing.build(self.folder, self.status)
            with gr.Row():
                self.annotator = gr.Dropdown(
                    label="Your name",
                    info="Choose it, or type a new one.",
                    allow_custom_value=True,
                    elem_id="study-annotator",
                    min_width=240,
                )
                self.category = gr.Dropdown(label="Category", elem_id="study-category", min_width=240)
            self.assistance = gr.Radio(_ASSISTANCE, value=WITH_MODEL, label="How you mask", elem_id="study-assistance")
            self.start = gr.Button("Begin", variant="primary", elem_id="study-start")
            with gr.Accordion("What is asked of you", open=False):
                self.readme = gr.HTML(elem_id="study-readme")

    def _lay_out_desk(self) -> None:
        self.watch = DeskWatch(
            place="study-canvas", landing=_LANDING, top="#study-status", idle=IDLE_LIMIT, keys=dict(_KEYS),
            elem_id="study-watch", visible="hidden",
        )  # fmt: skip
        with gr.Column(visible=False, elem_id="study-desk") as self.desk:
            # Above the photo, so that on a small screen one need not scroll for every photo.
            with gr.Row(elem_classes="toolbar"):
                self.previous = gr.Button("‹ Back", size="md", elem_id="study-previous", min_width=70)
                self.save = gr.Button("Save and next", variant="primary", size="md", elem_id="study-save")
                self.next = gr.Button("Skip ›", size="md", elem_id="study-next", min_width=70)
                self.progress = gr.HTML(elem_id="study-progress")
            self.canvas = Canvas(label="The photo to mask", elem_id="study-canvas")
            with gr.Row(elem_classes=["toolbar", "quiet"]):
                self.nothing = gr.Button("It is not in this photo", size="sm", elem_id="study-nothing", min_width=120)
                self.over = gr.Button("Start over", size="sm", elem_id="study-over", min_width=90)
                self.change = gr.Button("Change name or category", size="sm", elem_id="study-change", min_width=120)
            gr.Markdown(
                "Keys: **S** saves and goes on (also **Ctrl+Enter**), **Page down** and **Page up** go on and back "
                "without saving (what you drew is kept as long as this page is open); so do the arrow keys outside the "
                "photo. To change a mask that is saved, go back to its photo. The question mark above the photo shows "
                "the keys of the tools.",
                elem_id="study-keys",
            )

    def _lay_out_end(self) -> None:
        with gr.Column(visible=False, elem_id="study-end") as self.end:
            self.done = gr.HTML(elem_id="study-done")
            with gr.Row(elem_classes="toolbar"):
                self.more = gr.Button("Another category", variant="primary", elem_id="study-more", min_width=140)
                self.again = gr.Button("Look through my masks", elem_id="study-again", min_width=140)

    def _listen(self) -> None:
        names = [self.annotator, self.category, self.readme, self.status]
        screen = [
            self.sitting, self.setup, self.desk, self.end, self.canvas, self.watch, self.progress, self.done,
            self.category, self.status,
        ]  # fmt: skip
        held = [self.sittings, self.sitting, self.canvas, self.watch]
        gr.on(fn=self._names, inputs=[self.folder], outputs=names, show_progress="hidden")
        self.annotator.change(
            self._own_categories, [self.folder, self.annotator], self.category, show_progress="hidden"
        )
        self.start.click(
            self.answering(self._begin),
            [self.sittings, self.folder, self.annotator, self.category, self.assistance, self.sittings],
            [*screen, self.annotator, self.sittings],
        )
        self.canvas.input(
            self.answering(self._draw), [self.sittings, self.sitting, self.canvas], screen,
            show_progress="hidden", trigger_mode="always_last", concurrency_limit=None,
        )  # fmt: skip
        for button, answer in (
            (self.save, self._save),
            (self.nothing, self._nothing),
            (self.next, self._go_on),
            (self.previous, self._go_back),
            (self.change, self._stand_up),
        ):
            button.click(
                self.answering(answer), held, screen,
                js=READ, show_progress="minimal", trigger_mode="once", concurrency_limit=None,
            )  # fmt: skip
        self.over.click(self.answering(self._start_over), [self.sittings, self.sitting, self.canvas], screen)
        self.again.click(self.answering(self._look_again), [self.sittings, self.sitting], screen)
        self.more.click(self.answering(self._more), [self.sittings, self.sitting], screen)

    def answering(self, act: Callable[..., Update]) -> Callable[..., Update]:
        """An action as the page calls it, with what it keeps of all sittings first.

        What goes wrong with us is a sentence, too; and what would be lost with the page is counted for all sittings.
        What is drawn on the open photo the page sees for itself.
        """

        def answered(sittings: dict[SittingKey, Sitting], *given: Any) -> Update:
            try:
                answer = act(*given)
            except Exception as error:
                return {self.status: line(own_error(error), problem=True)}
            if self.watch in answer:
                every = answer.get(self.sittings, sittings).values()
                answer[self.watch] |= {"unsaved": any(each.unsaved_elsewhere() for each in every)}
            return answer

        return answered

    # ---------------------------------------------------------------------------------------- who does what

    def _names(self, folder: str | None) -> Update:
        """Fill in what a study offers."""
        if folder is None:
            return self._unchanged  # the page said so when it was made: a press may have been answered meanwhile
        try:
            study = read(folder)
            told = instructions(study)
        except PersamError as error:
            return self._problem(error)
        return {
            self.annotator: gr.update(choices=list(study.annotators), value=None),
            self.category: gr.update(**categories(study, "")),
            self.readme: told,
            self.status: line(size(study)),
        }

    def _own_categories(self, folder: str | None, name: str | None) -> Any:
        """What is left in each category for whoever chose a name."""
        try:
            return gr.update(**categories(read(folder), name or "")) if folder else gr.update()
        except PersamError:
            return gr.update()

    def _problem(self, error: PersamError, folder: str | Path | None = None, more: str = "") -> Update:
        """What went wrong, in the page's words; files of a study's folder are named as within it."""
        told = str(error) if folder is None else within(folder, error)
        return {self.status: line(on_page(told) + more, problem=True)}

    def _begin(
        self,
        folder: str | None,
        name: str | None,
        category: str | None,
        assistance: str,
        sittings: dict[SittingKey, Sitting],
    ) -> Update:
        """Sit down: at the first photo that is not done, with what this page keeps of an earlier sitting like this."""
        try:
            if folder is None:
                raise UsageError("Open a study first, or make a new one.")
            if category is None:
                raise UsageError("Choose a category.")
            study, clean = add_annotator(read(folder), name or "")
            work = Annotation.of(study, category, clean)
            key = study.folder, category, clean, assistance
            sitting = sittings.get(key) or Sitting(self.workshop, work, assistance)
            with sitting.turn:
                place = sitting.sit_down(work)
                shown = self._show_end(sitting) if place is None else self._show(sitting, place, welcome(work))
        except PersamError as error:
            return self._problem(error, folder)
        return shown | {self.annotator: gr.update(value=clean), self.sittings: {**sittings, key: sitting}}

    # ---------------------------------------------------------------------------------------- one photo after another

    def _at_desk(self, sitting: Sitting | None, act: Callable[[Sitting], Update]) -> Update:
        """Do what an annotator asks for, one thing at a time, each with what it shows.

        What was meant for a photo that is gone by now is not done; it is answered by what is there, so that the page
        shows that whichever answer it gets last.
        """
        if sitting is None:
            return self._show_setup("This page has lost its place; press Begin.", problem=True)
        with sitting.turn:
            try:
                return act(sitting)
            except StaleError:
                return self._show_again(sitting)
            except PersamError as error:
                return self._problem(error, sitting.work.study_folder)

    def _save(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        def save(sitting: Sitting) -> Update:
            photo = sitting.work.photos[sitting.place].name
            saved = sitting.save(value, _active(sitting, watch))
            return self._show_next(sitting, f"{photo} is saved." if saved else f"{photo} stays as it was.")

        return self._at_desk(sitting, save)

    def _nothing(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        def say_so(sitting: Sitting) -> Update:
            photo = sitting.work.photos[sitting.place].name
            sitting.save_nothing(value, _active(sitting, watch))
            return self._show_next(
                sitting, f"Noted: the object is not in {photo}. The person who runs the study will see that."
            )

        return self._at_desk(sitting, say_so)

    def _go_on(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        return self._move(sitting, value, watch, 1)

    def _go_back(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        return self._move(sitting, value, watch, -1)

    def _move(self, sitting: Sitting | None, value: Any, watch: Any, step: int) -> Update:
        """To a photo beside this one, without saving; from one that cannot be read, on to what is left to do."""

        def move(sitting: Sitting) -> Update:
            place, cannot_be_read = sitting.place + step, sitting.visit is None
            if not (0 <= place < sitting.count or (cannot_be_read and step > 0)):
                return {self.status: line(f"This is the {'last' if step > 0 else 'first'} photo.")}
            sitting.leave(value, _active(sitting, watch))
            return self._show_next(sitting, "") if cannot_be_read and step > 0 else self._show(sitting, place)

        return self._at_desk(sitting, move)

    def _draw(self, sitting: Sitting | None, value: Any) -> Update:
        def draw(sitting: Sitting) -> Update:
            before = None if sitting.visit is None else sitting.visit.prompts
            try:
                prompts, mask, note = sitting.draw(value)
            except StaleError:
                return self._unchanged  # whatever took the photo away shows what is there now
            answer: Update = {self.canvas: Canvas.answer(prompts, mask, note)}
            # A gesture that waits its turn in the page is sent with what is on the canvas by then: that may be the next
            # photo, on which nothing is drawn, and what was said of the one before stays.
            same = before is not None and before.marks == prompts.marks
            return answer if same else answer | {self.status: line("")}

        return self._at_desk(sitting, draw)

    def _start_over(self, sitting: Sitting | None, value: Any) -> Update:
        def start_over(sitting: Sitting) -> Update:
            visit = sitting.start_over(value)
            return {
                self.canvas: Canvas.show(visit.shown, tools=_tools(sitting)),
                self.status: line("Mark the object anew; nothing is saved yet."),
            }

        return self._at_desk(sitting, start_over)

    def _look_again(self, sitting: Sitting | None) -> Update:
        def look_again(sitting: Sitting) -> Update:
            sitting.reviewing = True
            return self._show(sitting, 0)

        return self._at_desk(sitting, look_again)

    def _stand_up(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        """Back to the names; what is drawn is kept for whoever begins again like this."""

        def stand_up(sitting: Sitting) -> Update:
            sitting.stand_up(value, _active(sitting, watch))
            return self._show_away(sitting)

        return self._at_desk(sitting, stand_up)

    def _more(self, sitting: Sitting | None) -> Update:
        return self._stand_up(sitting, None, None)

    # ------------------------------------------------------------------------------------ what the page shows then

    def _show(self, sitting: Sitting, place: int, said: str = "") -> Update:
        """Put a photo before the annotator."""
        try:
            sitting.open(place)
        except PersamError as error:  # one photo, but there are others
            told = self._problem(error, sitting.work.study_folder, " You may skip this photo.")
            return self._desk(sitting, Canvas.show(None), None) | told
        return self._show_visit(sitting, said)

    def _show_visit(self, sitting: Sitting, said: str = "") -> Update:
        """The photo that is open, with what is drawn on it."""
        visit = sitting.visit
        assert visit is not None
        note = "The model proposes this; correct it." if visit.proposed else ""
        canvas = Canvas.show(visit.shown, visit.mask, visit.prompts, note, _tools(sitting))
        return self._desk(sitting, canvas, visit.shown) | {self.status: line(said)}

    def _desk(self, sitting: Sitting, canvas: Any, shown: Shown | None) -> Update:
        return {
            self.sitting: sitting,
            self.setup: gr.update(visible=False),
            self.end: gr.update(visible=False),
            self.desk: gr.update(visible=True),
            self.canvas: canvas,
            self.watch: DeskWatch.show(shown),
            self.progress: progress(sitting),
        }

    def _show_next(self, sitting: Sitting, said: str) -> Update:
        """The next photo that is not done, or the end."""
        following = sitting.next_place()
        return self._show_end(sitting) if following is None else self._show(sitting, following, said)

    def _show_again(self, sitting: Sitting) -> Update:
        """What the page should show already."""
        if sitting.where == AWAY:
            return self._show_away(sitting)
        if sitting.where == AT_END:
            return self._show_end(sitting)
        return self._show(sitting, sitting.place) if sitting.visit is None else self._show_visit(sitting)

    def _show_end(self, sitting: Sitting) -> Update:
        """All photos of a category are done, but for what cannot be read."""
        sitting.end()
        return {
            self.sitting: sitting,
            self.setup: gr.update(visible=False),
            self.desk: gr.update(visible=False),
            self.end: gr.update(visible=True),
            self.canvas: Canvas.show(None),
            self.watch: DeskWatch.show(None),
            self.done: thanks(sitting),
            self.status: line(ending(sitting), problem=bool(sitting.unreadable)),
        }

    def _show_away(self, sitting: Sitting) -> Update:
        """The setup, for somebody who was at the desk."""
        left = self._own_categories(str(sitting.work.study_folder), sitting.work.annotator)
        return self._show_setup(kept(sitting)) | {self.category: left}

    def _show_setup(self, said: str, *, problem: bool = False) -> Update:
        return {
            self.sitting: None,
            self.setup: gr.update(visible=True),
            self.desk: gr.update(visible=False),
            self.end: gr.update(visible=False),
            self.canvas: Canvas.show(None),
            self.watch: DeskWatch.show(None),
            self.status: line(said, problem=problem),
        }


# ------------------------------------------------------------------------------------------------- what is shown


def _tools(sitting: Sitting) -> tuple[str, ...]:
    """Those of the canvas; by hand alone the model has nothing to do."""
    return ("brush", "eraser", "pan") if sitting.assistance == BY_HAND else TOOLS


def _active(sitting: Sitting, watch: Any) -> float | None:
    return active_seconds(watch, None if sitting.visit is None else sitting.visit.shown)
