"""With what a benchmark is run: what was named, checked, and the methods made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from persam.benchmark.methods.catalog import ITS_OWN, find_method
from persam.errors import UsageError

if TYPE_CHECKING:
    from persam.benchmark.methods.base import Method
    from persam.models.base import FeatureEncoder, PromptableModel


@dataclass(frozen=True)
class Setup:
    """What is measured, and with what.

    Attributes:
        methods: names, see `persam.benchmark.methods.catalog`.
        modes: forms of those that have them: ``persam``, ``official``, ``paper``.
        model: the promptable model, as `PerSAM.from_pretrained` takes it.
        encoder: another encoder for the confidence map, or None.
        fitted: file with numbers of model and encoder, as `PerSAM.from_pretrained` takes it; by default the packaged
            ones, if any.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        solver: of PerSAM-F: ``direct`` or ``adamw``.
        checkpoints: weights of methods that have their own, by the method's name; else their defaults.
        seed: of what is random: the data set's draws, and training.
        limit: no more photos than this, in turns from every object; None for all.
    """

    methods: Sequence[str] = ("persam", "persam-f")
    modes: Sequence[str] = ("persam",)
    model: str = "tiny"
    encoder: str | None = None
    fitted: str | None = None
    device: str = "auto"
    solver: str = "direct"
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    limit: int | None = None


def check_setup(setup: Setup) -> None:
    """See that all that is named exists, before anything slow is done.

    Raises:
        UsageError: it does not.
    """
    from persam.method.scale import check_solver
    from persam.method.settings import Settings
    from persam.models.loading import choose_device

    entries = [find_method(name) for name in setup.methods]
    if not entries or not setup.modes:
        raise UsageError("There is nothing to measure; name a method.")
    for mode in setup.modes:
        Settings.of(mode)
    check_solver(setup.solver)
    if setup.limit is not None and setup.limit < 1:
        raise UsageError(f"A limit of {setup.limit} photos leaves nothing to measure; give at least 1.")
    strange = [name for name in setup.checkpoints if name not in setup.methods]
    if strange:
        raise UsageError(f"A checkpoint was named for {strange[0]}, which is not measured; add --method {strange[0]}.")
    if setup.fitted is not None and not any(entry.has_modes for entry in entries):
        raise UsageError(f"Numbers were named, but {entries[0].name} makes no use of them; leave them out.")
    choose_device(setup.device)


@dataclass(frozen=True)
class Equipment:
    """Methods, made, and the networks that they share.

    Attributes:
        methods: in the order in which they were named, each in all modes.
        model: or None, if no method has a use for one.
        encoder: or None.
    """

    methods: tuple[Method, ...]
    model: PromptableModel | None
    encoder: FeatureEncoder | None

    @classmethod
    def of(cls, setup: Setup) -> Equipment:
        """Load what the setup names.

        Raises:
            PersamError: it is not to be had.
        """
        from persam.models.fitted import fitted_in
        from persam.models.loading import load_encoder, load_model

        entries = [find_method(name) for name in dict.fromkeys(setup.methods)]
        model = load_model(setup.model, device=setup.device) if any(each.uses_model for each in entries) else None
        wanted = setup.encoder if any(each.has_modes for each in entries) else None
        encoder = load_encoder(wanted, device=setup.device) if wanted else None
        fitted = None if model is None or setup.fitted is None else fitted_in(setup.fitted, model, encoder)
        shared = {
            "encoder": encoder,
            "fitted": fitted,
            "device": setup.device,
            "solver": setup.solver,
            "seed": setup.seed,
        }
        methods = tuple(
            entry.make(model, mode=mode, checkpoint=setup.checkpoints.get(entry.name), **shared)
            for entry in entries
            for mode in (dict.fromkeys(setup.modes) if entry.has_modes else ["persam"])
        )
        return cls(methods, model, encoder)

    @property
    def in_words(self) -> str:
        """What the confidence map and the masks are made with."""
        if self.model is None:
            return ITS_OWN
        return self.model.name if self.encoder is None else f"{self.encoder.name} for matching, {self.model.name}"
