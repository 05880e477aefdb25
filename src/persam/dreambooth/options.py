"""How a model is trained: the options, what they are unless one says otherwise, and what differs between two sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from persam.dreambooth.runs import METHODS
from persam.errors import UsageError

_STEPS = {"lora": 500, "full": 1000}  # a subject; the latter as published
_RATES = {"lora": 1e-4, "full": 1e-6}  # likewise
#: Under this name a hash of all that is trained on stands beside the options.
CONTENT = "photos"
#: Options that change what is seen of a training, or its memory, but not its weights (beyond rounding).
_OF_NO_CONSEQUENCE = ("gradient_checkpointing", "checkpoint_every", "sample_every", "sample_prompts", "sample_steps")
_COUNTS = (
    "steps", "resolution", "rank", "class_count", "accumulate", "checkpoint_every", "sample_every", "sample_steps",
)  # fmt: skip


@dataclass(frozen=True)
class TrainOptions:
    """How a model is trained.

    Attributes:
        method: ``lora`` trains low-rank layers beside the network's, ``full`` the network itself, as published.
        masked: only the subject's pixels teach; without, it is plain DreamBooth.
        floor: what the background counts beside the subject, 0 to 1.
        resolution: side of a photo, pixels; None: the family's.
        steps: of the optimizer; None: 500 for each subject, or 1,000 with ``full``.
        learning_rate: None: 1e-4, or 1e-6 with ``full``.
        rank: of LoRA's layers.
        text_encoder: train CLIP's text encoders, too.
        prior: how much prior preservation counts; 0: leave it out.
        class_count: pictures of each kind for it.
        class_images: folder of these pictures, made if there are none; None: in the run's folder.
        gradient_checkpointing: less memory for more time.
        accumulate: photos for each step of the optimizer.
        eight_bit: Adam's state in 8 bits, by bitsandbytes.
        flip: half of the photos are mirrored.
        seed: of everything random, 0 to 2^63 - 1.
        device, dtype: as everywhere; the dtype ``auto`` is bf16, or fp16 on older GPUs, and float32 elsewhere.
        checkpoint_every: steps.
        sample_every: steps between samples; None: one at the end.
        sample_prompts: of the samples; none: no samples.
        sample_steps: of the sampler.
    """

    method: str = "lora"
    masked: bool = True
    floor: float = 0.0
    resolution: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    rank: int = 16
    text_encoder: bool = False
    prior: float = 1.0
    class_count: int = 200
    class_images: Path | None = None
    gradient_checkpointing: bool = False
    accumulate: int = 1
    eight_bit: bool = False
    flip: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    checkpoint_every: int = 250
    sample_every: int | None = None
    sample_prompts: tuple[str, ...] = ()
    sample_steps: int = 30

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f'There is no method "{self.method}"; use {" or ".join(METHODS)}.')
        if not 0 <= self.floor <= 1:
            raise UsageError(f"The floor is a share from 0 to 1, not {self.floor:g}.")
        if not 0 <= self.prior < 1000:
            raise UsageError(f"The weight of prior preservation is 0 or more, not {self.prior:g}.")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise UsageError(f"The learning rate is above 0 and at most 1, not {self.learning_rate:g}.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"The seed is from 0 to {2**63 - 1}, not {self.seed}.")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', ' ').capitalize()} must be at least 1, not {value}.")
        if self.sample_every is not None and not self.sample_prompts:
            raise UsageError("Samples need a prompt; give one with --sample-prompt, or leave --sample-every out.")

    def steps_for(self, subjects: int) -> int:
        """Steps of the optimizer for so many subjects."""
        return self.steps if self.steps is not None else _STEPS[self.method] * subjects

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.learning_rate if self.learning_rate is not None else _RATES[self.method]

    def consequential(self) -> dict[str, Any]:
        """What the weights after so many steps depend on, as JSON values."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told["learning_rate"] = self.rate
        told["class_images"] = None if self.class_images is None else str(self.class_images.absolute())
        if self.method == "full":
            del told["rank"]
        if not self.masked:
            del told["floor"]
        for name in (*_OF_NO_CONSEQUENCE, "steps"):
            del told[name]
        return told

    def inconsequential(self) -> dict[str, Any]:
        """All other options, likewise."""
        return {name: getattr(self, name) for name in _OF_NO_CONSEQUENCE} | {
            "sample_prompts": list(self.sample_prompts)
        }


def seed_of(seed: int, what: str, number: int) -> int:
    """The seed of one thing among many that are random in a training: what it is, and its number among its like."""
    text = f"{seed} {what} {number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 1


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say in words how two sets of options differ; nothing where they do not."""
    names = [*before, *(name for name in now if name not in before)]
    differ = [name for name in names if before.get(name) != now.get(name)]
    return ", ".join(_difference(name, before.get(name), now.get(name)) for name in differ)


def _difference(name: str, before: Any, now: Any) -> str:
    if name == CONTENT:
        return "photos, masks or captions were changed"
    return f"{name.replace('_', ' ')} was {_said(before)} and is {_said(now)}"


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
