"""Where the photos of an album are looked at: the options of that, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.album.ray_engine import RayEngine

Engine = Annotated[
    str,
    typer.Option(
        help="Where photos are looked at: local, or ray: several workers, on this machine or a cluster (extra: ray)."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="With --engine ray: how many; default one a GPU, else one a core, at most 8.")
]
Address = Annotated[
    str | None, typer.Option(help="With --engine ray: a running cluster, such as auto or 10.0.0.1:6379.")
]


def engine_of(name: str, workers: int | None, address: str | None, device: str) -> RayEngine | None:
    """Where photos are looked at; None: here.

    Raises:
        UsageError: There is no such engine, or it does not take these options.
    """
    if name == "ray":
        import torch

        from persam.album.ray_engine import RayEngine

        on_gpu = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
        return RayEngine(workers, address, on_gpu=on_gpu)
    if name != "local":
        raise UsageError(f"There is no engine {name!r}; choose local or ray.")
    if workers is not None or address is not None:
        raise UsageError("--workers and --address are of --engine ray; add it, or leave them out.")
    return None


def loaded_by(engine: RayEngine | None, model: str, device: str) -> tuple[str, str]:
    """Model and device as whoever looks at photos knows them: workers have other folders, and see one GPU each."""
    if engine is None:
        return model, device
    return str(Path(model).absolute()) if Path(model).exists() else model, "cuda" if engine.on_gpu else device
