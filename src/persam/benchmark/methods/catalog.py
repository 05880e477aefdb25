"""Every method that can be measured by name: ours in all its modes, and the comparators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from persam.errors import UsageError

if TYPE_CHECKING:  # torch and transformers are slow to import, and `--help` lists this catalog
    from persam.benchmark.methods.base import Method
    from persam.models.base import FeatureEncoder, PromptableModel


ITS_OWN = "its own"  # what a method works with that brings its network along


@dataclass(frozen=True)
class MethodEntry:
    """A method that people can name.

    Attributes:
        name: what to write after ``--method``.
        title: what to print in a table.
        about: one line on how it finds the object.
        build: makes it from the arguments of `make`, of which it takes what it has a use for.
        uses_model: whether it works with the promptable model of ``--model``; if not, none need be loaded.
        has_modes: whether ``--mode``, ``--encoder`` change it.
        checkpoint: its own weights by default, a hub id, beyond the promptable model's; None where it needs none.
        takes_checkpoint: whether other weights can be named.
        requires: a package that it needs and persam does not bring along, as pip knows it; None where there is none.
    """

    name: str
    title: str
    about: str
    build: Callable[..., Method]
    uses_model: bool = True
    has_modes: bool = False
    checkpoint: str | None = None
    takes_checkpoint: bool = False
    requires: str | None = None

    def make(self, model: PromptableModel | None, *, checkpoint: str | None = None, **options: Any) -> Method:
        """Make the method, its own weights loaded.

        Args:
            model: the promptable model; None will do where `uses_model` is false.
            checkpoint: the method's own weights, instead of the default.
            options: ``mode`` and another ``encoder`` for the confidence map, for methods that `has_modes`; ``device``
                of a network that the method loads itself; ``solver`` of PerSAM-F; ``seed`` of training. Each method
                takes what it has a use for.

        Raises:
            UsageError: no such mode or device, a checkpoint for a method without one, no model where one is needed.
            PersamError: weights or a package that it needs are not to be had.
        """
        if self.uses_model and model is None:
            raise UsageError(f"The method {self.name} works with a promptable model; name one with --model.")
        if checkpoint is not None and not self.takes_checkpoint:
            raise UsageError(f"The method {self.name} has no weights of its own; leave the checkpoint out.")
        return self.build(model=model, checkpoint=checkpoint or self.checkpoint, **options)


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


def _persam(model: PromptableModel, *, mode: str = "persam", tuned: bool = False, **options: Any) -> Method:
    from persam.benchmark.methods.ours import PersamMethod
    from persam.method.settings import Settings

    chosen = {name: options[name] for name in ("encoder", "solver") if name in options}
    name = named("persam-f" if tuned else "persam", mode)
    return PersamMethod(name, model, Settings.of(mode), tuned=tuned, **chosen)


def _sam_point(
    model: PromptableModel, *, mode: str = "persam", encoder: FeatureEncoder | None = None, **_: Any
) -> Method:
    from persam.benchmark.methods.ours import SamPoint

    return SamPoint(named("sam-point", mode), model, mode, encoder)


def _seggpt(checkpoint: str, *, device: str = "auto", **_: Any) -> Method:
    from persam.benchmark.methods.seggpt import SegGpt

    return SegGpt.load(checkpoint, device=device)


def _grounded_sam(model: PromptableModel, checkpoint: str, *, device: str = "auto", **_: Any) -> Method:
    from persam.benchmark.methods.grounded_sam import GroundedSam

    return GroundedSam.load(checkpoint, model, device=device)


def _unet(checkpoint: str | None, *, device: str = "auto", seed: int = 0, **_: Any) -> Method:
    from persam.benchmark.methods.unet import UNetMethod

    return UNetMethod(checkpoint=checkpoint, device=device, seed=seed)


def _mask_rcnn(checkpoint: str | None, *, device: str = "auto", seed: int = 0, **_: Any) -> Method:
    from persam.benchmark.methods.mask_rcnn import MaskRcnn

    return MaskRcnn(checkpoint=checkpoint, device=device, seed=seed)


METHODS: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        MethodEntry(
            "persam",
            "PerSAM",
            "training-free: confidence map, location prior, guidance, cascade",
            _persam,
            has_modes=True,
        ),
        MethodEntry(
            "persam-f",
            "PerSAM-F",
            "PerSAM with the weights of the three scales tuned on the reference",
            partial(_persam, tuned=True),
            has_modes=True,
        ),
        MethodEntry(
            "sam-point",
            "SAM, positive point",
            "plain SAM prompted with the highest place of the confidence map, one pass, best of three masks",
            _sam_point,
            has_modes=True,
        ),
        MethodEntry(
            "seggpt",
            "SegGPT",
            "in-context: the reference photo and its mask are the prompt of a painter",
            _seggpt,
            uses_model=False,
            checkpoint="BAAI/seggpt-vit-large",
            takes_checkpoint=True,
        ),
        MethodEntry(
            "grounded-sam",
            "Grounding DINO + SAM",
            "the object's category as text gives a box, SAM the mask in it; sees no reference",
            _grounded_sam,
            checkpoint="IDEA-Research/grounding-dino-tiny",
            takes_checkpoint=True,
        ),
        MethodEntry(
            "unet",
            "U-Net",
            "a U-Net trained on the reference alone, from scratch or from a pretrained ResNet",
            _unet,
            uses_model=False,
            takes_checkpoint=True,
        ),
        MethodEntry(
            "mask-rcnn",
            "Mask R-CNN",
            "torchvision's Mask R-CNN, pretrained on COCO, fine-tuned on the reference",
            _mask_rcnn,
            uses_model=False,
            takes_checkpoint=True,
            requires="torchvision",
        ),
    )
}
