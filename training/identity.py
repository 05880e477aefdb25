"""Train the network that knows a thing again when it is cut out (`persam/models/identity/`).

    python -m training.identity --data train.tar --val val.tar --objects objects.json --minutes 60 -o id.safetensors

Every step sees two cutouts of many things, and every cutout has to be nearer to the other one of its thing than to all
others (InfoNCE; van den Oord et al. 2018, Chen et al. 2020).  What is hard to tell apart comes together: other things
of the same photo, and what the bundled model draws beside them (`training/segments.py`).  The second cutout is of
another photo where the same physical thing is in several, and now and then where another thing of its kind is.  Every
second of the named things is held back, so that one can see how it does on things that it was not asked for.

It begins with the bundled model's encoder, or with other identity weights (`--init`).  `--output` is written every ten
minutes and at the end; the packaged weights, if none is named, at the end alone, and then `python -m training.fit` has
to be run again, for the score goes by what they say.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persam.metrics import auroc
from persam.models.identity.network import CHANNELS, WEIGHTS, IdentityNetwork
from persam.models.loading import BUNDLED, load_model
from persam.models.tiny.architecture import TinySam

from .cutouts import Values, cutout
from .photos import Photos, Thing, read_photos
from .segments import Segment, Segments, draw_segments

ALL_ALIKE = ("facade", "roofs", "strawberry")  # sets whose photos show many things that nobody can tell apart
NAMED, BESIDE_NAMED = 0.12, 3  # share of draws that are of named things, and how many of the same photo come along
SAME_OBJECT, SAME_KIND = 0.75, 0.15  # how often the second cutout is of another photo, where there is one
BESIDE = 0.6  # how often something that was drawn beside a photo's things comes along
DRAWN = 0.5  # how often a thing has the mask that was drawn, where there is one
STEEPEST = 30.0  # factor of the cosines
WARM_UP = 100  # steps
EVERY, SAVE_MINUTES = 50, 10.0
ASKED = 400  # things of validation photos
FEWEST = 2  # things
FIRST = "embedder.embedder.convolution.weight"  # of the network, (out, channels, 7, 7)

Names = tuple[str | None, str | None]
Part = Thing | Segment  # of a photo: what is cut out


class Material:
    """Photos to draw things from, and what is known of the things.

    Args:
        photos: with named things and classes.
        held_back: names of things that are not drawn.
        segments: what a model drew in these photos.

    Raises:
        ValueError: no two things are left.
    """

    def __init__(self, photos: Photos, held_back: Sequence[str] = (), segments: Segments | None = None) -> None:
        self.photos = photos
        self.segments = segments or Segments()
        self.held_back = frozenset(held_back)
        self.named = [name for name in photos.objects if name not in self.held_back]
        self._kinds = {thing: kind for kind, things in photos.by_kind.items() for thing in things}
        self.most = sum(map(self._is_free, photos.things))
        if self.most < FEWEST:
            raise ValueError(f"{self.most} things cannot be told apart: {FEWEST} at least are needed")

    def names(self, thing: Part) -> Names:
        """Which physical thing it is, and of which kind, as far as that is known."""
        if isinstance(thing, Segment):
            return None, None
        return self.photos[thing.photo].object_of(thing.id), self._kinds.get(thing)

    def draw(self, count: int, random: Random) -> list[Part]:
        """Different things, and now and then what was drawn beside them; some lie in one photo.  Fewer if there are no
        more."""
        drawn: dict[Part, None] = {}  # in order
        while len(drawn) < min(count, self.most):
            if self.named and random.random() < NAMED:
                first = random.choice(self.photos.by_object[random.choice(self.named)])
                beside = self.photos.by_photo[first.photo]
                some: list[Part] = [first, *random.sample(beside, min(BESIDE_NAMED, len(beside)))]
            else:
                photo = random.choice(self.photos.showing[None])
                there = self.photos.by_photo[photo]
                are_alike = self.photos[photo].source in ALL_ALIKE
                most = 1 if are_alike else random.choice((1, 1, 2, 3))
                some = [*random.sample(there, min(most, len(there)))]
                others = [] if are_alike else self.segments.beside.get(photo, [])
                if others and random.random() < BESIDE:
                    some.append(random.choice(others))  # of two, both may be of one table
            drawn |= dict.fromkeys(filter(self._is_free, some))
        return list(drawn)[:count]

    def again(self, thing: Part, random: Random) -> Part:
        """The thing, perhaps in another photo; or another one of its kind."""
        name, kind = self.names(thing)
        if name in self.photos.by_object and random.random() < SAME_OBJECT:
            return random.choice(self.photos.by_object[str(name)])
        if kind is not None and random.random() < SAME_KIND:
            return random.choice([each for each in self.photos.by_kind[kind] if self._is_free(each)])
        return thing

    def _is_free(self, thing: Part) -> bool:
        return self.names(thing)[0] not in self.held_back

    def batch(self, count: int, random: Random) -> tuple[Tensor, Tensor]:
        """Two cutouts of each of so many things, (2 count, CHANNELS, SIDE, SIDE): first all ones, then all others; and
        which things are, or may be, the same, (count, count) bool."""
        things = self.draw(count, random)
        ones = [self._cutout(each, random) for each in things]
        others = [self._cutout(self.again(each, random), random) for each in things]
        return torch.from_numpy(np.stack([*ones, *others])), alike([self.names(each) for each in things])

    def _cutout(self, thing: Part, random: Random) -> Values:
        """A view of it, at times with the mask that a decoder drew."""
        photo = self.photos[thing.photo]
        if isinstance(thing, Thing):
            is_drawn = thing in self.segments.things and random.random() < DRAWN
            thing = self.segments.things[thing] if is_drawn else Segment.of(photo, thing)
        return cutout(photo.image, thing, random)


def alike(names: Sequence[Names]) -> Tensor:
    """Which things are the same, or of one kind, so that nothing can be asked of the pair: (n, n) bool."""
    return torch.tensor(
        [[any(a is not None and a == b for a, b in zip(one, two, strict=True)) for two in names] for one in names]
    )


def contrast(vectors: Tensor, same: Tensor, steepness: Tensor | float) -> tuple[Tensor, Tensor]:
    """InfoNCE of the vectors (2n, L), of which i and i + n are one thing, and how many find their like, 0..1.

    Things that may be the same, (n, n) bool, are no strangers to each other.
    """
    count = len(same)
    right = torch.cat([torch.arange(count) + count, torch.arange(count)])
    ignored = same.repeat(2, 2)
    ignored[torch.arange(2 * count), right] = False
    ignored |= torch.eye(2 * count, dtype=torch.bool)
    cosines = (steepness * vectors @ vectors.T).masked_fill(ignored, -torch.inf)
    return F.cross_entropy(cosines, right), (cosines.argmax(1) == right).float().mean()


@torch.inference_mode()
def validate(network: IdentityNetwork, photos: Photos, seed: int = 0) -> dict[str, float]:
    """Two cutouts each of things of other photos, drawn as for training: how many are nearest to their like among all,
    and the AUROC of whether two cutouts are of one thing."""
    random = Random(seed)
    material = Material(photos)
    cutouts, same = material.batch(ASKED, random)
    network.eval()
    vectors = torch.cat([network(some) for some in cutouts.split(64)])
    _, right = contrast(vectors, same, 1.0)
    ones, others = vectors.chunk(2)
    cosines, known = (ones @ others.T).flatten(), torch.eye(len(same), dtype=torch.bool).flatten()
    asked = known | ~same.flatten()
    told = auroc(cosines[asked].numpy(), known[asked].numpy())
    return {"things": len(same), "right": round(float(right), 4), "auroc": round(told, 4)}


def started(init: Path | None) -> IdentityNetwork:
    """The network to go on with: as it is in a file, or with the bundled model's encoder."""
    if init is not None:
        return IdentityNetwork.load(init).requires_grad_(True)
    network = IdentityNetwork()
    state = TinySam.load().vision_encoder.body.state_dict()
    state[FIRST] = F.pad(state[FIRST], (0, 0, 0, 0, 0, CHANNELS - 3))  # of the mask it knows nothing yet
    network.body.load_state_dict(state)
    return network


def train(options: argparse.Namespace) -> IdentityNetwork:
    """Run until the time is over."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random = Random(options.seed)
    photos = read_photos(options.data, objects=options.objects, classes=True)
    drawn = Segments()
    if options.segments:
        drawn = draw_segments(load_model(BUNDLED), photos, options.segments, Random(options.seed))
    material = Material(photos, held_back=photos.objects[::2], segments=drawn)
    others = None if options.val is None else read_photos(options.val, objects=options.objects, classes=True)
    network = started(options.init)
    runs = network.history.get("runs", [])
    unseen = set(material.held_back) & set(network.history["held_back"] if runs else material.held_back)
    steepness = nn.Parameter(torch.tensor(math.log(10.0)))
    rates = {options.lr: list(network.body.parameters()), 3 * options.lr: list(network.head.parameters())}
    groups = [{"params": some, "lr": rate, "highest": rate} for rate, some in rates.items()]
    groups.append({"params": [steepness], "lr": 1e-2, "highest": 1e-2, "weight_decay": 0.0})
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    begun = saved = time.monotonic()
    steps = 0
    seen: list[tuple[float, float]] = []

    def save() -> None:
        run = {"cutouts": 2 * options.things * steps, "minutes": round((time.monotonic() - begun) / 60, 1)}
        run |= {name: getattr(options, name) for name in ("things", "lr", "seed")}
        run["segments"] = drawn.photos
        run["began"] = "the bundled model's encoder" if options.init is None else options.init.name
        network.history = {"runs": [*runs, run], "data": photos.counts(), "held_back": sorted(unseen)}
        if others is not None:
            network.history["validation"] = validate(network, others)
        network.save(options.output)
        print(json.dumps({"step": steps, **network.history.get("validation", {})}), flush=True)

    most = options.steps or math.inf
    while (done := (time.monotonic() - begun) / 60 / options.minutes) < 1 and steps < most:
        cutouts, same = material.batch(options.things, random)
        network.train()
        vectors = network(cutouts)
        loss, right = contrast(vectors, same, steepness.exp().clamp(max=STEEPEST))
        rate = min(1.0, (steps + 1) / WARM_UP) * max(0.01, 0.5 + 0.5 * math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["highest"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        steps += 1
        seen.append((float(loss.detach()), float(right)))
        if steps % EVERY == 0:
            figures = dict(zip(("loss", "right"), np.mean(seen[-EVERY:], 0).round(4).tolist(), strict=True))
            print(json.dumps({"step": steps, "s": round(time.monotonic() - begun), **figures}), flush=True)
        if time.monotonic() - saved > 60 * SAVE_MINUTES and options.output != WEIGHTS:
            save()
            saved = time.monotonic()
    save()
    return network


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="python -m training.identity", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add: Any = made.add_argument
    add("--data", required=True, type=Path, help="tar or folder of SET/STEM.webp with SET/STEM.png")
    add("--val", type=Path, help="the same, for validation")
    add("--objects", type=Path, help="JSON that names the physical things in both, and their classes")
    add("-o", "--output", default=WEIGHTS, type=Path, help="file to write; default: the packaged weights")
    add("--init", type=Path, help="identity weights to go on with; default: the bundled model's encoder")
    add("--minutes", default=60.0, type=float)
    add("--steps", default=0, type=int, help="end after so many steps; 0: by time only")
    add("--things", default=64, type=int, help="things a step, each in two cutouts")
    add("--segments", default=5000, type=int, help="photos in which the bundled model draws what comes along; 0: none")
    add("--lr", default=1e-3, type=float)
    add("--threads", default=0, type=int, help="threads of torch; 0: its own choice")
    add("--seed", default=0, type=int)
    return made


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    torch.set_flush_denormal(True)
    train(parser().parse_args(arguments))


if __name__ == "__main__":
    main()
