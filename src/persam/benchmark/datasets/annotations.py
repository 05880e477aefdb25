"""Annotations in COCO's JSON, which LVIS and PACO share: photos, classes, polygons and run-length codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from persam.benchmark.datasets.layout import some, wrong_layout
from persam.benchmark.episodes import Crop, Sample
from persam.errors import PersamError, UsageError
from persam.files import safe_name

_PHOTO_PLACES = ("", "images", "coco")  # below the data set's folder, as people unpack the photos

#: The annotations of one class by the id of their photo.
Photographed = dict[int, list[Mapping[str, Any]]]


@dataclass(frozen=True, eq=False)
class AnnotationTruth:
    """The union of a class's annotations in one photo, decoded when it is read; crowd regions do not count.

    Attributes:
        where: file and photo, for sentences.
        size: (H, W) of the photo.
        objects: COCO segmentations: a list of polygons, or a run-length code (compressed or not).
        crowds: the same, of regions in which the objects of the class were not told apart.
        crop: the part of the photo that is the sample, or None for all.
    """

    where: str
    size: tuple[int, int]
    objects: Sequence[Any]
    crowds: Sequence[Any] = ()
    crop: Crop | None = None

    def read(self, shape: tuple[int, int]) -> np.ndarray:
        """See `Truth.read`."""
        return self._cropped(self._union(self.objects), shape)

    def read_ignore(self, shape: tuple[int, int]) -> np.ndarray | None:
        """See `Truth.read_ignore`: the crowd regions, but for what is annotated as an object within them."""
        if not self.crowds:
            return None
        return self._cropped(self._union(self.crowds) & ~self._union(self.objects), shape)

    def digest(self) -> str:
        """See `Truth.digest`."""
        values = [self.size, list(self.objects), list(self.crowds), str(self.crop)]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def _union(self, segmentations: Sequence[Any]) -> np.ndarray:
        mask = np.zeros(self.size, bool)
        for segmentation in segmentations:
            mask |= decode(segmentation, self.size, self.where)
        return mask

    def _cropped(self, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        part = mask if self.crop is None else self.crop.of(mask)
        if part.shape != shape:
            raise PersamError(
                f"{self.where} is annotated at {part.shape[1]} x {part.shape[0]} pixels, its photo has "
                f"{shape[1]} x {shape[0]}; in a data set they must have one size."
            )
        return part


def decode(segmentation: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """A COCO segmentation as (H, W) bool: polygons, or a run-length code, its counts a list or compressed.

    Raises:
        PersamError: it is neither, or a code of another size.
    """
    from pycocotools import mask as coco

    height, width = size
    try:
        if isinstance(segmentation, list):
            codes = coco.frPyObjects(segmentation, height, width) if segmentation else []
            return np.asarray(coco.decode(coco.merge(codes)), bool) if codes else np.zeros(size, bool)
        if isinstance(segmentation["counts"], list):
            segmentation = coco.frPyObjects(segmentation, height, width)
        mask = np.asarray(coco.decode(segmentation), bool)
    except Exception as error:  # pycocotools raises bare ones
        raise PersamError(f"An annotation of {where} is no polygon and no run-length code.") from error
    if mask.shape != size:
        raise PersamError(
            f"An annotation of {where} is of {mask.shape[1]} x {mask.shape[0]} pixels, its photo of {width} x {height}."
        )
    return mask


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """A JSON of annotations as it was read, and where its photos lie.

    Attributes:
        path: the file.
        root: the data set's folder, below which ``val2017/`` and the like lie.
        layout: that was expected, for sentences.
        images: by id.
        categories: by id, in the order of the ids.
        annotations: in the file's order.
    """

    path: Path
    root: Path
    layout: str
    images: Mapping[int, Mapping[str, Any]]
    categories: Mapping[int, Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    _folders: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path, names: Sequence[str], layout: str) -> AnnotationFile:
        """Read the first of the files that is in ``annotations/`` or in the folder itself.

        Raises:
            UsageError: none is, it is no JSON of annotations, or an annotation is on a photo that it does not list.
        """
        places = (folder / name for name in names for folder in (root / "annotations", root))
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise wrong_layout(root, layout)
        try:
            with path.open(encoding="utf-8") as stream:
                found = json.load(stream)
            images = {image["id"]: image for image in found["images"]}
            categories = {each["id"]: each for each in sorted(found["categories"], key=lambda each: each["id"])}
            annotations = found["annotations"]
            lost = [each["id"] for each in annotations if each["image_id"] not in images]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{path} is no JSON of annotations with images, categories and annotations; download it again."
            ) from error
        if lost:
            raise UsageError(f"{path} has annotations of photos that it does not list ({some(lost)}).")
        return cls(path, root, layout, images, categories, annotations)

    def by_category(self) -> dict[int, Photographed]:
        """Annotations by class and photo; classes in the order of their ids, photos in the order of theirs."""
        found: dict[int, Photographed] = {identity: {} for identity in self.categories}
        for annotation in sorted(self.annotations, key=lambda each: (each["image_id"], each["id"])):
            found.setdefault(annotation["category_id"], {}).setdefault(annotation["image_id"], []).append(annotation)
        return found

    def size(self, image_id: int) -> tuple[int, int]:
        """(H, W) of a photo."""
        image = self.images[image_id]
        return int(image["height"]), int(image["width"])

    def truth(
        self, image_id: int, annotations: Sequence[Mapping[str, Any]], crop: Crop | None = None
    ) -> AnnotationTruth:
        """The union of annotations of one photo, crowds apart."""
        return AnnotationTruth(
            f"{self.path.name}, photo {image_id}",
            self.size(image_id),
            [each["segmentation"] for each in annotations if not each.get("iscrowd", 0)],
            [each["segmentation"] for each in annotations if each.get("iscrowd", 0)],
            crop,
        )

    def photo(self, image_id: int, otherwise: str = "") -> Path:
        """Where a photo lies. `otherwise` is its folder if the file does not say one.

        Raises:
            UsageError: there is no such folder.
        """
        *folder, name = _relative(self.images[image_id])
        subset = folder[-1] if folder else otherwise
        if subset not in self._folders:
            found = next((place for each in _PHOTO_PLACES if (place := self.root / each / subset).is_dir()), None)
            if found is None:
                raise UsageError(f"{self.root} has no folder {subset} of photos: looked for {self.layout}.")
            self._folders[subset] = found
        return self._folders[subset] / name

    def samples(self, name: str, found: Photographed, subset: str = "") -> list[Sample]:
        """A class's photos: those on which at least one annotation of it is an object and no crowd."""
        samples, folder = [], safe_name(name)
        for image_id, group in found.items():
            if any(not each.get("iscrowd", 0) for each in group):
                photo = self.photo(image_id, subset)
                truth = self.truth(image_id, group)
                samples.append(Sample(f"{folder}/{photo.stem}", photo, truth, as_stored=True))
        return samples


def _relative(image: Mapping[str, Any]) -> list[str]:
    """Folder and name of a photo: COCO and PACO have a ``file_name``, LVIS only the ``coco_url``."""
    name = str(image.get("file_name") or "")
    if "/" in name or "coco_url" not in image:
        return name.split("/")[-2:]
    return str(image["coco_url"]).split("/")[-2:]
