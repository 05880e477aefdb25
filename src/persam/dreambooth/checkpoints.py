"""What a training keeps now and then, so that the same command goes on where it was stopped or killed.

What is random in a step follows from the seed and the step's number alone. So weights, the optimizer's state and the
number of steps are all of it, and a training that was stopped ends in the same weights as one that was not.
"""

from __future__ import annotations

import contextlib
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from persam.errors import PersamError, UsageError, first_line
from persam.files import atomic_path

KEPT = 2  # the latest; the one before is for a disk that lost the last
_NAME = re.compile(r"step_(\d{6,})\.pt")

State = dict[str, Any]


def save_checkpoint(folder: Path, step: int, state: State) -> Path:
    """Write a checkpoint, whole or not at all, and remove all but the latest.

    Args:
        folder: of the run's checkpoints.
        step: how many steps are done.
        state: tensors, numbers and texts, in dicts and lists.

    Raises:
        PersamError: it cannot be written.
    """
    file = folder / f"step_{step:06}.pt"
    with atomic_path(file) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # so PyTorch says that the disk is full
            raise PersamError(
                f"Cannot write {file} ({first_line(error)}); free some room on the disk and run this again."
            ) from error
    for _, old in _found(folder)[KEPT:]:
        with contextlib.suppress(OSError):
            old.unlink()
    return file


def load_checkpoint(folder: Path) -> tuple[int, State] | None:
    """Read the latest checkpoint that can be read: steps done, and the state. None: there is none.

    Raises:
        PersamError: there are some, and none can be read.
    """
    found = _found(folder)
    for step, file in found:
        with contextlib.suppress(OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            state = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(state, dict):
                return step, state
    if found:
        raise PersamError(f"{found[0][1]} cannot be read; begin anew with --overwrite, or choose another --output.")
    return None


def remove_checkpoints(folder: Path, keep: int = 0) -> None:
    """Remove checkpoints, but for the latest `keep`."""
    for _, file in _found(folder)[keep:]:
        file.unlink(missing_ok=True)


def refuse_other(folder: Path, differs: str) -> UsageError:
    """The sentence for a folder that holds a training of other options."""
    return UsageError(
        f"{folder} holds a training with other options: {differs}; give the same to go on, choose another --output, or "
        "begin anew with --overwrite."
    )


def _found(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a folder, the latest first."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(((int(match[1]), file) for file in files if (match := _NAME.fullmatch(file.name))), reverse=True)
