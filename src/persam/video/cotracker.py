"""CoTracker3 (Karaev et al., 2024), a network that follows points, also behind what hides them for a while.

It is not among persam's extras: it comes from its repository alone, and its weights are not for commercial use. It
looks at windows of frames, each of which begins in the middle of the one before; here the last one is looked at again
with every frame that comes to it, since a mask is wanted at once. That is a window a frame: for a GPU.
"""

from __future__ import annotations

from copy import deepcopy
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from persam.errors import PersamError, first_line

INSTALL = "pip install git+https://github.com/facebookresearch/co-tracker"
REPOSITORY, WEIGHTS = "facebook/cotracker3", "scaled_online.pth"
FRAMES = 16  # of a window, with which these weights were trained
_FAILURES = (OSError, EOFError, UnpicklingError, ValueError, RuntimeError, TypeError, AttributeError)  # of weights
KEPT = "online_"  # so begin the names of what the network keeps from window to window
# The network keeps its points of all frames since it began, and all of that is copied with every frame: after so many
# windows it begins anew, in a frame in which all points are seen; after twice as many in any frame.
ANEW = 32


class CoTracker:
    """CoTracker's online predictor, frame by frame: a `PointTracker`.

    Args:
        predictor: `cotracker.predictor.CoTrackerOnlinePredictor`, or what is called as it is.
        device: where it is.
    """

    def __init__(self, predictor: Any, device: torch.device) -> None:
        self._predictor, self._device = predictor, device
        self._frames: list[torch.Tensor] = []  # of the window, each (3, H, W) float32 in 0 to 255
        self._queries = torch.zeros(1, 0, 3)
        self._before: dict[str, Any] | None = None  # what was kept from the window before, None in the first
        self._windows = 0  # that are done
        self._lost = np.zeros(0, bool)  # points that were hidden when it began anew: it would follow what hides them

    @classmethod
    def from_hub(cls, device: torch.device) -> CoTracker:
        """CoTracker3 with its published weights, from this machine or the hub.

        Raises:
            PersamError: it is not installed, or its weights cannot be had.
        """
        try:
            kind = import_module("cotracker.predictor").CoTrackerOnlinePredictor
        except (ImportError, AttributeError) as error:
            raise PersamError(f"CoTracker needs its package ({first_line(error)}): {INSTALL}.") from error
        try:
            weights = torch.load(_weights(), map_location="cpu", weights_only=True)
            predictor = kind(checkpoint=None, window_len=FRAMES)
            predictor.model.load_state_dict(weights.get("model", weights))
        except _FAILURES as error:
            reason = first_line(error).rstrip(".")
            raise PersamError(
                f"CoTracker's weights ({WEIGHTS} of {REPOSITORY}) cannot be loaded: {reason}; check the network, or "
                f"install it anew: {INSTALL}."
            ) from error
        return cls(predictor.to(device).eval(), device)

    def start(self, frame: np.ndarray, points: np.ndarray) -> None:
        """See `PointTracker`."""
        self._frames, self._before, self._windows = [self._tensor(frame)], None, 0
        self._lost = np.zeros(len(points), bool)
        queries = np.concatenate([np.zeros((len(points), 1)), points], axis=1)  # frame of the window, x, y
        self._queries = torch.tensor(queries, dtype=torch.float32, device=self._device)[None]

    def follow(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `PointTracker`."""
        self._frames.append(self._tensor(frame))
        if self._queries.shape[1] == 0:
            self._frames = self._frames[-1:]
            return np.zeros((0, 2)), np.zeros(0, bool)
        window = torch.stack(self._frames)[None]
        if self._before is None:
            self._predictor(window, is_first_step=True, queries=self._queries, add_support_grid=True)
        else:
            vars(self._predictor.model).update(deepcopy(self._before))
        tracks, seen = self._predictor(window, add_support_grid=True)
        if len(self._frames) == 2 * self._predictor.step:
            kept = vars(self._predictor.model)
            self._before = deepcopy({name: value for name, value in kept.items() if name.startswith(KEPT)})
            del self._frames[: self._predictor.step]
            self._windows += 1
        count = self._queries.shape[1]  # some versions also give the support grid's
        points, visible = tracks[0, -1, :count].double().cpu().numpy(), seen[0, -1, :count].cpu().numpy()
        visible &= ~self._lost
        if self._windows >= ANEW and ((visible | self._lost).all() or self._windows >= 2 * ANEW):
            self.start(frame, points)
            self._lost = ~visible
        return points, visible

    def _tensor(self, frame: np.ndarray) -> torch.Tensor:
        return torch.tensor(frame, device=self._device).permute(2, 0, 1).float()


def _weights() -> Path:
    """The file of the weights, downloaded if it is not here."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(REPOSITORY, WEIGHTS))
    except HfHubHTTPError as error:
        raise OSError(first_line(error)) from error
