"""Every data set that can be named."""

from __future__ import annotations

from pathlib import Path

from persam.benchmark.datasets.davis import read_davis
from persam.benchmark.datasets.fss import read_fss
from persam.benchmark.datasets.perseg import read_perseg
from persam.benchmark.episodes import Episode
from persam.errors import UsageError

# What one folder may hold by name: the photos that the modes are compared on.
_TOGETHER = {"perseg": read_perseg, "fss": read_fss, "davis": lambda root: read_davis(root, step=8)}


def read_together(root: Path) -> list[Episode]:
    """PerSeg, FSS and every 8th frame of DAVIS, as far as a folder holds them by name (`perseg/`, `fss/`, `davis/`).

    Raises:
        UsageError: none of them is there, one is not laid out as expected, or there is nothing but references.
    """
    here = [name for name in _TOGETHER if (root / name).is_dir()]
    if not here:
        raise UsageError(f"{root} holds none of the folders {', '.join(_TOGETHER)}; give the folder that does.")
    episodes = [episode for name in here for episode in _TOGETHER[name](root / name)]
    if not any(episode.tests for episode in episodes):
        raise UsageError(f"{root} has no photos to find the objects in: each object has its reference alone.")
    return episodes
