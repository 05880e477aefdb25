"""The head of docs/results.md: one picture and ten lines, from the runs that docs/measure.sh made.

    python docs/results_head.py RUNS docs/images/results.png

Reads RUNS/NAME/metrics.json, writes the picture, and prints the lines as Markdown.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

SETS = {"perseg": "PerSeg", "fss": "FSS-1000", "davis": "DAVIS 2016", "study": "Annotation study"}
# Method in the runs: how it is called, colour (after Okabe and Ito), and whether its mark is filled.
METHODS = {
    "official-persam": ("PerSAM, as published", "#D55E00", False),
    "official-persam-f": ("PerSAM-F, as published", "#D55E00", True),
    "persam": ("PerSAM, mode persam", "#0072B2", False),
    "persam-f": ("PerSAM-F, mode persam", "#0072B2", True),
}
PAPER, INK, SOFT = "#fbfbf9", "#22262a", "#8a9096"

Metrics = dict[str, Any]


def main(runs: Path, picture: Path) -> None:
    """Write the picture and print the lines."""
    names = [*SETS, "presence", "modes", "robustness"]
    found = {name: json.loads((runs / name / "metrics.json").read_text(encoding="utf-8")) for name in names}
    draw(found, picture)
    print(f"![IoU of PerSAM and PerSAM-F on four data sets, with intervals]({picture.parent.name}/{picture.name})\n")
    print(lines(found))


def draw(found: Metrics, picture: Path) -> None:
    """Draw one row for each data set, in it one mark for each method: the mean IoU and its two intervals."""
    figure = Figure(figsize=(9.2, 5.4), facecolor=PAPER, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12)
    axes = figure.subplots()
    axes.set_facecolor(PAPER)
    ends: Metrics = {"solid_capstyle": "butt"}  # a bar ends where its interval does
    for row, name in enumerate(SETS):
        if row % 2 == 0:
            axes.axhspan(row - 0.5, row + 0.5, color="#efefea", linewidth=0)
        for place, (method, (_, colour, filled)) in enumerate(METHODS.items()):
            iou, height = found[name]["methods"][method]["figures"]["iou"], row - 0.3 + 0.2 * place
            axes.plot(percent(iou["over_objects"]), [height] * 2, color=colour, linewidth=1.4, alpha=0.75, **ends)
            axes.plot(percent(iou["over_images"]), [height] * 2, color=colour, linewidth=5, alpha=0.35, **ends)
            face = colour if filled else PAPER
            axes.plot(100 * iou["value"], height, "o", markersize=8, markeredgewidth=1.8, color=colour, mfc=face)
            axes.annotate(
                f"{100 * iou['value']:.1f}",
                (101.5, height),
                va="center",
                fontsize=10,
                color=colour,
                annotation_clip=False,
            )
    counts = [f"{found[name]['photos']} photos of {found[name]['objects']} objects" for name in SETS]
    axes.set_yticks(range(len(SETS)), [f"{title}\n{count}" for title, count in zip(SETS.values(), counts, strict=True)])
    axes.set(xlim=(0, 100), ylim=(len(SETS) - 0.5, -0.5))
    axes.set_xlabel("IoU of a photo in percent, mean over photos", color=INK, fontsize=11)
    axes.tick_params(colors=INK, labelsize=11, length=0)
    axes.grid(axis="x", color=SOFT, alpha=0.35, linewidth=0.7)
    axes.spines[:].set_visible(False)
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=8, markeredgewidth=1.8, color=colour, label=title)
        for title, colour, _ in METHODS.values()
    ]
    for mark, (_, colour, filled) in zip(marks, METHODS.values(), strict=True):
        mark.set_markerfacecolor(colour if filled else PAPER)
    bars = [
        Line2D([], [], color=SOFT, linewidth=5, alpha=0.6, label="95 % over photos"),
        Line2D([], [], color=SOFT, linewidth=1.4, label="95 % over objects"),
    ]
    figure.legend(
        handles=[marks[0], marks[1], marks[2], marks[3], *bars],
        loc="outside upper center",
        ncols=3,
        frameon=False,
        labelcolor=INK,
        fontsize=11,
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150, facecolor=PAPER, metadata={"Software": None})


def lines(found: Metrics) -> str:
    """Say in ten lines what was measured, what came out, and what it does not say."""
    settings, modes, absent = found["perseg"]["settings"], found["modes"], found["presence"]["rows"][0]
    of_mode = {row["method"]: row for row in modes["rows"]}
    ours, theirs = of_mode["persam PerSAM-F"], of_mode["official PerSAM-F"]
    change = {row["reference"]: row["change"] for row in found["robustness"]["rows"] if row["form"] == "PerSAM"}
    tuned = {title: found[name]["methods"]["persam-f"]["figures"]["iou"] for name, title in SETS.items()}
    photos, objects = (sum(found[name][what] for name in SETS) for what in ("photos", "objects"))
    overlap, (low, high) = ours["iou_interval"][0] <= theirs["iou_interval"][1], absent["auroc_interval"]
    return f"""\
1. **Asked**: one photo of an object and its mask are shown; where is the object in each other photo, by itself?
2. **With**: model `{settings["model"]}`, encoder {settings["encoder"] or "its own"}; PerSAM, and PerSAM-F, which is
   tuned; as published (`--mode official`) and in our form (`--mode persam`).
3. **On**: {photos} photos of {objects} objects, from parts of three public sets and from an annotation study.
4. **Picture**: a mark is the mean IoU, the overlap of found and true mask; the bars are where it might lie with other
   photos (thick) or with other objects (thin), 95 % bootstrap.
5. **PerSAM-F, mode persam**, IoU in percent with its interval over photos:
   {"; ".join(f"{title} {spread(iou['value'], iou['over_images'])}" for title, iou in tuned.items())}.
6. **Ours against published**, PerSAM-F on {modes["photos"]} photos of {modes["objects"]} objects:
   {spread(ours["iou"], ours["iou_interval"])} against {spread(theirs["iou"], theirs["iou_interval"])};
   {"the intervals overlap, so this is no proof" if overlap else "the intervals do not overlap"}.
7. **Finding the place**: the likest place of a photo lies on the object in
   {spread(ours["located"], ours["located_interval"])} % of these photos; there, only the outline can be wrong.
8. **Rough references**: PerSAM's IoU changes by {points(change["mask x 0.5"])} points with half the mask's area,
   by {points(change["box"])} with a box, by {points(change["mask x 2"])} with twice the area.
9. **Is it there at all?** PerSAM, {absent["with_object"]} photos with the object against {absent["without"]} without:
   AUROC {absent["auroc"]:.3f} [{low:.3f}, {high:.3f}], where 0.5 is a guess and 1 always right; its verdict is right in
   {absent["right"]:.1%}.
10. **Not said**: how good PerSAM is with another model, or on whole data sets; a few objects say little about others.
    The paper's 89.3 and 95.3 on PerSeg are SAM ViT-H's, on all of its 40 objects."""


def percent(values: list[float]) -> list[float]:
    """Shares as percent."""
    return [100 * value for value in values]


def spread(value: float, interval: list[float]) -> str:
    """A share with its interval, in percent."""
    low, high = percent(interval)
    return f"{100 * value:.1f} [{low:.1f}, {high:.1f}]"


def points(change: Metrics) -> str:
    """A difference with its interval, in percentage points."""
    return f"{100 * change['difference']:+.1f} [{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
