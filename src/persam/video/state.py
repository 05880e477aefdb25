"""The state of whatever follows objects: taken after any frame, kept in a file, and gone on from, exact to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from persam.errors import PersamError
from persam.files import write_bytes

_ODD = (LookupError, ValueError, TypeError, AttributeError, RuntimeError)  # what comes of a file of something else


class Resumable:
    """Has a state: all of its attributes but those that follow from what it was made with.

    An attribute that a subclass adds is part of it by itself, if it is a plain value, an array, a tensor, a dataclass,
    another `Resumable` that is there from the beginning, or a list, tuple or dict of these. Arrays and tensors in it
    must be replaced where they change, not written into: a state is taken after every frame, without copying them.
    """

    _FIXED: ClassVar[frozenset[str]] = frozenset()  # attributes that making it again gives again

    def state(self) -> dict[str, Any]:
        """What it has come to, as it stays when it goes on."""
        return {name: _taken(value) for name, value in vars(self).items() if name not in self._FIXED}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of one that was made in the same way."""
        for name, value in state.items():
            setattr(self, name, _restored(getattr(self, name, None), value))


def _taken(value: Any) -> Any:
    if isinstance(value, Resumable):
        return value.state()
    if type(value) in (list, tuple):
        return type(value)(map(_taken, value))
    if type(value) is dict:
        return {key: _taken(each) for key, each in value.items()}
    return value


def _restored(held: Any, value: Any) -> Any:
    if isinstance(held, Resumable):
        held.restore(value)
        return held
    if isinstance(held, list) and held and all(isinstance(each, Resumable) for each in held):
        for each, part in zip(held, value, strict=True):
            each.restore(part)
        return held
    return _taken(value)  # whose lists it may go on changing


# ------------------------------------------------------------------------------------------------- as a file


class DamagedStateError(PersamError):
    """A file of a state is cut short, was changed, or is something else."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state as safetensors, whole or not at all.

    Raises:
        PersamError: it cannot be written.
        TypeError: something in it is neither a plain value nor an array, see `Resumable`.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(dict(state), tensors))
    write_bytes(path, save(tensors, metadata={"state": tree, "digest": _digest(tree, tensors)}))


def read_state(path: Path) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Raises:
        DamagedStateError: it is not to be had as it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            words = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if words["digest"] != _digest(words["state"], tensors):
            raise DamagedStateError(f"{path} was changed.")
        return _unpacked(json.loads(words["state"]), tensors)
    except (SafetensorError, OSError, ImportError, *_ODD) as error:
        raise DamagedStateError(f"{path} is damaged.") from error


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that is in a file, for safetensors does not see a bit that was flipped."""
    digest = hashlib.blake2b(tree.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON, its arrays among the tensors."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) in (list, tuple):
        return {type(value).__name__: [_packed(each, tensors) for each in value]}
    if type(value) is dict:
        return {"dict": [[_packed(key, tensors), _packed(each, tensors)] for key, each in value.items()]}
    name = str(len(tensors))
    if isinstance(value, (np.ndarray, np.generic)):
        tensors[name] = torch.from_numpy(np.array(value, order="C"))
        return {"array": name, "scalar": isinstance(value, np.generic)}
    if isinstance(value, Tensor):
        # As it lies in memory: sums over it are then made in the same order, and so the same to the last bit.
        strides = value.stride()
        order = sorted(range(value.ndim), key=lambda axis: -strides[axis])
        tensors[name] = value.detach().permute(order).contiguous().cpu().clone()
        return {"tensor": name, "order": order, "device": str(value.device)}
    if is_dataclass(value) and type(value).__module__.startswith("persam."):
        parts = {each.name: _packed(getattr(value, each.name), tensors) for each in fields(value)}
        return {"class": [type(value).__module__, type(value).__qualname__], "parts": parts}
    raise TypeError(f"a state cannot keep a {type(value).__name__}; see persam.video.state.Resumable")


def _unpacked(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(packed, dict):
        return packed
    if "list" in packed:
        return [_unpacked(each, tensors) for each in packed["list"]]
    if "tuple" in packed:
        return tuple(_unpacked(each, tensors) for each in packed["tuple"])
    if "dict" in packed:
        return {_unpacked(key, tensors): _unpacked(each, tensors) for key, each in packed["dict"]}
    if "array" in packed:
        array = tensors[packed["array"]].numpy()
        return array[()] if packed["scalar"] else array
    if "tensor" in packed:
        return tensors[packed["tensor"]].permute(tuple(np.argsort(packed["order"]))).to(packed["device"])
    module, name = packed["class"]
    kind = getattr(import_module(module), name) if module.startswith("persam.") else None
    if not is_dataclass(kind):  # a file may come from anywhere, and is not to choose what is called
        raise ValueError(name)
    return kind(**{part: _unpacked(each, tensors) for part, each in packed["parts"].items()})  # type: ignore[operator]
