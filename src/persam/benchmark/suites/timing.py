"""What all measurements of time and memory share: the timer, the spread, plain SAM, and models of random weights."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from persam.benchmark.suites.suite import about_model
from persam.method.settings import Settings
from persam.models.base import EncodedImage, PromptableModel, Prompts
from persam.models.loading import choose_device, choose_dtype, load_encoder
from persam.models.sam import Sam
from persam.persam import PerSAM
from persam.reports.provenance import versions
from persam.words import counted

Result = TypeVar("Result")

RANDOM_SIZES = ("vit-b", "vit-l", "vit-h")


def timed(job: Callable[[], Result], model: PromptableModel) -> tuple[Result, float]:
    """What a job gives, and its seconds until the model's device has finished."""
    start = now(model)
    result = job()
    return result, now(model) - start


def now(model: PromptableModel) -> float:
    """Seconds on a clock that is read when the model's device has done all that it was asked."""
    wait(model)
    return time.perf_counter()


def rounds_of(count: int, progress: Callable[[], object] | None = None) -> Iterator[int]:
    """Number the rounds of a measurement; round 0 warms up and does not count. `progress` is called after each."""
    for number in range(count + 1):
        yield number
        if progress is not None:
            progress()


def wait(model: PromptableModel) -> None:
    """Until the device has done all that it was asked."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    elif model.device.type == "mps":
        torch.mps.synchronize()


def in_turns(
    jobs: Mapping[str, Callable[[], Any]], rounds: int, model: PromptableModel, progress: Callable[[], object]
) -> dict[str, list[float]]:
    """Seconds of every job in every round; who comes first changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for number in rounds_of(rounds, progress):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            _, took = timed(jobs[name], model)
            if number:
                seconds[name].append(took)
    return seconds


@dataclass(frozen=True)
class Spread:
    """A median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value or more."""
        low, middle, high = np.percentile(values, [25, 50, 75])
        return cls(float(middle), float(low), float(high))

    def text(self, digits: int) -> str:
        """``0.512 [0.498, 0.530]``: the median and the quartiles."""
        return f"{self.median:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def about_timing(persam: PerSAM) -> dict[str, Any]:
    """What every time was measured with and on."""
    return {
        **about_model(persam.model, persam.encoder),
        "mode": persam.settings.mode,
        "dtype": str(getattr(persam.model, "encoder_dtype", torch.float32)).removeprefix("torch."),
        "machine": machine(persam.model.device),
        "versions": versions(),
    }


def machine(device: torch.device) -> str:
    """The processor that computes, as people know it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = counted(torch.get_num_threads(), "thread")
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return f"{next(line for line in lines if line.startswith('model name')).split(':')[1].strip()}, {threads}"
    return f"{platform.processor() or platform.machine()}, {threads}"


def plain_mask(model: PromptableModel, encoding: EncodedImage) -> np.ndarray:
    """Plain SAM on an encoded photo: one pass for the point in its middle, the best of three masks, at full size."""
    with torch.inference_mode():
        decoded = model.decode(encoding, one_point(model, encoding), multimask=True)
        mask: np.ndarray = encoding.frame.to_photo_mask(decoded.best()[0, 0]).cpu().numpy()
        return mask


def fresh(encoding: EncodedImage) -> EncodedImage:
    """The same photo in other memory: what a model kept of it when it decoded it is not found again."""
    return replace(encoding, features=encoding.features.clone())


def one_point(model: PromptableModel, encoding: EncodedImage) -> Prompts:
    """A click in the middle of a photo."""
    rows, columns = encoding.frame.content
    middle = torch.tensor([[[columns / 2, rows / 2]]], device=model.device)
    return Prompts(middle, torch.ones(1, 1, device=model.device))


def drawn_scene(side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """A photo stand-in (side, side, 3) uint8 and its mask, for timing only: a disc on a textured ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    mask = (x - 0.55) ** 2 + (y - 0.45) ** 2 < 0.06
    ground = np.stack([90 + 40 * np.sin(20 * x), 110 + 40 * np.cos(17 * y), 80 + 50 * x * y], -1)
    picture = np.where(mask[..., None], np.array([200, 60, 40]) - 40 * y[..., None], ground)
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8), mask


def open_persam(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    mode: str = "persam",
    encoder: str | None = None,
    canvas: int = 1024,
    backend: str = "torch",
) -> PerSAM:
    """A model to be timed: any that `PerSAM.from_pretrained` takes, or one of `RANDOM_SIZES`.

    Args:
        name: of the model.
        device: where it computes.
        dtype: number format of its image encoder.
        mode: of the method.
        encoder: another for the confidence map.
        canvas: side of the input of a model of random weights, pixels; a multiple of 16.
        backend: what runs the image encoder of any other.

    Raises:
        PersamError: the model is not to be had or damaged.
        UsageError: an unknown mode, device or dtype.
    """
    if name not in RANDOM_SIZES:
        return PerSAM.from_pretrained(name, device=device, dtype=dtype, mode=mode, encoder=encoder, backend=backend)
    settings, place = Settings.of(mode), choose_device(device)
    other = None if encoder is None else load_encoder(encoder, device=device, dtype=dtype)
    return PerSAM(random_sam(name, place, choose_dtype(dtype, place), canvas), encoder=other, settings=settings)


def random_sam(size: str, device: torch.device, dtype: torch.dtype = torch.float32, canvas: int = 1024) -> Sam:
    """SAM ViT-B, -L or -H with random weights: as slow as the real one, and needs no download.

    transformers would start the image encoder with weights of 1e-10 and no positions, and the decoder almost flat; here
    numbers have the size that they have in a network that has learned, so that masks can be compared.
    """
    from transformers import SamConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    width, depth, heads, global_layers = {
        "vit-b": (768, 12, 12, [2, 5, 8, 11]),
        "vit-l": (1024, 24, 16, [5, 11, 17, 23]),
        "vit-h": (1280, 32, 16, [7, 15, 23, 31]),
    }[size]
    torch.manual_seed(0)
    vision = SamVisionConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        global_attn_indexes=global_layers,
        mlp_dim=4 * width,
        image_size=canvas,
        initializer_range=0.02,
    )
    prompts = SamPromptEncoderConfig(image_size=canvas, image_embedding_size=canvas // vision.patch_size)
    network = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts))
    with torch.no_grad():
        for part, parameter in network.named_parameters():
            if part.endswith(("rel_pos_h", "rel_pos_w", "vision_encoder.pos_embed")):
                parameter.normal_(0, 0.1)
            elif part.startswith("mask_decoder") and parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
    return Sam(network, name=f"random {size}", image_size=canvas, device=device, encoder_dtype=dtype)
