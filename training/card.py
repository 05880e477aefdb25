"""The bundled model's card, written from what its weights say about themselves.

    python -m training.card

Writes MODEL_CARD.md beside the weights; no figure in it is typed by hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from persam.models.fitted import PACKAGED, key_of
from persam.models.identity.network import LENGTH, SIDE, WEIGHTS, IdentityNetwork
from persam.models.tiny.architecture import PACKAGED_WEIGHTS, TinySam

from .model import as_sam

DATA = {
    "voc": ("animal photos of PASCAL VOC 2012 and SBD", "Flickr's terms of use; research"),
    "coco": ("COCO 2017", "images under Flickr's terms of use, annotations CC BY 4.0"),
    "pets": ("Oxford-IIIT Pet", "CC BY-SA 4.0; images' own copyrights"),
    "horses": ("Weizmann horses", "research"),
    "clothes": ("Clothing Co-Parsing", "research"),
    "humans": ("photos of people", "research"),
    "parts": ("photos of small parts", "research"),
    "tools": ("hand tools", "CC BY 4.0"),
    "kitchen": ("kitchen ware", "MIT; photos from the web"),
    "fruit": ("fruit", "CC BY 4.0"),
    "voc20": ("things of PASCAL VOC 2012", "Flickr's terms of use; research"),
    "facade": ("house fronts", "CC BY 4.0"),
    "carparts": ("car parts (dsmlr/Car-Parts-Segmentation)", "if helpful in your research, cite"),
    "roofs": ("roofs from the air", "CC BY 4.0"),
    "waste": ("waste", "CC BY 4.0"),
    "food": ("food", "part CC BY 4.0, part MIT"),
    "rmgc": ("household objects in full bins (ICRA 2025 competition, NCSU)", "none stated"),
    "vehicles": ("vehicles", "fire engines MIT; others none stated"),
    "trashbags": ("rubbish bags", "CC BY 4.0"),
    "small": ("small objects", "part CC BY 4.0, part none stated"),
    "strawberry": ("strawberries", "MIT"),
}
FIGURES = {
    "click_iou": "IoU of one click on the deepest point of the largest object (best of three by predicted IoU)",
    "box_iou": "IoU of one box around the largest object",
    "located": "share of test views in which the peak of the confidence map (similarity alone) lies on the object",
    "personal_iou": "IoU of the mask found after learning from one view, mode persam without cues and refinement",
    "presence": "AUROC of the similarity: the other view of the pair against a view of another set",
}

TEMPLATE = """\
# The bundled model

A small promptable segmentation model that comes with persam, so that everything works offline, on a CPU, in seconds.
It is no match for SAM; take `PerSAM.from_pretrained("facebook/sam-vit-huge")` where accuracy matters.

<!-- Written by `python -m training.card` from the weights' metadata. Do not edit by hand. -->

## Architecture
{millions:.2f} million parameters, {megabytes:.1f} MB (float16 in the file, float32 in memory). A ResNet of basic blocks
(widths {widths}, depths {depths}; transformers' `ResNetBackbone`) with a top-down neck to stride 8, then SAM's prompt
encoder and mask decoder (transformers) at width {channels}. Default input: {size} x {size} pixels, longest side scaled,
padded at the right and bottom; any multiple of 32 works (`TinySam.resize`). No weight comes from another model: it was
trained from random numbers.

## Training data
{photos} photos with object masks, longest side 256. None of them is part of persam.

| set | photos | what | terms |
|---|---|---|---|
{data}

persam's test photos (PerSeg, DAVIS, FSS-1000) were not trained on. They were looked at
while the recipe was made (how often which prompt is given, the image size), so figures on them are a little flattering.

## Training so far
{seen:,} views seen (a view is one augmented photo), in {count} runs:

| run | views | image size | batch | peak learning rate | device | minutes | recipe |
|---|---|---|---|---|---|---|---|
{runs}

Every pair of views shares an object: pasted into two scenes among other pasted things, or seen in two crops of one
photo, in two photos of one kind, or in two photos of the very same thing. The losses are SAM's (focal 20 : dice 1,
best of three, predicted IoU) for clicks, boxes and corrections, and for persam's own method from the confidence map
through the guided decoder and the cascade; and a contrastive loss that makes the confidence map point at the object,
and nowhere in views without it. The weights are an exponential moving average.

To go on training, in a checkout of persam:

```
python -m training.train --data train.tar --val val.tar --minutes 60 --output out/
python -m training.card --weights out/best.safetensors
```

## Validation
On photos of the same sets that were not trained on, at {validated_size} pixels; pairs of views made with a fixed seed,
as many of every set, most of them pasted, each view learned from the other. Every set counts the same: figures are
means over sets, but for presence. n counts photos, or pairs. 95 % bootstrap intervals, within the sets.

| figure | mean | interval | n |
|---|---|---|---|
{validation}

{explained}

{fitted}## Limits
- It saw animals, people, clothes, household things, food, vehicles and small parts, at {size} pixels or near it. Thin
  things, small things, medical and drawn pictures are outside of that.
- The mask output has {mask} x {mask} pixels; refinement draws its outline to the edges of the photo, or
  of a window of it, at 256 pixels.
- The predicted IoU is an estimate by a small model; it is worse where the picture is unlike the training photos.
- It does not know what things are called, and must not be used to recognise persons.
- Some of the training data state no terms, others are for research alone; until somebody clears them, so are the
  weights.
"""


FITTED = """\
## Fitted beside the weights
By `python -m training.fit`, on {pairs} pairs of views of training photos, for this file's weights:

- log odds of a cell: {cues} {offset}
- gain by refining the masks on the photo's pixels: IoU {iou_gain}, boundary's F {boundary_gain}
- the score follows from: {signs}; AUROC {auroc} on the pairs that it was fitted on

"""

IDENTITY = """\
## The identity network
Beside the model, {millions:.2f} million parameters, {megabytes:.1f} MB (`models/identity/`): a ResNet of the same form,
begun with the encoder above, and two linear layers make a unit vector of {length} numbers of what was found and its
mask, cut out at {side} x {side} pixels on nothing. The cosine with the reference's is one of the score's signs.

- trained by `python -m training.identity` on the photos above: {runs}
- named things that were held back, so that one can tell: {held_back}
- {validation}

"""
VALIDATION = """\
of {things} things of validation photos, each cut out twice (at times in another photo, or another of its kind),
  {right:.1%} are nearest to their like among all; AUROC of whether two cutouts are of one thing {auroc:.3f}"""


def card(model: TinySam, size_bytes: int) -> str:
    """The card as Markdown."""
    history: dict[str, Any] = model.history
    config = model.config
    runs, data = history.get("runs", []), history.get("data", {})
    validation = history.get("validation", {})
    return TEMPLATE.format(
        millions=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=size_bytes / 1e6,
        widths=", ".join(map(str, config.widths)),
        depths=", ".join(map(str, config.depths)),
        channels=config.channels,
        size=config.image_size,
        mask=config.image_size // 2,
        photos=sum(data.values()),
        data="\n".join(
            f"| {name} | {count} | {' | '.join(DATA.get(name, ('', '')))} |" for name, count in data.items()
        ),
        seen=history.get("photos_seen", 0),
        count=len(runs),
        runs="\n".join(_run(number, run) for number, run in enumerate(runs, 1)),
        validated_size=validation.get("size", config.image_size),
        validation="\n".join(_figure(name, *validation[name]) for name in FIGURES if name in validation),
        fitted=_fitted(model),
        explained="\n".join(f"- {name}: {what}" for name, what in FIGURES.items() if name in validation),
    )


def _fitted(model: TinySam) -> str:
    """What `training.fit` wrote about these weights; nothing if it has not been run."""
    entry = json.loads(PACKAGED.read_text(encoding="utf-8")).get(key_of(as_sam(model), None))
    if entry is None:
        return ""
    figures = entry["figures"]
    fitted = FITTED.format(
        pairs=f"{figures['pairs']:,}",
        cues=" ".join(f"{weight:+.2f} {name}" for name, weight in entry["cues"].items()),
        offset=f"{entry['offset']:+.2f}",
        iou_gain=f"{figures['refinement_iou_gain']:+.3f}",
        boundary_gain=f"{figures['refinement_boundary_gain']:+.3f}",
        signs=", ".join(f"{name} {weight:+.1f}" for name, (weight, _) in entry["presence"].items()),
        auroc=f"{figures['presence_auroc']:.3f}",
    )
    return fitted + _identity()


def _identity() -> str:
    """What the identity network says about itself."""
    network = IdentityNetwork.load()
    found = network.history.get("validation")
    return IDENTITY.format(
        millions=sum(parameter.numel() for parameter in network.parameters()) / 1e6,
        megabytes=WEIGHTS.stat().st_size / 1e6,
        length=LENGTH,
        side=SIDE,
        runs="; ".join(
            f"{run['cutouts']:,} cutouts in {run['minutes']:.0f} minutes" for run in network.history["runs"]
        ),
        held_back=", ".join(network.history["held_back"]) or "none",
        validation="not validated" if found is None else VALIDATION.format(**found),
    )


def _run(number: int, run: dict[str, Any]) -> str:
    values = [run.get(key, "") for key in ("size", "batch", "lr", "device", "minutes")]
    recipe = run.get("recipe", "this one")
    return f"| {number} | {run['photos']:,} | {' | '.join(map(str, values))} | {recipe} |"


def _figure(name: str, mean: float, low: float, high: float, count: int) -> str:
    return f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} | {count} |"


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.card", description=__doc__)
    parser.add_argument("--weights", default=PACKAGED_WEIGHTS, type=Path)
    parser.add_argument("-o", "--output", default=PACKAGED_WEIGHTS.with_name("MODEL_CARD.md"), type=Path)
    options = parser.parse_args(arguments)
    options.output.write_text(card(TinySam.load(options.weights), options.weights.stat().st_size), encoding="utf-8")


if __name__ == "__main__":
    main()
