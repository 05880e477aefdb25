"""What a training keeps now and then, so that the same command goes on where it was stopped or killed.

What is random in a step follows from the seed and the step's number alone. So weights, the optimizer's state and the
number of steps are all of it, and a training that was stopped ends in the same weights as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from persam.dreambooth.options import difference
from persam.dreambooth.runs import CHECKPOINTS, LORA, LOSSES, PIPELINE, RUN, SAMPLES, Run, load_run
from persam.errors import PersamError, UsageError, first_line
from persam.files import atomic_path, write_text
from persam.ledger import HIDDEN, Ledger, holds_json

KEPT = 2  # the latest; the one before is for a disk that lost the last
_ASKED = f"{HIDDEN}/training.json"
_NAME = re.compile(r"step_(\d{6,})\.pt")

State = dict[str, Any]


def look_back(ledger: Ledger, asked: Mapping[str, Any], steps: int) -> Run | None:
    """What a run's folder holds of an earlier call.

    Args:
        ledger: of the folder; where it may overwrite, what is there does not matter.
        asked: all that the weights after so many steps depend on.
        steps: that are asked for.

    Returns:
        The run, where it is done; None where there is something to do, from the start or from a checkpoint.

    Raises:
        UsageError: it holds another training, or files of somebody else.
        PersamError: what it holds is damaged.
    """
    folder = ledger.folder
    if not ledger.overwrite and (folder / _ASKED).is_file():
        try:
            before = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PersamError(f"{folder / _ASKED} is damaged; begin anew with --overwrite.") from error
        if differs := difference(before, asked):
            raise refuse_other(folder, differs)
        if holds_json(folder / RUN, "steps"):
            run = load_run(folder)
            if run.steps == steps:
                return run
            if run.steps > steps:
                raise refuse_other(folder, f"steps was {run.steps} and is {steps}")
    ledger.check([RUN, LORA, LOSSES])
    return None


def clear(folder: Path) -> None:
    """Remove what an earlier training left in a run's folder, but for class images, which took long to make."""
    remove_checkpoints(folder)
    for name in (PIPELINE, SAMPLES):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (RUN, LORA, LOSSES, _ASKED):
        (folder / name).unlink(missing_ok=True)


def refuse_other(folder: Path, differs: str) -> UsageError:
    """The sentence for a folder that holds a training of other options."""
    return UsageError(
        f"{folder} holds a training with other options: {differs}; give the same to go on, choose another --output, or "
        "begin anew with --overwrite."
    )


def save_checkpoint(folder: Path, step: int, state: State, asked: Mapping[str, Any]) -> Path:
    """Write a checkpoint, whole or not at all, and remove all but the latest.

    Args:
        folder: of the run.
        step: how many steps are done.
        state: tensors, numbers and texts, in dicts and lists.
        asked: as of `look_back`.

    Raises:
        PersamError: it cannot be written.
    """
    write_text(folder / _ASKED, json.dumps(asked, indent=1) + "\n")
    file = folder / CHECKPOINTS / f"step_{step:06}.pt"
    with atomic_path(file) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # so PyTorch says that the disk is full
            raise PersamError(
                f"Cannot write {file} ({first_line(error)}); free some room on the disk and run this again."
            ) from error
    remove_checkpoints(folder, keep=KEPT)
    return file


def load_checkpoint(folder: Path) -> tuple[int, State] | None:
    """Read a run's latest checkpoint that can be read: steps done, and the state. None: there is none.

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
    """Remove a run's checkpoints, but for the latest `keep`."""
    for _, file in _found(folder)[keep:]:
        with contextlib.suppress(OSError):
            file.unlink()


def _found(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a run, the latest first."""
    home = folder / CHECKPOINTS
    files = home.iterdir() if home.is_dir() else ()
    return sorted(((int(match[1]), file) for file in files if (match := _NAME.fullmatch(file.name))), reverse=True)
