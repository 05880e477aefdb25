"""Mask R-CNN of torchvision, where that can be imported; and what is said where it cannot."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene

from persam.benchmark.methods import mask_rcnn
from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.catalog import METHODS
from persam.benchmark.methods.mask_rcnn import OBJECT, MaskRcnn, _target
from persam.errors import PersamError


def torchvision():
    try:
        return mask_rcnn.import_torchvision()
    except PersamError as error:
        pytest.skip(str(error))


def test_a_machine_without_torchvision(monkeypatch):
    def refuse(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(mask_rcnn, "importlib", SimpleNamespace(import_module=refuse))
    with pytest.raises(
        PersamError,
        match=r"^The method mask-rcnn needs torchvision, which cannot be imported here \(No module named "
        r"'torchvision.models.detection'\); install the one that fits torch .*: pip install torchvision\.$",
    ):
        METHODS["mask-rcnn"].make(None, device="cpu")


def test_a_torchvision_of_another_torch(monkeypatch):
    """Its compiled part is not there, and it says so in a page that ends as a RuntimeError."""

    def refuse(_name):
        raise RuntimeError("operator torchvision::nms does not exist\n\nand more")

    monkeypatch.setattr(mask_rcnn, "importlib", SimpleNamespace(import_module=refuse))
    with pytest.raises(PersamError, match=r"\(operator torchvision::nms does not exist\); install the one that fits"):
        MaskRcnn(device="cpu")


def test_what_it_is_taught_of_a_view():
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[4:9, 10] = True
    target = _target(mask)
    assert target["boxes"].tolist() == [[10.0, 4.0, 11.0, 9.0]], "edges, so that a column has a width"
    assert target["labels"].tolist() == [OBJECT]
    assert torch.equal(target["masks"][0].bool(), mask)
    nothing = _target(torch.zeros(20, 30, dtype=torch.bool))
    assert [tuple(nothing[key].shape) for key in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 20, 30)]


class Found(torch.nn.Module):
    """A network that found what it is told, in photos of 40 x 64 pixels."""

    def __init__(self, scores: list[float], masks: torch.Tensor) -> None:
        super().__init__()
        self.answer = {"scores": torch.tensor(scores), "masks": masks}

    def forward(self, photos):
        assert [photo.shape for photo in photos] == [(3, 40, 64)]
        return [self.answer]


def test_the_surest_answer_counts(monkeypatch):
    monkeypatch.setattr(mask_rcnn, "import_torchvision", lambda: None)
    method = MaskRcnn(device="cpu", pretrained=False, side=64)
    masks = torch.zeros(2, 1, 40, 64)
    masks[0, 0, :10, :10] = 0.9
    masks[1, 0, 20:30, 30:50] = 0.8
    masks[1, 0, 25, 40] = 1.0
    found = method.find(SharedPhoto(np.zeros((80, 128, 3), np.uint8)), Found([0.3, 0.7], masks))
    assert found.mask.shape == (80, 128)
    assert found.mask[40:60, 60:100].mean() > 0.95
    assert found.mask.sum() < 1.1 * 800
    assert (found.score, found.present) == (pytest.approx(0.7), True)
    assert found.peak == (pytest.approx(80.5, abs=1), pytest.approx(50.5, abs=1))
    nothing = method.find(SharedPhoto(np.zeros((80, 128, 3), np.uint8)), Found([], torch.zeros(0, 1, 40, 64)))
    assert not nothing.mask.any()
    assert (nothing.score, nothing.present, nothing.peak) == (0.0, False, None)


def test_training_end_to_end():
    torchvision()
    method = MaskRcnn(device="cpu", pretrained=False, steps=2, batch=1, side=64, seed=1)
    image, mask = draw_scene(60, 80, radius=16)
    shots = [Example(SharedPhoto(image), mask), Example(SharedPhoto(image), np.zeros_like(mask))]
    found = [method.find(SharedPhoto(image), method.learn(shots, "disc")) for _ in range(2)]
    assert found[0].mask.shape == (60, 80)
    assert found[0].score == found[1].score
    said = method.describe()
    assert json.loads(json.dumps(said)) == said
    assert (said["seed"], said["steps"]) == (1, 2)


def test_weights_from_a_file(tmp_path):
    library = torchvision()
    torch.manual_seed(0)
    published = library.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(published, tmp_path / "coco.pth")
    method = METHODS["mask-rcnn"].make(None, device="cpu", checkpoint=str(tmp_path / "coco.pth"))
    network = method._network()
    torch.testing.assert_close(
        network.backbone.state_dict()["body.conv1.weight"], published["backbone.body.conv1.weight"]
    )
    assert network.roi_heads.box_predictor.cls_score.out_features == OBJECT + 1
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "no.pth").write_bytes(b"nothing of the kind")
    for name in ("other.pth", "no.pth"):
        with pytest.raises(PersamError, match=f"{name} holds no weights of torchvision's maskrcnn_resnet50_fpn: "):
            MaskRcnn(device="cpu", checkpoint=str(tmp_path / name))


def test_weights_from_a_file_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(mask_rcnn, "import_torchvision", lambda: None)
    with pytest.raises(PersamError, match=r"There is no file .*gone\.pth with weights of Mask R-CNN; check the path\."):
        MaskRcnn(device="cpu", checkpoint=str(tmp_path / "gone.pth"))


def test_published_weights_that_are_not_to_be_had(monkeypatch):
    def refuse(**_options):
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    weights = SimpleNamespace(DEFAULT=SimpleNamespace(get_state_dict=refuse))
    detection = SimpleNamespace(MaskRCNN_ResNet50_FPN_Weights=weights)
    library = SimpleNamespace(models=SimpleNamespace(detection=detection))
    monkeypatch.setattr(mask_rcnn, "import_torchvision", lambda: library)
    with pytest.raises(
        PersamError, match=r"not on this machine and cannot be had \(<urlopen error .*\); check the net"
    ):
        MaskRcnn(device="cpu")


@pytest.mark.hub
def test_mask_rcnn_with_published_weights():
    """Run with `HF_HUB_OFFLINE=0 pytest -m hub`."""
    torchvision()
    method = METHODS["mask-rcnn"].make(None, device="cpu")
    image, mask = draw_scene(240, 320, center=(150, 120), radius=60)
    other, truth = draw_scene(240, 320, center=(200, 110), radius=50, seed=1)
    found = method.find(SharedPhoto(other), method.learn([Example(SharedPhoto(image), mask)], "disc"))
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.7
