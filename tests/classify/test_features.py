"""Vectors of photos: CLIP's own numbers, means under the mask; what loading says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.classify.drawn import draw
from tests.fakes import ColourModel
from tests.finders import CLIP_WORDS, clip_tokenizer
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPVisionConfig, Dinov2Config, Dinov2Model
from transformers.utils import logging

from persam.classify.features import ClipPhotoFeatures, PooledFeatures, load_features
from persam.errors import PersamError, UsageError

logging.disable_progress_bar()
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random CLIP with its tokenizer, as it lies on the hub."""
    folder = tmp_path_factory.mktemp("models") / "clip"
    torch.manual_seed(0)
    last = len(CLIP_WORDS) - 1
    text = SMALL | {"vocab_size": last + 1, "max_position_embeddings": 77, "bos_token_id": 0, "eos_token_id": last}
    vision = CLIPVisionConfig(**SMALL, image_size=56, patch_size=14)
    network = CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text, projection_dim=16))
    network.save_pretrained(folder)
    clip_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> ClipPhotoFeatures:
    found = load_features(str(clip_folder), device="cpu", dtype="float32")
    assert isinstance(found, ClipPhotoFeatures)
    return found


def test_clip_gives_transformers_own_numbers(clip_folder: Path, clip: ClipPhotoFeatures) -> None:
    """The documented use of `CLIPModel` by itself: its processor, its tokenizer, one forward pass for both."""
    photo = np.concatenate([draw((200, 40, 40), 1)[0]] * 2, axis=1)  # no square
    network = CLIPModel.from_pretrained(clip_folder).eval()
    processor = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    words = clip_tokenizer()(["a photo of a red mug.", "a photo of a cat."], padding=True, return_tensors="pt")
    with torch.no_grad():
        out = network(**words, **processor(images=photo, return_tensors="pt"))
    np.testing.assert_allclose(clip.of(photo, [None]), out.image_embeds, atol=1e-5)
    found = clip.of_words(["red_mug", "cat"])
    assert found is not None
    np.testing.assert_allclose(found, out.text_embeds, atol=1e-5)
    braces = load_features(str(clip_folder), device="cpu", dtype="float32", prompt="a {photo} of a {}{0}.")
    plain = load_features(str(clip_folder), device="cpu", dtype="float32", prompt="{}")
    np.testing.assert_allclose(braces.of_words(["cat"]), plain.of_words(["a {photo} of a cat{0}."]), atol=1e-6)
    scale = 100 / network.logit_scale.exp().item()
    np.testing.assert_allclose(100 * clip.of(photo, [None]) @ found.T, scale * out.logits_per_image.detach(), atol=1e-3)


def test_clip_sees_the_object_alone(clip: ClipPhotoFeatures) -> None:
    """The ground does not matter, nor the place; and all of a photo is all of it."""
    photo, mask = draw((200, 40, 40), 1)
    other = photo.copy()
    other[~mask] = 7
    moved, moved_mask = np.roll(photo, (3, -2), (0, 1)), np.roll(mask, (3, -2), (0, 1))
    one, whole = clip.of(photo, [mask, None])
    np.testing.assert_allclose(one, clip.of(other, [mask])[0], atol=1e-6)
    np.testing.assert_allclose(one, clip.of(moved, [moved_mask])[0], atol=1e-6)
    assert float((whole - clip.of(other, [None])[0]).abs().max()) > 1e-3
    np.testing.assert_allclose(whole, clip.of(photo, [np.zeros_like(mask)])[0], atol=1e-6)
    picture = clip.object_alone(photo, mask)
    box = np.argwhere(mask)
    assert picture.shape[0] == picture.shape[1] == round(1.2 * (np.ptp(box, axis=0).max() + 1))
    assert (picture == (200, 40, 40)).all(-1).sum() == mask.sum()
    assert picture[0, 0].tolist() == [123, 117, 104]  # CLIP's mean colour


def test_pooled_is_the_mean_of_the_cells(tmp_path: Path) -> None:
    model = ColourModel()
    photo, mask = draw((200, 40, 40), 1)
    encoded = model.encode(photo)
    found = PooledFeatures(None, "colours").of(photo, [None, mask], encoded)
    cells = encoded.features[0].flatten(1)
    np.testing.assert_allclose(found[0], F.normalize(cells.mean(1), dim=0), atol=1e-6)
    covered = torch.tensor(mask).float().view(16, 4, 16, 4).mean((1, 3)) >= 0.5
    np.testing.assert_allclose(found[1], F.normalize(cells[:, covered.flatten()].mean(1), dim=0), atol=1e-6)
    assert PooledFeatures(None, "colours").of_words(["red"]) is None
    with pytest.raises(UsageError, match=r"give what it encoded\.$"):
        PooledFeatures(None, "colours").of(photo, [None])


def test_another_encoder_by_its_name(tmp_path: Path, clip_folder: Path) -> None:
    """DINOv2, and a CLIP of which a layer is wanted, which has no words for it."""
    torch.manual_seed(0)
    sizes = {name: size for name, size in SMALL.items() if name != "intermediate_size"}
    Dinov2Model(Dinov2Config(**sizes, image_size=56, patch_size=14, mlp_ratio=2)).save_pretrained(tmp_path / "dino")
    photo, mask = draw((200, 40, 40), 1)
    for name in (str(tmp_path / "dino"), f"{clip_folder}@layers=1"):
        features = load_features(name, device="cpu", dtype="float32")
        assert isinstance(features, PooledFeatures)
        assert features.name == name
        assert not features.needs_encoding
        found = features.of(photo, [None, mask])
        assert found.shape == (2, 32)
        np.testing.assert_allclose(found.norm(dim=1), 1, atol=1e-5)


def test_what_loading_says(tmp_path: Path, clip_folder: Path) -> None:
    network = CLIPModel.from_pretrained(clip_folder)
    network.save_pretrained(tmp_path / "mute")
    with pytest.raises(PersamError, match=r"has no tokenizer.* or leave the words out with --no-words\.$"):
        load_features(str(tmp_path / "mute"), device="cpu")
    mute = load_features(str(tmp_path / "mute"), device="cpu", words=False)
    assert mute.of_words(["red"]) is None
    with pytest.raises(UsageError, match=r"needs one \{\} for the class's name"):
        load_features(str(clip_folder), device="cpu", prompt="a photo")
    with pytest.raises(PersamError, match="not on this machine"):
        load_features("nobody/nothing", device="cpu")
