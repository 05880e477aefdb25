"""SegGPT: what it is shown, and how its painting is read."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene

from persam.benchmark.methods.base import Example, SharedPhoto
from persam.benchmark.methods.catalog import METHODS
from persam.benchmark.methods.seggpt import SegGpt

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.fixture
def method(seggpt_folder) -> SegGpt:
    return SegGpt(str(seggpt_folder), device="cpu")


def shot(seed: int = 0, size: tuple[int, int] = (60, 90)) -> Example:
    image, mask = draw_scene(*size, center=(40 + 5 * seed, 30), radius=18, seed=seed)
    return Example(SharedPhoto(image), mask)


class Painter(torch.nn.Module):
    """Paints what it is told, (3, S, S) in colours from 0 to 1, and remembers what it was asked."""

    def __init__(self, colours: torch.Tensor) -> None:
        super().__init__()
        half = (colours - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        self.canvas = torch.cat([torch.full_like(half, 9.0), half], dim=1).float()  # the prompt's half does not count

    def forward(self, **asked):
        self.asked = asked
        return SimpleNamespace(pred_masks=self.canvas[None].expand(len(asked["pixel_values"]), -1, -1, -1))


def test_the_prompt_is_the_photo_and_its_mask_in_white(method):
    """As the checkpoint's card says: bicubic for photos, nearest for masks, ImageNet's mean and deviation."""
    shown = shot()
    prompt = method.learn([shown], "disc")
    assert prompt.pixels.shape == prompt.masks.shape == (1, 3, 48, 48)
    photo = np.asarray(Image.fromarray(shown.photo.pixels).resize((48, 48), Image.Resampling.BICUBIC)) / 255
    expected = ((photo - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(prompt.pixels[0].numpy(), expected, atol=2e-2)
    white = np.asarray(Image.fromarray(shown.mask).resize((48, 48), Image.Resampling.NEAREST))
    colours = prompt.masks[0].numpy().transpose(1, 2, 0) * STD + MEAN
    np.testing.assert_allclose(colours, np.repeat(white[..., None], 3, axis=2), atol=1e-5)


def test_what_the_network_is_asked(method):
    painter = method.network = Painter(torch.zeros(3, 48, 48))
    photo = shot(1).photo
    for count in (1, 2, 3):
        prompt = method.learn([shot(seed) for seed in range(count)], "disc")
        method.find(photo, prompt)
        assert painter.asked["feature_ensemble"] == (count > 1)
        assert painter.asked["embedding_type"] == "instance"
        assert painter.asked["prompt_pixel_values"] is prompt.pixels
        pixels = painter.asked["pixel_values"]
        assert pixels.shape == prompt.pixels.shape
        assert all(torch.equal(pixels[0], each) for each in pixels)


@pytest.mark.parametrize("seed", range(3))
def test_the_painting_is_read_as_transformers_reads_it(method, seed):
    colours = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.3  # some beyond the range
    method.network = painter = Painter(colours)
    photo = shot(1, (61, 97)).photo
    found = method.find(photo, method.learn([shot()], "disc"))
    output = SimpleNamespace(pred_masks=painter.canvas[None])
    [theirs] = method.processor.post_process_semantic_segmentation(output, target_sizes=[(61, 97)], num_labels=1)
    np.testing.assert_array_equal(found.mask, theirs.numpy() == 1)
    clipped = colours.clamp(0, 1).mean(0)
    nearest = clipped[(torch.arange(61) * 48 // 61)[:, None], torch.arange(97) * 48 // 97].numpy()
    assert found.score == pytest.approx(nearest[nearest > 0.5].mean(), abs=1e-5)
    x, y = (int(value) for value in found.peak)
    assert colours.mean(0)[y * 48 // 61, x * 48 // 97] == pytest.approx(float(colours.mean(0).max()), abs=1e-5)


def test_a_painted_disc_comes_back_where_it_was(method):
    y, x = np.mgrid[:48, :48]
    disc = torch.from_numpy((x - 36) ** 2 + (y - 12) ** 2 < 64)
    method.network = Painter(disc.float().expand(3, -1, -1).clone())
    found = method.find(SharedPhoto(np.zeros((96, 192, 3), np.uint8)), method.learn([shot()], "disc"))
    rows, columns = np.nonzero(found.mask)
    assert (rows.mean(), columns.mean()) == (pytest.approx(24, abs=1), pytest.approx(146, abs=2))
    assert found.score == pytest.approx(1)
    assert found.present


def test_an_empty_painting(method):
    method.network = Painter(torch.full((3, 48, 48), 0.2))
    found = method.find(shot().photo, method.learn([shot()], "disc"))
    assert not found.mask.any()
    assert not found.present
    assert found.score == pytest.approx(0.2, abs=1e-5)


def painted(method: SegGpt, shots: list[Example], photo: SharedPhoto) -> torch.Tensor:
    """The colours that the network painted."""
    kept = []
    handle = method.network.register_forward_hook(lambda _module, _inputs, output: kept.append(output.pred_masks))
    method.find(photo, method.learn(shots, "disc"))
    handle.remove()
    return method.painted(kept[0][0])


def test_the_painting_depends_on_photo_prompt_and_mask(method):
    one = painted(method, [shot()], shot(1).photo)
    assert one.shape == (3, 48, 48)
    moved = Example(shot().photo, np.roll(shot().mask, 20, axis=1))
    for other in (
        painted(method, [shot()], shot(2).photo),
        painted(method, [shot(2)], shot(1).photo),
        painted(method, [moved], shot(1).photo),
    ):
        assert (one - other).abs().max() > 5e-2


def test_the_ensemble_knows_no_order_and_every_reference_counts(method):
    """Apart from the first row of pixels, where the decoder's last convolution sees the first prompt's painting."""
    photo = shot(3).photo
    shots = [shot(seed) for seed in range(3)]
    together = painted(method, shots, photo)[:, 1:]
    for other in ([shots[0], *shots[:0:-1]], shots[::-1]):
        torch.testing.assert_close(painted(method, other, photo)[:, 1:], together, atol=5e-3, rtol=0)
    assert (painted(method, shots[:2], photo)[:, 1:] - together).abs().max() > 5e-2


def test_the_weights_are_named(method, seggpt_folder):
    said = method.describe()
    assert said["checkpoint"] == str(seggpt_folder)
    assert said["fingerprint"] == SegGpt(str(seggpt_folder), device="cpu").fingerprint
    assert len(said["fingerprint"]) == 12


@pytest.mark.hub
def test_seggpt_of_the_hub():
    """Run with `HF_HUB_OFFLINE=0 pytest -m hub`."""
    method = METHODS["seggpt"].make(None, device="cpu")
    image, mask = draw_scene(240, 320, center=(120, 140), radius=56)
    other, truth = draw_scene(240, 320, center=(200, 100), radius=50, seed=1)
    found = method.find(SharedPhoto(other), method.learn([Example(SharedPhoto(image), mask)], "disc"))
    assert (found.mask & truth).sum() / (found.mask | truth).sum() > 0.8
