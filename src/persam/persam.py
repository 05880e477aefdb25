"""PerSAM: learn an object, tune it, find it. It only conducts; the work is done in `models/` and `method/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, overload

import numpy as np
import torch
from PIL import Image

from persam.concept import Concept
from persam.encoded import EncodedImage
from persam.errors import PersamError, UsageError
from persam.images import ImageSource, read_image
from persam.learning import learn_reference, mask_of, shot_of, thumbnail_of
from persam.method.instances import Found, Target, find_instances
from persam.method.scale import check_solver, tune_as_published, tune_directly
from persam.method.settings import Settings
from persam.models.base import FeatureEncoder, PromptableModel
from persam.models.loading import BUNDLED, load_encoder, load_model
from persam.reference import Reference
from persam.segmentation import Instance, Segmentation


class PerSAM:
    """Personalised segmentation with a promptable model.

    Args:
        model: the promptable model; see `PerSAM.from_pretrained` for names.
        encoder: another encoder for the confidence map, or None for the model's own features.
        settings: the form of the method that concepts are learned with.
    """

    def __init__(
        self, model: PromptableModel, *, encoder: FeatureEncoder | None = None, settings: Settings | None = None
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.settings = settings or Settings.of("persam")

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = BUNDLED,
        *,
        mode: str = "persam",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        encoder: str | None = None,
        settings: Settings | None = None,
        decoder_heads: int = 8,
    ) -> PerSAM:
        """Load a model by name. Without arguments: the bundled one, offline.

        Args:
            name: ``"tiny"``, a hub id such as ``"facebook/sam-vit-huge"``, a local folder, or an original checkpoint
                such as ``"sam_vit_h_4b8939.pth"``.
            mode: ``persam``, ``official`` or ``paper``.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            dtype: number format of the image encoder: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            encoder: name of another encoder for the confidence map, such as ``"facebook/dinov2-base"``.
            settings: single switches; takes the place of `mode`.
            decoder_heads: attention heads in the decoder of an original checkpoint.

        Raises:
            PersamError: the model is not to be had or damaged.
            UsageError: an unknown mode, device or dtype.
        """
        chosen = settings or Settings.of(mode)
        model = load_model(name, device=device, dtype=dtype, decoder_heads=decoder_heads)
        other = None if encoder is None else load_encoder(encoder, device=device, dtype=dtype)
        return cls(model, encoder=other, settings=chosen)

    # ---------------------------------------------------------------- encode

    def encode(self, image: ImageSource | EncodedImage) -> EncodedImage:
        """Encode a photo once, to hand it to `segment` as often as wanted.

        Raises:
            PersamError: the photo cannot be read.
        """
        if isinstance(image, EncodedImage):
            return image
        return EncodedImage.of(read_image(image), self.model, self.encoder, _source_of(image))

    # ----------------------------------------------------------------- learn

    @torch.inference_mode()
    def learn(
        self,
        image: ImageSource | Reference | Sequence[Reference],
        mask: ImageSource | None = None,
        *,
        box: Sequence[float] | None = None,
        points: Any = None,
        labels: Any = None,
        scribble: ImageSource | None = None,
        name: str = "object",
    ) -> Concept:
        """Learn an object, without training (PerSAM).

        Args:
            image: the reference photo, or one or several `Reference`.
            mask: its mask, in any form that people have; a transparent cut-out needs none.
            box: instead of a mask: (x0, y0, x1, y1) in photo pixels.
            points: instead of a mask, or with a box: (N, 2) as (x, y) in photo pixels.
            labels: of the points, (N,): 1 on the object, 0 off it.
            scribble: instead of a mask: strokes over the object.
            name: what to call it.

        Raises:
            PersamError: photo or mask cannot be read or do not fit together.
            UsageError: no form of reference was given, or several that exclude each other.
        """
        if isinstance(image, Reference):
            references = [image]
        elif isinstance(image, (list, tuple)) and image and all(isinstance(r, Reference) for r in image):
            references = list(image)
        else:
            references = [
                Reference.read(image, mask, box=box, points=points, labels=labels, scribble=scribble)  # type: ignore[arg-type]
            ]
        learned = [
            learn_reference(
                reference,
                EncodedImage.of(reference.image, self.model, self.encoder, reference.source),
                self.model,
                self.settings,
                own_features=self.encoder is None,
            )
            for reference in references
        ]
        matcher = self.encoder or self.model
        return Concept(
            name=name,
            settings=self.settings,
            model=self.model.fingerprint,
            model_name=self.model.name,
            encoder=matcher.fingerprint,
            encoder_name=matcher.name,
            targets=tuple(each.target for each in learned),
            references=tuple(each.record for each in learned),
            threshold=mean(each.threshold() for each in learned),
            thumbnail=thumbnail_of(references[0].image),
            material=tuple(learned),
        )

    def mask_of(self, reference: Reference) -> np.ndarray:
        """The mask of a reference, (H, W) bool; from a box, points or a scribble it is made by the model.

        Raises:
            PersamError: the model finds nothing under the prompt.
        """
        image = EncodedImage.of(reference.image, self.model, self.encoder, reference.source)
        return mask_of(reference, image, self.model)

    # ------------------------------------------------------------------ tune

    def tune(
        self, concept: Concept, *, solver: str = "direct", progress: Callable[[int], object] | None = None
    ) -> Concept:
        """Fit the scale weights on the concept's references (PerSAM-F), jointly if there are several.

        Args:
            concept: fresh from `learn`; a concept file does not hold what tuning needs.
            solver: ``direct`` finds the optimum at once; ``adamw`` is the published 1,000 epochs, at the photo's size.
            progress: called with the number of epochs done (``adamw``).

        Raises:
            PersamError: the concept was read from a file, or made with another model.
            UsageError: no such solver.
        """
        check_solver(solver)
        if not concept.material:
            raise PersamError(
                f'The concept "{concept.name}" was read from a file, which does not hold its photos; learn and tune it '
                "in one go (`persam learn --tune`)."
            )
        self.check(concept)
        shots = [shot_of(each, concept, self.model, full_size=solver == "adamw") for each in concept.material]
        tuned = tune_as_published(shots, progress=progress) if solver == "adamw" else tune_directly(shots)
        first, second, third = (float(w) for w in tuned.weights)
        return replace(
            concept,
            scale_weights=(first, second, third),
            threshold=mean(each.threshold(tuned=True) for each in concept.material),
        )

    # --------------------------------------------------------------- segment

    @overload
    def segment(  # type: ignore[overload-overlap]  # a str is an iterable of str, too
        self,
        image: ImageSource | EncodedImage,
        concept: Concept,
        *,
        max_instances: int = ...,
        threshold: float | None = ...,
        explain: bool = ...,
    ) -> Segmentation: ...
    @overload
    def segment(  # type: ignore[overload-overlap]
        self,
        image: ImageSource | EncodedImage,
        concept: Sequence[Concept],
        *,
        max_instances: int = ...,
        threshold: float | None = ...,
        explain: bool = ...,
    ) -> list[Segmentation]: ...
    @overload
    def segment(
        self,
        image: Iterable[ImageSource | EncodedImage],
        concept: Concept,
        *,
        max_instances: int = ...,
        threshold: float | None = ...,
        explain: bool = ...,
    ) -> Iterator[Segmentation]: ...
    @overload
    def segment(
        self,
        image: Iterable[ImageSource | EncodedImage],
        concept: Sequence[Concept],
        *,
        max_instances: int = ...,
        threshold: float | None = ...,
        explain: bool = ...,
    ) -> Iterator[list[Segmentation]]: ...
    def segment(
        self,
        image: Any,
        concept: Any,
        *,
        max_instances: int = 1,
        threshold: float | None = None,
        explain: bool = False,
    ) -> Any:
        """Find a concept in a photo.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 array or an encoded image; or an iterable of them.
            concept: one concept, or several: then a list of results for every photo, which is encoded once.
            max_instances: look for up to so many objects of the concept.
            threshold: confidence from which on the object counts as present; by default the concept's own.
            explain: keep the way to the mask in `Segmentation.trace`.

        Returns:
            A `Segmentation`, a list of them for several concepts, or an iterator of either for several photos.

        Raises:
            PersamError: a photo cannot be read, or a concept was made with another model.
            UsageError: `max_instances` below 1, or a threshold outside [-1, 1].
        """
        if max_instances < 1:
            raise UsageError(f"max_instances must be at least 1, not {max_instances}.")
        if threshold is not None and not -1 <= threshold <= 1:
            raise UsageError(f"The threshold is a similarity between -1 and 1, not {threshold}.")
        concepts = [concept] if isinstance(concept, Concept) else list(concept)
        for each in concepts:
            self.check(each)

        def one(photo: Any) -> Any:
            encoded = self.encode(photo)
            found = [self._segment_one(encoded, each, max_instances, threshold, explain) for each in concepts]
            return found[0] if isinstance(concept, Concept) else found

        if isinstance(image, (str, Path, Image.Image, np.ndarray, EncodedImage)):
            return one(image)
        return (one(photo) for photo in image)

    @torch.inference_mode()
    def _segment_one(
        self, image: EncodedImage, concept: Concept, most: int, threshold: float | None, explain: bool
    ) -> Segmentation:
        concept = concept.to(image.prompting.features.device)
        limit = concept.threshold if threshold is None else threshold
        weights = None if concept.scale_weights is None else torch.tensor(concept.scale_weights)
        target = Target(concept.embedding, weights, concept.settings)
        maps = image.maps(concept, self.model, tuned=concept.tuned)
        found = list(find_instances(self.model, image.prompting, maps, target, most, limit))
        instances = tuple(_instance(each) for each in found)
        frame, first = image.prompting.frame, found[0]
        return Segmentation(
            concept=concept.name,
            image=image.source,
            mask=np.logical_or.reduce([instance.mask for instance in instances]),
            score=min(1.0, max(0.0, first.confidence)),
            present=first.confidence >= limit and bool(instances[0].mask.any()),
            points=frame.to_photo(first.trace.points),
            labels=first.trace.labels,
            instances=instances,
            trace=first.trace if explain else None,
        )

    def check(self, concept: Concept) -> None:
        """See that a concept belongs to this model.

        Raises:
            PersamError: it was made with another model or encoder; says which.
        """
        matcher = self.encoder or self.model
        if concept.model != self.model.fingerprint:
            raise PersamError(
                f'The concept "{concept.name}" was made with the model {concept.model_name} ({concept.model}), this is '
                f"{self.model.name} ({self.model.fingerprint}); use that model or learn the concept again."
            )
        if concept.encoder != matcher.fingerprint:
            raise PersamError(
                f'The concept "{concept.name}" was made with the encoder {concept.encoder_name} ({concept.encoder}), '
                f"this is {matcher.name} ({matcher.fingerprint}); use that encoder or learn the concept again."
            )


def _instance(found: Found) -> Instance:
    mask = (found.trace.frame.to_photo_size(found.logits[None, None])[0, 0] > 0).cpu().numpy()
    return Instance(mask=mask, score=min(1.0, max(0.0, found.confidence)))


def _source_of(image: ImageSource) -> str | None:
    if isinstance(image, (str, Path)):
        return str(image)
    return getattr(image, "filename", None) or None
