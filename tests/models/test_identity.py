"""The identity network: what it sees of a thing, what it says, and its file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import draw_scene

import persam.models.identity.network as module
from persam.errors import PersamError
from persam.method.cues import FILLS, cut_alone, identity_of
from persam.models.identity.network import (
    CHANNELS,
    LENGTH,
    SIDE,
    IdentityNetwork,
    identity_fingerprint,
    identity_network,
)
from persam.models.sam import PIXEL_MEAN


def a_thing(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A patchwork of colours in the form of an ellipse, on grey noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 150, (160, 200, 3), dtype=np.uint8)
    mask = cv2.ellipse(np.zeros((160, 200), np.uint8), (100, 80), (60, 35), 20, 0, 360, 1, -1) > 0
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image[mask] = cv2.resize(coarse, (200, 160), interpolation=cv2.INTER_NEAREST)[mask]
    return image, mask


class TestCutAlone:
    @pytest.mark.parametrize("box", [(20, 30, 120, 60), (0, 0, 7, 90), (50, 50, 51, 51), (0, 0, 200, 160)])
    def test_the_thing_lies_in_the_middle_and_all_else_is_nothing(self, box):
        image = np.full((160, 200, 3), 255, np.uint8)
        mask = np.zeros((160, 200), bool)
        mask[box[1] : box[3], box[0] : box[2]] = True
        alone = cut_alone(image, mask)
        np.testing.assert_array_equal(alone[..., :3].any(2), alone[..., 3] > 0)
        rows, columns = np.nonzero(alone[..., 3])
        assert rows.min() + rows.max() == pytest.approx(SIDE - 1, abs=1)
        assert columns.min() + columns.max() == pytest.approx(SIDE - 1, abs=1)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(FILLS * SIDE, abs=1)

    def test_what_is_beside_it_does_not_matter(self):
        image, mask = a_thing(1)
        other = image.copy()
        other[cv2.dilate(mask.astype(np.uint8), np.ones((3, 3))) == 0] = 7
        assert np.abs(cut_alone(image, mask) - cut_alone(other, mask)).max() < 0.5  # at the rim pixels are averaged
        assert float(identity_of(image, mask) @ identity_of(other, mask)) > 0.99

    def test_where_it_lies_does_not_matter(self):
        image, mask = a_thing(1)
        moved, there = np.roll(image, (13, -20), (0, 1)), np.roll(mask, (13, -20), (0, 1))
        np.testing.assert_array_equal(cut_alone(moved, there), cut_alone(image, mask))

    def test_its_form_is_seen_even_where_it_is_as_grey_as_nothing(self):
        image = np.full((160, 200, 3), np.round(PIXEL_MEAN), np.uint8)
        _, mask = a_thing(1)
        alone = cut_alone(image, mask)
        assert np.abs(alone[..., :3]).max() < 0.02
        assert alone[..., 3].sum() == pytest.approx(
            mask.sum() * (FILLS * SIDE / (np.ptp(np.nonzero(mask)[1]) + 1)) ** 2, rel=0.1
        )
        wide = np.zeros_like(mask)
        wide[60:80, 20:180] = True
        assert float(identity_of(image, mask) @ identity_of(image, wide)) < 0.9

    def test_of_nothing_there_is_nothing(self):
        image, mask = a_thing(1)
        assert cut_alone(image, np.zeros_like(mask)) is None
        assert not identity_of(image, np.zeros_like(mask)).any()


class TestIdentity:
    @given(st.integers(0, 50), st.integers(1, 4))
    def test_is_of_length_one(self, seed, turns):
        vector = identity_of(*a_thing(seed), turns=turns)
        assert vector.shape == (LENGTH,)
        assert float(vector.norm()) == pytest.approx(1, abs=1e-5)

    def test_four_turns_are_the_same_from_every_side(self):
        image, mask = a_thing(3)
        turned, there = np.rot90(image).copy(), np.rot90(mask).copy()
        assert float(identity_of(image, mask, 4) @ identity_of(turned, there, 4)) > 0.999

    def test_a_thing_is_nearer_to_itself_than_to_others(self):
        """Smaller, darker and turned: still itself."""
        things = [a_thing(seed) for seed in range(8)]
        again = []
        for image, mask in things:
            turn = cv2.getRotationMatrix2D((100, 80), 25, 0.6)
            seen = cv2.warpAffine(image, turn, (200, 160), borderMode=cv2.BORDER_REPLICATE)
            there = cv2.warpAffine(mask.astype(np.uint8), turn, (200, 160)) > 0
            again.append((np.asarray(seen * 0.8, np.uint8), there))
        ones = torch.stack([identity_of(*each) for each in things])
        others = torch.stack([identity_of(*each) for each in again])
        assert (ones @ others.T).argmax(1).tolist() == list(range(8))

    def test_a_pixel_is_enough(self):
        image, _ = draw_scene()
        mask = np.zeros(image.shape[:2], bool)
        mask[5, 7] = True
        assert torch.isfinite(identity_of(image, mask)).all()


class TestFile:
    def test_is_read_as_it_was_written(self, tmp_path):
        network = IdentityNetwork().eval()
        network.history = {"runs": [{"cutouts": 3}]}
        network.save(tmp_path / "some.safetensors")
        read = IdentityNetwork.load(tmp_path / "some.safetensors")
        things = torch.randn(2, CHANNELS, SIDE, SIDE)
        torch.testing.assert_close(read(things), network(things), atol=5e-3, rtol=0)  # in half precision
        assert read.history == network.history
        assert not read.training

    def test_another_file_is_refused(self):
        from persam.models.tiny.architecture import PACKAGED_WEIGHTS

        with pytest.raises(ValueError, match="identity"):
            IdentityNetwork.load(PACKAGED_WEIGHTS)

    def test_a_damaged_one_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        damaged = bytearray(module.WEIGHTS.read_bytes())
        damaged[-1] ^= 1
        (tmp_path / "weights.safetensors").write_bytes(damaged)
        monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights.safetensors")
        identity_network.cache_clear()
        with pytest.raises(PersamError, match="damaged"):
            identity_network()
        identity_network.cache_clear()

    def test_its_fingerprint_is_that_of_the_packaged_numbers(self):
        """They were fitted with it: `python -m training.fit` after it has changed."""
        from persam.models.fitted import PACKAGED, read_fitted

        assert {each.identity for each in read_fitted(PACKAGED).values()} == {identity_fingerprint()}
