"""One model of several that were trained side by side from the same weights, each on a core or a device of its own.

    python -m training.average run1/latest.safetensors run2/latest.safetensors -o both.safetensors

The mean of their weights is mostly better than any of them alone (Wortsman et al., Model soups, ICML 2022), as long as
they come from the same weights and have not gone far from each other: `training.validate` says whether it is.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from persam.models.tiny.architecture import TinySam


def average(networks: Sequence[TinySam]) -> TinySam:
    """The mean of networks of one form, weights and statistics; its history has the runs of all.

    Raises:
        ValueError: they differ in form, or in the runs before they parted.
    """
    first, *others = networks
    if any(each.config != first.config for each in others):
        raise ValueError(f"networks of different form have no mean: {[each.config for each in networks]}")
    states = [each.state_dict() for each in networks]
    mean = TinySam(first.config)
    mean.load_weights(
        {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
    )
    mean.history = _joined([each.history for each in networks])
    return mean.eval()


def _joined(histories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One history with what all runs had in common, then what each did by itself; nothing is validated yet."""
    runs = [list(history.get("runs", [])) for history in histories]
    if not all(runs):
        raise ValueError("a network that was not trained by `training.train` does not say where it comes from")
    common, own = runs[0][:-1], [each[-1] for each in runs]
    if any(each[:-1] != common for each in runs):
        raise ValueError("the networks were not trained from the same weights: their earlier runs differ")
    note = f"one of {len(own)} side by side, whose weights were averaged"
    recipes = ["; ".join(filter(None, (run.get("recipe"), note))) for run in own]
    every = [*common, *({**run, "recipe": recipe} for run, recipe in zip(own, recipes, strict=True))]
    known = {name: value for name, value in histories[0].items() if name != "validation"}
    return known | {"runs": every, "photos_seen": sum(run["photos"] for run in every)}


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m training.average", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("weights", nargs="+", type=Path, help="of runs that began with the same weights")
    parser.add_argument("-o", "--output", required=True, type=Path)
    options = parser.parse_args(arguments)
    try:
        mean = average([TinySam.load(path) for path in options.weights])
    except ValueError as error:
        parser.error(str(error))
    mean.save(options.output)


if __name__ == "__main__":
    main()
