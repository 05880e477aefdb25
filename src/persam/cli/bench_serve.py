"""`persam bench serve`: a load test of the service, with the same model in a bare loop beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from persam.cli.bench_options import Output
from persam.cli.bench_suites import show
from persam.cli.options import Device, Json, Model, quiet_libraries
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError

TOKEN_VARIABLE = "PERSAM_TOKEN"


def serve(
    clients: Annotated[int, typer.Option(min=1, max=64, help="That ask at once.")] = 8,
    seconds: Annotated[
        float, typer.Option(min=1, help="That all clients ask; the rest takes a third of it more.")
    ] = 600,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to send; default: drawn ones of several sizes.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help=f"Of a service that runs, with its token in {TOKEN_VARIABLE}; default: one is started."),
    ] = None,
    model: Model = "tiny",
    device: Device = "auto",
    output: Output = None,
    json: Json = False,
) -> None:
    """How the service does under load: latency, throughput against the bare model, memory, a burst; is anything lost?

    Example: persam bench serve --seconds 60 -o load
    """
    from persam.benchmark.suites.suite import claimed_out
    from persam.lazy import library
    from persam.reports.figures import check_plots

    if url is not None and not url.startswith(("http://", "https://")):
        raise UsageError(f"--url takes the address of a service, such as http://127.0.0.1:8000, not {url!r}.")
    library("httpx", "A load test", "serve")
    if output is not None:
        check_plots()
    quiet_libraries()
    with claimed_out(output, "serve"), progress_bar("seconds") as advance:
        from persam.server.load.measure import measure_service

        found = measure_service(
            model,
            device=device,
            url=url,
            token=os.environ.get(TOKEN_VARIABLE) or None,
            folder=photos,
            clients=clients,
            seconds=seconds,
            progress=lambda done, total: advance(done=round(done), total=round(total)),
        )
    show(found, output, json)
    if found.about["lost"]:
        raise PersamError(f"{found.about['lost']} requests or jobs were lost; the notes above name the first of them.")
