"""A mask that a person corrected becomes another shot of its concept, and what was unsure is looked at again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persam.album.batch import Wanted
from persam.album.index import AlbumIndex
from persam.album.outputs import OutputFolder, full_path
from persam.album.run import AlbumReport, OnPhoto, fill_album
from persam.album.worker import corrected
from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.images import open_picture, read_image, read_once, read_orientation
from persam.instance import Instance
from persam.masks import MaskSource, read_mask, read_mask_values
from persam.places import place_of
from persam.reference import Reference
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.persam import PerSAM


@dataclass(frozen=True)
class Fixed:
    """What came of corrections.

    Attributes:
        concept: with the corrected photos as further shots; the same one where the thing is in none of them.
        corrected: photos of the corrections.
        looked_at: photos that were unsure, and were looked at again.
        report: of the run over both.
    """

    concept: Concept
    corrected: list[str]
    looked_at: list[str]
    report: AlbumReport


def corrections_in(output: OutputFolder, index: AlbumIndex, concept: str) -> dict[str, Path]:
    """The masks of a concept that were changed since they were written, by their photo."""
    files = {line["image"]: line["files"]["mask"] for line in index.lines() if line["concept"] == concept}
    return {
        image: output.folder / file
        for image, file in files.items()
        if (output.folder / file).is_file() and not output.ledger.is_own(file)
    }


def fix_album(
    model: PerSAM,
    concept: Concept,
    corrections: Mapping[str, MaskSource],
    output: OutputFolder,
    index: AlbumIndex,
    wanted: Wanted,
    *,
    cache: int = 0,
    dtypes: Sequence[str] = (),
    on_photo: OnPhoto = lambda photo, problem: None,
) -> Fixed:
    """Learn from corrected masks, and look again where the concept was unsure.

    Args:
        model: that the concept was made with.
        concept: of the album. A tuned one is tuned again, for which it has to keep its references.
        corrections: photo and mask; a mask of nothing says that the thing is not there.
        output: the album's folder.
        index: what is known.
        wanted: how to look, and what to write.
        cache: bytes of encodings that are kept on disk.
        dtypes: number formats of the encoders, see `persam.models.loading.dtypes_of`.
        on_photo: called after each photo with what went wrong, or None.

    Warns:
        PersamWarning: a mask is scaled to fit, or may not be what was meant.

    Raises:
        PersamError: a photo or mask cannot be read, they do not fit together, or the concept cannot be gone on from.
        UsageError: there is nothing to learn from.
    """
    if not corrections:
        raise UsageError("There is no correction; correct a mask in the album's folder, or name a photo and its mask.")
    drawn = {full_path(photo): read_once(mask, "mask") for photo, mask in corrections.items()}
    masks = {photo: _mask_of(photo, mask) for photo, mask in drawn.items()}
    # Read from the files, so that what is doubtful about one is said by its name.
    shots = [
        replace(Reference.read(photo, drawn[photo]), mask_values=read_mask_values(mask))
        for photo, mask in masks.items()
        if mask.any()
    ]
    better = learned_with(model, concept, shots) if shots else concept
    unsure = [
        line["image"]
        for line in (index.lines() if shots else ())  # without a shot the concept is as it was
        if line["concept"] == concept.name and line["verdict"] == "unsure" and line["image"] not in masks
    ]
    for photo, mask in masks.items():
        index.keep(
            index.content_of(place_of(photo)), corrected(concept.name), _given(concept.name, mask, wanted.threshold)
        )
        written = output.line(photo, concept.name)
        if written is not None:  # what the person drew is in the index now, and is written again as it is
            output.ledger.adopt([written["files"]["mask"]])
    photos = [place_of(each) for each in (*masks, *unsure)]
    report = fill_album(
        lambda: model, [better], photos, output, index, wanted, cache=cache, dtypes=dtypes, on_photo=on_photo
    )
    return Fixed(better, list(masks), unsure, report)


def _mask_of(photo: str, mask: MaskSource) -> np.ndarray:
    picture = open_picture(photo)
    size = read_image(picture).shape[:2]
    return read_mask(mask, (size[0], size[1]), photo_orientation=read_orientation(picture), may_be_trivial=True)


def learned_with(model: PerSAM, concept: Concept, shots: list[Reference]) -> Concept:
    """A concept with further references; a tuned one is tuned again, for which it has to keep its references.

    Args:
        model: that it was made with.
        concept: to go on from.
        shots: what else it is to be learned from.

    Raises:
        PersamError: it is tuned and does not keep its references, or is of another model.
    """
    if not concept.tuned:
        return model.learn(shots, base=concept, keep_references=concept.keeps_references)
    if not concept.keeps_references:
        raise PersamError(
            f'The concept "{concept.name}" is tuned and does not keep its references, so it cannot be tuned '
            "with another one; learn it again with --keep-reference."
        )
    return model.tune(model.learn([*concept.kept_references(), *shots], name=concept.name, keep_references=True))


def _given(concept: str, mask: np.ndarray, threshold: float) -> dict[str, Any]:
    there = bool(mask.any())
    instances = (Instance(mask, 1.0),) if there else ()
    found = Segmentation(
        concept, None, mask, 1.0 if there else 0.0, present=there, threshold=threshold, instances=instances
    )
    return found.to_dict()
