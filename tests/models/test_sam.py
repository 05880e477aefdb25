"""The adapter for SAM: preprocessing, sizes, fingerprint, number formats, and one photo through all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import CPU, ColourModel, random_network, random_sam
from transformers import SamImageProcessorPil

from persam import PerSAM
from persam.models.base import PromptableModel, Prompts, encode_all
from persam.models.fingerprint import fingerprint_of
from persam.models.loading import load_model
from persam.models.sam import PIXEL_MEAN, PIXEL_STD, Sam


@pytest.fixture(scope="module")
def sam() -> Sam:
    return random_sam()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestPreprocessing:
    @pytest.mark.parametrize("size", [(64, 64), (50, 70), (200, 31), (1, 1), (3, 1000), (64, 32)])
    def test_by_hand(self, sam, size):
        image = noise(*size)
        frame = sam.frame(size)
        pixels = sam.prepare(image, frame)
        assert pixels.shape == (1, 3, 64, 64)
        height, width = frame.content
        resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR), np.float64)
        expected = ((resized - PIXEL_MEAN) / PIXEL_STD).transpose(2, 0, 1)
        np.testing.assert_allclose(pixels[0, :, :height, :width], expected, atol=1e-5)
        assert float(pixels[0, :, height:].abs().sum() + pixels[0, :, :, width:].abs().sum()) == 0

    def test_as_transformers_does_it(self, sam):
        processor = SamImageProcessorPil(
            size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}, mask_size={"longest_edge": 16}
        )
        image = noise(90, 130)
        theirs = processor(Image.fromarray(image), return_tensors="pt")
        ours = sam.prepare(image, sam.frame((90, 130)))
        assert tuple(theirs["reshaped_input_sizes"][0]) == sam.frame((90, 130)).content
        assert float((theirs["pixel_values"] - ours).abs().mean()) < 0.02  # a grey value is 0.017

    def test_normalised_before_the_padding_with_zeros(self, sam):
        pixels = sam.prepare(np.full((32, 64, 3), 128, np.uint8), sam.frame((32, 64)))
        expected = [(128 - mean) / std for mean, std in zip(PIXEL_MEAN, PIXEL_STD, strict=True)]
        for channel, value in zip(pixels[0], expected, strict=True):
            np.testing.assert_allclose(channel[:32].numpy(), value, rtol=1e-5)
            assert not channel[32:].any()


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "patch", "channels"), [(64, 8, 32), (64, 16, 16), (96, 8, 32), (128, 16, 64), (48, 4, 24)]
    )
    def test_any_image_size_and_embedding(self, size, patch, channels):
        sam = random_sam(size=size, patch=patch, channels=channels)
        grid = size // patch
        assert sam.grid == (grid, grid)
        assert sam.low_resolution == (4 * grid, 4 * grid)
        encoding = sam.encode(noise(40, 60))
        assert encoding.features.shape == (1, channels, grid, grid)
        assert encoding.frame.canvas == (size, size)
        prompts = Prompts(torch.tensor([[[5.0, 6.0]]]), torch.ones(1, 1))
        decoded = sam.decode(encoding, prompts, multimask=True)
        assert decoded.logits.shape == (1, 3, 4 * grid, 4 * grid)
        assert decoded.scores.shape == (1, 3)
        assert decoded.presence is None
        assert not decoded.logits.requires_grad  # the network is frozen, also outside of inference mode

    @settings(max_examples=15)
    @given(height=st.integers(1, 200), width=st.integers(1, 200))
    def test_any_photo(self, height, width):
        sam = SHARED
        encoding = sam.encode(noise(height, width))
        assert encoding.frame.photo == (height, width)
        assert bool(encoding.features.isfinite().all())

    def test_keeps_the_protocol(self, sam):
        assert isinstance(sam, PromptableModel)
        assert isinstance(load_model("tiny", device="cpu", dtype="float32"), PromptableModel)


SHARED = random_sam(3)


def test_same_photo_same_features_and_a_batch_of_formats(sam):
    image = noise(40, 60)
    first, again = sam.encode(image), sam.encode(np.ascontiguousarray(image.copy()))
    torch.testing.assert_close(first.features, again.features, atol=0, rtol=0)
    turned = sam.encode(image[:, ::-1])  # a view with negative strides
    assert turned.features.shape == first.features.shape


class TestEncodeMany:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_as_one_by_one_whatever_their_sizes(self, dtype):
        sam = Sam(random_network(), name="x", image_size=64, device=CPU, encoder_dtype=dtype)
        photos = [noise(40, 60), noise(64, 64, 1), noise(300, 7, 2), noise(1, 1, 3)]
        together = sam.encode_many(photos)
        for one, photo in zip(together, photos, strict=True):
            alone = sam.encode(photo)
            assert one.frame == alone.frame
            assert one.features.shape == alone.features.shape
            tolerance = 1e-5 if dtype == torch.float32 else 0.05
            torch.testing.assert_close(one.features, alone.features, atol=tolerance, rtol=tolerance)

    def test_an_encoder_that_takes_one_at_a_time_is_asked_for_each(self):
        model = ColourModel()
        assert len(encode_all(model, [noise(20, 30), noise(30, 20)])) == model.encoded == 2
        assert encode_all(model, []) == []


class TestFingerprint:
    def test_stable(self):
        one, same = random_network(), random_network()
        assert fingerprint_of(one) == fingerprint_of(same) == fingerprint_of(one)
        assert len(fingerprint_of(one)) == 12
        int(fingerprint_of(one), 16)

    def test_changes_with_any_part(self):
        one = fingerprint_of(random_network())
        assert one != fingerprint_of(random_network(1))
        for part in ("vision_encoder", "prompt_encoder", "mask_decoder"):
            changed = random_network()
            with torch.no_grad():
                next(p for n, p in changed.named_parameters() if n.startswith(part)).add_(0.5)
            assert fingerprint_of(changed) != one

    def test_does_not_depend_on_what_persam_does_to_the_network(self):
        network = random_network()
        before = fingerprint_of(network)
        sam = Sam(network, name="x", image_size=64, device=CPU, encoder_dtype=torch.bfloat16)
        assert sam.fingerprint == before == random_sam().fingerprint

    def test_of_the_bundled_model(self):
        one, two = (load_model("tiny", device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
        assert one.fingerprint == two.fingerprint


class TestNumberFormats:
    def test_half_precision_weights_decode_in_float32(self):
        """Some checkpoints on the hub come in half precision, and transformers loads them so."""
        sam = Sam(random_network().half(), name="half", image_size=64, device=CPU)
        assert {parameter.dtype for parameter in sam.network.parameters()} == {torch.float32}
        encoding = sam.encode(noise(40, 60))
        decoded = sam.decode(encoding, Prompts(torch.tensor([[[5.0, 6.0]]]), torch.ones(1, 1)), multimask=True)
        assert decoded.logits.dtype == torch.float32

    def test_bf16_encoder_only(self):
        sam = Sam(random_network(), name="b", image_size=64, device=CPU, encoder_dtype=torch.bfloat16)
        half = {name for name, each in sam.network.named_parameters() if each.dtype != torch.float32}
        assert half
        assert all(name.startswith("vision_encoder.layers") for name in half)
        features = sam.encode(noise(40, 60)).features
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, random_sam().encode(noise(40, 60)).features, atol=0.15, rtol=0.1)

    def test_bf16_masks_of_the_bundled_model_are_the_same(self):
        full, half = (PerSAM.from_pretrained(device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
        photo, mask = draw_scene()
        other, _ = draw_scene(120, 180, center=(110, 60), radius=30, seed=1)
        features = [model.encode(photo).features for model in (full, half)]
        cosine = torch.nn.functional.cosine_similarity(*features, dim=1)
        inside = full.encode(photo).frame.inside()
        assert float(cosine[0][inside].mean()) > 0.99
        found = [model.segment(other, model.learn(photo, mask)) for model in (full, half)]
        same = (found[0].mask & found[1].mask).sum() / (found[0].mask | found[1].mask).sum()
        assert same >= 0.99
