"""How fast: tuning against the published procedure, and what PerSAM adds to plain SAM. Ratios within one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from persam.concept import Concept
from persam.learning import shot_of
from persam.method.scale import PUBLISHED_EPOCHS, tune_as_published, tune_directly, tuning_loss
from persam.models.base import PromptableModel, Prompts
from persam.models.sam import Sam
from persam.persam import PerSAM


@dataclass(frozen=True)
class TuningSpeed:
    """Seconds and final losses of both ways to tune, on one reference.

    Attributes:
        passes: seconds for the decoder passes that the published procedure makes (one an epoch).
        published: seconds for its optimiser alone, the decoder's logits kept.
        direct: seconds for ours, including its one decoder pass (median of several runs).
        published_loss, direct_loss: dice + focal at the photo's full size with the weights found.
    """

    passes: float
    published: float
    direct: float
    published_loss: float
    direct_loss: float


def drawn_scene(side: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """A photo stand-in (side, side, 3) uint8 and its mask, for timing only: a disc on a textured ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / side
    mask = (x - 0.55) ** 2 + (y - 0.45) ** 2 < 0.06
    ground = np.stack([90 + 40 * np.sin(20 * x), 110 + 40 * np.cos(17 * y), 80 + 50 * x * y], -1)
    picture = np.where(mask[..., None], np.array([200, 60, 40]) - 40 * y[..., None], ground)
    return np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8), mask


def tuning_speed(persam: PerSAM, concept: Concept, epochs: int = PUBLISHED_EPOCHS, repeats: int = 9) -> TuningSpeed:
    """Time both on the references of a concept fresh from `PerSAM.learn`."""
    sync = _synchroniser(persam.model)

    def shots(full_size: bool) -> list[Any]:
        return [shot_of(each, concept, persam.model, full_size=full_size) for each in concept.material]

    tune_directly(shots(full_size=False))  # warm
    passes = _decoder_passes(persam, concept, epochs)
    full = shots(full_size=True)
    sync()
    start = time.perf_counter()
    published = tune_as_published(full, epochs)
    sync()
    published_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(repeats):
        sync()
        start = time.perf_counter()
        direct = tune_directly(shots(full_size=False))
        sync()
        seconds.append(time.perf_counter() - start)
    return TuningSpeed(
        passes,
        published_seconds,
        median(seconds),
        float(tuning_loss(published.weights, full)),
        float(tuning_loss(direct.weights, full)),
    )


def _decoder_passes(persam: PerSAM, concept: Concept, epochs: int) -> float:
    """Seconds for the decoder passes alone that the published procedure makes: one point, three scales."""
    model, encoding = persam.model, concept.material[0].image.prompting
    middle = torch.tensor([[[encoding.frame.content[1] / 2, encoding.frame.content[0] / 2]]], device=model.device)
    prompts = Prompts(middle, torch.ones(1, 1, device=model.device))
    sync = _synchroniser(model)
    model.decode(encoding, prompts, multimask=True)
    sync()
    start = time.perf_counter()
    for _ in range(epochs):
        model.decode(encoding, prompts, multimask=True)
    sync()
    return time.perf_counter() - start


@dataclass(frozen=True)
class AddedTime:
    """Median seconds for one photo: plain SAM (encode, one decoder pass, mask at full size), and PerSAM."""

    encode: float
    plain: float
    persam: float

    @property
    def added(self) -> float:
        """Share that PerSAM adds to plain SAM."""
        return self.persam / self.plain - 1


def added_time(persam: PerSAM, concept: Concept, image: np.ndarray, repeats: int = 5) -> AddedTime:
    """Time plain SAM and PerSAM on one photo, in turns, so that a busy machine slows both."""
    model = persam.model
    sync = _synchroniser(model)
    centre = torch.tensor([[[image.shape[1] / 2, image.shape[0] / 2]]], device=model.device)
    prompts = Prompts(centre, torch.ones(1, 1, device=model.device))

    def plain() -> None:
        encoding = model.encode(image)
        with torch.inference_mode():
            decoded = model.decode(encoding, prompts, multimask=True)
            best = decoded.logits[:, decoded.scores[0].argmax()][:, None]
            (encoding.frame.to_photo_size(best)[0, 0] > 0).cpu().numpy()

    runs: dict[str, tuple[Callable[[], Any], list[float]]] = {
        "encode": (lambda: model.encode(image), []),
        "plain": (plain, []),
        "persam": (lambda: persam.segment(image, concept), []),
    }
    for number in range(repeats + 1):
        for run, seconds in runs.values():
            sync()
            start = time.perf_counter()
            run()
            sync()
            if number:  # the first round warms up
                seconds.append(time.perf_counter() - start)
    return AddedTime(**{name: median(seconds) for name, (_, seconds) in runs.items()})


def random_sam(size: str, device: torch.device) -> Sam:
    """SAM ViT-B, -L or -H with random weights: as slow as the real one, and needs no download."""
    from transformers import SamConfig, SamModel, SamVisionConfig

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
    )
    network = SamModel(SamConfig(vision_config=vision))
    return Sam(network, name=f"random {size}", image_size=1024, device=device)


def _synchroniser(model: PromptableModel) -> Callable[[], None]:
    return torch.cuda.synchronize if model.device.type == "cuda" else lambda: None
