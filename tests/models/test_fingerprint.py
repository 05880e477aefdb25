"""Weights are known by all of their bytes; what is no number is refused; a damaged bundled model says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import CPU, random_network, random_sam

from persam import PerSAM
from persam.errors import PersamError
from persam.models.fingerprint import check_file, fingerprint_of, known_as, sampled_fingerprint_of, weights_sha256
from persam.models.fitted import fitted_for
from persam.models.loading import load_model
from persam.models.sam import Sam
from persam.models.tiny.architecture import PACKAGED_CHECKSUM, PACKAGED_WEIGHTS, TinySam


@pytest.mark.parametrize("place", [0, 3, 1000, -1])
def test_one_bit_of_any_weight_counts(place):
    network = random_network()
    before = fingerprint_of(network)
    weight = max(network.parameters(), key=torch.Tensor.numel)
    with torch.no_grad():
        bits = weight.view(-1).view(torch.int32)
        bits[place] ^= 1
    assert fingerprint_of(network) != before == weights_sha256(random_network())[:12]


def test_number_formats_are_told_apart():
    zeros = [torch.nn.Linear(3, 2, dtype=dtype) for dtype in (torch.float32, torch.float16, torch.bfloat16)]
    for network in zeros:
        torch.nn.init.zeros_(network.weight)
        torch.nn.init.zeros_(network.bias)
    assert len({weights_sha256(network) for network in zeros}) == 3


def flipped_copy(folder: Path) -> Path:
    """The bundled weights with 200 bytes of a large tensor changed, still a whole file of finite numbers."""
    data = bytearray(PACKAGED_WEIGHTS.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    places = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    start, end = max(places.values(), key=lambda offsets: offsets[1] - offsets[0])
    for place in np.random.default_rng(0).choice((end - start) // 2, 200, replace=False):
        data[8 + length + start + 2 * int(place)] ^= 0x55  # the low byte of a float16: never NaN
    path = folder / "mine.safetensors"
    path.write_bytes(data)
    return path


def test_a_concept_is_refused_by_weights_of_which_a_few_bytes_were_changed(tmp_path):
    shutil.copy(PACKAGED_WEIGHTS, tmp_path / "mine.safetensors")
    concept = PerSAM.from_pretrained(tmp_path / "mine.safetensors").learn(*draw_scene())
    changed = PerSAM.from_pretrained(flipped_copy(tmp_path))
    with pytest.raises(PersamError, match=r"was made with the model mine .*use that model or learn the concept again"):
        changed.check(concept)
    assert changed.fitted is None  # the packaged numbers are not of these weights


def test_what_knows_weights_by_a_sample_still_finds_them(tmp_path):
    """Concepts and fitted numbers of persam 0.1.0."""
    model = load_model()
    assert known_as(model) == (model.fingerprint, sampled_fingerprint_of(TinySam.load()))
    assert model.sampled_fingerprint == "bc3b853cb2f5"
    persam = PerSAM(model)
    concept = persam.learn(*draw_scene())
    persam.check(replace(concept, model="bc3b853cb2f5", encoder="bc3b853cb2f5"))
    numbers = fitted_for(model, None)
    for key, encoder in (("bc3b853cb2f5", None), (f"bc3b853cb2f5+{random_sam().sampled_fingerprint}", random_sam())):
        file = tmp_path / f"{key}.json"
        file.write_text(json.dumps({key: numbers.to_dict()}))
        assert fitted_for(model, encoder, file) == numbers


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(value, dtype):
    network = random_network().to(dtype)
    with torch.no_grad():
        network.mask_decoder.mask_tokens.weight[1, 2] = value
    with pytest.raises(PersamError, match=r"model mine are damaged: mask_decoder\.mask_tokens\.weight holds NaN"):
        Sam(network, name="mine", image_size=64, device=CPU)


class TestBundledFile:
    def test_is_the_recorded_one(self):
        """After new weights: `sha256sum weights.safetensors > weights.sha256`, see training/README.md."""
        assert PACKAGED_CHECKSUM.read_text().split() == [
            hashlib.sha256(PACKAGED_WEIGHTS.read_bytes()).hexdigest(),
            "weights.safetensors",
        ]

    @pytest.mark.parametrize("kind", ["flipped", "cut", "gone", "no checksum", "foreign checksum"])
    def test_a_damaged_install_says_so(self, tmp_path, kind):
        weights, checksum = tmp_path / "w.safetensors", tmp_path / "w.sha256"
        shutil.copy(PACKAGED_WEIGHTS, weights)
        shutil.copy(PACKAGED_CHECKSUM, checksum)
        check_file(weights, checksum)
        if kind == "flipped":
            weights.write_bytes(flipped_copy(tmp_path).read_bytes())
        elif kind == "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        elif kind == "gone":
            weights.unlink()
        elif kind == "no checksum":
            checksum.unlink()
        else:
            checksum.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(PersamError, match=r"The bundled model is damaged: .*w\.safetensors .*install persam again"):
            check_file(weights, checksum)

    def test_is_checked_when_it_is_loaded(self, monkeypatch, tmp_path):
        monkeypatch.setattr("persam.models.tiny.architecture.PACKAGED_CHECKSUM", tmp_path / "none")
        with pytest.raises(PersamError, match="The bundled model is damaged"):
            load_model()

    def test_the_checksum_goes_with_weights_that_are_saved_there(self, monkeypatch, tmp_path):
        home = "persam.models.tiny.architecture"
        monkeypatch.setattr(f"{home}.PACKAGED_WEIGHTS", tmp_path / "weights.safetensors")
        monkeypatch.setattr(f"{home}.PACKAGED_CHECKSUM", tmp_path / "weights.sha256")
        TinySam.load(PACKAGED_WEIGHTS).save(tmp_path / "weights.safetensors")
        check_file(tmp_path / "weights.safetensors", tmp_path / "weights.sha256")
