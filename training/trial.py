"""What people would get with other weights: photos whose truth is known, what is there and what is not, and the demo.

    python -m training.fit --data train.tar --model out/best.safetensors -o fitted.json
    python -m training.trial out/best.safetensors:fitted.json --data DATA --val val/ --objects objects.json

`training.validate` sees pairs of views of validation photos, without fitted numbers.  This is the other half, asked
before weights are shipped: PerSAM as people run it, with the numbers that were fitted for the weights, beside
the packaged ones, on the same photos.

- photos: the data sets of DATA (perseg/, fss/, davis/), IoU per image and how often the peak lies on the object
- things: the same physical things in photos of VAL, as --objects names them; IoU per image
- views: pairs of views of the photos of VAL, each object learned from one and looked for in the other; IoU
- AUROC, right: whether a thing is there; those of photos and of things, each asked of all of their photos
- demo: how many of its photos are told right; mean IoU and the lowest ones, of PerSAM and PerSAM-F (F)
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from persam.benchmark.absence.summary import summarise_absent
from persam.benchmark.datasets.catalog import read_together
from persam.benchmark.datasets.things import read_things
from persam.benchmark.episodes import Episode
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Record, presence_queries
from persam.benchmark.running.run import ask, run
from persam.benchmark.suites.suite import change
from persam.demo import run as run_demo
from persam.metrics import iou, paired_test
from persam.models.encode_once import encode_once
from persam.models.fitted import PACKAGED
from persam.models.loading import BUNDLED
from persam.persam import PerSAM
from persam.reports.tables import Table

from .fit import Pair, learnable_pairs, learned_from
from .photos import IGNORE, read_photos
from .views import OWN

LOWEST = 3  # IoUs of the demo that are told
SEED = 1  # of the pairs of views


@dataclass(frozen=True)
class Material:
    """What every candidate is asked.

    Attributes:
        photos: things of data sets.
        things: things that are named in validation photos.
        pairs: pairs of views of validation photos.
    """

    photos: Sequence[Episode]
    things: Sequence[Episode]
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Tried:
    """What one candidate reached.

    Attributes:
        name: of its weights.
        photos, things: its answers.
        views: IoU of every pair.
        presence: its answers to what is where.
        demo_right: photos of the demo whose thing was told to be there or not, rightly; and of how many.
        demo: IoUs of the demo's photos, of PerSAM and of PerSAM-F, by name.
    """

    name: str
    photos: Sequence[Record]
    things: Sequence[Record]
    views: Sequence[float]
    presence: Sequence[Record]
    demo_right: tuple[int, int]
    demo: dict[str, float]


def load(candidate: str) -> tuple[str, PerSAM]:
    """`MODEL[:FITTED]` as PerSAM, mode persam, and its name.

    Raises:
        PersamError: there is no such model, or no numbers of it; without them there is nothing to compare.
    """
    model, _, numbers = candidate.partition(":")
    loaded = PerSAM.from_pretrained(model, fitted=numbers or PACKAGED)
    return Path(model).stem, PerSAM(encode_once(loaded.model), fitted=loaded.fitted)


def try_out(name: str, persam: PerSAM, material: Material, progress: Progress) -> Tried:
    """All that is told of one candidate."""
    method = PersamMethod(name, persam.model, persam.settings, fitted=persam.fitted)
    looks = presence_queries([*material.photos, *material.things])
    tests = sum(len(episode.tests) for episode in (*material.photos, *material.things))
    task = progress.add_task(name, total=tests + len(material.pairs) + len(looks))

    def step() -> None:
        progress.advance(task)

    photos, things = run(material.photos, [method], step), run(material.things, [method], step)
    views = [_iou_in(persam, pair) for pair in progress.track(material.pairs, task_id=task)]
    presence = ask(looks, [method], step, masks=False)
    with tempfile.TemporaryDirectory() as folder:
        demo = run_demo(Path(folder) / "demo", model=persam)
    found = [(thing.thing, photo) for thing in demo.things for photo in thing.photos]
    ious = {f"{thing} {photo.name}": photo.iou_persam for thing, photo in found}
    ious |= {f"{thing} {photo.name} (F)": photo.iou_persam_f for thing, photo in found}
    right = sum(photo.right for _, photo in found), len(found)
    known = {each: value for each, value in ious.items() if value is not None}
    return Tried(name, photos, things, views, presence, right, known)


def _iou_in(persam: PerSAM, pair: Pair) -> float:
    image, mask = pair.test.photo()
    found = persam.segment(np.ascontiguousarray(image), learned_from(persam, pair.reference))
    return iou(found.assumed_mask, mask == OWN, mask == IGNORE)


def table(tried: Sequence[Tried]) -> Table:
    """A row a candidate; a change is against the first, with its 95 % interval over photos (whole objects drawn)."""
    head = (
        "method",
        "photos",
        "change",
        "located",
        "things",
        "views",
        "AUROC",
        "right",
        "demo right",
        "demo",
        "lowest",
    )
    first = tried[0]
    counts = (
        f"IoU per image of {len(first.photos)} photos, {len(first.things)} of named things, {len(first.views)} pairs "
        f"of views, {len(first.demo)} answers in the demo; {len(first.presence)} questions of presence"
    )
    title = "Weights side by side: persam PerSAM, in percent"
    return Table(title, head, tuple(_row(each, first) for each in tried), notes=(counts,))


def _row(one: Tried, first: Tried) -> tuple[str, ...]:
    (presence,) = summarise_absent(one.presence)
    located = [record.on_object for record in one.photos if record.on_object is not None]
    lowest = sorted(one.demo.items(), key=lambda item: item[1])[:LOWEST]
    ours, theirs = ({record.query: record.iou for record in each.photos} for each in (one, first))
    objects = {record.query: f"{record.data_set}/{record.object}" for record in one.photos}
    return (
        one.name,
        _percent([record.iou for record in one.photos]),
        "–" if one is first else change(paired_test(theirs, ours, objects)),
        _percent(located),
        _percent([record.iou for record in one.things]),
        _percent(one.views),
        f"{presence.auroc:.3f}",
        "–" if presence.right is None else f"{100 * presence.right:.1f}",
        "{} of {}".format(*one.demo_right),
        _percent(list(one.demo.values())),
        ", ".join(f"{name} {value:.2f}" for name, value in lowest),
    )


def _percent(values: Sequence[float]) -> str:
    return f"{100 * float(np.mean(values)):.1f}" if len(values) else "–"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.trial", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("candidates", nargs="*", metavar="MODEL[:FITTED]", help="weights, and the file with numbers fitted for them")
    add("--data", required=True, type=Path, help="the folder that holds perseg/, fss/, davis/")
    add("--val", required=True, type=Path, help="folder of SET/STEM.webp with SET/STEM.png")
    add("--objects", required=True, type=Path, help="JSON that names the physical things in it")
    add("--views", default=168, type=int, help="pairs of views")
    add("--size", default=224, type=int, help="side of the views, a multiple of 32")
    options = parser.parse_args(arguments)
    material = Material(
        read_together(options.data),
        read_things(options.val, objects=str(options.objects), part="val").episodes,
        learnable_pairs(read_photos(options.val, objects=options.objects), options.size, options.views, SEED),
    )
    loaded = [load(each) for each in (BUNDLED, *options.candidates)]  # all, before anything slow
    found: list[Tried] = []
    console = Console()
    with Progress(console=console) as progress:
        for name, persam in loaded:
            found.append(try_out(name, persam, material, progress))
    table(found).print(console)


if __name__ == "__main__":
    main()
