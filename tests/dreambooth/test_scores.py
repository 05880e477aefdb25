"""Scores: against transformers' own computation with tiny random CLIP and DINO, and properties."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.dreambooth.score_fixtures import drawn, generated, prepared, saved_clip, saved_dino
from transformers import CLIPModel, CLIPProcessor, ViTImageProcessorPil, ViTModel

from persam.dreambooth.features import ClipFeatures, DinoFeatures, kid_features
from persam.dreambooth.generated import LIST, read_generated
from persam.dreambooth.kid import kernel_distance
from persam.dreambooth.score_report import tables, to_json
from persam.dreambooth.scores import Networks, score, steps_of
from persam.errors import PersamError, UsageError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home = tmp_path_factory.mktemp("networks")
    return saved_clip(home / "clip"), saved_dino(home / "dino")


@pytest.fixture(scope="module")
def networks(homes: tuple[Path, Path]) -> Networks:
    clip, dino = ClipFeatures(str(homes[0]), CPU), DinoFeatures(str(homes[1]), CPU)
    return Networks(clip, dino, clip)


def test_cosines_are_those_of_transformers(networks: Networks, homes: tuple[Path, Path], tmp_path: Path) -> None:
    """Computed once more with the library's own classes and its processor for both halves."""
    made, subject = generated(tmp_path / "made"), prepared(tmp_path / "photos")
    found = score(made, [subject], networks)
    clip, dino = CLIPModel.from_pretrained(homes[0]).eval(), ViTModel.from_pretrained(homes[1]).eval()
    processor, dino_processor = CLIPProcessor.from_pretrained(homes[0]), ViTImageProcessorPil.from_pretrained(homes[1])
    photos = [Image.open(photo.image) for photo in subject.photos]
    for each in (found.pictures[0], found.pictures[-1]):
        pictures = [Image.open(each.picture.file), *photos]
        with torch.inference_mode():
            asked = processor(text=[each.picture.caption], images=pictures, return_tensors="pt")
            both = clip(**asked)
            tokens = dino(**dino_processor(pictures, return_tensors="pt")).last_hidden_state[:, 0]
        assert each.picture.caption.startswith("a photo of mug") or each.picture.caption == "a red mug"
        assert each.text_align == pytest.approx(float(both.text_embeds[0] @ both.image_embeds[0]), abs=1e-5)
        assert each.clip_image_align == pytest.approx(
            float((both.image_embeds[1:] @ both.image_embeds[0]).mean()), abs=1e-5
        )
        alike = torch.nn.functional.cosine_similarity(tokens[1:], tokens[:1]).mean()
        assert each.dino_image_align == pytest.approx(float(alike), abs=1e-5)
        assert each.clip_score == pytest.approx(2.5 * max(0.0, each.text_align))


def test_means_and_kid_by_run_and_prompt(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made"), prepared(tmp_path / "photos")
    calls: list[int] = []
    found = score(made, [subject], networks, progress=lambda: calls.append(1))
    assert len(calls) == steps_of(made, [subject]) == 12 + 4
    assert found.keys == [("masked", None), ("unmasked", None), *((run, n) for n in (0, 1) for run in made.runs)]
    of_one = [each for each in found.pictures if (each.picture.run, each.picture.prompt) == ("unmasked", 1)]
    mean = found.means["unmasked", 1]["text_align"]
    assert mean.mean == pytest.approx(np.mean([each.text_align for each in of_one]))
    assert mean.low <= mean.mean <= mean.high
    own = networks.clip.of_pictures([np.asarray(Image.open(each.picture.file)) for each in of_one])
    real = networks.clip.of_pictures([np.asarray(Image.open(photo.image)) for photo in subject.photos])
    assert found.kid["unmasked", 1] == pytest.approx(kernel_distance(own, real), rel=1e-5)
    change = found.changes["unmasked"]["clip_image_align"]
    both = (found.means[run, None]["clip_image_align"].mean for run in ("unmasked", "masked"))
    assert change.difference == pytest.approx(float(np.subtract(*both)))


def test_pictures_of_the_subject_score_above_others(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made", seeds=4), prepared(tmp_path / "photos")
    found = score(made, [subject], networks)
    for figure in ("clip_image_align", "dino_image_align"):
        assert found.means["masked", None][figure].mean > found.means["unmasked", None][figure].mean
    kid = [found.kid[run, None] for run in ("masked", "unmasked")]
    assert kid[0] is not None
    assert kid[1] is not None
    assert kid[0].value < kid[1].value


def test_the_subject_alone_does_not_depend_on_its_background(networks: Networks, tmp_path: Path) -> None:
    made = generated(tmp_path / "made", runs=["one"])
    found = []
    for name in ("one", "other"):
        subject = prepared(tmp_path / name)
        if name == "other":
            for photo in subject.photos:
                pixels, mask = (np.array(Image.open(file)) for file in (photo.image, photo.mask))
                pixels[~mask] = (0, 255, 0)
                Image.fromarray(pixels).save(photo.image)
        found.append([score(made, [subject], networks, foreground=wanted) for wanted in (True, False)])
    alone, whole = zip(*found, strict=True)
    assert alone[0].pictures == alone[1].pictures
    assert whole[0].pictures != whole[1].pictures


def test_photos_of_others_for_kid(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made", runs=["one"]), prepared(tmp_path / "photos", photos=1)
    assert score(made, [subject], networks).kid["one", None] is None
    real = [photo.image for photo in prepared(tmp_path / "others", photos=3).photos]
    found = score(made, [subject], networks, real=real)
    assert found.kid["one", None] is not None
    assert not found.notes


def test_photos_of_others_that_cannot_be_read_are_left_out(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made", runs=["one"]), prepared(tmp_path / "photos")
    real = [photo.image for photo in prepared(tmp_path / "others", photos=4).photos]
    whole = score(made, [subject], networks, real=[*real[:1], *real[2:]])
    real[1].write_bytes(b"no photo")
    calls: list[int] = []
    found = score(made, [subject], networks, real=real, progress=lambda: calls.append(1))
    assert len(calls) == steps_of(made, [subject], real)
    assert found.kid == whole.kid
    assert found.about["real"] == 3
    assert found.notes == (f"Left out: real photos that cannot be read (1 of 4), such as {real[1]}.",)
    with pytest.raises(PersamError, match="None of the 1 other real photos can be read: "):
        score(made, [subject], networks, real=real[1:2])


def test_withheld_pictures_are_left_out(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made"), prepared(tmp_path / "photos")
    black = [replace(each, withheld=each.seed == 0) for each in made.pictures]
    calls: list[int] = []
    some = replace(made, pictures=tuple(black))
    found = score(some, [subject], networks, progress=lambda: calls.append(1))
    assert len(calls) == steps_of(some, [subject]) == 8 + 4
    left = replace(made, pictures=tuple(each for each in made.pictures if each.seed != 0))
    assert found.means == score(left, [subject], networks).means
    assert found.notes[0] == "Left out: pictures that the model's safety checker withheld (4)."
    assert tables(found)[0].rows[0][-1] == "4"
    with pytest.raises(PersamError, match="All pictures in .* were withheld"):
        score(replace(made, pictures=(black[0],)), [subject], networks)


def test_a_mask_of_the_whole_photo_is_taken_as_training_takes_it(networks: Networks, tmp_path: Path) -> None:
    made, subject = generated(tmp_path / "made", runs=["one"]), prepared(tmp_path / "photos")
    for photo in subject.photos:
        Image.new("L", (48, 40), 255).save(photo.mask)
    alone, whole = (score(made, [subject], networks, foreground=wanted) for wanted in (True, False))
    assert alone.pictures == whole.pictures
    Image.new("L", (48, 40), 0).save(subject.photos[1].mask)
    with pytest.raises(PersamError, match="1_mask.png is empty; draw the subject"):
        score(made, [subject], networks, foreground=True)


def test_the_same_noise_is_claimed_where_it_is_the_same(networks: Networks, tmp_path: Path) -> None:
    found = score(generated(tmp_path / "made"), [prepared(tmp_path / "photos")], networks)
    assert "begin with the same noise" in tables(found)[1].notes[0]
    runs = {name: run | {"size": 32 * (1 + number)} for number, (name, run) in enumerate(found.generated.runs.items())}
    other = replace(found, generated=replace(found.generated, runs=runs))
    assert "begin with other (the runs differ in family or size) noise" in tables(other)[1].notes[0]


@pytest.mark.parametrize(
    ("seeds", "photos", "said"),
    [(1, 4, "a run has a single picture of a prompt: generate more seeds"), (3, 1, "there is 1 real photo: prepare")],
)
def test_too_few_for_kid(networks: Networks, tmp_path: Path, seeds: int, photos: int, said: str) -> None:
    found = score(generated(tmp_path / "made", seeds=seeds), [prepared(tmp_path / "photos", photos)], networks)
    assert "KID needs 2 generated pictures and 2 real photos at least" in found.notes[0]
    assert said in found.notes[0]
    assert found.kid["masked", 0] is None
    json.dumps(to_json(found))


def test_dinov2_and_what_is_no_such_network(homes: tuple[Path, Path], tmp_path: Path) -> None:
    second = DinoFeatures(str(saved_dino(tmp_path / "dinov2", second=True)), CPU)
    assert second.of_pictures([drawn((9, 9, 9), 0)[0]]).shape == (1, 24)
    with pytest.raises(PersamError, match="is of type vit, not CLIP"):
        ClipFeatures(str(homes[1]), CPU)
    with pytest.raises(PersamError, match="is of type clip, no DINO"):
        DinoFeatures(str(homes[0]), CPU)
    with pytest.raises(PersamError, match="not on this machine, and the hub cannot be reached"):
        ClipFeatures("nobody/no-such-clip", CPU)


def test_a_clip_without_its_words_is_refused(tmp_path: Path) -> None:
    """transformers would make a tokenizer up that knows none, and every text-align would be of nothing."""
    home = saved_clip(tmp_path / "clip")
    for file in home.glob("*token*"):
        file.unlink()
    with pytest.raises(PersamError, match="tokenizer"):
        ClipFeatures(str(home), CPU)


class Inception(torch.nn.Module):
    """Stands in for torch-fidelity's network, whose weights are on GitHub: mean colours, (1, 3)."""

    def __init__(self, name: str, wanted: list[str]) -> None:
        super().__init__()
        assert (name, wanted) == ("inception-v3-compat", ["2048"])

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor]:
        assert picture.dtype == torch.uint8
        assert picture.shape[1] == 3
        return (picture.float().mean((2, 3)),)


def test_inception_where_it_is_to_be_had(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> None:
    features, note = kid_features("auto", networks.clip, networks.dino, CPU)
    assert features is networks.clip
    assert note is not None
    assert "torch-fidelity is not installed" in note
    with pytest.raises(PersamError, match="InceptionV3 needs torch-fidelity and torchvision"):
        kid_features("inception", networks.clip, networks.dino, CPU)
    with pytest.raises(UsageError, match="There is no --kid"):
        kid_features("fid", networks.clip, networks.dino, CPU)
    assert kid_features("dino", networks.clip, networks.dino, CPU)[0] is networks.dino
    home: Any = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    home.FeatureExtractorInceptionV3 = Inception
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, home.__name__, home)
    features, note = kid_features("inception", networks.clip, networks.dino, CPU)
    assert note is None
    assert features.of_pictures([np.full((5, 7, 3), 9, np.uint8)]) == pytest.approx(np.full((1, 3), 9))

    def fails(*_: Any) -> None:
        raise OSError("<urlopen error: no network>")

    monkeypatch.setattr("persam.dreambooth.features.find_spec", lambda _: True)
    home.FeatureExtractorInceptionV3 = fails
    _, note = kid_features("auto", networks.clip, networks.dino, CPU)
    assert note is not None
    assert "not of InceptionV3 (its weights cannot be downloaded): another scale." in note
    monkeypatch.setitem(sys.modules, home.__name__, None)
    _, note = kid_features("auto", networks.clip, networks.dino, CPU)
    assert note is not None
    assert "not of InceptionV3 (torch-fidelity or torchvision cannot be imported): another scale." in note


def test_a_picture_of_a_subject_without_photos(networks: Networks, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shows my_mug, of which the references have no photos \(other\)"):
        score(generated(tmp_path / "made"), [prepared(tmp_path / "photos", name="other")], networks)


def test_the_list_comes_back_and_its_damage_is_said(tmp_path: Path) -> None:
    made = generated(tmp_path)
    assert read_generated(tmp_path) == made
    told = json.loads((tmp_path / LIST).read_text())

    def written(**changes: Any) -> Path:
        (tmp_path / LIST).write_text(json.dumps(told | changes))
        return tmp_path

    outside = told["pictures"][0] | {"file": "../x.png"}
    for changes, said in (
        ({"pictures": []}, "lists no picture"),
        ({"pictures": [outside]}, "leads out of the folder"),
        ({"pictures": [told["pictures"][0] | {"run": "nobody"}]}, "is not listed|that is not listed"),
        ({"format": 9}, "has the format 9"),
        ({"runs": 3}, "is damaged"),
    ):
        with pytest.raises(PersamError, match=said):
            read_generated(written(**changes))
    made.pictures[0].file.unlink()
    with pytest.raises(PersamError, match="seed_0000.png, which is not there"):
        read_generated(written())
    with pytest.raises(UsageError, match="is no folder: persam dreambooth generate"):
        read_generated(tmp_path / "nowhere")
