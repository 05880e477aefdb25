"""Finders by words: transformers' own answers, whole things, one mask each, and what loading and asking say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import random_sam
from tests.finders import clip_tokenizer, saved_grounding_dino, saved_sam3
from tests.models.promptables import saved_promptable
from transformers import AutoTokenizer, CLIPTokenizer, Sam3Model
from transformers.utils import logging

from persam.errors import PersamError, UsageError
from persam.models.grounding_dino import GroundingDinoFinder
from persam.models.words import (
    MOST,
    Sam3Finder,
    WordFinder,
    distinct,
    load_finder,
    load_tokenizer,
    masks_of,
    reads_words,
)

logging.disable_progress_bar()


@pytest.fixture(scope="module")
def sam3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_sam3(tmp_path_factory.mktemp("finders") / "sam3")


@pytest.fixture(scope="module")
def sam3(sam3_folder: Path) -> Sam3Finder:
    finder = load_finder(sam3_folder, device="cpu", dtype="float32")
    assert isinstance(finder, Sam3Finder)
    return finder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_grounding_dino(tmp_path_factory.mktemp("finders") / "dino")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return draw_scene()[0]


class TestSam3:
    def test_the_answers_are_transformers_own(self, sam3_folder: Path, sam3: Sam3Finder, photo: np.ndarray) -> None:
        """The documented use of `Sam3Model` by itself: forward, and its processor's way to scores and masks."""
        network = Sam3Model.from_pretrained(sam3_folder).eval()
        square = np.array(Image.fromarray(photo).resize((112, 112), Image.Resampling.BILINEAR))
        pixels = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 127.5 - 1
        words = clip_tokenizer()("red disc", padding="max_length", max_length=32, return_tensors="pt")
        with torch.no_grad():
            out = network(pixel_values=pixels, input_ids=words.input_ids, attention_mask=words.attention_mask)
        scores = out.pred_logits.sigmoid() * out.presence_logits.sigmoid()
        masks = F.interpolate(out.pred_masks.sigmoid(), (120, 160), mode="bilinear") > 0.5
        wanted = sorted(zip(scores[0].tolist(), masks[0].numpy(), strict=True), key=lambda one: -one[0])
        found = sam3.find_words(photo, " red  disc ")
        assert len(found.scores) > 1
        for score, mask in zip(found.scores, found.masks, strict=True):
            own = next(mask for other, mask in wanted if other == pytest.approx(float(score), abs=1e-5))
            np.testing.assert_array_equal(mask, own)
        assert found.scores[0] == pytest.approx(wanted[0][0], abs=1e-5)
        assert (np.diff(found.scores) <= 0).all()
        assert (found.scores > 0.5).all()
        assert found.masks.any((1, 2)).all()

    def test_the_words_matter_and_the_photo(self, sam3: Sam3Finder, photo: np.ndarray) -> None:
        odds, scores = sam3.answers(photo, "mug")
        other_word, other_photo = sam3.answers(photo, "dog"), sam3.answers(255 - photo, "mug")
        for other in (other_word, other_photo):
            assert not torch.allclose(other[0], odds, atol=1e-2)
            assert not torch.allclose(other[1], scores, atol=1e-3)

    def test_a_photo_is_looked_at_once_for_all_words(self, sam3: Sam3Finder, photo: np.ndarray, monkeypatch) -> None:
        looks = []
        look = sam3.network.get_vision_features
        monkeypatch.setattr(sam3.network, "get_vision_features", lambda **how: looks.append(1) or look(**how))
        sam3.answers(photo + 1, "mug")
        sam3.answers(photo + 1, "dog")
        assert len(looks) == 1
        buffer = photo.copy()
        first = sam3.answers(buffer, "mug")[0]
        buffer[:60] = 0  # the same array with another photo in it, as readers of clips have it
        assert not torch.allclose(sam3.answers(buffer, "mug")[0], first, atol=1e-2)
        assert len(looks) == 3

    def test_another_thread_may_look_at_another_photo_meanwhile(self, sam3: Sam3Finder, photo: np.ndarray) -> None:
        class Disturbed(Sam3Finder):
            def __setattr__(self, name: str, value: object) -> None:
                super().__setattr__(name, (b"another photo", "its features") if name == "_last" else value)

        disturbed = Disturbed(sam3.network, sam3.tokenizer, name="sam3", device=sam3.device)
        wanted, found = (each.answers(photo, "mug") for each in (sam3, disturbed))
        torch.testing.assert_close(found, wanted)

    def test_nothing_is_sure_enough(self, sam3: Sam3Finder, photo: np.ndarray, monkeypatch) -> None:
        monkeypatch.setattr(sam3, "threshold", 0.999)
        found = sam3.find_words(photo, "mug")
        assert (found.masks.shape, found.scores.shape) == ((0, 120, 160), (0,))

    def test_its_detector_alone_finds_the_same(self, sam3: Sam3Finder, photo: np.ndarray, tmp_path: Path) -> None:
        alone = load_finder(saved_sam3(tmp_path, whole=False), device="cpu", dtype="float32")
        assert isinstance(alone, Sam3Finder)
        assert alone.fingerprint == sam3.fingerprint
        np.testing.assert_array_equal(alone.find_words(photo, "dog").masks, sam3.find_words(photo, "dog").masks)

    def test_bfloat16(self, sam3_folder: Path, sam3: Sam3Finder, photo: np.ndarray) -> None:
        half = load_finder(sam3_folder, device="cpu", dtype="bfloat16")
        assert isinstance(half, Sam3Finder)
        torch.testing.assert_close(half.answers(photo, "mug")[1], sam3.answers(photo, "mug")[1], atol=0.05, rtol=0)

    def test_numbers_that_are_none(self, sam3: Sam3Finder, photo: np.ndarray, monkeypatch) -> None:
        monkeypatch.setattr(sam3.network.dot_product_scoring.text_proj.bias, "data", torch.full((128,), torch.nan))
        with pytest.raises(PersamError, match="gives NaN or infinity for the photo; try --dtype float32"):
            sam3.find_words(photo, "mug")


class TestGroundingDino:
    @pytest.fixture
    def finder(self, dino_folder: Path) -> GroundingDinoFinder:
        finder = load_finder(dino_folder, model=random_sam(), device="cpu")
        assert isinstance(finder, GroundingDinoFinder)
        return finder

    def test_a_mask_in_every_box(self, finder: GroundingDinoFinder, photo: np.ndarray, monkeypatch) -> None:
        asked = []

        def boxes(image: np.ndarray, question: str) -> tuple[np.ndarray, np.ndarray]:
            asked.append(question)
            return np.array([[30.0, 40, 90, 100], [31.0, 41, 90, 100], [0, 0, 20, 20]]), np.array([0.9, 0.8, 0.3])

        monkeypatch.setattr(finder.detector, "boxes", boxes)
        monkeypatch.setattr("persam.models.grounding_dino.distinct", lambda masks: torch.tensor([0, 2]))
        found = finder.find_words(photo, "Red Disc")
        assert asked == ["red disc."]
        assert found.masks.shape == (2, 120, 160)
        assert found.scores.tolist() == [0.9, 0.3]

    def test_through_the_whole_network(self, finder: GroundingDinoFinder, photo: np.ndarray) -> None:
        finder.detector.threshold = 0.0
        found = finder.find_words(photo, "cat")
        assert len(found.masks) == len(found.scores) > 0
        assert (np.diff(found.scores) <= 0).all()

    def test_nothing(self, finder: GroundingDinoFinder, photo: np.ndarray) -> None:
        finder.detector.threshold = 1.0
        found = finder.find_words(photo, "cat")
        assert (found.masks.shape, found.scores.shape) == ((0, 120, 160), (0,))

    def test_it_needs_a_model_that_draws(self, dino_folder: Path) -> None:
        with pytest.raises(UsageError, match="finds boxes and no masks; give the model that draws them"):
            load_finder(dino_folder)

    def test_a_text_that_is_too_long(self, finder: GroundingDinoFinder, photo: np.ndarray) -> None:
        with pytest.raises(UsageError, match=r"is too long for .*, which reads 16 tokens and not 23; say it in a word"):
            finder.find_words(photo, "dog " * 20)


class TestOneThingEach:
    def test_of_one_thing_the_surer_mask_counts(self) -> None:
        masks = torch.zeros(5, 8, 8, dtype=torch.bool)
        masks[0, :4, :4] = True
        masks[1, :4, :3] = True  # 12 of 16: the same thing
        masks[3, :4, 3:7] = True  # 4 of 28: its neighbour; number 2 is empty
        masks[4, :2, :2] = True  # 4 of 16: a part, or something that lies on it
        assert distinct(masks).tolist() == [0, 3, 4]

    def test_no_more_than_so_many(self) -> None:
        assert len(distinct(torch.eye(2 * MOST, dtype=torch.bool).reshape(-1, 10, 10))) == MOST

    def test_none(self) -> None:
        assert distinct(torch.zeros(0, 8, 8, dtype=torch.bool)).tolist() == []
        assert masks_of(torch.zeros(0, 8, 8), (20, 30)).shape == (0, 20, 30)


@pytest.mark.parametrize("text", ["", "  ", "\n", "..."])
def test_a_text_that_names_nothing(sam3: Sam3Finder, photo: np.ndarray, text: str) -> None:
    with pytest.raises(UsageError, match="names nothing; say in a word or two what the object is"):
        sam3.find_words(photo, text)


def test_a_text_that_is_too_long(sam3: Sam3Finder, photo: np.ndarray) -> None:
    long = "the very old mug that my aunt gave me"  # 29 letters, a token each, and one at both ends
    sam3.find_words(photo, long)
    with pytest.raises(UsageError, match=r"^The text 'the very old mug that my aunt gave me on.*' is too long for"):
        sam3.find_words(photo, f"{long} on Sunday")


def test_letters_that_are_none(sam3: Sam3Finder, photo: np.ndarray) -> None:
    """Bytes of a command line that are no UTF-8 come as halves of letters, which no tokenizer takes."""
    sam3.find_words(photo, "m\udcffg")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (700, 3)])
def test_odd_photos(sam3: Sam3Finder, size: tuple[int, int]) -> None:
    named = sam3.find_words(np.zeros((*size, 3), np.uint8), "dog")
    assert named.masks.shape[1:] == size


def test_both_are_finders(sam3: Sam3Finder, dino_folder: Path) -> None:
    assert isinstance(sam3, WordFinder)
    assert isinstance(load_finder(dino_folder, model=random_sam(), device="cpu"), WordFinder)


class TestLoading:
    def test_another_kind_of_model(self, tmp_path: Path) -> None:
        folder = saved_promptable("sam3_tracker", tmp_path)
        with pytest.raises(PersamError, match=r"of type sam3_tracker, which finds nothing by words; name SAM 3 or"):
            load_finder(folder)

    def test_a_folder_without_a_tokenizer(self, tmp_path: Path) -> None:
        folder = saved_sam3(tmp_path, tokenizer=False, whole=False)
        with pytest.raises(PersamError, match=r"it has no tokenizer \(tokenizer.json\), so that it can read no words"):
            load_finder(folder)

    def test_a_tokenizer_that_was_not_downloaded_with_the_weights(self, monkeypatch) -> None:
        """transformers makes up an empty one of the configuration, which is all that lies in the cache."""
        asked = []

        def from_pretrained(name: str, local_files_only: bool = False) -> object:
            asked.append(local_files_only)
            return CLIPTokenizer() if local_files_only else clip_tokenizer()

        monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
        monkeypatch.setattr("persam.models.hub._hub_answers", lambda: True)
        assert len(load_tokenizer("facebook/sam3")) > 50
        assert asked == [True, False]

    def test_a_folder_with_nothing_in_it(self, tmp_path: Path) -> None:
        with pytest.raises(PersamError, match="is there, but holds no model that transformers can load"):
            load_finder(tmp_path)

    def test_not_here_and_no_network(self) -> None:
        with pytest.raises(PersamError, match=r"facebook/sam3 is not on this machine, and the hub .* a mask\.$"):
            load_finder("facebook/sam3")

    def test_which_models_read_words(self, sam3_folder: Path, dino_folder: Path) -> None:
        assert reads_words(str(sam3_folder))
        assert not any(reads_words(name) for name in ("tiny", "sam_vit_h_4b8939.pth", "own.safetensors"))
        assert not reads_words(str(dino_folder))
        with pytest.raises(PersamError, match="is not on this machine"):
            reads_words("facebook/sam3")
