"""How fast the image encoder is, by the published arithmetic and by every engine; and whether masks stay the same."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch

from persam.benchmark.suites.memory import peak_in_process
from persam.benchmark.suites.published_vit import encode_as_published, is_vit
from persam.benchmark.suites.speed_parts import Part, Progress, Target, ratio
from persam.benchmark.suites.suite import Missed
from persam.benchmark.suites.timing import RANDOM_SIZES, Spread, in_turns, open_persam, plain_mask
from persam.metrics import iou
from persam.models.backends import BACKENDS
from persam.models.base import EncodedImage, PromptableModel, Prompts
from persam.models.engines import not_kept
from persam.models.sam import Sam
from persam.persam import PerSAM
from persam.reports.tables import Table

# What is aimed at.
ENCODER_QUICK, ENCODER_FLOAT32, SAME_MASKS = 4.0, 1.5, 0.99

QUICK_ENGINES = ("openvino-bf16", "openvino-int8")
PHOTO = 1024  # side of the drawn photos, pixels
_PUBLISHED = "published arithmetic, float32"
ENGINE_ROUNDS = 2  # at most: every engine takes turns with float32, so that no two are in memory at a time


# ------------------------------------------------------------------------------------------------------------ masks


def prompted_masks(model: PromptableModel, encoding: EncodedImage) -> np.ndarray:
    """Masks of four clicks and four boxes spread over a photo, (8, h, w) bool at the decoder's own resolution."""
    rows, columns = encoding.frame.content
    size = torch.tensor([columns, rows], dtype=torch.float32, device=model.device)
    places = torch.tensor([[x, y] for y in (0.3, 0.7) for x in (0.3, 0.7)], device=model.device)
    corners = torch.cat([(places - 0.2) * size, (places + 0.25) * size], dim=1)
    asked = (Prompts((places * size)[:, None], torch.ones(4, 1, device=model.device)), Prompts(boxes=corners))
    with torch.inference_mode():
        decoded = [model.decode(encoding, prompts, multimask=False).logits[:, 0] > 0 for prompts in asked]
    masks: np.ndarray = torch.cat(decoded).cpu().numpy()
    return masks


def agreement(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[float]:
    """IoU of every mask of every photo with its counterpart."""
    return [
        iou(one, other)
        for masks, others in zip(first, second, strict=True)
        for one, other in zip(masks, others, strict=True)
    ]


def same_masks(ious: Sequence[float]) -> str:
    """``0.9987 (least 0.9934)``."""
    return f"{mean(ious):.4f} (least {min(ious):.4f})"


# ----------------------------------------------------------------------------------------------------- the encoder


@dataclass(frozen=True)
class _Measured:
    """An image encoder beside the published arithmetic: seconds, times as fast, and IoU mask by mask."""

    seconds: Spread
    faster: Spread
    ious: list[float]

    @property
    def same(self) -> float:
        """Mean IoU."""
        return mean(self.ious)

    def row(self, name: str) -> dict[str, Any]:
        """As JSON values."""
        return {
            "encoder": name,
            "seconds": asdict(self.seconds),
            "times_as_fast": asdict(self.faster),
            "iou": self.ious,
        }

    def cells(self, name: str) -> tuple[str, ...]:
        """The same for people."""
        return name, self.seconds.text(3), self.faster.text(2), same_masks(self.ious)


def _in_bf16(model: Sam) -> Sam:
    return Sam(
        copy.deepcopy(model.network),
        name=model.name,
        image_size=model.image_size,
        device=model.device,
        encoder_dtype=torch.bfloat16,
    )


def compare_encoders(
    model: PromptableModel,
    scenes: Sequence[np.ndarray],
    rounds: int,
    progress: Progress,
    with_backend: Callable[..., PerSAM] | None = None,
) -> Part:
    """Our image encoder in float32, in bf16 and by OpenVINO against the published arithmetic, on the same weights.

    Args:
        model: in float32.
        scenes: photos, (H, W, 3) uint8; the first is timed, masks are compared on all.
        rounds: that count.
        progress: called after every round of PyTorch's, and after every engine.
        with_backend: loads the model with a ``backend``; None: without OpenVINO.
    """
    if not isinstance(model, Sam) or not is_vit(model.network.vision_encoder):
        return Part(notes=[f"The image encoder of {model.name} is not the published one; it is compared with nothing."])
    exact = "persam, float32"

    def published(photo: np.ndarray) -> EncodedImage:
        frame = model.frame((photo.shape[0], photo.shape[1]))
        return EncodedImage(encode_as_published(model.network.vision_encoder, model.prepare(photo, frame)), frame)

    with torch.inference_mode():
        wanted = [prompted_masks(model, published(scene)) for scene in scenes]

    def measured(ours: Mapping[str, PromptableModel], progress: Progress) -> dict[str, _Measured]:
        """Of models in turns with the published arithmetic, which comes first."""
        with torch.inference_mode():
            jobs = {_PUBLISHED: partial(published, scenes[0])}
            jobs |= {name: partial(each.encode, scenes[0]) for name, each in ours.items()}
            seconds = in_turns(jobs, rounds, model, progress)
            masks = {name: [prompted_masks(each, each.encode(one)) for one in scenes] for name, each in ours.items()}
        masks[_PUBLISHED] = wanted
        return {
            name: _Measured(Spread.of(took), ratio(seconds[_PUBLISHED], took), agreement(wanted, masks[name]))
            for name, took in seconds.items()
        }

    found, missed = measured({exact: model, "persam, bf16": _in_bf16(model)}, progress), Missed()
    if with_backend is not None:
        for engine in QUICK_ENGINES:
            with missed.over(engine):
                # by itself, and let go before the next one is loaded
                beside = measured({f"persam, {engine}": with_backend(**_order_of(engine)).model}, lambda: None)
                found |= {name: each for name, each in beside.items() if name not in found}
            progress()
    part = Part(notes=missed.notes("engines could not be measured"))
    if with_backend is not None and len(missed.reasons) < len(QUICK_ENGINES):
        part.notes.append("OpenVINO took turns with the published arithmetic later: compare ratios, not seconds.")
    part.rows += [each.row(name) for name, each in found.items()]
    ours = {name: each for name, each in found.items() if name not in (_PUBLISHED, exact)}
    quickest = max(ours, key=lambda name: (ours[name].same >= SAME_MASKS, ours[name].faster.median))
    for target, name, bound in (("float32", exact, ENCODER_FLOAT32), ("the quickest", quickest, ENCODER_QUICK)):
        faster, same = found[name].faster, found[name].same
        text = f"{faster.text(2)} x by {name.removeprefix('persam, ')}, mask IoU {same:.4f}"
        limit = f"at least {bound} x the published arithmetic, mask IoU {SAME_MASKS}"
        holds = faster.median >= bound and same >= SAME_MASKS
        part.targets.append(Target(f"image encoder, {target}", text, limit, holds))
    columns = ("image encoder", "seconds a photo", "times as fast", "mask IoU with published")
    cells = tuple(each.cells(name) for name, each in found.items())
    part.tables.append(Table(f"Image encoder of {model.name}", columns, cells))
    if "random" in model.name:
        part.notes.append("Masks of random weights change at a touch: those of a trained model agree better.")
    return part


# --------------------------------------------------------------------------------------------------------- engines


def _order_of(engine: str) -> dict[str, Any]:
    """How `open_persam` is asked for a backend."""
    return {"backend": engine, "device": "cpu", "dtype": "auto"}


def compare_engines(
    persam: PerSAM,
    place: str,
    order: Mapping[str, Any],
    scenes: Sequence[np.ndarray],
    rounds: int,
    progress: Progress,
) -> Part:
    """What else can run the image encoder: seconds of a photo with plain SAM, memory, and masks against float32.

    Args:
        persam: in float32.
        place: the same model, as `open_persam` finds it.
        order: what else that takes.
        scenes: photos, (H, W, 3) uint8; the first is timed, masks are compared on all.
        rounds: that count, if there are not more than `ENGINE_ROUNDS`.
        progress: called after every engine.
    """
    engines: dict[str, dict[str, Any]] = {
        "torch, float32": {"dtype": "float32"},
        "torch, bf16": {"dtype": "bfloat16"},
        **{each: _order_of(each) for each in BACKENDS},
    }
    part, cells = Part(), []
    with torch.inference_mode():
        wanted = [prompted_masks(persam.model, persam.model.encode(scene)) for scene in scenes]
    for engine, what in engines.items():
        missed = Missed()
        row: dict[str, Any] = {}
        with missed.over("not measured"):
            row = _measure_engine(persam.model, place, {**order, **what}, scenes, wanted, min(rounds, ENGINE_ROUNDS))
        progress()
        if missed.reasons:
            cells.append((engine, "–", "–", "–", missed.reasons[0]))
            part.rows.append({"engine": engine, "failed": missed.reasons[0]})
            continue
        times, faster = row["seconds"], row["times_as_fast"]
        cells.append((engine, times.text(3), faster.text(2), row["memory"], same_masks(row["iou"])))
        part.rows.append({"engine": engine, **row, "seconds": asdict(times), "times_as_fast": asdict(faster)})
    columns = ("engine", "seconds a photo", "times as fast", "peak memory", "mask IoU with float32")
    part.tables.append(Table(f"Engines, one photo with plain SAM: {persam.model.name}", columns, tuple(cells)))
    return part


def _measure_engine(
    float32: PromptableModel,
    place: str,
    what: Mapping[str, Any],
    scenes: Sequence[np.ndarray],
    wanted: Sequence[np.ndarray],
    rounds: int,
) -> dict[str, Any]:
    """One engine, in turns with float32; it is let go before its memory is measured in a process of its own."""
    model = open_persam(place, **what).model
    jobs = {
        name: lambda each=each: plain_mask(each, each.encode(scenes[0]))
        for name, each in (("float32", float32), ("engine", model))
    }
    with torch.inference_mode():
        seconds = in_turns(jobs, rounds, float32, lambda: None)
        ious = agreement(wanted, [prompted_masks(model, model.encode(scene)) for scene in scenes])
    del model, jobs
    missed, peak = Missed(), None
    with missed.over("not measured"):
        peak = peak_in_process(place, **what, side=PHOTO, job="SAM")
    return {
        "seconds": Spread.of(seconds["engine"]),
        "times_as_fast": ratio(seconds["float32"], seconds["engine"]),
        "peak_bytes": peak,
        "memory": missed.reasons[0] if peak is None else f"{peak / 1e6:.0f} MB",
        "iou": ious,
    }


@contextlib.contextmanager
def by_name(persam: PerSAM, name: str) -> Iterator[str]:
    """A name under which engines, and processes of their own, can load the very model; and what they export is let go.

    A model of random weights is written into a temporary folder.
    """
    if name not in RANDOM_SIZES:
        yield name
        return
    network: Any = persam.model
    with tempfile.TemporaryDirectory(prefix="persam-speed-") as folder, not_kept(persam.model.fingerprint):
        network.network.save_pretrained(Path(folder) / "model")
        yield str(Path(folder) / "model")
