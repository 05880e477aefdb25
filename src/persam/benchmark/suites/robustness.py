"""How rough may the reference be: masks drawn too small or too large, and a box, a scribble or clicks instead."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from persam.benchmark.methods.base import Example
from persam.benchmark.methods.ours import PersamMethod, reference_of
from persam.benchmark.suites.suite import PICTURES, Findings, Trial, change, headline
from persam.concept import Concept
from persam.errors import PersamError, UsageError
from persam.instance import mask_box
from persam.method.settings import Settings
from persam.metrics import iou
from persam.models.base import PromptableModel
from persam.reports.figures import COLOURS, new_figure, png_of
from persam.reports.tables import Table

#: Areas of the reference mask, as shares of the true one.
SIZES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
TRUE_MASK = "mask"
FORMS = (TRUE_MASK, "box", "scribble", "3 points", "1 point")
SEED = 0
_STROKE = 0.06  # width of a scribble, as a share of the object's size (square root of its area)
#: The paper's mIoU in percent with a mask and with a box as reference (PerSeg, ViT-H), for PerSAM and PerSAM-F.
PUBLISHED = {("PerSAM", "mask"): 89.3, ("PerSAM-F", "mask"): 95.3, ("PerSAM", "box"): 88.1, ("PerSAM-F", "box"): 94.9}
PUBLISHED_ON = "PerSeg, SAM ViT-H"
(PLOT,) = PICTURES["robustness"]

Show = Callable[[np.ndarray], dict[str, Any]]


@dataclass(frozen=True)
class Roughness:
    """One way to show the object.

    Attributes:
        name: ``mask`` (the true one), ``mask x 0.5``, ``box``, ...
        show: from the true mask, (H, W) bool, to arguments of `Reference.read`.
        size: area of the mask as a share of the true one, or None for another form.
    """

    name: str
    show: Show
    size: float | None = None


def read_sizes(text: str) -> tuple[float, ...]:
    """Read ``"0.5,2"``: areas of the reference mask as shares of the true one.

    Raises:
        UsageError: the text has another form, or a number is not above 0.
    """
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or not all(0 < size < math.inf for size in sizes):
        raise UsageError(
            "--sizes takes areas of the mask as shares of the true one, above 0, with commas between them, such as "
            f"0.5,0.75,1.5,2, not {text!r}."
        )
    return sizes


class RoughMethod(PersamMethod):
    """PerSAM that is shown the object in a rougher way than by its true mask.

    Attributes:
        roughness: which way.
        form: PerSAM or PerSAM-F.
        learned_masks: IoU of the mask that it learned from with the true one, one for every reference so far.
    """

    def __init__(self, form: str, roughness: Roughness, model: PromptableModel, settings: Settings, **options: Any):
        super().__init__(f"{form}, {roughness.name}", model, settings, tuned=form == "PerSAM-F", **options)
        self.form, self.roughness = form, roughness
        self.learned_masks: list[float] = []

    @property
    def reference_iou(self) -> float | None:
        """Mean of `learned_masks`; None before the first."""
        return float(np.mean(self.learned_masks)) if self.learned_masks else None

    def describe(self) -> dict[str, Any]:
        """See `Method.describe`."""
        return super().describe() | {"reference": self.roughness.name}

    def learn(self, examples: Sequence[Example], category: str) -> Concept:
        """See `Method.learn`."""
        rough = []
        for example in examples:
            # From a box or clicks the model makes a mask first; from then on all forms go the same way.
            mask = self.persam.mask_of(reference_of(example.photo.pixels, **self.roughness.show(example.mask)))
            self.learned_masks.append(iou(mask, example.mask))
            rough.append(example if self.roughness.name == TRUE_MASK else Example(example.photo, mask))
        return super().learn(rough, category)


def roughnesses(sizes: Sequence[float] = SIZES, forms: Sequence[str] = FORMS, seed: int = SEED) -> list[Roughness]:
    """The true mask first, then resized masks, then other forms (their random places drawn with `seed`)."""

    def resized(size: float) -> Show:
        return lambda mask: {"mask": resized_mask(mask, size)}

    def shown(form: str) -> Show:
        return lambda mask: shown_as(form, mask, seed)

    true = Roughness(TRUE_MASK, lambda mask: {"mask": mask}, 1.0)
    others = [Roughness(f"mask x {size:g}", resized(size), size) for size in sorted(set(sizes)) if size != 1]
    return [true, *others, *(Roughness(form, shown(form)) for form in forms if form != TRUE_MASK)]


def roughen(trial: Trial, mode: str = "persam", *, sizes: Sequence[float] = SIZES, seed: int = SEED) -> Findings:
    """PerSAM and PerSAM-F with every way to show the object, each against its true mask.

    Args:
        trial: on what and with what.
        mode: of the method.
        sizes: areas of the reference mask, as shares of the true one.
        seed: of the scribbles and clicks.

    Raises:
        UsageError: no such mode.
    """
    ways, settings = roughnesses(sizes, seed=seed), Settings.of(mode)
    forms = ("PerSAM", "PerSAM-F")
    methods = [RoughMethod(form, way, settings=settings, **trial.shared) for form in forms for way in ways]
    found = trial.run(methods, mode=mode, solver=trial.solver, seed=seed)
    tests = {
        each.name: found.difference(each.name, None if each.roughness is ways[0] else f"{each.form}, {TRUE_MASK}")
        for each in methods
    }
    rows: dict[str, dict[str, Any]] = {
        each.name: {
            "form": each.form,
            "reference": each.roughness.name,
            "size": each.roughness.size,
            "reference_iou": each.reference_iou,
            "references": len(each.learned_masks),
            "change": (test := tests[each.name]) and test._asdict(),
            "published_miou": PUBLISHED.get((each.form, each.roughness.name)),
        }
        for each in methods
    }

    def cells(name: str) -> tuple[str, ...]:
        row = rows[name]
        return (
            name,
            "–" if row["reference_iou"] is None else f"{100 * row['reference_iou']:.1f}",
            found.score(name, "miou"),
            change(tests[name]),
            found.score(name, "located"),
            "–" if row["published_miou"] is None else f"{row['published_miou']:.1f}",
        )

    def of(title: str, kept: Callable[[float | None], bool]) -> Table:
        return Table(
            f"{title}: {headline(found.about)}; change of IoU per image against the true mask",
            ("method, reference", "IoU of the reference", "mIoU", "change", "located", "paper's mIoU"),
            tuple(cells(name) for name, row in rows.items() if kept(row["size"])),
        )

    tables = [
        of("Area of the reference mask", lambda size: size is not None),
        of("Form of the reference", lambda size: size in {None, 1.0}),
    ]
    notes = [
        f"The paper's mIoU: {PUBLISHED_ON}.",
        f"Scribbles and clicks: random places inside the object, seed {seed}.",
        "From a box, a scribble or clicks the model makes the mask that it learns from.",
    ]
    findings = found.findings("robustness", rows, tables, notes)
    return replace(findings, plots={PLOT: lambda: draw_robustness(findings.rows, headline(found.about))})


# ---------------------------------------- references as people give them, made from a true mask


def resized_mask(mask: np.ndarray, area: float) -> np.ndarray:
    """Shrink or enlarge a mask evenly from its edge until it has a given area.

    Pixels are taken in the order of their distance to the edge, the innermost first, so that the masks of rising areas
    contain one another; among equal distances the upper left ones come first. The photo's border is no edge: a mask
    that is cut by it shrinks from its other sides alone.

    Args:
        mask: (H, W) bool, neither empty nor everything.
        area: of the result as a share of the mask's own area, above 0; 1 gives the mask itself.

    Returns:
        (H, W) bool with round(area * pixels) pixels, at least one, and at most all but one.

    Raises:
        ValueError: the mask is empty or everything, or the area is not above 0.
        PersamError: SciPy is not installed.

    >>> resized_mask(np.array([[0, 1, 1, 1, 1, 0]], bool), 0.5).astype(int)
    array([[0, 0, 1, 1, 0, 0]])
    """
    if not mask.any() or mask.all():
        raise ValueError("a mask of nothing or of everything has no edge to be moved")
    if not area > 0:
        raise ValueError(f"the area must be above 0, not {area}")
    count = min(max(1, round(area * int(mask.sum()))), mask.size - 1)
    order = np.argsort(-_depth(mask), axis=None, kind="stable")
    result = np.zeros(mask.size, bool)
    result[order[:count]] = True
    return result.reshape(mask.shape)


def shown_as(form: str, mask: np.ndarray, seed: int = SEED) -> dict[str, Any]:
    """Show the object of a true mask in another form: arguments for `Reference.read` beside the photo.

    ``box`` is tight. Clicks are drawn at random from the deeper half of the object, where people click; a scribble is
    one stroke between two such places, cut where it leaves the object. The same mask and seed give the same form.

    Args:
        form: one of `FORMS`.
        mask: (H, W) bool, not empty.
        seed: of the random places.

    Raises:
        ValueError: no such form.
        PersamError: SciPy is not installed.
    """
    if form == "mask":
        return {"mask": mask}
    if form == "box":
        return {"box": mask_box(mask)}
    rng = np.random.default_rng([seed, zlib.crc32(np.packbits(mask).tobytes())])
    if form == "scribble":
        return {"scribble": _scribble(mask, _clicks(mask, 2, rng))}
    if form in {"3 points", "1 point"}:
        return {"points": _clicks(mask, int(form[0]), rng)}
    raise ValueError(f"no form {form}; there are {', '.join(FORMS)}")


def _clicks(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` different places (n, 2) as (x, y), from the half of the object that is farthest from its edge."""
    inside = _depth(mask)[mask]
    y, x = np.nonzero(mask)
    deep = np.flatnonzero(inside >= np.median(inside))
    chosen = rng.choice(deep, min(count, len(deep)), replace=False)
    return np.stack([x[chosen], y[chosen]], axis=1)


def _scribble(mask: np.ndarray, ends: np.ndarray) -> np.ndarray:
    width = max(1, round(_STROKE * float(mask.sum()) ** 0.5))
    stroke = np.zeros(mask.shape, np.uint8)
    first, last = (tuple(int(value) for value in end) for end in (ends[0], ends[-1]))
    cv2.line(stroke, first, last, color=1, thickness=width)
    return stroke.astype(bool) & mask


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance to the edge in pixels, (H, W) float64: positive on the object, negative beside it.

    Equal distances must be equal to the last bit, or ties fall otherwise in every run; OpenCV's are not: they depend
    on where the array lies in memory.
    """
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError:
        raise PersamError("Rough references need SciPy; install it with pip install 'persam[bench]'.") from None
    inside, outside = distance_transform_edt(mask), distance_transform_edt(~mask)
    return np.where(mask, inside, -outside)


# ---------------------------------------------------------------------------------- the picture


def draw_robustness(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Draw it.

    Args:
        rows: of the suite, each with ``form``, ``reference``, ``size``, ``miou`` and ``miou_interval`` (None where one
            object gives no interval).
        title: what was measured.

    Returns:
        A PNG.

    Raises:
        PersamError: matplotlib is not installed.
    """
    figure, axes = new_figure(11, 4.5, columns=2)
    left, right = axes[0]
    forms = list(dict.fromkeys(row["form"] for row in rows))
    others = list(dict.fromkeys(row["reference"] for row in rows if row["size"] in {None, 1.0}))
    for number, form in enumerate(forms):
        colour = COLOURS[number]
        sized = sorted((row for row in rows if row["form"] == form and row["size"]), key=lambda row: float(row["size"]))
        sizes = [row["size"] for row in sized]
        left.plot(sizes, [row["miou"] for row in sized], marker="o", color=colour, label=form)
        low, high = zip(*map(_ends, sized), strict=True)
        left.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        found = {row["reference"]: row for row in rows if row["form"] == form}
        for place, name in enumerate(others):
            row = found[name]
            below, above = (abs(row["miou"] - end) for end in _ends(row))
            right.errorbar(
                place + 0.16 * (number - (len(forms) - 1) / 2),
                row["miou"],
                yerr=[[below], [above]],
                fmt="o",
                color=colour,
                capsize=3,
            )
    left.set_xscale("log", base=2)
    ticks = sorted({row["size"] for row in rows if row["size"]})
    left.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    left.minorticks_off()
    left.axvline(1, color="0.6", linewidth=1, linestyle=":")
    left.set_xlabel("area of the reference mask / area of the true mask")
    left.set_ylabel("mIoU [95 % bootstrap]")
    left.set_ylim(0, 1)
    left.grid(alpha=0.3)
    left.legend(loc="lower left")
    right.set_ylim(0, 1)
    right.set_xticks(range(len(others)), others)
    right.set_xlim(-0.6, len(others) - 0.4)
    right.set_xlabel("form of the reference")
    right.grid(alpha=0.3)
    figure.suptitle(title, fontsize=10)
    return png_of(figure)


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    low, high = row["miou_interval"] or (row["miou"], row["miou"])
    return low, high
