"""Is it as fast as the machine allows? All targets of speed in one run, on one machine, beside what was measured.

Times are ratios wherever they can be: two ways to the same result are timed in turns, round by round, so that a busy
machine slows both.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from persam.benchmark.suites.efficiency import added_time, percent
from persam.benchmark.suites.memory import peak_in_process
from persam.benchmark.suites.several import time_concepts
from persam.benchmark.suites.speed_encoder import PHOTO, QUICK_ENGINES, by_name, compare_encoders, compare_engines
from persam.benchmark.suites.speed_parts import Part, Progress, Target, tried
from persam.benchmark.suites.startup import imports_of_process, seconds_of_process
from persam.benchmark.suites.suite import Findings, headline
from persam.benchmark.suites.timing import (
    Spread,
    about_timing,
    drawn_scene,
    in_turns,
    one_point,
    open_persam,
    rounds_of,
)
from persam.concept import Concept
from persam.images import read_image
from persam.method.prior import prior_of
from persam.models.backends import BACKENDS
from persam.models.base import EncodedImage, PromptableModel, Prompts
from persam.persam import PerSAM
from persam.reports.tables import Table

# What is aimed at.
ADDED_TIME, ADDED_BYTES = 0.015, 20e6
FURTHER = 1 / 3  # of one concept by itself as the published classes decode it
TINY_PHOTO, TINY_PROCESS = 0.15, 2.5  # seconds

PACKAGES = 8  # that importing takes longest


def steps_of(rounds: int, *, quick: bool) -> int:
    """How often `measure_speed` reports progress: less often only where it leaves out what it cannot measure."""
    whole = rounds + 1  # the first warms up
    if quick:
        return 2 * whole + 2  # encoders, and plain SAM against PerSAM; several concepts; the bundled model
    engines = 2 + len(BACKENDS)  # PyTorch's two number formats, too
    return 3 * whole + 3 + engines + len(QUICK_ENGINES)  # also processes; the memory of PerSAM; engines, some twice


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
    # First, in a process in which nothing ran before.
    concepts = tried("several concepts", partial(several_concepts, persam, rounds, progress))
    scenes = [read_image(photo) for photo in photos] or drawn_scenes()
    about = about_timing(persam) | {"canvas": canvas, "rounds": rounds, "quick": quick, "compared_on": len(scenes)}
    order: dict[str, Any] = {"device": persam.model.device.type, "dtype": "float32", "canvas": canvas}
    plain = partial(compare_with_plain, persam, name, order, rounds, progress, memory=not quick)
    with contextlib.nullcontext() if quick else by_name(persam, name) as place:
        how = None if place is None else partial(open_persam, place, **order)
        parts = [
            tried("image encoder", partial(compare_encoders, persam.model, scenes, rounds, progress, how)),
            tried("PerSAM over plain SAM", plain),
        ]
        if place is not None:
            parts.append(tried("engines", partial(compare_engines, persam, place, order, scenes, rounds, progress)))
    parts.append(concepts)
    parts.append(tried("the bundled model", partial(time_bundled, rounds, progress, processes=not quick)))
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


# ------------------------------------------------------------------------------------------ PerSAM over plain SAM


def compare_with_plain(
    persam: PerSAM, name: str, order: Mapping[str, Any], rounds: int, progress: Progress, *, memory: bool
) -> Part:
    """What PerSAM adds to plain SAM with as many decoder passes: time, and memory of a process."""
    image, mask = drawn_scene(PHOTO)
    concept = _drawn_once(persam.learn(image, mask))
    prior = prior_of(persam.encode(image), concept, persam.model.low_resolution, tuned=False)
    count, job = ("three", three_passes) if prior.box is None else ("two", two_passes)
    added = added_time(persam, concept, image, rounds, progress, plain_job=job)
    spread, part = added.after_encoding, Part()
    limit = f"at most +{ADDED_TIME:.1%} over plain SAM's {count} passes"
    part.targets.append(Target("time that PerSAM adds", percent(spread), limit, spread.median <= ADDED_TIME))
    part.rows.append({"added_time": asdict(spread), "plain_seconds": added.seconds("plain")})
    if memory:
        target = "memory that PerSAM adds"
        more = tried(target, partial(_added_memory, target, name, order))
        progress()
        part.targets += more.targets
        part.rows += more.rows
    return part


def _drawn_once(concept: Concept) -> Concept:
    """The same without the second encoding of what is drawn again, which plain SAM has not."""
    return replace(concept, settings=concept.settings.but(redraw=False))


def _added_memory(target: str, name: str, order: Mapping[str, Any]) -> Part:
    peaks = {job: [peak_in_process(name, **order, side=PHOTO, job=job) for _ in range(2)] for job in ("SAM", "PerSAM")}
    more = min(peaks["PerSAM"]) - min(peaks["SAM"])
    limit = f"at most +{ADDED_BYTES / 1e6:.0f} MB over plain SAM"
    found = Target(target, f"{more / 1e6:+.1f} MB", limit, more <= ADDED_BYTES)
    return Part(rows=[{"peak_bytes": peaks}], targets=[found])


def two_passes(model: PromptableModel, encoding: EncodedImage) -> np.ndarray:
    """Plain SAM, asked twice: a click, then a click with a box around all; the mean of both."""
    point, box = one_point(model, encoding), torch.tensor([[0.0, 0.0, *encoding.frame.content[::-1]]])
    with torch.inference_mode():
        found = model.decode(encoding, point, multimask=True).best()
        boxed = Prompts(point.points, point.labels, box.to(model.device))
        found = (found + model.decode(encoding, boxed, multimask=True).best()) / 2
        mask: np.ndarray = encoding.frame.to_photo_mask(found[0, 0]).cpu().numpy()
        return mask


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
    count, spread = rows[-1]["concepts"], Spread(**rows[-1]["of_one_published"])
    limit = "at most a third of one by itself, decoder as published"
    target = Target(f"a further concept, of {count}", spread.text(2), limit, spread.median <= FURTHER)
    return Part(rows, [table], [target])


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
            once = _drawn_once(concept)
            jobs = {
                "one photo": lambda: persam.segment(photo, concept),
                "drawn once": lambda: persam.segment(photo, once),
            }
            seconds = in_turns(jobs, 2 * rounds, persam.model, lambda: None)
            rows, table = time_concepts(persam, image, once, rounds)
        progress()
        concept.save(learned)
        whole = Spread.of(seconds["one photo"])
        found, limit = f"{whole.text(3)} s", f"at most {TINY_PHOTO} s on one core"
        part.targets.append(Target("tiny: one photo, read to mask", found, limit, whole.median <= TINY_PHOTO))
        drawn_once = Spread.of(seconds["drawn once"])
        cells = [("one photo, one core", whole.text(3)), ("the same, drawn once", drawn_once.text(3))]
        part.rows += [
            {"tiny": "one photo", "seconds": asdict(whole)},
            {"tiny": "drawn once", "seconds": asdict(drawn_once)},
            *rows,
        ]
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
