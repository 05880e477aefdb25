"""PerSAM: learn an object, tune it, find it. It only conducts; the work is done in `models/` and `method/`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
import torch
from PIL import Image

from persam.concept import Concept, ReferenceRecord
from persam.encoding import Photo, PhotoEncoder
from persam.errors import PersamError, UsageError
from persam.geometry import shrink
from persam.images import ImageSource
from persam.kept import KeptReference
from persam.method.afar import learned_from_afar, looks_from_afar
from persam.method.cues import cues_of, fuses_cues
from persam.method.find import concepts_at_once, detail_side, find
from persam.method.learn import Learned, learn_reference, prompted_mask
from persam.method.scale import check_solver, shot_of, tune_as_published, tune_directly
from persam.method.segment import OUTLINE_SIDE
from persam.method.settings import Settings
from persam.method.threshold import levels_of
from persam.models.base import EncodedImage, FeatureEncoder, PromptableModel
from persam.models.fitted import Fitted, fitted_for, fitted_in
from persam.models.loading import BUNDLED, load_encoder, load_model
from persam.models.whereabouts import called, encoder_called
from persam.reference import Reference, warn_of_repeats
from persam.reports.pictures import encoded as picture_file
from persam.segmentation import SURE_ENOUGH, ManyOptions, Segmentation, SegmentOptions, check_search

if TYPE_CHECKING:
    from persam.video import Clip, ClipSource, Start, TrackedFrame
    from persam.video.track import TrackCall

SCRIBBLE_POINTS, THUMBNAIL_SIDE = 8, 96  # the latter in pixels

_ONE_PHOTO = (str, os.PathLike, Image.Image, np.ndarray, EncodedImage)


class PerSAM:
    """Personalised segmentation with a promptable model.

    Args:
        model: the promptable model; see `PerSAM.from_pretrained` for names.
        encoder: another encoder for the confidence map, or None for the model's own features.
        settings: the form of the method that concepts are learned with.
        fitted: how much each cue says with the encoder of the confidence map; by default the packaged numbers, if
            there are any for it, and otherwise the paper's map.
    """

    def __init__(
        self,
        model: PromptableModel,
        *,
        encoder: FeatureEncoder | None = None,
        settings: Settings | None = None,
        fitted: Fitted | None = None,
    ) -> None:
        self.model = model
        self.encoder = encoder
        self.settings = settings or Settings.of("persam")
        self.fitted = fitted or fitted_for(model, encoder)

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
        fitted: str | Path | None = None,
        decoder_heads: int = 8,
        backend: str = "torch",
    ) -> PerSAM:
        """Load a model by name. Without arguments: the bundled one, offline.

        Args:
            name: ``"tiny"``, a hub id such as ``"facebook/sam-vit-huge"`` or ``"facebook/sam2.1-hiera-tiny"``, a local
                folder, or an original checkpoint such as ``"sam_vit_h_4b8939.pth"``.
            mode: ``persam``, ``official`` or ``paper``.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            dtype: number format of the image encoder: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
            encoder: name of another encoder for the confidence map, such as ``"facebook/dinov2-base@layers=9,12"``.
            settings: single switches; takes the place of `mode`.
            fitted: a file that `training.fit` made for this model and encoder; by default the packaged numbers, if any.
            decoder_heads: of an original checkpoint, see `load_model`.
            backend: what runs the image encoder: ``torch``, ``onnxruntime``, ``openvino``; see `load_model`.

        Raises:
            PersamError: model or backend are not to be had or damaged, or `fitted` has no numbers of the model.
            UsageError: an unknown mode, device, dtype or backend.
        """
        chosen = settings or Settings.of(mode)
        model = load_model(name, device=device, dtype=dtype, decoder_heads=decoder_heads, backend=backend)
        device = device if backend == "torch" else "cpu"
        other = None if encoder is None else load_encoder(encoder, device=device, dtype=dtype)
        numbers = None if fitted is None else fitted_in(fitted, model, other)
        return cls(model, encoder=other, settings=chosen, fitted=numbers)

    # ---------------------------------------------------------------- encode

    @torch.inference_mode()
    def encode(self, image: ImageSource | EncodedImage, *, size: tuple[int, int] | None = None) -> EncodedImage:
        """Encode a photo once, to hand it to `segment` as often as wanted.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 array; what is encoded already is returned.
            size: (H, W) of the photo, where `image` is a smaller copy; masks then have this size.

        Raises:
            PersamError: the photo cannot be read.
            UsageError: a `size` of another aspect, or of what is encoded already.
        """
        if isinstance(image, EncodedImage):
            if size is None:
                return image
            raise UsageError("This photo is encoded already; give its size when it is encoded.")
        return self.photos.encode_one(image, size)

    @property
    def photos(self) -> PhotoEncoder:
        """Encodes photos that are read, one or several in a pass; `encode` and `segment_many` are what one wants."""
        return PhotoEncoder(self.model, self.encoder, closer_looks=self.fitted is not None)

    @cached_property
    def longest_side(self) -> int:
        """Pixels of a photo's longest side beyond which what is found stays the same, but for rounding: twice the
        side of the largest canvas that the photo is resized to."""
        seen = self.encode(np.zeros((8, 8, 3), np.uint8))
        frames = [each.frame for each in (seen, seen.other) if each is not None]
        seen_at_once = 2 * max(OUTLINE_SIDE, *(side for frame in frames for side in frame.canvas))
        closer_look = detail_side(seen.frame.canvas) if self.photos.closer_looks else 0
        return max(seen_at_once, closer_look, self.photos.finder_side)

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
        label: int | str | None = None,
        mask_as_stored: bool = False,
        name: str | None = None,
        base: Concept | None = None,
        keep_references: bool = False,
    ) -> Concept:
        """Learn an object, without training (PerSAM).

        Args:
            image: the reference photo, or one or several `Reference`.
            mask: its mask, in any form that people have; a transparent cut-out needs none.
            box: instead of a mask: (x0, y0, x1, y1) in photo pixels.
            points: instead of a mask, or with a box: (N, 2) as (x, y) in photo pixels.
            labels: of the points, (N,): 1 on the object, 0 off it.
            scribble: instead of a mask: strokes over the object.
            label: which label of the mask is the object: a number, or a colour such as ``"#ff8000"``; by default all.
            mask_as_stored: the mask was drawn on the photo as it is stored, before its EXIF orientation turns it.
            name: what to call it; by default as `base`, or ``"object"``.
            base: a concept to go on from: the result has its references, and these. It has to be tuned again.
            keep_references: also keep photos and masks in the concept and its file, to tune or learn from them again.

        Warns:
            PersamWarning: a mask may not be what was meant, or a photo is there twice; says why, and what to do.

        Raises:
            PersamError: photo or mask cannot be read or do not fit together; or `base` is of another model, or was
                tuned and does not keep its references.
            UsageError: no form of reference was given, or several that exclude each other.
        """
        if isinstance(image, Reference):
            references = [image]
        elif isinstance(image, (list, tuple)) and image and all(isinstance(r, Reference) for r in image):
            references = list(image)
        else:
            references = [
                Reference.read(
                    image,  # type: ignore[arg-type]
                    mask,
                    box=box,
                    points=points,
                    labels=labels,
                    scribble=scribble,
                    label=label,
                    mask_as_stored=mask_as_stored,
                )
            ]
        earlier = None if base is None else self._untuned(base)
        warn_of_repeats(earlier.references if earlier else (), references)
        learned = [self._learn_one(reference) for reference in references]
        matcher, model_name = self.encoder or self.model, called(self.model.name)
        used = self.fitted if fuses_cues(self.settings) or self.settings.refine else None
        settings, fitted = (earlier.settings, earlier.fitted) if earlier else (self.settings, used)
        calibrated = self.fitted is None if earlier is None else earlier.own_similarity is not None
        afar = learned_from_afar(references, learned, self._learn_one) if looks_from_afar(settings, fitted) else []
        pairs = list(zip(references, learned, strict=True))
        concept = Concept(
            name=name or "object",
            settings=settings,
            model=self.model.fingerprint,
            model_name=model_name,
            encoder=matcher.fingerprint,
            encoder_name=model_name if self.encoder is None else encoder_called(matcher.name),
            targets=tuple(each.target for each in (*learned, *afar)),
            references=tuple(ReferenceRecord.of(*each) for each in pairs),
            **levels_of(learned, calibrated=calibrated),
            cues=() if fitted is None else tuple(cues_of(each, fitted) for each in (*learned, *afar)),
            from_afar=len(afar),
            fitted=fitted,
            thumbnail=picture_file(shrink(references[0].image, THUMBNAIL_SIDE), "PNG"),
            kept=tuple(KeptReference.of(*each) for each in pairs) if keep_references else (),
            material=tuple(learned),
        )
        return concept if earlier is None else earlier.joined(concept, name=name or earlier.name)

    def _learn_one(self, reference: Reference, settings: Settings | None = None) -> Learned:
        image = self.encode(reference.image)
        mask = torch.tensor(self._mask_of(reference, image), device=image.features.device)
        return learn_reference(self.model, image, mask, settings or self.settings, reference.mask_values)

    def _untuned(self, base: Concept) -> Concept:
        """A concept to add references to, as it was before it was tuned.

        Raises:
            PersamError: of another model; or it was tuned, and does not keep what it takes to do that again.
            UsageError: it was learned with other settings.
        """
        self.check(base)
        if base.settings != self.settings.but(**base.settings.looks()):
            raise UsageError(
                f'The concept "{base.name}" was learned with other settings (its mode is {base.mode}); load the model '
                "with settings=concept.settings, or learn anew from concept.kept_references()."
            )
        if not base.tuned:
            return base
        material = self._material_of(base)
        levels = levels_of(material, calibrated=base.own_similarity is not None)
        return replace(base, scale_weights=None, material=material, **levels)

    def _material_of(self, concept: Concept) -> tuple[Learned, ...]:
        """What tuning needs of every reference: from memory, or learned again from what the concept keeps."""
        nothing = (None,) * len(concept.references)
        found: list[Learned] = []
        for learned, kept in zip(concept.material or nothing, concept.kept or nothing, strict=True):
            if learned is not None:
                found.append(learned)
            elif kept is not None:
                found.append(self._learn_one(kept.read(), concept.settings))
            else:
                raise PersamError(
                    f'The concept "{concept.name}" was read from a file that does not keep its photos, so that it '
                    "cannot be tuned; learn it again with --tune, and with --keep-reference to tune it later too."
                )
        return tuple(found)

    @torch.inference_mode()
    def mask_of(self, reference: Reference) -> np.ndarray:
        """The mask of a reference, (H, W) bool; from a box, points or a scribble it is made by the model.

        Raises:
            PersamError: the model finds nothing under the prompt.
        """
        return self._mask_of(reference, self.encode(reference.image))

    def _mask_of(self, reference: Reference, image: EncodedImage) -> np.ndarray:
        if reference.mask is not None:
            return reference.mask
        points, labels = reference.points, reference.labels
        if points is None and reference.scribble is not None:
            points = reference.scribble_points(SCRIBBLE_POINTS)
        return prompted_mask(self.model, image, box=reference.box, points=points, labels=labels).cpu().numpy()

    # ------------------------------------------------------------------ tune

    @torch.inference_mode()
    def tune(
        self, concept: Concept, *, solver: str = "direct", progress: Callable[[int], object] | None = None
    ) -> Concept:
        """Fit the scale weights on the concept's references (PerSAM-F), jointly if there are several.

        Args:
            concept: fresh from `learn`, or from a file that keeps its references.
            solver: ``direct`` finds the optimum at once; ``adamw`` is the published 1,000 epochs, at the photo's size.
            progress: called with the number of epochs done (``adamw``).

        Raises:
            PersamError: the concept was read from a file without its references, or made with another model.
            UsageError: no such solver.

        Warns:
            PersamWarning: ``adamw`` tunes on a photo of more than two million pixels at a smaller size.
        """
        check_solver(solver)
        self.check(concept)
        material = self._material_of(concept)
        shots = [shot_of(self.model, each, concept, full_size=solver == "adamw") for each in material]
        tuned = tune_as_published(shots, progress=progress) if solver == "adamw" else tune_directly(shots)
        first, second, third = (float(w) for w in tuned.weights)
        return replace(
            concept,
            scale_weights=(first, second, third),
            **levels_of(material, calibrated=concept.own_similarity is not None, tuned=True),
            material=material,
        )

    # --------------------------------------------------------------- segment

    @overload
    def segment(self, image: Photo, concept: Concept, **options: Unpack[SegmentOptions]) -> Segmentation: ...
    @overload
    def segment(
        self, image: Photo, concept: Sequence[Concept], **options: Unpack[SegmentOptions]
    ) -> list[Segmentation]: ...
    def segment(
        self,
        image: Photo,
        concept: Concept | Sequence[Concept],
        *,
        max_instances: int = 1,
        threshold: float = SURE_ENOUGH,
        explain: bool = False,
    ) -> Segmentation | list[Segmentation]:
        """Find a concept, or several, in one photo, which is encoded once. For several photos: `segment_many`.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 array, or what `encode` gave.
            concept: one concept, or several: then the result is a list.
            max_instances: look for up to so many objects of a concept.
            threshold: score from which on the object counts as present, 0..1.
            explain: keep the way to the mask in `Segmentation.trace`.

        Raises:
            PersamError: the photo cannot be read, or a concept was made with another model.
            UsageError: several photos; `max_instances` below 1, or a threshold outside [0, 1].
        """
        if not isinstance(image, _ONE_PHOTO):
            raise UsageError(
                f"segment() takes one photo (a path, a PIL image or an array), not {type(image).__name__}; for several "
                "use segment_many(), which yields a result for each."
            )
        concepts = self._checked(concept, max_instances, threshold)
        found = list(self._segment_all(image, concepts, max_instances, threshold, explain))
        return found[0] if isinstance(concept, Concept) else found

    @overload
    def segment_many(
        self, images: Iterable[Photo], concept: Concept, **options: Unpack[ManyOptions]
    ) -> Iterator[Segmentation]: ...
    @overload
    def segment_many(
        self, images: Iterable[Photo], concept: Sequence[Concept], **options: Unpack[ManyOptions]
    ) -> Iterator[list[Segmentation]]: ...
    def segment_many(
        self,
        images: Iterable[Photo],
        concept: Concept | Sequence[Concept],
        *,
        max_instances: int = 1,
        threshold: float = SURE_ENOUGH,
        explain: bool = False,
        batch: int | None = None,
    ) -> Iterator[Any]:
        """Find a concept, or several, in any number of photos: yields `segment`'s result for each, in order.

        While one photo is worked on, the next ones are read in a thread of their own (for a GPU in several), which asks
        for no more than it needs and starts with the first result: photos may come from a generator without end. What
        is wrong with the call is said at once; a photo that cannot be read raises when its turn comes.

        Args:
            images: photos as `segment` takes them.
            concept: one concept, or several: then every result is a list.
            max_instances: look for up to so many objects of a concept.
            threshold: score from which on the object counts as present, 0..1.
            explain: keep the way to the mask in `Segmentation.trace`.
            batch: photos that are encoded in one pass; by default 1 on a CPU, which is no faster with more, else 4.

        Raises:
            PersamError: a photo cannot be read, or a concept was made with another model.
            UsageError: one photo instead of several; `max_instances` or `batch` below 1, or a threshold outside [0, 1].
        """
        if isinstance(images, _ONE_PHOTO) or not isinstance(images, Iterable):
            raise UsageError("segment_many() takes several photos, such as a list of paths; use segment() for one.")
        concept = concept if isinstance(concept, Concept) else list(concept)
        self._checked(concept, max_instances, threshold)
        if (batch := self.photos.at_once if batch is None else batch) < 1:
            raise UsageError(f"batch must be at least 1, not {batch}.")
        return self._segmented(
            images, batch, concept, {"max_instances": max_instances, "threshold": threshold, "explain": explain}
        )

    @torch.inference_mode()
    def _segmented(self, images: Iterable[Photo], batch: int, concept: Any, options: dict[str, Any]) -> Iterator[Any]:
        for image in self.photos.encode_ahead(images, batch):
            yield self.segment(image, concept, **options)

    def _checked(self, concept: Concept | Sequence[Concept], max_instances: int, threshold: float) -> list[Concept]:
        check_search(max_instances, threshold)
        concepts = [concept] if isinstance(concept, (Concept, str, os.PathLike)) else list(concept)
        for each in concepts:
            if not isinstance(each, Concept):
                raise UsageError(f"A concept is wanted, not {each!r}; read a file with Concept.load(...).")
            self.check(each)
        return concepts

    @torch.inference_mode()
    def _segment_all(
        self, image: Photo, concepts: Sequence[Concept], most: int, threshold: float, explain: bool
    ) -> Iterator[Segmentation]:
        """Encode the photo, once, and find every concept in it."""
        photo = self.encode(image)
        for each in concepts:
            each.check_vectors(photo)
        together = concepts_at_once(photo, concepts)
        for start in range(0, len(concepts), together):
            some = concepts[start : start + together]
            found = find(self.model, photo, some, most=most, threshold=threshold, encode=self.encode)
            for concept, objects in zip(some, found, strict=True):
                points, labels = objects[0].points(), objects[0].labels()
                instances = tuple(objects if explain else (each.without_way() for each in objects))
                yield Segmentation.of(concept.name, photo.source, instances, threshold, points, labels)

    def track(self, clip: ClipSource | Clip, start: Start, **options: Unpack[TrackCall]) -> Iterator[TrackedFrame]:
        """Follow objects through a clip, frame by frame: `persam.video.track.track`, with its options and errors."""
        from persam.video.track import track

        return track(self, clip, start, **options)

    def check(self, concept: Concept) -> None:
        """See that a concept belongs to this model.

        Raises:
            PersamError: it was made with another model or encoder; says which.
        """
        concept.check_made_with(self.model, self.encoder or self.model)
