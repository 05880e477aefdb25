"""Files with weights of persam's own networks: safetensors that say of what form they are, and of their training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def write_weights(path: str | Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write weights (float16; statistics and positions float32) with what is told of them; atomic."""
    partial = Path(f"{path}.part")
    save_file({name: _compact(name, value) for name, value in state.items()}, partial, metadata=metadata)
    partial.chmod(0o644)  # safetensors leaves it to its owner alone
    partial.replace(path)


def read_weights(path: str | Path, form: str, network: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights as `write_weights` wrote them, and what is told of them.

    Args:
        path: the file.
        form: what it has to say of itself as its `format`.
        network: what that is the format of, for the error.

    Raises:
        ValueError: the file is no such file.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != form:
            raise ValueError(f"{path} holds no weights of the {network} (its format is not {form!r})")
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (not a dict)


def in_full(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as float32, of whatever float type they are."""
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _compact(name: str, value: Tensor) -> Tensor:
    """Half precision where it loses nothing that matters: not for running statistics, positions or counters."""
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point() or "running_" in name or "positional" in name:
        return value.clone()
    return value.half()
