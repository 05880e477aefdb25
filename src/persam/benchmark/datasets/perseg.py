"""PerSeg (Personalize-SAM): 40 objects, a handful of photos each; photo 00 is the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from persam.benchmark.datasets import layout
from persam.benchmark.datasets.options import About, Shots
from persam.benchmark.episodes import Episode, Loaded
from persam.errors import UsageError

LAYOUT = "Images/OBJECT/NN.jpg and Annotations/OBJECT/NN.png"
_PUBLISHED_REFERENCE = "00"


def read_perseg(
    root: Path,
    reference: Annotated[str, About("name of the reference photo; auto: 00, else the first")] = "auto",
    shots: Shots = 1,
) -> Loaded:
    """Every object: photo `reference` (and the `shots` - 1 after it) shows it, it is found in all others.

    The published evaluation drops every file whose path holds the reference's number anywhere, and pairs the sorted
    rest by position; here photos and masks are paired by name.

    Raises:
        UsageError: the folder is laid out otherwise, a photo has no mask, or nothing is left to be found.
    """
    top = layout.unpacked(root, "Images", LAYOUT)
    episodes, alone, spent = [], [], []
    found = layout.subfolders(top / "Images")
    if not found:
        raise layout.wrong_layout(root, LAYOUT)
    for folder in found:
        masks = top / "Annotations" / folder.name
        pictures = layout.photos(folder)
        if not pictures:
            raise UsageError(f"{folder} has no photos; looked for {LAYOUT}.")
        samples = [
            layout.sample(f"{folder.name}/{photo.stem}", photo, masks / f"{photo.stem}.png") for photo in pictures
        ]
        alone += layout.masks_alone(layout.photos(masks), pictures)
        references, tests = layout.choose_references(samples, shots, reference, otherwise=_PUBLISHED_REFERENCE)
        if tests:
            episodes.append(Episode("perseg", folder.name, references, tests, layout.words(folder.name)))
        else:
            spent.append(folder.name)
    if not episodes:
        raise UsageError(f"{root} has no photos to find the objects in: each object has its references alone.")
    notes = layout.passed_over("masks without a photo", alone)
    notes += layout.passed_over("objects with references alone", spent)
    first = "photo 00, else the first" if reference == "auto" else f"photo {reference}"
    return Loaded(
        "perseg",
        tuple(episodes),
        f"{len(episodes)} objects, {layout.shots_in_words(shots)} each "
        f"({first}{', and the next' if shots > 1 else ''}), every other photo on its own; "
        "intersection and union pooled per object, then the mean over objects",
        {"shots": shots, "reference": reference},
        tuple(notes),
    )
