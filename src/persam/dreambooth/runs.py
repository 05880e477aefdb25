"""A training run's folder: what was trained, how, and the pipeline with what it learned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persam.dreambooth.subjects import Subject
from persam.errors import PersamError, UsageError, first_line
from persam.files import write_text

if TYPE_CHECKING:
    import torch

RUN = "run.json"
LORA = "pytorch_lora_weights.safetensors"  # as diffusers' own scripts name it
PIPELINE = "pipeline"
SAMPLES = "samples"
CHECKPOINTS = "checkpoints"
LOSSES = "losses.csv"
FORMAT = 1
METHODS = ("lora", "full")


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: that holds it.
        model: the base, a hub id or an absolute folder.
        family: of the base, a key of `persam.dreambooth.pipelines.FAMILIES`.
        method: ``lora`` or ``full``.
        masked: whether it saw the subjects' pixels alone.
        resolution: of a photo in training, pixels.
        steps: of the optimizer.
        subjects: what it was taught, without photos.
        more: all else that run.json says: every other option, versions, losses.
    """

    folder: Path
    model: str
    family: str
    method: str
    masked: bool
    resolution: int
    steps: int
    subjects: tuple[Subject, ...]
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def learned(self) -> Path:
        """Where the weights are: a file of LoRA's layers, or with ``full`` a folder."""
        return self.folder / (PIPELINE if self.method == "full" else LORA)

    def pipeline(self, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Any:
        """The base with what was learned, as a pipeline of diffusers.

        Raises:
            PersamError: the base cannot be loaded, or a file of the run is missing or damaged.
        """
        from persam.dreambooth.pipelines import load_pipeline, quiet

        learned = self.learned
        if not learned.exists():
            raise PersamError(f"{self.folder} has no {learned.name}: its training did not end; run it again.")
        if self.method == "full":
            return load_pipeline(learned, device=device, dtype=dtype)
        pipeline = load_pipeline(self.model, device=device, dtype=dtype)
        from safetensors import SafetensorError

        try:
            with quiet():
                pipeline.load_lora_weights(str(self.folder), weight_name=LORA)
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise PersamError(f"{learned} does not fit {self.model}: {first_line(error)}; train it again.") from error
        return pipeline


def write_run(run: Run) -> Path:
    """Write run.json; the weights are there already.

    Returns:
        The file.
    """
    file = run.folder / RUN
    write_text(file, json.dumps(run_json(run), indent=1, ensure_ascii=False) + "\n")
    return file


def run_json(run: Run) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "format": FORMAT,
        "model": run.model,
        "family": run.family,
        "method": run.method,
        "masked": run.masked,
        "resolution": run.resolution,
        "steps": run.steps,
        "subjects": subjects_json(run.subjects),
        **run.more,
    }


def subjects_json(subjects: Sequence[Subject]) -> list[dict[str, str]]:
    """Subjects as files name them, without their photos."""
    return [
        {"name": subject.name, "identifier": subject.identifier, "class_word": subject.class_word}
        for subject in subjects
    ]


def load_run(folder: str | Path) -> Run:
    """Read a training run's folder.

    Raises:
        UsageError: it is none.
        PersamError: run.json is damaged, or of another version.
    """
    home = Path(folder)
    file = home / RUN
    if not file.is_file():
        what = f"{home} has no {RUN}, so no training ended there" if home.is_dir() else f"there is no folder {home}"
        raise UsageError(f"{what}: persam dreambooth train PREPARED -o {home} makes a run.")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PersamError(f"{file} cannot be read ({first_line(error)}): train again.") from error
    try:
        if told.pop("format") != FORMAT:
            raise PersamError(f"{file} has another format; this version of persam reads {FORMAT}.")
        subjects = tuple(
            Subject(str(each["name"]), str(each["identifier"]), str(each["class_word"]), ())
            for each in told.pop("subjects")
        )
        run = Run(
            home,
            str(told.pop("model")),
            str(told.pop("family")),
            str(told.pop("method")),
            bool(told.pop("masked")),
            int(told.pop("resolution")),
            int(told.pop("steps")),
            subjects,
            told,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PersamError(f"{file} is damaged ({error!r}): train again.") from error
    if run.method not in METHODS or not subjects:
        raise PersamError(f"{file} is damaged (its method is {run.method!r}, its subjects {len(subjects)}).")
    return run
