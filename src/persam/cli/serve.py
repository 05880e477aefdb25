"""`persam serve`: concepts, photos, albums and clips for programs, over HTTP."""

from __future__ import annotations

import os
import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persam.cli.console import print_json, say
from persam.cli.options import Backend, Device, Dtype, Encoder, Fitted, Host, Json, Mode, Model, load_model
from persam.errors import UsageError
from persam.lazy import library

if TYPE_CHECKING:
    from persam.server.settings import Limits, ServerSettings

TOKEN_VARIABLE, STUDIO_KEY_VARIABLE = "PERSAM_TOKEN", "LABEL_STUDIO_API_KEY"
_LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "sse_starlette")
_NAMED = 8  # concepts that are named when it starts


def serve(
    folder: Annotated[Path, typer.Option(help="Where everything is kept that it is given and makes.")] = Path(
        "persam-service"
    ),
    model: Model = "tiny",
    mode: Mode = "persam",
    encoder: Encoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    backend: Backend = "torch",
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"What callers have to know stands in it; or in {TOKEN_VARIABLE}."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A web page that may call it; repeat for several.")
    ] = None,
    label_studio_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help=f"Label Studio whose photos it may get; a token of a user there stands in {STUDIO_KEY_VARIABLE}.",
        ),
    ] = None,
    photo_host: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Where Label Studio may send it for photos, such as a bucket; repeat."),
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Jobs that have ended are removed then; default: never.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Another limit, such as photo_pixels=20e6; see docs/serve.md."),
    ] = None,
    log_format: Annotated[str, typer.Option(help="text or json: one line for every request, on stderr.")] = "text",
    json: Json = False,
) -> None:
    """Learn objects and find them for other programs, over HTTP; ends with Ctrl-C or SIGTERM.

    What it answers to stands at /docs. Only programs on this machine reach it, unless --host and a token say otherwise.

    [bold]Examples[/bold]

    persam serve --folder my-service

    openssl rand -hex 16 > token && persam serve --host 0.0.0.0 --token-file token --log-format json
    """
    for name in _LIBRARIES:
        library(name, "persam serve", "serve")
    from persam.images import MAX_PIXELS_VARIABLE
    from persam.server.app import create_app
    from persam.server.holding import held
    from persam.server.serving import address_of, listen
    from persam.server.serving import serve as run
    from persam.server.settings import ServerSettings
    from persam.server.telemetry import log_to_stderr

    if log_format not in ("text", "json"):
        raise UsageError(f"The log's format is text or json, not {log_format!r}.")
    settings = ServerSettings(
        folder=folder,
        host=host,
        port=port,
        token=token_in(token_file),
        origins=tuple(allow_origin or ()),
        label_studio_url=label_studio_url,
        label_studio_key=os.environ.get(STUDIO_KEY_VARIABLE) or None,
        photo_hosts=tuple(photo_host or ()),
        keep_days=keep_days,
        limits=_limits(limit or []),
    )
    os.environ[MAX_PIXELS_VARIABLE] = str(settings.limits.photo_pixels)  # for albums' photos, too
    with held(folder), listen(settings) as taken:
        log_to_stderr("json" if log_format == "json" else "text")
        loaded = load_model(
            model, mode=mode, encoder=encoder, fitted=fitted, device=device, dtype=dtype, backend=backend
        )
        url = address_of(settings, taken)
        given_up = run(
            create_app(settings, loaded, is_held=True),
            settings,
            taken,
            on_ready=lambda: _tell(settings, url, loaded.model.name, token_file, as_json=json, log_format=log_format),
        )
    if log_format == "text":
        rest = f"{given_up} of the requests were given up" if given_up else "What was asked is answered"
        say(f"Stopped. {rest}; jobs go on when it starts again.")


def token_in(file: Path | None) -> str | None:
    """The token in a file, or in `TOKEN_VARIABLE`; None: there is none.

    Raises:
        UsageError: the file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(
            f"The token cannot be read from {file} ({reason}); `openssl rand -hex 16` makes one."
        ) from error
    if not token:
        raise UsageError(f"{file} is empty; put a token into it, such as `openssl rand -hex 16` gives.")
    return token


def _limits(given: list[str]) -> Limits:
    """Read ``NAME=NUMBER``, several.

    Raises:
        UsageError: there is no such limit, or no number.
    """
    from persam.server.settings import Limits

    kinds: dict[str, Any] = {each.name: type(each.default) for each in fields(Limits)}
    values = {}
    for text in given:
        name, _, number = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds:
            raise UsageError(f"There is no limit {name!r}; there are {', '.join(kinds)}.")
        try:
            values[name] = kinds[name](float(number))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"The limit {name} takes a number, such as {name}=20e6, not {number!r}.") from error
    return Limits(**values)


def _tell(
    settings: ServerSettings, url: str, model: str, token_file: Path | None, *, as_json: bool, log_format: str
) -> None:
    from persam.server.store import ConceptStore
    from persam.server.telemetry import log

    names = ConceptStore(settings.concepts_folder).names()
    if as_json:
        print_json({"url": url, "model": model, "folder": str(settings.folder), "concepts": names})
    if log_format == "json":
        log("ready", url=url, model=model, concepts=len(names))
        return
    known = f"{', '.join(names[:_NAMED])}{', ...' * (len(names) > _NAMED)}" if names else "nothing yet"
    say(f"persam serves {model} at {url}; learned there: {known}. What it answers to: {url}/docs")
    ask, work = _examples(settings, url, names, token_file)
    say(f"Try it: {ask}")
    say(f"{'Find it' if names else 'Teach it'}: {work}")


def _examples(settings: ServerSettings, url: str, names: list[str], token_file: Path | None) -> tuple[str, str]:
    """A line that works when it is pasted, and one that does with one's own photos."""
    header = ""
    if settings.token is not None:
        where = f"${TOKEN_VARIABLE}" if token_file is None else f"$(cat {shlex.quote(str(token_file))})"
        header = f'-H "Authorization: Bearer {where}" '
    ask = f"curl {header}{url}/v1/concepts"
    if not names:
        return ask, f"curl {header}-F name=mug -F photo=@mug.jpg -F mask=@mug_mask.png {url}/v1/concepts"
    return ask, f"curl {header}-F {shlex.quote(f'concept={names[0]}')} -F photo=@kitchen.jpg {url}/v1/segment"
