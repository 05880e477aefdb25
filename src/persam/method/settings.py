"""Which form of every technique runs: the three modes, and every switch between them for ablation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from persam.errors import UsageError

Mode = Literal["official", "paper", "persam"]

# Lowest and highest value of the switches that are numbers.
RANGES: dict[str, tuple[float, float]] = {
    "background_subspace": (0, 1),
    "positive_points": (1, 1000),
    "places": (1, 100),
    "alpha": (0, 1_000_000),
    "agreement": (0, 1_000_000),
    "final_agreement": (0, 1_000_000),
}


@dataclass(frozen=True)
class Settings:
    """One form of the method. Make one with `Settings.of(mode)`, vary it with `.but(...)`.

    However it is made, a value of another kind or outside of `RANGES` is a `UsageError`.

    Attributes:
        mode: the preset that this started from.
        reference_cells: which feature cells the reference mask selects. ``published``: the mask normalised like a
            picture, then > 0; ``coverage``: cells at least half covered, or the most covered one.
        target: what the confidence map compares with. ``mean``: cosine with the mean feature (published PerSAM);
            ``max-mean``: cosine with (max + mean) / 2 (published PerSAM-F); ``cosines``: mean of the cosines with
            every target cell (paper Eq. 5-6).
        tuned_target: the same choice for a concept that was tuned.
        background_subspace: share of the reference's background cells that spans the subspace which is removed from
            all features before they are compared (REBASE); 0 switches it off.
        nearest_cue: beside the similarity to the mean, the one to the nearest cells of the object (`method/cues.py`).
            Cues need `map` ``cells``, and numbers that were fitted for the encoder: without them the map is the
            paper's. One that is off leaves the weights of the others as they are.
        background_cue: also the similarity to the nearest cells of the reference's background, which speaks against.
        colour_cue: also the object's colours against those around it and in photos in general.
        map: where the confidence map is read. ``photo``: at the photo's full size, padding cut off (published);
            ``cells``: on the cells of the photo, at the decoder's low resolution.
        positive_points: how many positive points at most, spread over the confident region (1: the peak alone).
        negative_point: also give the place of least confidence as a negative point (Eq. 7).
        dense_prior: give the z-scored confidence map as the first pass's mask prompt (REBASE); needs `map` ``cells``.
        prior_box: also give a box around the places that are nearly as confident as the peak, and connected with it,
            for a map of cues. A second pass has point and box alone, and the mean of both masks counts; the cascade is
            left out.
        attention: target-guided attention (Eq. 8). ``sigmoid``: sigmoid of the z-scored map on a grid stretched over
            the photo, added to the attention weights, second softmax (published); ``softmax``: alpha times the softmax
            of the map, added to the weights, second softmax (the equation as printed, inert at alpha 1); ``logits``:
            alpha times the z-scored map on the padded grid, added to the attention logits; ``off``.
        alpha: balance of the attention guidance, for ``softmax`` and ``logits``.
        semantic: target-semantic prompting (Eq. 9-10). ``mean``: add the mean un-normalised target feature (published);
            ``unit``: the mean of the L2-normalised target features (as printed); ``off``.
        first_pass: ``single``: the decoder's single-mask output (published); ``scales``: the best of its three.
        cascade: the two refinement passes; not where there is a box (`prior_box`).
        guided_cascade: the semantic prompt also steers the refinement passes (published: the first pass alone).
        agreement: how much a mask's agreement with the confidence map counts beside its predicted IoU when one of
            three masks is chosen; 0 is the published choice.
        final_agreement: the same, for a last choice among the masks of all passes; 0: the last pass counts (published).
        fallback: an empty or runaway step is dropped and the step before it counts.
        refine: draw the mask's outline to the edges of the photo, for an encoder whose masks gain from it.
        pixel_evidence: before that, add to the mask what the reference's cells and colours say of every pixel.
        identity: for the score, see what was found alone and as a whole, too (`method/cues.py`); needs numbers that
            were fitted for the encoder.
        places: how many places of the map are looked at, the highest first, where the score says neither yes nor no
            (`method/find.py`); needs numbers that were fitted for the encoder. 1: the highest place alone.
        closer_look: look again in a window of the photo, for something small (`method/find.py`); needs numbers that
            were fitted for the encoder. ``small``: where what was found is small; ``always``: in every photo, which
            takes twice as long; ``off``.
        redraw: draw the mask again in a window around what was found, where the photo has pixels that the encoder has
            not seen, neither at first nor by a closer look (`method/redraw.py`); needs numbers that were fitted for
            the encoder, and say that masks gain from being refined.
        from_afar: learn what fills its reference as it looks from afar, too (`method/afar.py`); needs a map of cues,
            and numbers that were fitted for the encoder.
        tuned_prior: whether a tuned concept uses negative point and guidance as an untuned one does (the paper's text),
            or only positive points (published PerSAM-F).
    """

    mode: Mode = "persam"
    reference_cells: Literal["published", "coverage"] = "coverage"
    target: Literal["mean", "max-mean", "cosines"] = "cosines"
    tuned_target: Literal["mean", "max-mean", "cosines"] = "cosines"
    background_subspace: float = 0.0
    nearest_cue: bool = True
    background_cue: bool = True
    colour_cue: bool = True
    map: Literal["photo", "cells"] = "cells"
    positive_points: int = 1
    negative_point: bool = False
    dense_prior: bool = True
    prior_box: bool = True
    attention: Literal["sigmoid", "softmax", "logits", "off"] = "logits"
    alpha: float = 1.0
    semantic: Literal["mean", "unit", "off"] = "mean"
    first_pass: Literal["single", "scales"] = "scales"
    cascade: bool = True
    guided_cascade: bool = False
    agreement: float = 0.0
    final_agreement: float = 0.15
    fallback: bool = True
    refine: bool = True
    pixel_evidence: bool = True
    identity: bool = True
    places: int = 3
    closer_look: Literal["off", "small", "always"] = "small"
    redraw: bool = True
    from_afar: bool = True
    tuned_prior: bool = True

    def __post_init__(self) -> None:
        for name, kind in _kinds().items():
            _check(name, kind, getattr(self, name))

    @classmethod
    def of(cls, mode: str) -> Settings:
        """The preset of a mode.

        Raises:
            UsageError: no such mode.
        """
        if not isinstance(mode, str) or mode not in PRESETS:
            raise UsageError(f'There is no mode "{mode}"; use {", ".join(get_args(Mode))}.')
        return PRESETS[mode]

    def but(self, **changes: Any) -> Settings:
        """The same with some switches set otherwise.

        Raises:
            UsageError: no such switch, or a value that it cannot have.
        """
        if strange := sorted(changes.keys() - _kinds().keys()):
            raise UsageError(f'There is no setting "{strange[0]}"; use {", ".join(_kinds())}.')
        return replace(self, **changes)

    def looks(self) -> dict[str, Any]:
        """The switches that say where and how one looks: a concept may have them otherwise than a model."""
        return {name: getattr(self, name) for name in ("identity", "places", "closer_look", "redraw", "from_afar")}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a concept file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """From a concept file: unknown switches of a newer persam are ignored, missing ones take the mode's preset.

        Raises:
            UsageError: a value that a switch cannot have.
        """
        known = {f.name for f in fields(cls)}
        return cls.of(values.get("mode", "persam")).but(**{k: v for k, v in values.items() if k in known})


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Settings)


def _check(name: str, kind: Any, value: object) -> None:
    """See that a switch has a value that it can have."""
    if kind is bool:
        good, wanted = isinstance(value, bool), "True or False"
    elif kind in (int, float):
        low, high = RANGES[name]
        number = (int,) if kind is int else (int, float)
        good = isinstance(value, number) and not isinstance(value, bool) and low <= value <= high
        wanted = f"a {'whole ' * (kind is int)}number, {low} to {high}"
    else:
        choices = get_args(kind)
        good, wanted = isinstance(value, str) and value in choices, ", ".join(choices)
    if not good:
        raise UsageError(f'The setting "{name}" cannot be {value!r}; use {wanted}.')


PRESETS: dict[str, Settings] = {
    "official": Settings(
        mode="official",
        negative_point=True,
        reference_cells="published",
        target="mean",
        tuned_target="max-mean",
        nearest_cue=False,
        background_cue=False,
        colour_cue=False,
        map="photo",
        dense_prior=False,
        prior_box=False,
        attention="sigmoid",
        semantic="mean",
        first_pass="single",
        final_agreement=0.0,
        fallback=False,
        refine=False,
        pixel_evidence=False,
        identity=False,
        places=1,
        closer_look="off",
        redraw=False,
        from_afar=False,
        tuned_prior=False,
    ),
    "paper": Settings(
        mode="paper",
        negative_point=True,
        nearest_cue=False,
        background_cue=False,
        colour_cue=False,
        dense_prior=False,
        prior_box=False,
        attention="softmax",
        semantic="unit",
        first_pass="single",
        final_agreement=0.0,
        refine=False,
        pixel_evidence=False,
        identity=False,
        places=1,
        closer_look="off",
        redraw=False,
        from_afar=False,
    ),
    "persam": Settings(),
}
