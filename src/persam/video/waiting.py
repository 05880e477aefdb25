"""Labels of frames that wait for their turn, held small: a clip may have many."""

from __future__ import annotations

from typing import Any

import numpy as np

from persam.instance import mask_rle, rle_mask


class SmallLabels:
    """Labels (H, W) uint8, 0 the background, as run-length codes: about a thousandth of their size."""

    def __init__(self, labels: np.ndarray) -> None:
        self._size = labels.shape
        numbers = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=1))
        self._codes: dict[int, dict[str, Any]] = {
            number: mask_rle(labels == number) for number in numbers.tolist() if number
        }

    def read(self) -> np.ndarray:
        """The labels."""
        labels = np.zeros(self._size, np.uint8)
        for number in self._codes:
            labels[self.mask(number)] = number
        return labels

    def mask(self, number: int) -> np.ndarray:
        """Where one label is, (H, W) bool."""
        code = self._codes.get(number)
        return np.zeros(self._size, bool) if code is None else rle_mask(code)

    def __contains__(self, number: int) -> bool:
        return number in self._codes
