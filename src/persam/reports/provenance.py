"""What a number depends on, for whoever wants to get it again: versions, and hashes of weights."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from persam import __version__

_PACKAGES = ("torch", "transformers", "numpy", "opencv-python-headless", "pillow")


def versions(*more: str) -> dict[str, str | None]:
    """Versions of persam, Python and the libraries that results depend on; None for one that is not installed.

    Args:
        more: names of further packages.
    """
    found: dict[str, str | None] = {"persam": __version__, "python": platform.python_version()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def weights_hash(model: Any) -> str | None:
    """SHA-256 of all weights of a model's network, names included; None for a model without a network."""
    import torch

    from persam.models.fingerprint import weights_sha256

    network = getattr(model, "network", None)
    if not isinstance(network, torch.nn.Module):
        return None
    return weights_sha256(network)
