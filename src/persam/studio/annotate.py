"""Tab "Study": people mask the photos of a study, one after another, each without seeing what the others did.

Ids of its controls: ``study-folder``, ``study-open`` and what makes a new study (``study-new-folder``,
``study-new-photos``, ``study-new-annotators``, ``study-make``), where no study was given; ``study-annotator``,
``study-category``, ``study-assistance``, ``study-start``, ``study-readme``; at work ``study-progress``,
``study-canvas``, ``study-save``, ``study-previous``, ``study-next``, ``study-nothing``, ``study-over``,
``study-change``; at the end ``study-done``, ``study-again``; ``study-status`` says what happens. What the person who
runs the study sees is in `persam.studio.organise`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from persam.errors import PersamError, UsageError
from persam.files import expanded
from persam.studio import organise
from persam.studio.canvas import Canvas
from persam.studio.canvas.canvas import TOOLS
from persam.studio.cards import line
from persam.studio.sitting import IDLE_LIMIT, Sitting, StaleError
from persam.studio.stopwatch import READ, Stopwatch, active_seconds
from persam.studio.study_texts import categories, categories_in_words, instructions, progress, thanks
from persam.studio.workshop import Workshop
from persam.study import Annotation, add_annotator, new, read
from persam.study.create import photo_folders
from persam.study.times import BY_HAND, PROPOSAL, WITH_MODEL

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
Update = dict[Any, Any]


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    _StudyTab(workshop)


class _StudyTab:
    """The tab's controls, and what happens when they are used. What one browser tab does is in its own `Sitting`."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.folder = gr.State(None if workshop.study is None else str(workshop.study))
        self.sitting = gr.State(None)
        self.status = gr.HTML(line(""), elem_id="study-status")
        self._lay_out_setup()
        self._lay_out_desk()
        self._lay_out_end()
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
                self._lay_out_choice()
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

    def _lay_out_choice(self) -> None:
        with gr.Row():
            self.typed = gr.Textbox(
                label="Folder of the study", placeholder="my-study", elem_id="study-folder", min_width=160
            )
            self.open = gr.Button("Open", elem_id="study-open", min_width=100, scale=0)
        with gr.Accordion("Make a new study", open=False):
            self.new_folder = gr.Textbox(label="Folder, which is made", elem_id="study-new-folder")
            self.new_photos = gr.Textbox(
                label="Photos: CATEGORY=FOLDER, a line for each category; they are copied",
                lines=2,
                placeholder="horse=photos/horses",
                elem_id="study-new-photos",
            )
            self.new_annotators = gr.Textbox(
                label="Names of the annotators, with commas between", elem_id="study-new-annotators"
            )
            self.make = gr.Button("Make the study", elem_id="study-make")

    def _lay_out_desk(self) -> None:
        keys = dict(_KEYS)
        self.stopwatch = Stopwatch(
            place="study-canvas", idle=IDLE_LIMIT, keys=keys, elem_id="study-stopwatch", visible="hidden"
        )
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
                "photo. The question mark above the "
                "photo shows the keys of the tools.",
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
            self.sitting, self.setup, self.desk, self.end, self.canvas, self.stopwatch, self.progress, self.done,
            self.category, self.status,
        ]  # fmt: skip
        held = [self.sitting, self.canvas, self.stopwatch]
        gr.on(fn=self._names, inputs=[self.folder], outputs=names, show_progress="hidden")
        self.annotator.change(
            self._own_categories, [self.folder, self.annotator], self.category, show_progress="hidden"
        )
        if self.workshop.study is None and self.workshop.is_local:
            opened = [self.folder, self.typed, self.status]  # the rest follows, for the folder has changed
            self.open.click(self._open, [self.typed], opened)
            self.typed.submit(self._open, [self.typed], opened)
            self.make.click(self._make, [self.new_folder, self.new_photos, self.new_annotators], opened)
        self.start.click(
            self._begin, [self.folder, self.annotator, self.category, self.assistance], [*screen, self.annotator]
        )
        self.canvas.input(
            self._draw, [self.sitting, self.canvas], [self.canvas, self.status],
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
                answer, held, screen, js=READ, show_progress="minimal", trigger_mode="once", concurrency_limit=None
            )
        self.over.click(self._start_over, [self.sitting], [self.canvas, self.status])
        self.again.click(self._look_again, [self.sitting], screen)
        self.more.click(self._more, [self.sitting], screen)

    # ---------------------------------------------------------------------------------------- who does what

    def _names(self, folder: str | None) -> Update:
        """Fill in what a study offers."""
        if folder is None:
            hint = "Open a study, or make a new one." if self.workshop.is_local else "This studio was given no study."
            return {self.status: line(hint)}
        try:
            study = read(folder)
            told = instructions(study)
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}
        return {
            self.annotator: gr.update(choices=list(study.annotators), value=None),
            self.category: gr.update(**categories(study, "")),
            self.readme: told,
            self.status: line(f"The study has {study.photo_count} photos in {categories_in_words(study)}."),
        }

    def _own_categories(self, folder: str | None, name: str | None) -> Any:
        """What is left in each category for whoever chose a name."""
        try:
            return gr.update(**categories(read(folder), name or "")) if folder else gr.update()
        except PersamError:
            return gr.update()

    def _open(self, typed: str) -> Update:
        try:
            if not typed.strip():
                raise UsageError("Type the folder of a study.")
            study = read(typed.strip())
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}
        return {self.folder: str(study.folder), self.typed: str(study.folder), self.status: line("")}

    def _make(self, folder: str, photos: str, annotators: str) -> Update:
        try:
            if not folder.strip():
                raise UsageError("Type a folder for the study; it is made.")
            pairs = [line.strip() for line in photos.splitlines() if line.strip()]
            study = new(expanded(folder.strip()), photo_folders(pairs), annotators.split(","))
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}
        return {self.folder: str(study.folder), self.typed: str(study.folder), self.status: line("")}

    def _begin(self, folder: str | None, name: str | None, category: str | None, assistance: str) -> Update:
        """Sit down: at the first photo that is not done."""
        try:
            if folder is None:
                raise UsageError("Open a study first, or make a new one.")
            if category is None:
                raise UsageError("Choose a category.")
            study, clean = add_annotator(read(folder), name or "")
            sitting = Sitting(self.workshop, Annotation.of(study, category, clean), assistance)
            place = sitting.work.next_open()
            shown = self._finish(sitting) if place is None else self._show(sitting, place)
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}
        return shown | {self.annotator: gr.update(value=clean)}

    # ---------------------------------------------------------------------------------------- one photo after another

    def _show(self, sitting: Sitting, place: int, said: str = "") -> Update:
        """Put a photo before the annotator."""
        try:
            visit = sitting.open(place)
            note = "The model proposes this; correct it." if visit.proposed else ""
            canvas = Canvas.show(visit.shown, visit.mask, visit.prompts, note, _tools(sitting))
            shown = visit.shown
        except PersamError as error:  # one photo, but there are others
            canvas, shown, said = Canvas.show(None), None, f"{error} You may skip this photo."
        return {
            self.sitting: sitting,
            self.setup: gr.update(visible=False),
            self.end: gr.update(visible=False),
            self.desk: gr.update(visible=True),
            self.canvas: canvas,
            self.stopwatch: Stopwatch.show(shown),
            self.progress: progress(sitting),
            self.status: line(said, problem=shown is None),
        }

    def _finish(self, sitting: Sitting) -> Update:
        """All photos of a category are done."""
        return {
            self.sitting: sitting,
            self.setup: gr.update(visible=False),
            self.desk: gr.update(visible=False),
            self.end: gr.update(visible=True),
            self.canvas: Canvas.show(None),
            self.stopwatch: Stopwatch.show(None),
            self.done: thanks(sitting),
            self.status: line(f"All {sitting.count} photos of {sitting.work.category.name} are done."),
        }

    def _draw(self, sitting: Sitting | None, value: Any) -> Update:
        if sitting is None:
            return self._unchanged
        try:
            prompts, mask, note = sitting.draw(value)
        except StaleError:
            return self._unchanged
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}
        return {self.canvas: Canvas.answer(prompts, mask, note), self.status: line("")}

    def _save(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        def save(sitting: Sitting, active: float | None) -> str:
            photo = sitting.work.photos[sitting.place].name
            return f"{photo} is saved." if sitting.save(value, active) else f"{photo} stays as it was."

        return self._finished(sitting, watch, save)

    def _nothing(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        def say_so(sitting: Sitting, active: float | None) -> str:
            photo = sitting.work.photos[sitting.place].name
            sitting.save_nothing(value, active)
            return f"Noted: the object is not in {photo}. The person who runs the study will see that."

        return self._finished(sitting, watch, say_so)

    def _finished(self, sitting: Sitting | None, watch: Any, act: Any) -> Update:
        """Do what ends with a photo, and show the next that is not done."""
        if sitting is None:
            return self._unchanged
        try:
            said = act(sitting, _active(sitting, watch))
            following = sitting.next_place()
            return self._finish(sitting) if following is None else self._show(sitting, following, said)
        except StaleError:
            return self._unchanged
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}

    def _go_on(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        return self._move(sitting, value, watch, 1)

    def _go_back(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        return self._move(sitting, value, watch, -1)

    def _move(self, sitting: Sitting | None, value: Any, watch: Any, step: int) -> Update:
        """To a photo beside this one, without saving."""
        if sitting is None:
            return self._unchanged
        place = sitting.place + step
        if not 0 <= place < sitting.count:
            return {self.status: line(f"This is the {'last' if step > 0 else 'first'} photo.")}
        try:
            sitting.leave(value, _active(sitting, watch))
            return self._show(sitting, place)
        except StaleError:
            return self._unchanged
        except PersamError as error:
            return {self.status: line(str(error), problem=True)}

    def _start_over(self, sitting: Sitting | None) -> Update:
        visit = None if sitting is None else sitting.start_over()
        if sitting is None or visit is None:
            return self._unchanged
        return {
            self.canvas: Canvas.show(visit.shown, tools=_tools(sitting)),
            self.status: line("Mark the object anew; nothing is saved yet."),
        }

    def _look_again(self, sitting: Sitting | None) -> Update:
        if sitting is None:
            return self._unchanged
        sitting.reviewing = True
        return self._show(sitting, 0)

    def _stand_up(self, sitting: Sitting | None, value: Any, watch: Any) -> Update:
        """Back to the names; what is drawn on the open photo goes, what is saved stays."""
        unsaved = [] if sitting is None else sitting.unsaved()
        work = None if sitting is None else sitting.work
        left = gr.skip() if work is None else self._own_categories(str(work.study_folder), work.annotator)
        return {
            self.sitting: None,
            self.setup: gr.update(visible=True),
            self.desk: gr.update(visible=False),
            self.end: gr.update(visible=False),
            self.canvas: Canvas.show(None),
            self.stopwatch: Stopwatch.show(None),
            self.category: left,
            self.status: line(f"Not saved is what was drawn on {', '.join(unsaved)}." if unsaved else ""),
        }

    def _more(self, sitting: Sitting | None) -> Update:
        return self._stand_up(sitting, None, None)


# ------------------------------------------------------------------------------------------------- what is shown


def _tools(sitting: Sitting) -> tuple[str, ...]:
    """Those of the canvas; by hand alone the model has nothing to do."""
    return ("brush", "eraser", "pan") if sitting.assistance == BY_HAND else TOOLS


def _active(sitting: Sitting, watch: Any) -> float | None:
    return active_seconds(watch, None if sitting.visit is None else sitting.visit.shown)
