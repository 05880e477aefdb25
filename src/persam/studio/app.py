"""The page: four tabs on one workshop. Who may see it is said at its door, see `serving.py`."""

from __future__ import annotations

import os
from html import escape
from importlib.resources import files
from pathlib import PurePath

import gradio as gr
from fastapi import FastAPI, Response

from persam.studio import concepts
from persam.studio.components import wake_button
from persam.studio.find import tab as find
from persam.studio.study import tab as annotate
from persam.studio.teach import tab as teach
from persam.studio.theme import css, head, theme
from persam.studio.workshop import Workshop

TABS = (("Teach", teach.build), ("Find", find.build), ("Concepts", concepts.build), ("Study", annotate.build))
_STYLES = ("cards.css",)  # besides that of the looks
_MOST_UPLOADED = "4gb"  # one file, such as a clip
# What a browser shows and cannot run: no page, and no SVG.
_PICTURES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_ALWAYS = {"cache-control": "private, max-age=86400, immutable", "x-content-type-options": "nosniff"}


def create_studio(workshop: Workshop) -> FastAPI:
    """The studio as an application for any ASGI server; it does not close the workshop."""
    # Gradio asks for these when the page is made: where uploads go, that nobody is told of it, and that it does not
    # reckon its statistics anew (a table of 10,000 rows) after every click.
    os.environ |= {
        "GRADIO_TEMP_DIR": str(workshop.uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    }
    app = FastAPI(title="persam studio", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/pictures/{name}")
    def picture(name: str) -> Response:
        file, kind = workshop.pictures.get(name), _PICTURES.get(PurePath(name).suffix)
        if file is None or kind is None:
            return Response("This picture is gone; load the photo again.", status_code=404)
        return Response(file, media_type=kind, headers=_ALWAYS)

    page = _page(workshop)
    for router in workshop.routers:  # before the page, which answers every address
        app.include_router(router)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme(),
        css=css(),
        head=head(),
        css_paths=[files(__package__) / name for name in _STYLES],
        footer_links=[],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        max_file_size=_MOST_UPLOADED,
        allowed_paths=[str(workshop.downloads)],
    )


def _page(workshop: Workshop) -> gr.Blocks:
    model = workshop.engine.model.model
    words = f"Draw once what is yours, and see it found. Model {model.name} on {model.device}."
    with gr.Blocks(title="persam studio", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(f'<div class="masthead"><h1>persam studio</h1><p>{escape(words)}</p></div>', elem_id="studio-title")
        first = "study" if workshop.study is not None else "teach"
        with gr.Tabs(selected=first, elem_id="studio-tabs"):
            for name, build in TABS:
                with gr.Tab(name, id=name.lower(), elem_id=f"studio-{name.lower()}"):
                    build(workshop)
        wake_button()
    return page
