"""What the limits of `persam check` were measured on beside the benchmark's photos: things of photos with object masks.

    python -m training.references --data val.tar -n 200

Every thing is shown by its whole photo and looked for in two made-up views (`training.views`): the photo cut out and
lit otherwise, and the thing pasted into another photo.  Prints the tables of `persam bench references`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from rich.progress import track

from persam.benchmark.suites.damage import AS_IT_IS
from persam.benchmark.suites.references import Tried, finding_table, sound_note, tried_as, verdict_table
from persam.doctor import check
from persam.metrics import iou
from persam.persam import PerSAM
from persam.reference import Reference

from .photos import IGNORE, Photos, Thing, read_photos
from .views import MIN_VISIBLE, OWN, View, finish, paste, random_crop, relight

SIZE = 224
TRIES = 4  # for a view in which the thing can be seen


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.references", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    add("-n", "--things", default=200, type=int, help="in turns from every set")
    add("--model", default="tiny", help="as in `persam check --model`")
    add("--seed", default=0, type=int)
    options = parser.parse_args(arguments)
    photos, random = read_photos(options.data), Random(options.seed)
    model = PerSAM.from_pretrained(options.model)
    chosen = in_turns(photos, options.things, random)
    tried = [one for thing in track(chosen, "things") if (one := try_thing(model, photos, thing, random)) is not None]
    title = f"{model.model.name}, mode {model.settings.mode}, {len(tried)} things of {options.data.name}, 2 views each"
    for table in (verdict_table(tried, title), finding_table(tried, title)):
        print(table.markdown())
    print(sound_note(tried))


def in_turns(photos: Photos, count: int, random: Random) -> list[Thing]:
    """So many things at random, every set in its turn."""
    waiting = [random.sample(things, len(things)) for things in photos.by_source.values()]
    chosen: list[Thing] = []
    while len(chosen) < count and any(waiting):
        chosen += [things.pop() for things in waiting if things]
    return chosen[:count]


def try_thing(model: PerSAM, photos: Photos, thing: Thing, random: Random) -> Tried | None:
    """Check a thing's photo as a reference, and look for the thing in its views; None if no view shows it."""
    photo = photos[thing.photo]
    views = [view for make in (lit_view, pasted_view) if (view := _visible(make, photos, thing, random)) is not None]
    if not views:
        return None
    checked = check(model, Reference(photo.image, mask=photo.mask == thing.id)).references[0]
    ious = []
    for view in views:
        image, mask = view.photo()
        found = model.segment(np.ascontiguousarray(image), checked.examined.concept).assumed_mask
        ious.append(iou(found, mask == OWN, mask == IGNORE))
    name = f"{photo.source}/{thing.photo}/{thing.id}"
    return tried_as(name, name, AS_IT_IS, checked, ious)


def lit_view(photos: Photos, thing: Thing, random: Random) -> View:
    """A part of the thing's photo, perhaps mirrored, in other light."""
    image, mask, frame = random_crop(photos[thing.photo], SIZE, random, smallest=0.5, keep=thing.box)
    mask[mask == thing.id] = OWN
    return finish(relight(image, random, 0.8), mask, frame, random)


def pasted_view(photos: Photos, thing: Thing, random: Random) -> View:
    """The thing in another photo."""
    scene = photos[random.randrange(len(photos))]
    image, mask, frame = random_crop(scene, SIZE, random, smallest=0.5)
    image = relight(image, random, 0.6)
    paste(image, mask, frame, photos[thing.photo], thing, OWN, random)
    return finish(image, mask, frame, random)


def _visible(
    make: Callable[[Photos, Thing, Random], View], photos: Photos, thing: Thing, random: Random
) -> View | None:
    for _ in range(TRIES):
        view = make(photos, thing, random)
        if (view.mask == OWN).sum() >= MIN_VISIBLE * SIZE * SIZE:
            return view
    return None


if __name__ == "__main__":
    main()
