"""The U-Net learns the reference, finds the object again, and says what it is built of."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene

from persam.benchmark.methods import unet
from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.catalog import METHODS
from persam.benchmark.methods.unet import ResNetUNet, UNetMethod, build_unet


@pytest.fixture
def own_blocks(monkeypatch):
    """As on a machine without segmentation-models-pytorch."""
    monkeypatch.setattr(unet, "import_smp", lambda: None)


def small(**changes) -> UNetMethod:
    return UNetMethod(**({"device": "cpu", "steps": 40, "side": 64, "batch": 4} | changes))


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.fixture(scope="module")
def trained():
    method = small()
    image, mask = draw_scene()
    return method, method.learn([Example(SharedPhoto(image), mask)], "disc")


def test_it_learns_its_reference(trained):
    method, network = trained
    image, mask = draw_scene()
    found = method.find(SharedPhoto(image), network)
    assert iou(found.mask, mask) > 0.8
    assert found.score > 0.8
    x, y = (int(value) for value in found.peak)
    assert mask[y, x]


def test_it_finds_the_object_in_another_photo(trained):
    method, network = trained
    for size, center, radius in (((100, 200), (130, 50), 24), ((160, 120), (40, 110), 34)):
        image, truth = draw_scene(*size, center=center, radius=radius, seed=4)
        assert iou(method.find(SharedPhoto(image), network).mask, truth) > 0.5


def test_it_learns_what_it_is_shown(trained):
    """With the complement as the mask the answer turns round, so nothing of the object is built in."""
    image, mask = draw_scene()
    method = small(steps=25)
    found = method.find(SharedPhoto(image), method.learn([Example(SharedPhoto(image), ~mask)], "ground"))
    assert iou(found.mask, ~mask) > 0.8


def test_seeds():
    image, mask = draw_scene(60, 80, radius=16)
    shots = [Example(SharedPhoto(image), mask)]

    def score(seed: int) -> float:
        torch.rand(seed + 1)  # whatever happened before
        method = small(seed=seed, steps=3)
        return method.find(shots[0].photo, method.learn(shots, "disc")).score

    first, again, other = score(0), score(0), score(1)
    assert first == again
    assert first != other
    torch.manual_seed(7)
    assert small().fingerprint == small().fingerprint != small(seed=1).fingerprint


def test_several_references_all_count():
    """One reference shows red as the object, one blue: with both, both are found in one photo."""

    def photo(colour) -> Example:
        image = np.full((60, 80, 3), 110, np.uint8)
        image[15:45, 20:55] = colour
        mask = np.zeros((60, 80), bool)
        mask[15:45, 20:55] = True
        return Example(SharedPhoto(image), mask)

    both = np.full((60, 120, 3), 110, np.uint8)
    both[15:45, 10:40], both[15:45, 75:105] = (220, 30, 30), (30, 40, 220)
    truth = np.zeros((60, 120), bool)
    truth[15:45, 10:40] = truth[15:45, 75:105] = True
    method = small()
    network = method.learn([photo((220, 30, 30)), photo((30, 40, 220))], "box")
    assert iou(method.find(SharedPhoto(both), network).mask, truth) > 0.7


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 5)])
def test_logits_have_the_photos_size(own_blocks, size):
    network = build_unet(None)[0].eval()
    for side in (32, 64):
        assert network(torch.randn(2, 3, side, 2 * side)).shape == (2, 1, side, 2 * side)
    method = small(steps=1)
    learned = method.learn(
        [Example(SharedPhoto(draw_scene(40, 40, radius=9)[0]), draw_scene(40, 40, radius=9)[1])], "disc"
    )
    assert method.find(SharedPhoto(np.zeros((*size, 3), np.uint8)), learned).mask.shape == size


def test_every_level_takes_part(own_blocks):
    network = build_unet(None)[0]
    network(torch.randn(2, 3, 64, 64)).square().mean().backward()
    idle = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]
    assert idle == []


def test_a_pretrained_encoder(resnet_folder):
    from transformers import ResNetForImageClassification

    network, said = build_unet(str(resnet_folder))
    assert isinstance(network, ResNetUNet)
    assert said == "transformers' ResNet, pretrained"
    published = ResNetForImageClassification.from_pretrained(resnet_folder).resnet.state_dict()
    assert all(torch.equal(published[name], value) for name, value in network.encoder.state_dict().items())
    assert network(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)
    method = small(checkpoint=str(resnet_folder), steps=1)
    said = method.describe()
    assert said["checkpoint"] == str(resnet_folder)
    assert said["learning_rate"] < small().rate


def test_segmentation_models_pytorch_is_preferred(monkeypatch):
    asked = {}
    module = ModuleType("segmentation_models_pytorch")
    module.__version__ = "9.9"
    module.Unet = lambda *arguments, **options: asked.update(options, encoder=arguments) or torch.nn.Conv2d(3, 1, 1)
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", module)
    network, said = build_unet(None)
    assert isinstance(network, torch.nn.Conv2d)
    assert said == "segmentation-models-pytorch 9.9, resnet18, from scratch"
    assert asked["encoder_weights"] is None
    assert asked["classes"] == 1
    assert small(steps=1).describe()["network"] == said


@pytest.mark.parametrize("error", [ImportError, RuntimeError("operator torchvision::nms does not exist"), OSError])
def test_without_segmentation_models_pytorch(monkeypatch, error):
    def refuse(_name):
        raise error

    monkeypatch.setattr(unet, "importlib", SimpleNamespace(import_module=refuse))
    network, said = build_unet(None)
    assert isinstance(network, ResNetUNet)
    assert said == "transformers' ResNet blocks, from scratch"


def test_the_real_segmentation_models_pytorch():
    library = unet.import_smp()
    if library is None:
        pytest.skip("segmentation-models-pytorch cannot be imported (it needs torchvision and timm)")
    network = build_unet(None)[0].eval()
    assert isinstance(network, library.Unet)
    assert network(torch.randn(1, 3, 64, 96)).shape == (1, 1, 64, 96)


@pytest.mark.hub
def test_a_resnet_of_the_hub():
    """Run with `HF_HUB_OFFLINE=0 pytest -m hub`."""
    method = METHODS["unet"].make(None, device="cpu", checkpoint="microsoft/resnet-18")
    image, mask = draw_scene()
    other, truth = draw_scene(120, 180, center=(110, 60), radius=30, seed=1)
    found = method.find(SharedPhoto(other), method.learn([Example(SharedPhoto(image), mask)], "disc"))
    assert iou(found.mask, truth) > 0.7
