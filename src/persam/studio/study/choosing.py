"""Where no study was given: open one, or make a new one.

Ids of its controls: ``study-folder``, ``study-open``; ``study-new-folder``, ``study-new-photos``,
``study-new-annotators``, ``study-make``.
"""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from persam.errors import UsageError
from persam.files import expanded
from persam.studio.cards import Updates, line, spoken
from persam.studio.components import on_press
from persam.study import Study, new, photo_folders, read


def build(folder: gr.State, status: gr.HTML) -> None:
    """Lay it out.

    Args:
        folder: gets that of the study; the rest of the page follows it.
        status: the line that says what went wrong.
    """
    with gr.Row():
        typed = gr.Textbox(label="Folder of the study", placeholder="my-study", elem_id="study-folder", min_width=160)
        open_ = gr.Button("Open", elem_id="study-open", min_width=100, scale=0)
    with gr.Accordion("Make a new study", open=False):
        new_folder = gr.Textbox(label="Folder, which is made", elem_id="study-new-folder")
        new_photos = gr.Textbox(
            label="Photos: CATEGORY=FOLDER, a line for each category; they are copied",
            lines=2,
            placeholder="horse=photos/horses",
            elem_id="study-new-photos",
        )
        new_annotators = gr.Textbox(
            label="Names of the annotators, with commas between", elem_id="study-new-annotators"
        )
        make = gr.Button("Make the study", elem_id="study-make")

    def opened(study: Study) -> Updates:
        return {folder: str(study.folder), typed: str(study.folder), status: line("")}

    @spoken(status)
    def open_one(place: str) -> Iterator[Updates]:
        if not place.strip():
            raise UsageError("Type the folder of a study.")
        yield opened(read(place.strip()))

    @spoken(status)
    def make_one(place: str, photos: str, annotators: str) -> Iterator[Updates]:
        if not place.strip():
            raise UsageError("Type a folder for the study; it is made.")
        pairs = [each.strip() for each in photos.splitlines() if each.strip()]
        yield opened(new(expanded(place.strip()), photo_folders(pairs), annotators.split(",")))

    changed = [folder, typed, status]
    on_press(open_, open_one, [typed], changed, also=typed.submit)
    on_press(make, make_one, [new_folder, new_photos, new_annotators], changed)
