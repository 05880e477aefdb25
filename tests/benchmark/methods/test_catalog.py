"""The registry of methods, and what all of them must do whatever the photo."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.conftest import draw_scene
from tests.fakes import ColourModel, random_sam

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.catalog import METHODS, find_method, named
from persam.errors import PersamError, UsageError
from persam.models.base import Decoded

HERE = ["persam", "persam-f", "sam-point", "seggpt", "grounded-sam", "unet"]  # without torchvision


@pytest.fixture(scope="module")
def made(seggpt_folder, detector_folder):
    """Every method, tiny; the U-Net with fewer steps."""
    sam = random_sam()
    folders = {"seggpt": str(seggpt_folder), "grounded-sam": str(detector_folder)}
    methods = {
        name: METHODS[name].make(
            sam if METHODS[name].uses_model else None, device="cpu", checkpoint=folders.get(name), seed=3
        )
        for name in HERE
    }
    methods["unet"].steps, methods["unet"].side = 2, 64
    return methods


def test_names():
    assert list(METHODS) == [*HERE, "mask-rcnn"]
    for name, entry in METHODS.items():
        assert entry.name == name
        assert re.fullmatch(r"[a-z-]+", name), "fit for a folder"
        assert entry.about
        assert not (entry.checkpoint and not entry.takes_checkpoint)


def test_the_list_is_read_without_heavy_libraries():
    code = "import sys, persam.benchmark.methods.catalog; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_unknown_method_is_refused_with_all_names():
    with pytest.raises(UsageError, match=r'There is no method "sam-pont"; use persam, persam-f, sam-point, seggpt, .*'):
        find_method("sam-pont")
    assert find_method("unet") is METHODS["unet"]


def test_what_a_method_has_no_use_for_is_refused():
    with pytest.raises(UsageError, match="The method persam has no weights of its own; leave the checkpoint out"):
        METHODS["persam"].make(random_sam(), checkpoint="somebody/something")
    with pytest.raises(UsageError, match="The method sam-point works with a promptable model; name one with --model"):
        METHODS["sam-point"].make(None)
    with pytest.raises(UsageError, match='There is no mode "publshed"; use official, paper, persam'):
        METHODS["persam-f"].make(random_sam(), mode="publshed")
    with pytest.raises(UsageError, match='There is no device "gpu9"'):
        METHODS["unet"].make(None, device="gpu9")


@pytest.mark.parametrize("name", ["seggpt", "grounded-sam", "unet"])
def test_weights_that_are_not_to_be_had(name):
    checkpoint = METHODS[name].checkpoint or "microsoft/resnet-18"
    with pytest.raises(PersamError, match=f"The model {checkpoint} is not on this machine, and the hub cannot be re"):
        METHODS[name].make(random_sam(), device="cpu", checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("seggpt", r"is a model of type resnet, not SegGPT; name one such as BAAI/seggpt-vit-large\."),
        ("grounded-sam", r"is a model of type resnet, not Grounding DINO; name one such as IDEA-Research/ground"),
        ("unet", r"is a model of type seggpt, but the U-Net's encoder is a ResNet; name one such as microsoft/resnet"),
    ],
)
def test_weights_of_another_kind(name, sentence, resnet_folder, seggpt_folder):
    folder = seggpt_folder if name == "unet" else resnet_folder
    with pytest.raises(PersamError, match=sentence):
        METHODS[name].make(random_sam(), device="cpu", checkpoint=str(folder))


def test_names_in_results_tell_the_mode():
    names = [
        METHODS[name].make(random_sam(), mode=mode).name
        for mode in ("official", "paper", "persam")
        for name in ("persam", "persam-f", "sam-point")
    ]
    assert names == [
        "official-persam", "official-persam-f", "official-sam-point",
        "paper-persam", "paper-persam-f", "paper-sam-point",
        "persam", "persam-f", "sam-point",
    ]  # fmt: skip
    assert named("persam", "persam") == "persam"


def test_what_is_said_of_a_method_is_enough_to_repeat_it(made):
    for name, method in made.items():
        said = method.describe()
        assert json.loads(json.dumps(said)) == said, "plain JSON values"
        assert said["method"]
        assert {"fingerprint", "seed"} & set(said), name
    assert made["unet"].describe()["seed"] == 3
    assert made["seggpt"].describe()["size"] == [48, 48]
    assert made["grounded-sam"].describe()["threshold"] == 0.25


SIZES = [((90, 130), (70, 200)), ((50, 40), (1, 1)), ((1, 2), (40, 60)), ((3, 90), (120, 2)), ((200, 3), (3, 3))]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(("reference", "photo"), SIZES)
def test_masks_have_the_photos_size(made, name, reference, photo):
    """Also for strips, for photos of one pixel and for references of one pixel's mask."""
    rng = np.random.default_rng(0)
    shown, other = (rng.integers(0, 255, (*size, 3), np.uint8) for size in (reference, photo))
    mask = np.zeros(reference, bool)
    mask[reference[0] // 2, reference[1] // 2] = True
    method = made[name]
    found = method.find(SharedPhoto(other), method.learn([Example(SharedPhoto(shown), mask)], "red disc"))
    assert found.mask.shape == photo
    assert found.mask.dtype == bool
    assert np.isfinite(found.score)
    if found.peak is not None:
        assert 0 <= found.peak[0] <= photo[1] - 0.5
        assert 0 <= found.peak[1] <= photo[0] - 0.5


@pytest.mark.parametrize("name", HERE)
def test_the_same_again(made, name):
    """Several references, photos asked about twice, the other way round the second time: one answer each."""
    method = made[name]
    shots = [
        Example(SharedPhoto(image), mask) for image, mask in (draw_scene(60, 80, radius=15, seed=s) for s in (0, 1))
    ]
    photos = [draw_scene(70, 50, center=(25, 30), radius=14, seed=seed)[0] for seed in (2, 3)]
    first = method.learn(shots, "red disc")
    before = [method.find(SharedPhoto(photo), first) for photo in photos]
    second = method.learn(shots, "red disc")
    after = [method.find(SharedPhoto(photo), second) for photo in photos[::-1]][::-1]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.score == other.score
        assert one.peak == other.peak


def test_methods_on_one_model_encode_a_photo_once(detector_folder):
    model = ColourModel()
    ours = [METHODS[name].make(model) for name in ("persam", "sam-point")]
    grounded = METHODS["grounded-sam"].make(model, device="cpu", checkpoint=str(detector_folder))
    image, mask = draw_scene()
    learned = [method.learn([Example(SharedPhoto(image), mask)], "disc") for method in ours]
    before = model.encoded
    photo = SharedPhoto(draw_scene(seed=1)[0])
    for method, concept in zip(ours, learned, strict=True):
        method.find(photo, concept)
    grounded.detector.boxes = lambda pixels, question: (np.array([[30.0, 30, 90, 90]]), np.array([0.9]))
    model.decode = lambda encoding, prompts, multimask: Decoded(torch.zeros(1, 1, 96, 96), torch.ones(1, 1))
    grounded.find(photo, "disc.")
    assert model.encoded == before + 1
