"""The page: four tabs on one workshop, served by FastAPI to this machine alone unless a token is asked for."""

from __future__ import annotations

import os

import gradio as gr
from fastapi import FastAPI, Response

from persam.studio import annotate, concepts, find, teach
from persam.studio.theme import css, theme
from persam.studio.workshop import Workshop

TABS = (("Teach", teach.build), ("Find", find.build), ("Concepts", concepts.build), ("Study", annotate.build))


def create_studio(workshop: Workshop) -> FastAPI:
    """The studio as an application for any ASGI server; it does not close the workshop."""
    os.environ["GRADIO_TEMP_DIR"] = str(workshop.uploads)  # asked when components are made
    app = FastAPI(title="persam studio", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/pictures/{name}")
    def picture(name: str) -> Response:
        file = workshop.pictures.get(name)
        if file is None:
            return Response("This picture is gone; load the photo again.", status_code=404)
        return Response(file, media_type=f"image/{'jpeg' if name.endswith('jpg') else 'png'}")

    page = _page(workshop)
    for router in workshop.routers:  # before the page, which answers every address
        app.include_router(router)
    return gr.mount_gradio_app(
        app,
        page,
        path="/",
        theme=theme(),
        css=css(),
        footer_links=[],
        run_history=False,
        show_error=True,
        ssr_mode=False,
        allowed_paths=[str(workshop.downloads)],
    )


def _page(workshop: Workshop) -> gr.Blocks:
    with gr.Blocks(title="persam studio", analytics_enabled=False) as page:
        gr.Markdown("# persam studio\nDraw once what is yours, and see it found.", elem_id="studio-title")
        with gr.Tabs(elem_id="studio-tabs"):
            for name, build in TABS:
                with gr.Tab(name, id=name.lower(), elem_id=f"studio-{name.lower()}"):
                    build(workshop)
    return page
