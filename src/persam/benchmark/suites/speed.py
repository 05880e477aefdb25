"""Is it as fast as the machine allows? All targets of speed in one run, on one machine, beside what was measured.

Times are ratios wherever they can be: two ways to the same result are timed in turns, round by round, so that a busy
machine slows both.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from persam.benchmark.suites.efficiency import added_time, percent
from persam.benchmark.suites.memory import peak_in_process
from persam.benchmark.suites.published_vit import encode_as_published, is_vit
from persam.benchmark.suites.several import time_concepts
from persam.benchmark.suites.startup import imports_of_process, seconds_of_process
from persam.benchmark.suites.suite import Findings, Missed, headline
from persam.benchmark.suites.timing import (
    RANDOM_SIZES,
    Spread,
    about_timing,
    drawn_scene,
    in_turns,
    one_point,
    open_persam,
    plain_mask,
    rounds_of,
)
from persam.images import read_image
from persam.metrics import iou
from persam.models.backends import BACKENDS
from persam.models.base import EncodedImage, PromptableModel, Prompts
from persam.models.engines import not_kept
from persam.models.sam import Sam
from persam.persam import PerSAM
from persam.reports.tables import Table

# What is aimed at.
ENCODER_BF16, ENCODER_FLOAT32, SAME_MASKS = 4.0, 1.5, 0.99
ADDED_TIME, ADDED_BYTES = 0.015, 20e6
TINY_PHOTO, TINY_PROCESS = 0.15, 2.5  # seconds

PACKAGES = 8  # that importing takes longest
PHOTO = 1024  # side of the drawn photos, pixels

Progress = Callable[[], object]


@dataclass(frozen=True)
class Target:
    """Something that is aimed at, and what was found."""

    name: str
    found: str
    limit: str
    holds: bool

    def cells(self) -> tuple[str, ...]:
        """As a row."""
        return self.name, self.found, self.limit, "yes" if self.holds else "no"


@dataclass
class Part:
    """What one part of the suite found.

    Attributes:
        rows: the numbers, JSON values.
        tables: the same for people.
        targets: of this part.
        notes: sentences for below.
    """

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def steps_of(rounds: int, *, quick: bool) -> int:
    """How often `measure_speed` reports progress: less often only where it leaves out what it cannot measure."""
    whole = rounds + 1  # the first warms up
    if quick:
        return 2 * whole + 2  # encoders, and plain SAM against PerSAM; several concepts; the bundled model
    engines = 2 + len(BACKENDS)
    return 4 * whole + 3 + engines  # also engines, and processes of their own; also the memory of PerSAM and of engines


def measure_speed(
    name: str = "vit-b",
    *,
    canvas: int = 1024,
    rounds: int = 5,
    quick: bool = False,
    photos: Sequence[Path] = (),
    device: str = "auto",
    progress: Progress = lambda: None,
) -> Findings:
    """All targets of speed: the image encoder, what PerSAM adds, other engines, and the bundled model.

    Args:
        name: of the model: as `open_persam` takes it.
        canvas: side of the input of a model of random weights, pixels.
        rounds: that count; one more warms up.
        quick: leave out whatever needs a process of its own: memory and start-up; and the engines, which are exported.
        photos: on which masks are compared; by default two drawn ones.
        device: where to compute.
        progress: called after every step.

    Raises:
        PersamError: the model is not to be had, or a photo cannot be read.
        UsageError: an unknown device.
    """
    persam = open_persam(name, device=device, dtype="float32", canvas=canvas)
    scenes = [read_image(photo) for photo in photos] or drawn_scenes()
    about = about_timing(persam) | {"canvas": canvas, "rounds": rounds, "quick": quick, "compared_on": len(scenes)}
    order = {"device": persam.model.device.type, "dtype": "float32", "canvas": canvas}
    parts = [compare_encoders(persam.model, scenes, rounds, progress)]
    parts.append(compare_with_plain(persam, name, order, rounds, progress, memory=not quick))
    if not quick:
        parts.append(compare_engines(persam, name, order, scenes, rounds, progress))
    parts.append(several_concepts(persam, rounds, progress))
    del persam
    parts.append(time_bundled(rounds, progress, processes=not quick))
    targets = [target for part in parts for target in part.targets]
    sheet = Table(
        f"Targets of speed: {headline(about)}, {about['machine']}",
        ("target", "found", "aimed at", "holds"),
        tuple(target.cells() for target in targets),
    )
    rows = [*({"target": asdict(target)} for target in targets), *(row for part in parts for row in part.rows)]
    tables = [sheet, *(table for part in parts for table in part.tables)]
    notes = [f"{rounds} rounds in turns; [..] are quartiles. Machine: {about['machine']}."]
    return Findings("speed", about, rows, tables, [*notes, *(note for part in parts for note in part.notes)])


def drawn_scenes() -> list[np.ndarray]:
    """Two photo stand-ins, (H, W, 3) uint8: a square one, and a wide one."""
    scene = drawn_scene(PHOTO)[0]
    return [scene, 255 - scene[: 3 * PHOTO // 4]]


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Spread:
    """How many times as fast, round by round."""
    return Spread.of([one / other for one, other in zip(slow, fast, strict=True)])


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


def compare_encoders(model: PromptableModel, scenes: Sequence[np.ndarray], rounds: int, progress: Progress) -> Part:
    """Our image encoder in float32 and bf16 against the published arithmetic, on the same weights."""
    if not isinstance(model, Sam) or not is_vit(model.network.vision_encoder):
        return Part(notes=[f"The image encoder of {model.name} is not the published one; it is compared with nothing."])
    half = Sam(
        copy.deepcopy(model.network),
        name=model.name,
        image_size=model.image_size,
        device=model.device,
        encoder_dtype=torch.bfloat16,
    )

    def published(photo: np.ndarray) -> EncodedImage:
        frame = model.frame((photo.shape[0], photo.shape[1]))
        return EncodedImage(encode_as_published(model.network.vision_encoder, model.prepare(photo, frame)), frame)

    encoders: dict[str, Callable[[np.ndarray], EncodedImage]] = {
        "published arithmetic, float32": published,
        "persam, float32": model.encode,
        "persam, bf16": half.encode,
    }
    with torch.inference_mode():
        seconds = in_turns(
            {name: partial(encode, scenes[0]) for name, encode in encoders.items()},
            rounds,
            model,
            progress,
        )
        masks = {name: [prompted_masks(model, encode(scene)) for scene in scenes] for name, encode in encoders.items()}
    part = Part()
    slow, cells = "published arithmetic, float32", []
    for name, bound in ((slow, None), ("persam, float32", ENCODER_FLOAT32), ("persam, bf16", ENCODER_BF16)):
        times, faster = Spread.of(seconds[name]), ratio(seconds[slow], seconds[name])
        ious = agreement(masks[slow], masks[name])
        cells.append((name, times.text(3), faster.text(2), same_masks(ious)))
        part.rows.append({"encoder": name, "seconds": asdict(times), "times_as_fast": asdict(faster), "iou": ious})
        if bound is not None:
            holds = faster.median >= bound and mean(ious) >= SAME_MASKS
            found = f"{faster.text(2)} x, mask IoU {mean(ious):.4f}"
            limit = f"at least {bound} x the published arithmetic, mask IoU {SAME_MASKS}"
            part.targets.append(Target(f"image encoder, {name.removeprefix('persam, ')}", found, limit, holds))
    columns = ("image encoder", "seconds a photo", "times as fast", "mask IoU with published")
    part.tables.append(Table(f"Image encoder of {model.name}", columns, tuple(cells)))
    if "random" in model.name:
        part.notes.append("Masks of random weights change at a touch: those of a trained model agree better.")
    return part


# ------------------------------------------------------------------------------------------ PerSAM over plain SAM


def compare_with_plain(
    persam: PerSAM, name: str, order: Mapping[str, Any], rounds: int, progress: Progress, *, memory: bool
) -> Part:
    """What PerSAM adds to plain SAM with as many decoder passes: time, and memory of a process."""
    image, mask = drawn_scene(PHOTO)
    added = added_time(persam, persam.learn(image, mask), image, rounds, progress, plain_job=three_passes)
    spread, part = added.after_encoding, Part()
    limit = f"at most +{ADDED_TIME:.1%} over plain SAM's three passes"
    part.targets.append(Target("time that PerSAM adds", percent(spread), limit, spread.median <= ADDED_TIME))
    part.rows.append({"added_time": asdict(spread), "plain_seconds": added.seconds("plain")})
    if memory:
        peaks = {
            job: [peak_in_process(name, **order, side=PHOTO, job=job) for _ in range(2)] for job in ("SAM", "PerSAM")
        }
        progress()
        more = min(peaks["PerSAM"]) - min(peaks["SAM"])
        limit = f"at most +{ADDED_BYTES / 1e6:.0f} MB over plain SAM"
        part.targets.append(Target("memory that PerSAM adds", f"{more / 1e6:+.1f} MB", limit, more <= ADDED_BYTES))
        part.rows.append({"peak_bytes": peaks})
    return part


def three_passes(model: PromptableModel, encoding: EncodedImage) -> np.ndarray:
    """Plain SAM's own cascade: a click, then with its mask as a prompt, then with the mask and a box around it."""
    point, box = one_point(model, encoding), torch.tensor([[0.0, 0.0, *encoding.frame.content[::-1]]])
    with torch.inference_mode():
        found = model.decode(encoding, point, multimask=True).best()
        again = Prompts(point.points, point.labels, logits=found)
        found = model.decode(encoding, again, multimask=True).best()
        last = Prompts(point.points, point.labels, box.to(model.device), found)
        found = model.decode(encoding, last, multimask=True).best()
        mask: np.ndarray = encoding.frame.to_photo_mask(found[0, 0]).cpu().numpy()
        return mask


def several_concepts(persam: PerSAM, rounds: int, progress: Progress) -> Part:
    """What a further concept costs in a photo that is encoded, beside one by itself."""
    image, mask = drawn_scene(PHOTO)
    rows, table = time_concepts(persam, image, persam.learn(image, mask, name="thing"), rounds)
    progress()
    return Part(rows, [table])


# --------------------------------------------------------------------------------------------------------- engines


def compare_engines(
    persam: PerSAM,
    name: str,
    order: Mapping[str, Any],
    scenes: Sequence[np.ndarray],
    rounds: int,
    progress: Progress,
) -> Part:
    """What else can run the image encoder: seconds of a photo with plain SAM, memory, and masks against float32."""
    engines: dict[str, dict[str, Any]] = {
        "torch, float32": {"dtype": "float32"},
        "torch, bf16": {"dtype": "bfloat16"},
        **{each: {"backend": each, "device": "cpu", "dtype": "auto"} for each in BACKENDS},
    }
    missed, models = Missed(), {}
    cells: list[tuple[str, ...]] = []
    part, first = Part(), "torch, float32"
    with _by_name(persam, name) as (place, more):
        for engine, what in engines.items():
            with missed.over(engine):
                models[engine] = open_persam(place, **{**order, **more, **what}).model
        jobs = {
            engine: lambda model=model: plain_mask(model, model.encode(scenes[0])) for engine, model in models.items()
        }
        with torch.inference_mode():
            seconds = in_turns(jobs, rounds, persam.model, progress)
            masks = {
                engine: [prompted_masks(model, model.encode(scene)) for scene in scenes]
                for engine, model in models.items()
            }
        reached = list(models)
        models.clear()
        for engine in reached:
            peak: int | None = None
            with missed.over(f"memory of {engine}"):
                peak = peak_in_process(place, **{**order, **more, **engines[engine]}, side=PHOTO, job="SAM")
            progress()
            times, faster = Spread.of(seconds[engine]), ratio(seconds[first], seconds[engine])
            ious = agreement(masks[first], masks[engine])
            told = "–" if peak is None else f"{peak / 1e6:.0f} MB"
            cells.append((engine, times.text(3), faster.text(2), told, same_masks(ious)))
            part.rows.append(
                {
                    "engine": engine,
                    "seconds": asdict(times),
                    "times_as_fast": asdict(faster),
                    "peak_bytes": peak,
                    "iou": ious,
                }
            )
    columns = ("engine", "seconds a photo", "times as fast", "peak memory", "mask IoU with float32")
    part.tables.append(Table(f"Engines, one photo with plain SAM: {persam.model.name}", columns, tuple(cells)))
    part.notes += missed.notes("engines or their memory could not be measured")
    return part


@contextlib.contextmanager
def _by_name(persam: PerSAM, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A name under which engines, and processes of their own, can load the very model; and what they export is let go.

    A model of random weights is written into a temporary folder.
    """
    if name not in RANDOM_SIZES:
        yield name, {}
        return
    network: Any = persam.model
    with tempfile.TemporaryDirectory(prefix="persam-speed-") as folder, not_kept(persam.model.fingerprint):
        network.network.save_pretrained(Path(folder) / "model")
        yield str(Path(folder) / "model"), {}


# ------------------------------------------------------------------------------------------------ the bundled model


def time_bundled(rounds: int, progress: Progress, *, processes: bool) -> Part:
    """One photo with the bundled model: in a program that runs, on one core, and as a command that starts."""
    part = Part()
    image, mask = drawn_scene(PHOTO)
    with tempfile.TemporaryDirectory(prefix="persam-speed-") as folder:
        photo, learned = Path(folder) / "photo.jpg", Path(folder) / "thing.safetensors"
        Image.fromarray(image).save(photo, quality=90)
        with on_one_core():
            persam = PerSAM.from_pretrained("tiny", device="cpu")
            concept = persam.learn(image, mask, name="thing")
            job = {"one photo": lambda: persam.segment(photo, concept)}
            seconds = in_turns(job, 2 * rounds, persam.model, lambda: None)
            rows, table = time_concepts(persam, image, concept, rounds)
        progress()
        concept.save(learned)
        whole = Spread.of(seconds["one photo"])
        found, limit = f"{whole.text(3)} s", f"at most {TINY_PHOTO} s on one core"
        part.targets.append(Target("tiny: one photo, read to mask", found, limit, whole.median <= TINY_PHOTO))
        cells = [("one photo, one core", whole.text(3))]
        part.rows += [{"tiny": "one photo", "seconds": asdict(whole)}, *rows]
        if processes:
            cells.append(("persam segment, from nothing", _start(part, learned, photo, rounds, progress)))
        part.tables += [Table("The bundled model", ("", "seconds"), tuple(cells)), table]
    return part


def _start(part: Part, concept: Path, photo: Path, rounds: int, progress: Progress) -> str:
    """Time the command, and what it imports; add both to the part, and return the seconds as text."""
    call = ("segment", concept, photo, "-o", photo.parent / "found", "--overwrite")
    seconds = []
    for number in rounds_of(rounds, progress):
        took = seconds_of_process(call)
        if number:
            seconds.append(took)
    spread = Spread.of(seconds)
    found, limit = f"{spread.text(2)} s", f"at most {TINY_PROCESS} s"
    part.targets.append(Target("tiny: persam segment of one photo", found, limit, spread.median <= TINY_PROCESS))
    imports = imports_of_process(call)
    whole = sum(imports.values())
    part.rows += [{"tiny": "process", "seconds": asdict(spread)}, {"imports": imports}]
    longest = ", ".join(f"{name} {took / whole:.0%}" for name, took in list(imports.items())[:PACKAGES])
    part.notes.append(f"Of the time that persam segment spends on importing: {longest}.")
    return spread.text(2)


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Let PyTorch and OpenCV compute in one thread until the block ends."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
