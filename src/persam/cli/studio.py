"""`persam studio`: a page on which one draws once what is one's own, and sees it found."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persam.cli.console import say
from persam.cli.options import Backend, Device, Dtype, Encoder, Fitted, Host, Mode, Model, load_model
from persam.errors import UsageError
from persam.lazy import library

if TYPE_CHECKING:
    from persam.studio.serving import Door

_LIBRARIES = ("gradio", "fastapi", "uvicorn")


def studio(
    concepts: Annotated[Path, typer.Option(help="Folder of the concepts; what is learned is saved there.")] = Path(
        "concepts"
    ),
    study: Annotated[
        Path | None, typer.Option(metavar="STUDY", help="Folder of a study, as `persam study new` makes it, to mask.")
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Show the study's photos to everybody in an order of their own.")
    ] = False,
    model: Model = "tiny",
    mode: Mode = "persam",
    encoder: Encoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What visitors have to know stands in it; or in PERSAM_TOKEN."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Open a page: click on your thing in a photo, name it, and look for it in photos, folders and clips.

    Nothing leaves this machine, and only this machine reaches the page, unless --host and a token say otherwise. It
    ends with Ctrl-C.

    [bold]Examples[/bold]

    persam studio

    persam studio --concepts my-things --model facebook/sam-vit-base
    """
    for name in _LIBRARIES:
        library(name, "persam studio", "studio")
    from persam.cli.serve import token_in
    from persam.files import check_folder
    from persam.server.engine import Engine
    from persam.server.serving import address_of, listen
    from persam.server.settings import ServerSettings
    from persam.server.store import ConceptStore
    from persam.studio.app import create_studio
    from persam.studio.serving import Door, serve
    from persam.studio.workshop import Workshop

    check_folder(concepts)
    _check_study(study, shuffle=shuffle)
    settings = ServerSettings(folder=concepts, host=host, port=port, token=token_in(token_file))
    with listen(settings) as taken:
        say("Loading the model ...")
        loaded = load_model(
            model, mode=mode, encoder=encoder, fitted=fitted, device=device, dtype=dtype, backend=backend
        )
        with (
            Engine(loaded) as engine,
            Workshop(engine, ConceptStore(concepts), study=study, is_local=settings.is_loopback) as workshop,
        ):
            url = address_of(settings, taken)
            door = Door(create_studio(workshop), settings)
            serve(door, taken, lambda: _tell(door, url, browser=browser))
            engine.close(finish=False)
    say("Stopped.")


def _check_study(study: Path | None, *, shuffle: bool) -> None:
    """See that the study is one before the work, and have its photos shuffled if that is wanted."""
    if study is None:
        if shuffle:
            raise UsageError("--shuffle is about the photos of a study; say with --study which.")
        return
    from persam import study as studies

    found = studies.read(study)
    if shuffle:
        studies.shuffle(found)


def _tell(door: Door, url: str, *, browser: bool) -> None:
    say(f"The studio is at {url} (Ctrl-C ends it); concepts are in {door.settings.folder}.")
    if browser:
        address = url if door.settings.token is None else f"{url}/?code={door.code()}"
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()  # it may wait for a browser
