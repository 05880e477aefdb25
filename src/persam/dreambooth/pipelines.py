"""Text-to-image models: pipelines of diffusers by hub id or folder, and what family each belongs to.

Everything that comes from diffusers comes through here, so that it is quiet and every failure is one sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from persam.errors import PersamError, UsageError, first_line
from persam.lazy import library
from persam.models.hub import hub_call
from persam.models.loading import choose_device, choose_dtype

INDEX = "model_index.json"  # by which a folder is known for a pipeline
DEFAULT_MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"
_OTHERWISE = "name a folder that holds a pipeline"
_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # PyTorch's words on CUDA, CPU and MPS


@dataclass(frozen=True)
class PipelineFamily:
    """A family of text-to-image models: those that are trained alike.

    Attributes:
        key: in files, ``sd15``.
        name: for people.
        pipeline: diffusers' class.
        network: which part of the pipeline makes the picture, ``unet`` or ``transformer``.
        resolution: side of a photo in training, pixels; None: that for which the network was made.
        example: of the hub.
    """

    key: str
    name: str
    pipeline: str
    network: str
    example: str
    resolution: int | None = None


FAMILIES = {
    each.key: each
    for each in (
        PipelineFamily("sd15", "Stable Diffusion 1", "StableDiffusionPipeline", "unet", DEFAULT_MODEL),
        PipelineFamily(
            "sd21", "Stable Diffusion 2", "StableDiffusionPipeline", "unet", "stabilityai/stable-diffusion-2-1"
        ),
        PipelineFamily(
            "sdxl",
            "Stable Diffusion XL",
            "StableDiffusionXLPipeline",
            "unet",
            "stabilityai/stable-diffusion-xl-base-1.0",
        ),
        PipelineFamily(
            "sd3",
            "Stable Diffusion 3",
            "StableDiffusion3Pipeline",
            "transformer",
            "stabilityai/stable-diffusion-3.5-medium",
        ),
        # FLUX takes any size, and its configuration names none; at 512 its adapter is trained on one large GPU.
        PipelineFamily("flux", "FLUX.1", "FluxPipeline", "transformer", "black-forest-labs/FLUX.1-dev", 512),
    )
}


@cache
def diffusers() -> Any:
    """Import diffusers, quietly.

    Raises:
        PersamError: it is not installed.
    """
    with _quiet("transformers"):
        for other in ("accelerate", "peft"):  # diffusers does without them, and fails late
            library(other, "DreamBooth", "dreambooth")
        return library("diffusers", "DreamBooth", "dreambooth")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the reports and progress bars of diffusers and transformers, but for a download's on a terminal."""
    diffusers()
    with _quiet("diffusers"), _quiet("transformers"):
        yield


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Set a library's own logging so; both have the same."""
    hub: Any = import_module("huggingface_hub.utils")
    logging: Any = import_module(f"{name}.utils.logging")
    verbosity, bars, downloads = (
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
        not hub.are_progress_bars_disabled(),
    )
    if verbosity == logging.ERROR and not bars:  # a block within a block; and to set it costs time
        yield
        return
    logging.set_verbosity_error()
    logging.disable_progress_bar()  # that of transformers takes the hub's with it, which a long download needs
    if downloads:
        hub.enable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if not downloads:
            hub.disable_progress_bars()


def load_pipeline(name: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Any:
    """Load a text-to-image pipeline, without a progress bar of its own.

    Args:
        name: a hub id, such as ``stable-diffusion-v1-5/stable-diffusion-v1-5``, or a folder in diffusers' form.
        device: as everywhere; ``meta`` is not for use.
        dtype: of its numbers. ``auto``: bf16 where the device computes in it, else float32.

    Returns:
        A pipeline of diffusers, of one of the FAMILIES.

    Raises:
        UsageError: there is no such device or dtype, or `name` is no hub id nor folder.
        PersamError: it is neither here nor to be had, gated, damaged, of a family that is not known, or too large.
    """
    place = choose_device(device)
    form = choose_dtype(dtype, place)
    family_named(name)  # before gigabytes are downloaded
    with quiet():
        pipeline = hub_call(
            str(name),
            diffusers().DiffusionPipeline.from_pretrained,
            otherwise=_OTHERWISE,
            reader="diffusers",
            dtype=form,
        )
    if lost := _made_up(pipeline):
        raise PersamError(f"{name} lacks some of the model's tensors, such as {lost}; get it again, or name another.")
    pipeline.set_progress_bar_config(disable=True)
    remedy = "use a smaller model, or dtype bf16"
    with quiet(), enough_memory(f"{name} does not fit into the memory of {place.type}", remedy):
        return pipeline.to(place)


def _made_up(pipeline: Any) -> str | None:
    """A tensor that was in no file: diffusers leaves it without values."""
    for part, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module):
            for name, tensor in module.named_parameters():
                if tensor.is_meta:
                    return f"{part}'s {name}"
    return None


def family_named(name: str | Path) -> PipelineFamily:
    """The family of a pipeline that is not loaded; little of it is downloaded.

    Raises:
        UsageError: `name` is no hub id nor folder of a pipeline.
        PersamError: not to be had, or of a family that is not known.
    """
    folder = Path(name)
    if not str(name).strip():
        raise UsageError(f"No model was named; give a hub id such as {DEFAULT_MODEL}, or a folder.")
    if folder.is_file():
        how = "StableDiffusionPipeline.from_single_file(...).save_pretrained(FOLDER) makes one of it"
        raise UsageError(f"{name} is a single file; give a pipeline's folder, diffusers' {how}.")
    if folder.is_dir() and not (folder / INDEX).is_file():
        raise UsageError(f"The folder {name} holds no pipeline of diffusers ({INDEX} is missing); name another.")
    with quiet():
        library_ = diffusers()
        index = _config(name, library_.DiffusionPipeline)
        kind = str(index.get("_class_name"))
        network = _config(name, library_.UNet2DConditionModel, "unet") if kind == FAMILIES["sd15"].pipeline else {}
    return _family(str(name), kind, network)


def _config(name: str | Path, kind: Any, part: str | None = None) -> dict[str, Any]:
    more = {} if part is None else {"subfolder": part}
    found: dict[str, Any] = hub_call(str(name), kind.load_config, otherwise=_OTHERWISE, reader="diffusers", **more)
    return found


def family_of(pipeline: Any) -> PipelineFamily:
    """The family of a loaded pipeline.

    Raises:
        PersamError: it is of none that is known.
    """
    unet = getattr(pipeline, "unet", None)
    name = getattr(pipeline, "name_or_path", "") or "The pipeline"
    return _family(str(name), type(pipeline).__name__, {} if unet is None else unet.config)


def _family(name: str, kind: str, unet: Mapping[str, Any]) -> PipelineFamily:
    found = [family for family in FAMILIES.values() if family.pipeline == kind]
    if not found:
        known = ", ".join(family.name for family in FAMILIES.values())
        raise PersamError(f"{name} is a {kind}, of a family that persam cannot train; name a model of {known}.")
    if kind == FAMILIES["sd15"].pipeline:  # one class for two, which a layer tells apart
        return FAMILIES["sd21" if unet.get("use_linear_projection") else "sd15"]
    return found[0]


def network_of(pipeline: Any) -> Any:
    """The part of a pipeline that makes the picture: its UNet or transformer."""
    return getattr(pipeline, family_of(pipeline).network)


@contextmanager
def enough_memory(problem: str, remedy: str) -> Iterator[None]:
    """Say in one sentence, while the block runs, that the memory did not suffice.

    Args:
        problem: what did not fit, and where.
        remedy: what to do.

    Raises:
        PersamError: it did not.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # PyTorch's OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError) and not any(word in str(error).lower() for word in _MEMORY):
            raise
        raise PersamError(f"{problem} ({first_line(error)[:80]}); {remedy}.") from error
