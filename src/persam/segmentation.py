"""Segmentation: what was found in one image for one concept, and its forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

import numpy as np

from persam.drawing import Colour, colour_of, draw_overlay
from persam.errors import PersamError, UsageError
from persam.images import ImageSource, read_image
from persam.instance import Instance, Masked, rle_mask
from persam.lazy import library
from persam.outlines import exact_outlines

SURE_ENOUGH = 0.5  # score from which on the object counts as present, if nothing else is asked for
UNSURE = (0.25, 0.75)  # between these scores one should look
_NO_SEGMENTATION = "This is no segmentation with run-length codes, such as to_dict() gives."


def check_search(max_instances: int, threshold: float) -> None:
    """See that one can look for so many objects, with such a score.

    Raises:
        UsageError: `max_instances` is below 1, or the threshold outside [0, 1].
    """
    if max_instances < 1:
        raise UsageError(f"max_instances must be at least 1, not {max_instances}.")
    if not 0 <= threshold <= 1:
        raise UsageError(f"The threshold is a score between 0 and 1, not {threshold}.")


class SegmentOptions(TypedDict, total=False):
    """The options of `PerSAM.segment`, for its typed forms."""

    max_instances: int
    threshold: float
    explain: bool


class ManyOptions(SegmentOptions, total=False):
    """Those of `PerSAM.segment_many`."""

    batch: int | None


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(Masked):
    """What was found in one image for one concept.

    Attributes:
        concept: The concept's name.
        image: The image's file name as given, or None for one from memory.
        mask: (H, W) bool, all of the concept in this image; empty when it is not there.
        score: Probability that the thing is there, 0 to 1 (calibrated where numbers were fitted for the encoder).
        present: Whether the object is in the image.
        similarity: To the mean of the reference, at the peak of the confidence map, -1 to 1; None where persam did not
            make it.
        predicted_iou: The decoder's own estimate of how good the mask is, about 0 to 1; None likewise.
        threshold: Score from which on it counts as present.
        points: (N, 2) float (x, y) in photo pixels: the location prior.
        labels: (N,) int, 1 positive, 0 negative.
        instances: The found objects, the surest first; none when it is not there.
        candidate: The best guess that was rejected, when the object counts as absent; otherwise None.
    """

    concept: str
    image: str | None
    mask: np.ndarray
    score: float
    present: bool = True
    similarity: float | None = None
    predicted_iou: float | None = None
    threshold: float | None = None
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    instances: tuple[Instance, ...] = ()
    candidate: Instance | None = None

    @classmethod
    def of(
        cls,
        concept: str,
        image: str | None,
        instances: tuple[Instance, ...],
        threshold: float,
        points: np.ndarray,
        labels: np.ndarray,
    ) -> Segmentation:
        """What follows from the objects that were found, the surest first, at least one: is it there at all?"""
        first = instances[0]
        present = first.score >= threshold and bool(first.mask.any())
        return cls(
            concept=concept,
            image=image,
            mask=np.logical_or.reduce([each.mask for each in instances]) if present else np.zeros_like(first.mask),
            similarity=first.similarity,
            predicted_iou=first.predicted_iou,
            score=first.score,
            present=present,
            threshold=threshold,
            points=points,
            labels=labels,
            instances=instances if present else (),
            candidate=None if present else first,
        )

    def __repr__(self) -> str:
        where = f"at {self.box}" if self.found else "not there"
        unsure = ", unsure" if self.verdict == "unsure" else ""
        return (
            f"<Segmentation of {self.concept!r} in {self.image or 'an image'}: {where}, score {self.score:.2f}{unsure}>"
        )

    @property
    def found(self) -> bool:
        """Whether there is something to show: a mask, and nothing that says the object is absent."""
        return self.present and bool(self.mask.any())

    @property
    def verdict(self) -> Literal["present", "absent", "unsure"]:
        """Whether it is there, in a word; `unsure` where the score lies between `UNSURE`, whatever `present` says."""
        if UNSURE[0] <= self.score < UNSURE[1]:
            return "unsure"
        return "present" if self.found else "absent"

    @property
    def trace(self) -> Instance | None:
        """The surest instance, or the candidate, with the way to it; None without ``segment(..., explain=True)``."""
        first = self.instances[0] if self.instances else self.candidate
        return None if first is None or first.prior is None else first

    @property
    def found_objects(self) -> tuple[Instance | Segmentation, ...]:
        """Every found object by itself; all of it as one where there are no instances, nothing where it is absent."""
        return (self.instances or (self,)) if self.found else ()

    @property
    def assumed_mask(self) -> np.ndarray:
        """The mask under the assumption that the object is there, which the paper and its figures make, (H, W) bool."""
        return self.mask if self.candidate is None else self.candidate.mask

    def polygons(self) -> list[list[np.ndarray]]:
        """Outline the mask as polygons with holes, as GeoJSON nests them.

        Returns:
            One list per separate part: first its outer ring, then the rings of its holes, each (N, 2) int32 (x, y),
            corners on pixel centres of the object. Filling the outer rings and clearing the insides of the holes with
            `cv2.drawContours` gives the mask back.
        """
        return exact_outlines(self.mask)

    def to_dict(self, *, rle: bool = True) -> dict[str, Any]:
        """Return all of it but the pixels, ready for JSON; ``rle=False`` leaves the masks out."""
        height, width = self.mask.shape
        rejected = self.candidate
        return {
            "concept": self.concept,
            "image": self.image,
            "width": width,
            "height": height,
            "present": self.present,
            "verdict": self.verdict,
            **self._figures(),
            "threshold": None if self.threshold is None else round(self.threshold, 6),
            "points": [[round(float(x), 2), round(float(y), 2)] for x, y in self.points],
            "labels": [int(label) for label in self.labels],
            "instances": [one.to_dict(rle=rle) for one in self.instances],
            "candidate": None if rejected is None else rejected.to_dict(rle=rle),
        } | ({"rle": self.rle()} if rle else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Segmentation:
        """Read back what `to_dict` gave, or a line of ``results.jsonl``, with masks as they were.

        Raises:
            PersamError: it has no run-length codes (``to_dict(rle=False)``), one is damaged or of another size, or it
                is something else.
        """
        try:
            size = int(values["height"]), int(values["width"])
            instances = tuple(Instance.from_dict(one) for one in values["instances"])
            rejected = values["candidate"]
            mask = instances[0].mask if instances else np.zeros(size, bool)
            if len(instances) > 1:
                mask = np.logical_or.reduce([one.mask for one in instances])
            elif not instances and "rle" in values:
                mask = rle_mask(values["rle"])
            guess = None if rejected is None or "rle" not in rejected else Instance.from_dict(rejected)
            back = cls(
                concept=values["concept"],
                image=values["image"],
                mask=mask,
                score=values["score"],
                present=values["present"],
                similarity=values["similarity"],
                predicted_iou=values["predicted_iou"],
                threshold=values["threshold"],
                points=np.array(values["points"], np.float32).reshape(-1, 2),
                labels=np.array(values["labels"], np.int64),
                instances=instances,
                candidate=guess,
            )
            box = values["box"]
            vars(back).update(box=None if box is None else tuple(box))
            sizes = {one.mask.shape for one in (back, *instances, guess) if one is not None}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, PersamError) as error:
            raise PersamError(_NO_SEGMENTATION) from error
        if sizes != {size}:
            raise PersamError(_NO_SEGMENTATION)
        return back

    def cutout(self, image: ImageSource) -> np.ndarray:
        """Cut the object out of its photo.

        Args:
            image: the photo that was segmented: a path, a PIL image or an (H, W, 3) uint8 array.

        Returns:
            (h, w, 4) uint8 RGBA, cropped to the box; alpha is 255 on the object and 0 beside it.

        Raises:
            PersamError: Nothing was found, so there is nothing to cut out.
        """
        photo = self._photo(image)
        if self.box is None:
            raise PersamError(f"There is no {self.concept!r} in {self.image or 'the image'} to cut out.")
        x0, y0, x1, y1 = self.box
        alpha = self.mask[y0:y1, x0:x1].astype(np.uint8) * 255
        return np.dstack([photo[y0:y1, x0:x1], alpha])

    def overlay(self, image: ImageSource, colour: Colour | None = None) -> np.ndarray:
        """Tint and outline the object on its photo; every instance has its own outline.

        Args:
            image: the photo that was segmented: a path, a PIL image or an (H, W, 3) uint8 array.
            colour: RGB; by default one that belongs to the concept's name.

        Returns:
            (H, W, 3) uint8.
        """
        colour = colour_of(self.concept) if colour is None else colour
        out = draw_overlay(self._photo(image), self.mask, colour)
        for instance in self.instances if len(self.instances) > 1 else ():
            out = draw_overlay(out, instance.mask, colour, tint=0.0)
        return out

    def to_supervision(self) -> Any:
        """All found instances as roboflow's `supervision.Detections`: masks, boxes, scores, the concept's name.

        `data["class_name"]` holds the concept's name, `data["similarity"]` and `data["predicted_iou"]` what their names
        say (NaN where unknown); `class_id` is 0. An absent thing gives no detection. Detections of several concepts:
        `supervision.Detections.merge`.

        Raises:
            PersamError: supervision is not installed.
        """
        detections = library("supervision", "to_supervision()", "supervision").Detections
        found = self.found_objects
        if not found:
            return detections.empty()
        return detections(
            xyxy=np.array([one.box or (0, 0, 0, 0) for one in found], np.float32),
            mask=np.stack([one.mask for one in found]),
            confidence=np.array([one.score for one in found], np.float32),
            class_id=np.zeros(len(found), int),
            data={
                "class_name": np.array([self.concept] * len(found)),
                "similarity": np.array([one.similarity for one in found], np.float32),
                "predicted_iou": np.array([one.predicted_iou for one in found], np.float32),
            },
        )

    @classmethod
    def from_supervision(
        cls, detections: Any, size: tuple[int, int], *, concept: str | None = None, image: str | None = None
    ) -> Segmentation:
        """The way back: detections with masks, such as another model's or a person's, as one concept's segmentation.

        Its mask can be learned from, drawn, written and measured like persam's own.

        Args:
            detections: `supervision.Detections` with masks; with a `concept`, and class names in them, only its own.
            size: (H, W) of the photo.
            concept: name; by default the class name of the first detection, or "object".
            image: file name of the photo.

        Raises:
            PersamError: the detections have boxes alone, or masks of another size.
        """
        names = None if detections.data is None else detections.data.get("class_name")
        if names is not None and concept is not None:
            detections = detections[np.asarray(names) == concept]
        if concept is None:
            concept = "object" if names is None or not len(names) else str(names[0])
        if len(detections) and detections.mask is None:
            raise PersamError(
                "These detections have boxes and no masks; learn from a box instead: learn(photo, box=...)."
            )
        masks = [np.asarray(mask, bool) for mask in detections.mask] if len(detections) else []
        if any(mask.shape != tuple(size) for mask in masks):
            raise PersamError(f"The detections' masks are {masks[0].shape}, the photo is {tuple(size)} (H, W).")
        scores = [1.0] * len(masks) if detections.confidence is None else [float(c) for c in detections.confidence]
        instances = sorted(map(Instance, masks, scores), key=lambda one: -one.score)
        whole = np.logical_or.reduce(masks) if masks else np.zeros(size, bool)
        return cls(concept, image, whole, max(scores, default=0.0), present=bool(masks), instances=tuple(instances))

    def _photo(self, image: ImageSource) -> np.ndarray:
        photo = read_image(image)
        if photo.shape[:2] != self.mask.shape:
            height, width = self.mask.shape
            raise PersamError(
                f"The image is {photo.shape[1]} x {photo.shape[0]} pixels, the mask {width} x {height}; "
                "give the image that was segmented."
            )
        return photo
