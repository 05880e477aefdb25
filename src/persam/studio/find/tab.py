"""Tab "Find": concepts are looked for in photos, in a folder of them, and in a clip.

Ids of the parts:

=====================  =================================================================================================
#find-concepts         which concepts to look for
#find-files            photos or a clip, dropped or chosen
#find-examples         buttons that fill in an album to try
#find-folder           a folder of this machine, where only this machine reaches the page
#find-several          how many of a concept to look for in a photo
#find-run, #find-stop  begin; end at the next photo or frame
#find-status           the line that says what is going on
#find-spoken           what of that is read aloud (role=status): beginnings, every tenth, ends and problems
#find-results          all that follows, once there are results
#find-states           filter by verdict, with counts: present, unsure, absent, corrected, failed
#find-only             filter by concept, if there are several
#find-least            filter by score
#find-order            order
#find-threshold        score from which on a thing counts as there
#find-kind             what pictures show: overlay, map, cutout, photo
#find-gallery          the cards: ``button.card[data-card="NUMBER/CONCEPT"][data-state]``
#find-page             which results are shown; #find-page-back, #find-page-on: others
#find-large            the chosen result's picture; #find-facts: its numbers
#find-worth            choose the result that is most worth correcting
#find-detail           tabs of the chosen result: Picture, Explain, Correct
#find-steps            the explanation: ``.back``, ``.on``, ``.strip button``, keys left and right
#find-canvas           its mask on the canvas
#find-save-as          what becomes of the concept: replace, new
#find-learn            use as another shot; #find-keep: for this photo alone; #find-absent: it is not there
#find-changes          what another look changed
#find-note             the last thing said of a correction or a download, once more
#find-parcel           which download; #find-prepare: make it; #find-download: fetch it
#find-clip             all of a clip; #find-preview: newest frame, then player; #find-clip-links: its files
=====================  =================================================================================================
"""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from typing import Any

import gradio as gr
from gradio.context import Context

from persam.segmentation import SURE_ENOUGH, UNSURE
from persam.studio.canvas import Canvas
from persam.studio.components import AT_ONCE, on_press
from persam.studio.examples import example_album, example_things
from persam.studio.find.actions import EXPLAIN_HINT, SAVE_AS_NEW, FindActions
from persam.studio.find.cards import HINT, KIND_CHOICES, ORDER_CHOICES, gallery_of, large_of, status
from persam.studio.find.clip_view import clip_routes
from persam.studio.find.downloads import PARCELS
from persam.studio.find.pictures import picture_routes
from persam.studio.find.results import PhotoSearch
from persam.studio.find.session import FindSessions
from persam.studio.find.show import FindParts
from persam.studio.workshop import Workshop

_STYLE = (files("persam.studio.find") / "find.css").read_text(encoding="utf-8")
# A region that is made anew with its text is not read by all readers: this one stays, and only its text changes.
_SPOKEN = '<p role="status" aria-live="polite"></p>'
_SPEAK = """const said = element.querySelector("p");
const speak = () => { said.textContent = props.value || ""; };
watch("value", speak);
speak();"""
_CANVAS_HINT = "Choose a result above, and mend its mask here."
_THRESHOLD = (
    f"The score that decides which masks count, in downloads too. From {UNSURE[0]:.0%} to {UNSURE[1]:.0%} a result is "
    "called unsure all the same: look at it."
)


def build(workshop: Workshop) -> None:
    """Lay out the tab."""
    sessions = FindSessions(workshop.folder / "searches")
    workshop.routers += [
        picture_routes(sessions.search_of),
        clip_routes(sessions.clip_of),
    ]
    tab, page = Context.block, Context.root_block
    assert tab is not None
    assert page is not None
    session = gr.State("", delete_callback=sessions.close)
    gr.HTML(f"<style>{_STYLE}</style>", visible="hidden", elem_id="find-style")
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            concepts = gr.CheckboxGroup(label="What to look for", elem_id="find-concepts", **_known(workshop))
            given = gr.File(
                label="Photos, or one clip", file_count="multiple", elem_id="find-files", height=150, type="filepath"
            )
            _examples(workshop, given)
            folder = gr.Textbox(
                label="or a folder on this machine",
                placeholder="/home/me/photos",
                elem_id="find-folder",
                visible=workshop.is_local,
                max_lines=1,
            )
            several = gr.Slider(1, 10, 1, step=1, label="How many in a photo, at most", elem_id="find-several")
            with gr.Row(elem_classes="toolbar"):
                run = gr.Button("Find", variant="primary", elem_id="find-run", min_width=120)
                stop = gr.Button("Stop", interactive=False, elem_id="find-stop", min_width=100)
        with gr.Column(scale=3, min_width=320):
            line = gr.HTML(status(HINT), elem_id="find-status")
            spoken = gr.HTML(
                HINT, html_template=_SPOKEN, js_on_load=_SPEAK, apply_default_css=False, elem_id="find-spoken"
            )
            with gr.Column(visible=False, elem_id="find-clip") as clip:
                preview = gr.HTML("", elem_id="find-preview")
                clip_links = gr.HTML("", elem_id="find-clip-links")
            with gr.Column(visible=False, elem_id="find-results") as results:
                parts = _results(line, spoken, run, stop, results, clip, preview, clip_links)
    actions = FindActions(workshop, sessions, parts)
    _wire(actions, session, [concepts, given, folder, several])
    page.load(sessions.new, outputs=session, show_progress="hidden")
    for event in (tab.select, page.load):
        event(lambda: gr.update(**_known(workshop)), outputs=concepts, show_progress="hidden")


def _examples(workshop: Workshop, given: gr.File) -> None:
    """Albums to try it with, where there are any."""
    things = example_things()
    if things:
        with gr.Row(elem_classes=["toolbar", "quiet"], elem_id="find-examples"):
            for thing in things:
                button = gr.Button(f"Try the {thing} album", size="sm", min_width=110)
                button.click(partial(_album_files, workshop, thing), outputs=given, show_progress="hidden")


def _album_files(workshop: Workshop, thing: str) -> list[str]:
    return [str(each) for each in example_album(workshop, thing)]


def _known(workshop: Workshop) -> dict[str, Any]:
    """The concepts that can be looked for. None is chosen for the user, who may be about to do so."""
    names = workshop.concepts.names()
    return {
        "choices": names,
        "info": "Concepts that you taught." if names else "Nothing is taught yet: begin in the tab Teach.",
    }


def _results(*above: Any) -> FindParts:
    """Filters, gallery, the chosen result, and downloads."""
    with gr.Row(elem_id="find-views"):
        states = gr.CheckboxGroup(
            [], label="Show", info="Nothing ticked: all.", elem_id="find-states", scale=2, min_width=260
        )
        only = gr.CheckboxGroup(
            [], label="of", info="Nothing ticked: all.", visible=False, elem_id="find-only", min_width=140
        )
        order = gr.Dropdown(ORDER_CHOICES, value="order", label="Order", elem_id="find-order", scale=1, min_width=140)
        kind = gr.Radio(KIND_CHOICES, value="overlay", label="Pictures", elem_id="find-kind", scale=2, min_width=260)
    with gr.Row():
        threshold = gr.Slider(
            0,
            100,
            100 * SURE_ENOUGH,
            step=1,
            label="Counts as there from (%)",
            info=_THRESHOLD,
            elem_id="find-threshold",
            min_width=260,
        )
        least = gr.Slider(
            0,
            100,
            0,
            step=1,
            label="Show from a score of (%)",
            info="Lower ones are neither shown nor downloaded.",
            elem_id="find-least",
            min_width=260,
        )
    gallery = _asset("gallery", gallery_of(PhotoSearch.empty(), "overlay"), label="Results", elem_id="find-gallery")
    with gr.Row(elem_classes="toolbar"):
        worth = gr.Button(
            "Show what is most worth correcting", elem_id="find-worth", elem_classes="quiet", size="sm", min_width=160
        )
        back = gr.Button("‹ Earlier", elem_id="find-page-back", elem_classes="quiet", size="sm", min_width=90)
        page = gr.HTML("", elem_id="find-page")
        on = gr.Button("Later ›", elem_id="find-page-on", elem_classes="quiet", size="sm", min_width=90)
    with gr.Tabs(elem_id="find-detail"):
        with gr.Tab("Picture", id="picture") as pictured, gr.Row():
            with gr.Column(scale=2, min_width=300):
                large = gr.HTML(large_of(PhotoSearch.empty(), None, "overlay"), elem_id="find-large")
            with gr.Column(scale=1, min_width=260):
                facts = gr.HTML("", elem_id="find-facts")
        with gr.Tab("Explain", id="explain") as explained:
            steps = _asset("steps", {"steps": [], "empty": EXPLAIN_HINT}, label="Steps", elem_id="find-steps")
        with gr.Tab("Correct", id="correct") as corrected:
            canvas = Canvas(label="Mask to correct", elem_id="find-canvas", empty=_CANVAS_HINT)
            save_as = gr.Radio(
                [("Replace the concept", "replace"), (SAVE_AS_NEW, "new")],
                value="replace",
                label="The concept that learns from it",
                elem_id="find-save-as",
            )
            with gr.Row(elem_classes="toolbar"):
                learn = gr.Button("Use as another shot", variant="primary", elem_id="find-learn", min_width=150)
                keep = gr.Button("For this photo alone", elem_id="find-keep", min_width=150)
                absent = gr.Button("It is not there", elem_id="find-absent", min_width=130)
    note = gr.HTML("", elem_id="find-note")
    changes = gr.HTML("", elem_id="find-changes")
    with gr.Accordion("Download what is shown", open=False, elem_id="find-downloads"), gr.Row():
        parcel = gr.Dropdown(
            [(each.name, key) for key, each in PARCELS.items()],
            value="masks",
            label="What",
            elem_id="find-parcel",
            min_width=240,
        )
        prepare = gr.Button("Prepare", elem_id="find-prepare", min_width=100)
        download = gr.DownloadButton(
            "Download", variant="primary", visible=False, elem_id="find-download", min_width=260
        )
    line, spoken, run, stop, results, clip, preview, clip_links = above
    return FindParts(
        status=line,
        spoken=spoken,
        run=run,
        stop=stop,
        results=results,
        states=states,
        only=only,
        order=order,
        least=least,
        threshold=threshold,
        kind=kind,
        gallery=gallery,
        page=page,
        back=back,
        on=on,
        worth=worth,
        large=large,
        facts=facts,
        views=(pictured, explained, corrected),
        steps=steps,
        canvas=canvas,
        save_as=save_as,
        learn=learn,
        keep=keep,
        absent=absent,
        changes=changes,
        note=note,
        parcel=parcel,
        prepare=prepare,
        download=download,
        clip=clip,
        preview=preview,
        clip_links=clip_links,
    )


def _asset(name: str, value: Any, **more: Any) -> gr.HTML:
    """A component of our own: its page, style and script lie beside this file."""
    html, css, js = ((files("persam.studio.find") / f"{name}.{kind}").read_text(encoding="utf-8") for kind in _KINDS)
    return gr.HTML(value, html_template=html, css_template=css, js_on_load=js, apply_default_css=False, **more)


_KINDS = ("html", "css", "js")


def _wire(actions: FindActions, session: gr.State, asked: list[Any]) -> None:
    """Say which action follows what."""
    parts = actions.parts
    outputs = parts.changing
    run: dict[str, Any] = {"outputs": outputs, **AT_ONCE}
    kind = parts.kind
    on_press(parts.run, actions.find, [session, *asked, kind], **run)
    parts.stop.click(actions.stop, session, **run)
    views = [parts.states, parts.only, parts.least, parts.order, parts.threshold, kind]
    gr.on(
        [
            parts.states.input,
            parts.only.input,
            parts.order.input,
            kind.input,
            parts.least.release,
            parts.threshold.release,
        ],
        actions.choose_shown,
        [session, *views],
        trigger_mode="always_last",
        **run,
    )
    on_press(parts.back, partial(actions.turn_page, -1), [session, kind], **run)
    on_press(parts.on, partial(actions.turn_page, 1), [session, kind], **run)
    # Another one may be chosen while the last is explained still; what then comes of that is not shown.
    chosen: dict[str, Any] = {**run, "trigger_mode": "multiple"}
    parts.gallery.select(actions.choose, [session, kind], **chosen)
    parts.worth.click(actions.choose_worth, [session, kind], **chosen)
    for view, detail in zip(parts.views, ("picture", "explain", "correct"), strict=True):
        view.select(partial(actions.open_detail, detail), session, **chosen)
    drawn = {**run, "outputs": [parts.canvas, parts.status, parts.spoken, parts.note]}
    parts.canvas.input(actions.draw, [session, parts.canvas], trigger_mode="always_last", **drawn)
    on_press(parts.learn, actions.learn, [session, parts.canvas, parts.save_as, kind], **run)
    on_press(parts.keep, actions.keep_mask, [session, parts.canvas, kind], **run)
    on_press(parts.absent, actions.say_absent, [session, kind], **run)
    parts.parcel.input(actions.choose_parcel, [session, parts.parcel], trigger_mode="always_last", **run)
    on_press(parts.prepare, actions.prepare, [session, parts.parcel], **run)
