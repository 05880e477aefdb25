"""What a training keeps: now and then, so that the same command goes on where it was stopped or killed, and at its end.

What is random in a step follows from the seed and the step's number alone. So weights, the optimizer's state and the
number of steps are all of it, and a training that was stopped ends in the same weights as one that was not.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from persam.dreambooth.families import save_lora
from persam.dreambooth.options import difference
from persam.dreambooth.pipelines import INDEX
from persam.dreambooth.runs import CHECKPOINTS, LORA, LOSSES, PIPELINE, RUN, SAMPLES, Run, load_run
from persam.dreambooth.samples import SHEET
from persam.errors import PersamError, UsageError, first_line, write_error
from persam.files import atomic_path, write_text
from persam.ledger import HIDDEN, Ledger, holds_json, written_in

KEPT = 2  # the latest; the one before is for a disk that lost the last
_ASKED = f"{HIDDEN}/training.json"
_NAME = re.compile(r"step_(\d{6,})\.pt")

State = dict[str, Any]


def refuse_model_within(base: str, output: Path) -> None:
    """Refuse a base that lies in the run's folder, which is written and cleared: it could be lost.

    Raises:
        UsageError: it does.
    """
    if Path(base).is_dir() and Path(base).resolve().is_relative_to(output.resolve()):
        raise UsageError(f"The model {base} lies in {output}, where the run is written; choose another --output.")


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
            weights = run.learned / INDEX if run.method == "full" else run.learned
            if run.steps == steps and weights.is_file():  # else the kept checkpoint makes them again
                return run
            if run.steps > steps:
                raise refuse_other(folder, f"steps was {run.steps} and is {steps}")
    full = asked["method"] == "full"
    _refuse_strangers(ledger, full=full)
    ledger.check([RUN, LORA, LOSSES, f"{SAMPLES}/{SHEET}", *(written_below(folder, PIPELINE) if full else ())])
    return None


def _refuse_strangers(ledger: Ledger, *, full: bool) -> None:
    """Refuse what somebody else put into folders of a run's names.

    Beside the pictures of a run others may lie; but a pipeline is loaded as a whole, so that its folder is its own.
    """
    folder, written = ledger.folder, written_in(ledger.folder)
    is_run = ledger.overwrite or (folder / _ASKED).is_file()
    names = (PIPELINE, SAMPLES, CHECKPOINTS) if not is_run else (PIPELINE,) if full else ()
    for home in (folder / name for name in names):
        for file in sorted(home.rglob("*")):
            hidden = file.name.startswith(".")  # such as what a file manager or a killed writer leaves
            if not hidden and file.is_file() and file.relative_to(folder).as_posix() not in written:
                raise UsageError(
                    f"{home} holds files that persam did not write, such as {file.name}; move them away, or choose "
                    "another --output."
                )


def written_below(folder: Path, name: str) -> list[str]:
    """What persam wrote into a folder of the run, named from the run on."""
    return sorted(place for place in written_in(folder) if place.startswith(f"{name}/"))


def clear(ledger: Ledger) -> None:
    """Remove what an earlier training left in a run's folder, but for class images, which took long to make.

    Of what others wrote or changed there only what is going to be replaced goes.
    """
    folder = ledger.folder
    remove_checkpoints(folder)
    ledger.remove([LORA, *written_below(folder, PIPELINE), *written_below(folder, SAMPLES)])
    for home in (folder / PIPELINE, folder / SAMPLES):
        for place in sorted([home, *home.rglob("*/")], reverse=True):
            with contextlib.suppress(OSError):  # something is in it, or it is not there
                place.rmdir()
    for name in (RUN, LOSSES, _ASKED):
        (folder / name).unlink(missing_ok=True)


def keep_lora(pipeline: Any, folder: Path, *, words: bool) -> None:
    """Write the low-rank layers into a run's folder, whole or not at all.

    Raises:
        PersamError: they cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=folder / HIDDEN) as draft:
        with written_by_library(folder / LORA):
            save_lora(pipeline, Path(draft), LORA, words=words)
        with atomic_path(folder / LORA) as temporary:
            (Path(draft) / LORA).replace(temporary)


def keep_pipeline(pipeline: Any, ledger: Ledger) -> None:
    """Write a whole pipeline into a run's folder: elsewhere first, so that a full disk leaves an earlier one as it was.

    Raises:
        PersamError: it cannot be written.
    """
    draft, target = ledger.folder / HIDDEN / PIPELINE, ledger.folder / PIPELINE
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with written_by_library(target):
            pipeline.save_pretrained(draft)
        ledger.remove(written_below(ledger.folder, PIPELINE))
        for file in sorted(draft.rglob("*")):
            if file.is_file():
                with atomic_path(target / file.relative_to(draft)) as temporary:
                    file.replace(temporary)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


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
    with atomic_path(file) as temporary, written_by_library(file):
        torch.save(state, temporary)
    remove_checkpoints(folder, keep=KEPT)
    return file


@contextlib.contextmanager
def written_by_library(file: Path) -> Iterator[None]:
    """Say in one sentence that the block could not write a file: PyTorch and safetensors raise no OSError for that.

    Raises:
        PersamError: it could not.
    """
    from safetensors import SafetensorError

    try:
        yield
    except OSError as error:
        raise write_error(file, error) from error
    except (RuntimeError, SafetensorError) as error:
        raise PersamError(
            f"Cannot write {file} ({first_line(error)}); free some room on the disk and run this again."
        ) from error


def load_checkpoint(folder: Path) -> tuple[int, State] | None:
    """Read a run's latest checkpoint that can be read: steps done, and the state. None: there is none.

    Later ones, which are damaged, are removed: they would be in the way of what is written in their place.

    Raises:
        PersamError: there are some, and none can be read.
    """
    found = _found(folder)
    for place, (step, file) in enumerate(found):
        with contextlib.suppress(OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            state = torch.load(file, map_location="cpu", weights_only=True)
            if isinstance(state, dict):
                for _, damaged in found[:place]:
                    damaged.unlink()
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
    """The checkpoints that persam wrote into a run's folder, the latest first."""
    files = [folder / place for place in written_below(folder, CHECKPOINTS)]
    found = [(int(match[1]), file) for file in files if (match := _NAME.fullmatch(file.name)) and file.is_file()]
    return sorted(found, reverse=True)
