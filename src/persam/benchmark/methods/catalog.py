"""Every method that can be measured by name: ours in all its modes, and the comparators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persam.errors import UsageError

if TYPE_CHECKING:  # torch and transformers are slow to import, and `--help` lists this catalog
    from persam.benchmark.methods.base import Method
    from persam.models.base import FeatureEncoder, PromptableModel


@dataclass(frozen=True)
class Order:
    """With what a method is made; each method takes what it has a use for.

    Attributes:
        model: the promptable model, or None for a method that has no use for one.
        mode: form of PerSAM and of the confidence map: ``persam``, ``official`` or ``paper``.
        encoder: another encoder for the confidence map.
        device: of a network that the method loads itself.
        solver: of PerSAM-F.
        checkpoint: the method's own weights: hub id, local folder or file; None for its default.
        seed: of what is random in training.
    """

    model: PromptableModel | None
    mode: str = "persam"
    encoder: FeatureEncoder | None = None
    device: str = "auto"
    solver: str = "direct"
    checkpoint: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class MethodEntry:
    """A method that people can name.

    Attributes:
        name: what to write after ``--method``.
        title: what to print in a table.
        about: one line on how it finds the object.
        build: makes it.
        uses_model: whether it works with the promptable model of ``--model``; if not, none need be loaded.
        has_modes: whether ``--mode``, ``--encoder`` change it.
        checkpoint: its own weights by default, a hub id, beyond the promptable model's; None where it needs none.
        takes_checkpoint: whether other weights can be named.
        requires: a package that it needs and persam does not bring along, as pip knows it; None where there is none.
    """

    name: str
    title: str
    about: str
    build: Callable[[Order], Method]
    uses_model: bool = True
    has_modes: bool = False
    checkpoint: str | None = None
    takes_checkpoint: bool = False
    requires: str | None = None

    def make(
        self,
        model: PromptableModel | None,
        *,
        mode: str = "persam",
        encoder: FeatureEncoder | None = None,
        device: str = "auto",
        solver: str = "direct",
        checkpoint: str | None = None,
        seed: int = 0,
    ) -> Method:
        """Make the method, its own weights loaded.

        Args:
            model: the promptable model; None will do where `uses_model` is false.
            mode: ``persam``, ``official`` or ``paper``; for methods that `has_modes`.
            encoder: another encoder for the confidence map; for methods that `has_modes`.
            device: of a network that the method loads itself: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            solver: of PerSAM-F, ``direct`` or ``adamw``.
            checkpoint: the method's own weights, instead of the default.
            seed: of what is random in training.

        Raises:
            UsageError: no such mode or device, a checkpoint for a method without one, no model where one is needed.
            PersamError: weights or a package that it needs are not to be had.
        """
        if self.uses_model and model is None:
            raise UsageError(f"The method {self.name} works with a promptable model; name one with --model.")
        if checkpoint is not None and not self.takes_checkpoint:
            raise UsageError(f"The method {self.name} has no weights of its own; leave the checkpoint out.")
        return self.build(Order(model, mode, encoder, device, solver, checkpoint or self.checkpoint, seed))


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


def _persam(order: Order, *, tuned: bool) -> Method:
    from persam.benchmark.methods.ours import PersamMethod
    from persam.method.settings import Settings

    return PersamMethod(
        named("persam-f" if tuned else "persam", order.mode),
        _model(order),
        Settings.of(order.mode),
        tuned=tuned,
        encoder=order.encoder,
        solver=order.solver,
    )


def _sam_point(order: Order) -> Method:
    from persam.benchmark.methods.sam_point import SamPoint

    return SamPoint(named("sam-point", order.mode), _model(order), order.mode, order.encoder)


def _seggpt(order: Order) -> Method:
    from persam.benchmark.methods.seggpt import SegGpt

    return SegGpt.load(_checkpoint(order), device=order.device)


def _grounded_sam(order: Order) -> Method:
    from persam.benchmark.methods.grounded_sam import GroundedSam

    return GroundedSam.load(_checkpoint(order), _model(order), device=order.device)


def _unet(order: Order) -> Method:
    from persam.benchmark.methods.unet import UNetMethod

    return UNetMethod(checkpoint=order.checkpoint, device=order.device, seed=order.seed)


def _mask_rcnn(order: Order) -> Method:
    from persam.benchmark.methods.mask_rcnn import MaskRcnn

    return MaskRcnn(checkpoint=order.checkpoint, device=order.device, seed=order.seed)


def _model(order: Order) -> Any:
    assert order.model is not None, "make() has seen to it"
    return order.model


def _checkpoint(order: Order) -> str:
    assert order.checkpoint is not None, "the entry has a default"
    return order.checkpoint


METHODS: dict[str, MethodEntry] = {
    entry.name: entry
    for entry in (
        MethodEntry(
            "persam",
            "PerSAM",
            "training-free: confidence map, location prior, guidance, cascade",
            lambda order: _persam(order, tuned=False),
            has_modes=True,
        ),
        MethodEntry(
            "persam-f",
            "PerSAM-F",
            "PerSAM with the weights of the three scales tuned on the reference",
            lambda order: _persam(order, tuned=True),
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
