"""Encodings of photos on disk, within a bound: a further concept then costs the decoder alone.

Safetensors files, one a photo, named by the photo's content and by what encoded it.  The one that was used longest ago
goes first.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from persam.errors import PersamError
from persam.files import write_bytes
from persam.geometry import Frame
from persam.models.base import EncodedImage

_SUFFIX = ".safetensors"
_COPIES = ("pixels", "detail", "for_finder")  # of the photo, among what is encoded of it


class EncodingCache:
    """Encodings in a folder of at most `limit` bytes. What is damaged or gone is only encoded again.

    Args:
        folder: made when the first is kept.
        limit: bytes; 0 keeps nothing.
        encoder: what encodes, such as the fingerprints of the model and of another encoder; one that differs finds
            nothing of the other.
        device: where tensors are wanted.
    """

    def __init__(self, folder: Path, limit: int, encoder: str, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.limit = limit
        self.device = torch.device(device)
        self._encoder = hashlib.blake2b(encoder.encode(), digest_size=8).hexdigest()
        self._sizes = {file.name: file.stat().st_size for file in folder.glob(f"*{_SUFFIX}")} if limit else {}
        self._used = {name: (folder / name).stat().st_mtime_ns for name in self._sizes}

    @property
    def size(self) -> int:
        """Bytes that lie in the folder."""
        return sum(self._sizes.values())

    def __contains__(self, content: str) -> bool:
        return self._name(content) in self._sizes

    def get(self, content: str) -> EncodedImage | None:
        """The encoding of a photo of this content, or None."""
        file = self.folder / self._name(content)
        if file.name not in self._sizes:
            return None
        try:
            with safe_open(file, framework="pt", device=str(self.device)) as stream:
                tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (no mapping)
                found = _unpacked(tensors)
            os.utime(file)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            self._forget(file.name)
            return None
        self._used[file.name] = file.stat().st_mtime_ns
        return found

    def put(self, content: str, encoded: EncodedImage) -> None:
        """Keep an encoding, unless it alone is above the limit or has parts that no file can hold."""
        tensors = _packed(encoded)
        if tensors is None or not self.limit:
            return
        data = save(tensors)
        if len(data) > self.limit:
            return
        name = self._name(content)
        while self._sizes and self.size - self._sizes.get(name, 0) + len(data) > self.limit:
            self._forget(min(self._used, key=self._used.__getitem__))
        with contextlib.suppress(PersamError):  # no room for it: then without
            write_bytes(self.folder / name, data)
            self._sizes[name] = len(data)
            self._used[name] = (self.folder / name).stat().st_mtime_ns

    def _name(self, content: str) -> str:
        return f"{content}-{self._encoder}{_SUFFIX}"

    def _forget(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)
        self._sizes.pop(name, None)
        self._used.pop(name, None)


def _packed(encoded: EncodedImage, prefix: str = "") -> dict[str, Tensor] | None:
    """An encoding as named tensors; None where a model's extras are something else."""
    if not all(isinstance(value, Tensor) for value in encoded.extras.values()):
        return None
    tensors = {f"{prefix}features": encoded.features, f"{prefix}frame": _numbers_of(encoded.frame)}
    tensors |= {f"{prefix}extras.{name}": value for name, value in encoded.extras.items()}
    for name in _COPIES:
        copy = getattr(encoded, name)
        if copy is not None:
            tensors[f"{prefix}{name}"] = torch.from_numpy(np.ascontiguousarray(copy))
    if encoded.other is not None:
        inner = _packed(encoded.other, f"{prefix}other.")
        if inner is None:
            return None
        tensors |= inner
    return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}


def _unpacked(tensors: dict[str, Tensor], prefix: str = "") -> EncodedImage:
    mine = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    extras: dict[str, Any] = {
        name.removeprefix("extras."): tensor for name, tensor in mine.items() if name.startswith("extras.")
    }
    copies: dict[str, Any] = {name: mine[name].cpu().numpy() for name in _COPIES if name in mine}
    return EncodedImage(
        mine["features"],
        Frame(*(tuple(pair) for pair in mine["frame"].tolist())),
        extras,
        _unpacked(mine, "other.") if "other.features" in mine else None,
        **copies,
    )


def _numbers_of(frame: Frame) -> Tensor:
    return torch.tensor(list(asdict(frame).values()))
