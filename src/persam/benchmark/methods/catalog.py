"""Every method that can be measured by name: ours in all its modes, and the comparators."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, Any

from persam.errors import UsageError

if TYPE_CHECKING:  # torch and transformers are slow to import, and `--help` lists this catalog
    from persam.benchmark.methods.base import Method
    from persam.models.base import PromptableModel


ITS_OWN = "its own"  # what a method works with that brings its network along


@dataclass(frozen=True)
class MethodEntry:
    """A method that people can name.

    Attributes:
        name: what to write after ``--method``.
        about: one line on how it finds the object.
        made_by: the class or function that makes it, ``module:name`` in this package.
        uses_model: whether it works with the promptable model of ``--model``; if not, none need be loaded.
        has_modes: whether ``--mode``, ``--encoder`` change it.
        checkpoint: its own weights by default, a hub id, beyond the promptable model's; None where it needs none.
        takes_checkpoint: whether other weights can be named.
    """

    name: str
    about: str
    made_by: str
    uses_model: bool = True
    has_modes: bool = False
    checkpoint: str | None = None
    takes_checkpoint: bool = False

    def make(self, model: PromptableModel | None, *, checkpoint: str | None = None, **options: Any) -> Method:
        """Make the method, its own weights loaded.

        Args:
            model: the promptable model; None will do where `uses_model` is false.
            checkpoint: the method's own weights, instead of the default.
            options: ``mode``, another ``encoder`` for the confidence map and ``fitted`` numbers, for methods that
                `has_modes`; ``device`` of a network that the method loads itself; ``solver`` of PerSAM-F; ``seed`` of
                training. Each method takes what it has a use for.

        Raises:
            UsageError: no such mode or device, a checkpoint for a method without one, no model where one is needed.
            PersamError: weights or a package that it needs are not to be had.
        """
        if self.uses_model and model is None:
            raise UsageError(f"The method {self.name} works with a promptable model; name one with --model.")
        if checkpoint is not None and not self.takes_checkpoint:
            raise UsageError(f"The method {self.name} has no weights of its own; leave the checkpoint out.")
        module, name = self.made_by.split(":")
        maker = getattr(import_module(f"persam.benchmark.methods.{module}"), name)
        given = {"model": model, "checkpoint": checkpoint or self.checkpoint, **options}
        made: Method = maker(**{name: value for name, value in given.items() if name in signature(maker).parameters})
        return made


def find_method(name: str) -> MethodEntry:
    """The method of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in METHODS:
        raise UsageError(f'There is no method "{name}"; use {", ".join(METHODS)}.')
    return METHODS[name]


def named(name: str, mode: str) -> str:
    """What a method is called in results: its mode is told unless it is the default, ``official-persam-f``."""
    return name if mode == "persam" else f"{mode}-{name}"


METHODS: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        MethodEntry(
            "persam",
            "training-free: confidence map, location prior, guidance, cascade",
            "ours:persam_method",
            has_modes=True,
        ),
        MethodEntry(
            "persam-f",
            "PerSAM with the weights of the three scales tuned on the reference",
            "ours:persam_f_method",
            has_modes=True,
        ),
        MethodEntry(
            "sam-point",
            "plain SAM prompted with the highest place of the confidence map, one pass, best of three masks",
            "ours:SamPoint",
            has_modes=True,
        ),
        MethodEntry(
            "seggpt",
            "in-context: the reference photo and its mask are the prompt of a painter",
            "seggpt:SegGpt",
            uses_model=False,
            checkpoint="BAAI/seggpt-vit-large",
            takes_checkpoint=True,
        ),
        MethodEntry(
            "grounded-sam",
            "the object's category as text gives a box, SAM the mask in it; sees no reference",
            "grounded_sam:GroundedSam",
            checkpoint="IDEA-Research/grounding-dino-tiny",
            takes_checkpoint=True,
        ),
        MethodEntry(
            "unet",
            "a U-Net trained on the reference alone, from scratch or from a pretrained ResNet",
            "unet:UNetMethod",
            uses_model=False,
            takes_checkpoint=True,
        ),
        MethodEntry(
            "mask-rcnn",
            "torchvision's Mask R-CNN, pretrained on COCO, fine-tuned on the reference",
            "mask_rcnn:MaskRcnn",
            uses_model=False,
            takes_checkpoint=True,
        ),
    )
}
