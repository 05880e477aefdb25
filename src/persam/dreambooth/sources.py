"""What pictures come from: training runs, and models as they are, by the names that people give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.dreambooth.pipelines import INDEX, family_named, load_pipeline
from persam.dreambooth.runs import PIPELINE, RUN, Run, load_run, run_json
from persam.dreambooth.subjects import Subject
from persam.errors import UsageError
from persam.files import UniqueNames, safe_name

if TYPE_CHECKING:
    import torch

_WEIGHTS = ("*.safetensors", "*.bin")  # the latter of old models


@dataclass(frozen=True)
class PictureSource:
    """A training run, or a model as it is.

    Attributes:
        name: of its pictures' folder, and in tables.
        model: the base model, a hub id or folder.
        family: of the model.
        run: None for the model as it is: it knows no identifier, and is asked without.
    """

    name: str
    model: str
    family: str
    run: Run | None = None

    @property
    def stamp(self) -> list[list[Any]]:
        """By what it is known that a run or its base was trained anew: files of weights, their sizes and times."""
        found = []
        if self.run is not None:
            home = self.run.folder
            found += _status(home, [home / RUN, *home.glob("*.safetensors"), *(home / PIPELINE).rglob("*.safetensors")])
        base = Path(self.model)
        if base.is_dir() and (self.run is None or self.run.method == "lora"):  # a full run has all of it
            found += _status(base, [file for kind in _WEIGHTS for file in base.rglob(kind)])
        return found

    def pipeline(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Load it; see `persam.dreambooth.pipelines.load_pipeline`."""
        if self.run is not None:
            return self.run.pipeline(device, dtype)
        return load_pipeline(self.model, device=device, dtype=dtype)

    def to_json(self) -> dict[str, Any]:
        """What ``generated.json`` says of it."""
        told: dict[str, Any] = {"folder": None, "model": self.model, "family": self.family, "run": None}
        if self.run is not None:
            told |= {"folder": str(self.run.folder.absolute()), "run": run_json(self.run)}
        return told


def _status(home: Path, files: Iterable[Path]) -> list[list[Any]]:
    status = [(file, file.stat()) for file in sorted(files) if file.is_file()]
    return [[file.relative_to(home).as_posix(), each.st_size, each.st_mtime_ns] for file, each in status]


def read_sources(names: Sequence[str], *, base: bool = False) -> list[PictureSource]:
    """What pictures are to come from, by the names that the user gives.

    Args:
        names: folders of training runs, and hub ids or folders of models as they are.
        base: also the models that the runs were trained from, as they are, after the runs.

    Raises:
        UsageError: nothing is named, or a folder is neither a run nor a model.
        PersamError: a run's list is damaged, or a model is not to be had.
    """
    if not names:
        raise UsageError("No run was named; give folders that persam dreambooth train made.")
    unique = UniqueNames()
    sources = []
    for name in dict.fromkeys(names):
        run = load_run(name) if _is_run(name) else None
        label = safe_name(Path(name).resolve().name if run is not None else name.rstrip("/").rpartition("/")[2])
        model, family = (_whole(name), family_named(name).key) if run is None else (run.model, run.family)
        sources.append(PictureSource(unique.of(name, [label], label), model, family, run))
    if base:
        as_they_are = {_whole(source.model) for source in sources if source.run is None}
        models = {source.model: source.family for source in sources if _whole(source.model) not in as_they_are}
        sources += [
            PictureSource(unique.of(f"base {model}", ["base"], "base"), model, models[model]) for model in models
        ]
    return sources


def _whole(model: str) -> str:
    """A folder by its one path, however it was named, and a hub id as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _is_run(name: str) -> bool:
    """Whether a name is meant to be the folder of a training run; what is neither that nor a model is refused."""
    folder = Path(name)
    if (folder / RUN).is_file():
        return True
    if folder.is_dir() and not (folder / INDEX).is_file():
        raise UsageError(
            f"{name} has neither {RUN} nor {INDEX}: no training ended there, and it is no model; name another folder."
        )
    # A folder beside others that is not there is more likely mistyped than the name of a model on the hub.
    return not folder.exists() and (not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or _beside_others(folder))


def _beside_others(folder: Path) -> bool:
    return folder.parent != Path() and folder.parent.is_dir()


def subjects_of(sources: Sequence[PictureSource]) -> list[Subject]:
    """The subjects that the runs were taught.

    Raises:
        UsageError: two runs mean different things by one name.
    """
    found: dict[str, Subject] = {}
    for source in sources:
        for subject in () if source.run is None else source.run.subjects:
            other = found.setdefault(subject.name, subject)
            if (other.identifier, other.class_word) != (subject.identifier, subject.class_word):
                raise UsageError(
                    f"The runs know {subject.name} as {other.identifier} {other.class_word} and as "
                    f"{subject.identifier} {subject.class_word}; generate with one of them at a time."
                )
    return list(found.values())
