"""By what weights are known: a hash of all of their bytes; and whether they are numbers at all.

A concept belongs to the weights that it was learned with, bit by bit: with a few bytes of them changed a model still
runs, and finds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from persam.errors import PersamError

DIGITS = 12


class Known(Protocol):
    """What has a fingerprint."""

    fingerprint: str


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 of all weights of a network, with their names, shapes and number formats, as hex digits.

    About half a second for a gigabyte; equal weights in another number format hash differently.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fingerprint_of(network: nn.Module) -> str:
    """Short name of a network's weights: the first digits of `weights_sha256`."""
    return weights_sha256(network)[:DIGITS]


def sampled_fingerprint_of(network: nn.Module) -> str:
    """What persam 0.1.0 knew weights by: a hash of 64 values of every tensor. For what it wrote."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)][:64].float().cpu().numpy()
        digest.update(f"{name}{tuple(tensor.shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:DIGITS]


def fingerprint_with(fingerprint: str, changes: Sequence[str]) -> str:
    """The fingerprint of what gives other features than the weights alone do; with no `changes` the weights' own."""
    if not changes:
        return fingerprint
    return hashlib.sha256(" ".join([fingerprint, *changes]).encode()).hexdigest()[:DIGITS]


def known_as(network: Known) -> tuple[str, ...]:
    """All fingerprints by which files may know a model or encoder, the present one first."""
    return network.fingerprint, getattr(network, "sampled_fingerprint", network.fingerprint)


def check_numbers(network: nn.Module, name: str) -> None:
    """See that all weights are finite.

    Raises:
        PersamError: one is NaN or infinite; says where.
    """
    for part, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
            raise PersamError(
                f"The weights of the model {name} are damaged: {part} holds NaN or infinity; get the model again."
            )


def check_file(path: Path, recorded: Path) -> None:
    """See that a file is the one whose SHA-256 was recorded, in the form that `sha256sum` writes.

    Raises:
        PersamError: it is another, damaged or gone.
    """
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if recorded.read_text(encoding="ascii").split()[:1] == [found]:
            return
    except (OSError, UnicodeDecodeError):
        pass
    raise PersamError(
        f"The bundled model is damaged: {path} is not the file that persam came with; install persam again."
    )


def record_file(path: Path, recorded: Path) -> None:
    """Write what `check_file` compares with."""
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    recorded.write_text(f"{found}  {path.name}\n", encoding="ascii")


def _is_finite(tensor: Tensor) -> bool:
    low, high = torch.aminmax(tensor.detach())  # NaN wins both; one pass and no copy, unlike isfinite().all()
    return bool(torch.isfinite(low) & torch.isfinite(high))
