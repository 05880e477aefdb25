"""Tab "Concepts": what was learned; looked at, taken from a file, downloaded, renamed, deleted.

Ids of its controls: concepts-status, concepts-gallery, concepts-load, concepts-details, concepts-tune,
concepts-download, concepts-rename-to, concepts-rename, concepts-delete, concepts-sure (the row that asks),
concepts-delete-yes, concepts-delete-no.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.reference import sha256_of
from persam.studio.cards import Updates, concept_details, concept_tile, line, spoken
from persam.studio.components import AT_ONCE, on_press
from persam.studio.teach.lesson import checked_name, named_by_user
from persam.studio.workshop import Workshop
from persam.words import counted

_NOTHING = "Nothing is learned yet: begin in Teach, or load a concept from a file."
_CHOOSE = "Choose a concept to see what it was learned from, to tune, rename, download or delete it."
# In the browser: a tile that is clicked says which one it is.
_TELL = """element.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-name]");
  if (tile) trigger("select", { name: tile.dataset.name });
});"""


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    ConceptsTab(workshop)


class ConceptsTab:
    """The tab's controls, and what happens when they are used."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.chosen = gr.State("")  # its name; "" for none
        tab, page = Context.block, Context.root_block
        assert tab is not None
        assert page is not None
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                self.status = gr.HTML(line(_NOTHING), elem_id="concepts-status")
                self.gallery = gr.HTML("", js_on_load=_TELL, apply_default_css=False, elem_id="concepts-gallery")
                with gr.Row(elem_classes="toolbar"):
                    self.load = gr.UploadButton(
                        "Load from a file", file_types=[".safetensors"], size="sm", elem_id="concepts-load"
                    )
            with gr.Column(scale=2, min_width=300):
                self.details = gr.HTML("", elem_id="concepts-details")
                self._lay_out_actions()
        self._wire(tab, page)

    def _lay_out_actions(self) -> None:
        with gr.Column(visible=False) as self.actions:
            with gr.Row(elem_classes="toolbar"):
                self.tune = gr.Button("Tune", elem_id="concepts-tune")
                self.download = gr.DownloadButton("Download", elem_id="concepts-download")
                self.delete = gr.Button("Delete", elem_id="concepts-delete")
            with gr.Row(elem_classes="toolbar", visible=False, elem_id="concepts-sure") as self.sure:
                self.question = gr.HTML("")
                self.yes = gr.Button("Delete it", variant="stop", elem_id="concepts-delete-yes")
                self.no = gr.Button("Keep it", elem_id="concepts-delete-no")
            self.rename_to = gr.Textbox(label="Another name", max_lines=1, elem_id="concepts-rename-to")
            with gr.Row(elem_classes="toolbar"):
                self.rename = gr.Button("Rename", elem_id="concepts-rename")

    def _wire(self, tab: Any, page: Any) -> None:
        said, everything = spoken(self.status), self._everything()
        for event in (tab.select, page.load):
            event(said(self.look_again), self.chosen, everything, **AT_ONCE)
        self.gallery.select(said(self.choose), None, everything, **AT_ONCE)
        self.load.upload(said(self.load_file), self.load, everything, **AT_ONCE)
        on_press(self.tune, said(self.tune_it), self.chosen, everything, **AT_ONCE)
        renamed = [self.chosen, self.rename_to]
        on_press(self.rename, said(self.rename_it), renamed, everything, also=self.rename_to.submit, **AT_ONCE)
        on_press(self.delete, said(self.ask), self.chosen, everything, **AT_ONCE)
        on_press(self.yes, said(self.delete_it), self.chosen, everything, **AT_ONCE)
        on_press(self.no, said(self.keep), self.chosen, everything, **AT_ONCE)

    def _everything(self) -> list[Any]:
        shown = [self.status, self.gallery, self.details, self.actions, self.sure, self.question]
        return [*shown, self.tune, self.download, self.rename_to, self.chosen]

    # ---------------------------------------------------------------- what is shown

    def _shown(self, chosen: str, sentence: str = "") -> Updates:
        """The whole tab as it is now, with one concept chosen, if it is there."""
        store = self.workshop.concepts
        names = store.names()
        tiles = "".join(self._tile(name, chosen) for name in names)
        updates: Updates = {
            self.gallery: f'<ul class="concept-tiles" aria-label="Concepts">{tiles}</ul>' if names else "",
            self.chosen: chosen if chosen in names else "",
            self.status: line(sentence or (_CHOOSE if names else _NOTHING)),
            self.actions: gr.update(visible=chosen in names),
            self.sure: gr.update(visible=False),
            self.rename_to: "",
            self.details: "",
        }
        if chosen in names:
            updates |= self._described(chosen)
        return updates

    def _tile(self, name: str, chosen: str) -> str:
        try:
            concept = self.workshop.concepts.load(name)
        except PersamError:
            return concept_tile(name, "damaged", None, chosen=name == chosen)
        facts = [concept.mode, counted(len(concept.references), "photo"), *(["tuned"] if concept.tuned else [])]
        if self._stranger(concept):
            facts.append("of another model")
        return concept_tile(name, ", ".join(facts), concept.thumbnail, chosen=name == chosen)

    def _stranger(self, concept: Concept) -> str:
        """Why it cannot be used here; "" if it can."""
        try:
            self.workshop.engine.model.check(concept)
        except PersamError as error:
            return str(error)
        return ""

    def _described(self, name: str) -> Updates:
        file = self.workshop.concepts.path(name)
        try:
            concept = self.workshop.concepts.load(name)
        except PersamError as error:
            return {self.details: line(str(error), problem=True), self.tune: gr.update(interactive=False)}
        stranger = self._stranger(concept)
        return {
            self.details: concept_details(concept, sha256_of(file), stranger),
            self.tune: gr.update(interactive=concept.keeps_references and not concept.tuned and not stranger),
            self.download: gr.update(value=str(self.workshop.concept_file(name))),
        }

    def look_again(self, chosen: str) -> Iterator[Updates]:
        """Show the tab as it is now."""
        yield self._shown(chosen)

    def choose(self, event: gr.EventData) -> Iterator[Updates]:
        """Describe the concept of a tile that was clicked."""
        name = str(event.name)
        yield self._shown(name, f"{name} is chosen.")

    # ---------------------------------------------------------------- what is done

    def load_file(self, file: str | None) -> Iterator[Updates]:
        """Take a concept from a file; it is called as the file is."""
        if file is None:
            yield {self.status: gr.skip()}
            return
        path = Path(file)
        try:
            concept = replace(Concept.load(path), name=path.stem)
        except PersamError as error:
            raise named_by_user(error, path) from error
        name = self.workshop.concepts.save(concept)
        stranger = self._stranger(concept)
        yield self._shown(
            name, f"Loaded {name}, but it cannot be used here. {stranger}" if stranger else f"Loaded {name}."
        )

    def tune_it(self, name: str) -> Iterator[Updates]:
        """Tune a concept whose file keeps its photos (PerSAM-F)."""
        _given(name)
        yield {self.status: line(f"Tuning {name} ...")}
        with self.workshop.changing(name):
            concept = self.workshop.concepts.load(name)
            self.workshop.concepts.save(self.workshop.ask(lambda model: model.tune(concept)), overwrite=True)
        yield self._shown(name, f"Tuned {name}: two numbers say how its three scales are mixed.")

    def rename_it(self, name: str, to: str) -> Iterator[Updates]:
        """Give a concept another name."""
        store, wanted = self.workshop.concepts, checked_name(to)
        if wanted == _given(name):
            raise UsageError(f"It is called {name} already; give another name.")
        with self.workshop.changing(name):
            renamed = store.save(replace(store.load(name), name=wanted))
            store.delete(name)
        yield self._shown(renamed, f"{name} is called {renamed} now.")

    def ask(self, name: str) -> Iterator[Updates]:
        """Ask before a concept is deleted."""
        yield {
            self.question: line(f"Delete {_given(name)} for good?"),
            self.sure: gr.update(visible=True),
        }

    def keep(self, name: str) -> Iterator[Updates]:
        """Take back what was asked."""
        yield {self.sure: gr.update(visible=False), self.status: line(f"{name} stays.")}

    def delete_it(self, name: str) -> Iterator[Updates]:
        """Delete a concept."""
        self.workshop.concepts.delete(_given(name))
        yield self._shown("", f"Deleted {name}.")


def _given(name: str) -> str:
    if not name:
        raise UsageError("No concept is chosen; choose one first.")
    return name
