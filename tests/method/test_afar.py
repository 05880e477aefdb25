"""What fills its reference is learned from afar, too, and weighed apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.conftest import draw_scene

from persam import Concept, PerSAM, PersamError, PersamWarning, Reference, UsageError
from persam.demo.albums import make_albums
from persam.method.afar import AFAR, FILLS, GREY, learned_from_afar
from persam.method.find import SIGNS, SIGNS_FROM_AFAR, USUAL, score_in, score_of, signs_of
from persam.method.learn import Learned
from persam.method.prior import canvas_confidence, prior_of, similarity_maps
from persam.method.settings import Settings
from persam.metrics import iou
from persam.models.fitted import Fitted
from persam.video.memory import ClipMemory

LARGE, SMALL = 60, 20  # radius of the disc in a scene of 120 x 160 pixels


@pytest.fixture(scope="module")
def tiny() -> PerSAM:
    return PerSAM.from_pretrained("tiny", device="cpu")


def scene(radius: int, seed: int = 0) -> Reference:
    return Reference(*draw_scene(radius=radius, seed=seed))


def without(persam: PerSAM) -> PerSAM:
    return PerSAM(persam.model, settings=persam.settings.but(from_afar=False))


@pytest.mark.parametrize("size", [(90, 60), (61, 200), (300, 300)])
def test_it_is_the_same_photo_and_mask_made_smaller_with_grey_around(tiny: PerSAM, size: tuple[int, int]) -> None:
    height, width = size
    image = np.full((height, width, 3), (10, 200, 30), np.uint8)
    mask = np.zeros(size, bool)
    mask[: height // 2] = True  # the upper half, which must not be centred by itself
    seen: list[Reference] = []

    learned: Learned = tiny.learn(image, mask).material[0]

    def learn(reference: Reference) -> Learned:
        seen.append(reference)
        return learned

    assert learned_from_afar([Reference(image, mask)], [learned], learn) == [learned]
    (afar,) = seen
    assert afar.image.shape == image.shape
    shown = (afar.image == (10, 200, 30)).all(2)
    assert shown.mean() == pytest.approx(AFAR**2, rel=0.1)
    assert (afar.image[~shown] == GREY).all()
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    for found, side in ((rows, height), (columns, width)):  # in the middle
        assert abs(found[0] + found[-1] + 1 - side) <= 1
    assert afar.mask is not None
    assert afar.mask.mean() == pytest.approx(mask.mean() * AFAR**2, rel=0.1)
    assert shown[afar.mask].all()
    assert np.flatnonzero(afar.mask.any(1))[0] == rows[0]


def test_what_is_small_is_learned_as_it_is(tiny: PerSAM) -> None:
    small, large = scene(SMALL), scene(LARGE)
    assert small.mask is not None
    assert large.mask is not None
    assert small.mask.mean() < FILLS < large.mask.mean()
    assert tiny.learn(small).from_afar == 0
    concept = tiny.learn([small, large])
    assert (len(concept.references), len(concept.targets), len(concept.cues), concept.from_afar) == (2, 3, 3, 1)
    assert len(concept.material) == 2  # PerSAM-F is tuned on the photos as they are
    as_it_is = without(tiny).learn(large)
    assert (len(as_it_is.targets), as_it_is.from_afar) == (1, 0)
    assert as_it_is.threshold == tiny.learn(large).threshold


@pytest.mark.parametrize("mode", ["official", "paper"])
def test_without_cues_nothing_is_learned_from_afar(tiny: PerSAM, mode: str) -> None:
    persam = PerSAM(tiny.model, settings=Settings.of(mode).but(from_afar=True))
    assert len(persam.learn(scene(LARGE)).targets) == 1


def test_what_nothing_weighs_is_not_learned(tiny: PerSAM) -> None:
    assert tiny.fitted is not None
    older = Fitted.from_dict({k: v for k, v in tiny.fitted.to_dict().items() if "afar" not in k})
    first = PerSAM(tiny.model, fitted=older).learn(scene(LARGE))
    assert first.from_afar == 0
    assert tiny.learn(scene(LARGE, seed=1), base=first).from_afar == 0  # its numbers are those of the first
    without_cues = tiny.settings.but(nearest_cue=False, background_cue=False, colour_cue=False)
    assert PerSAM(tiny.model, settings=without_cues).learn(scene(LARGE)).from_afar == 0


def test_a_shot_is_added_in_the_way_of_what_is_there(tiny: PerSAM) -> None:
    first = without(tiny).learn(scene(LARGE))
    both = tiny.learn(scene(LARGE, seed=1), base=first)
    assert (len(both.references), both.from_afar, both.settings) == (2, 0, first.settings)
    with pytest.raises(UsageError, match="other settings"):
        PerSAM(tiny.model, settings=tiny.settings.but(attention="off")).learn(scene(LARGE), base=first)


def test_a_mask_that_is_lost_from_afar_is_not_learned_so(tiny: PerSAM) -> None:
    image, mask = np.full((2, 2, 3), 90, np.uint8), np.array([[False, False], [False, True]])
    with pytest.warns(PersamWarning):
        concept = tiny.learn(image, mask)
    assert concept.references[0].coverage > FILLS
    assert concept.from_afar == 0


def test_what_was_seen_from_afar_comes_last(tiny: PerSAM) -> None:
    """So that it can be told from the rest, with further references and with frames of a clip."""
    large, small = tiny.learn(scene(LARGE)), tiny.learn(scene(SMALL, seed=1))
    both = large.joined(small, "both").joined(large, "all")
    order = [large.cues[0], small.cues[0], large.cues[0], large.cues[1], large.cues[1]]
    assert all(one is other for one, other in zip(both.cues, order, strict=True))
    assert [len(both.cues[part]) for part in (both.views, both.views_from_afar)] == [3, 2]
    assert len(both.targets) == 5
    memory = ClipMemory(large)
    memory.add(1, small.material[0])
    seen = memory.concept
    assert (seen.targets[0], seen.targets[2]) == large.targets
    assert (len(seen.cues), seen.from_afar, len(seen.targets[seen.views])) == (3, 1, 2)


def test_the_similarity_is_that_to_the_reference_as_it_is(tiny: PerSAM) -> None:
    """Also at the peak that the view from afar gives the map; from afar all is more alike."""
    concept = tiny.learn(scene(LARGE))
    image = tiny.encode(draw_scene(radius=SMALL, seed=3)[0])
    prior = prior_of(image, concept, tiny.model.low_resolution, tuned=False)
    as_it_is = canvas_confidence(
        similarity_maps(image.features, concept.targets)[0], image.frame, image.frame, tiny.model.low_resolution
    )
    assert prior.similarity == pytest.approx(float(as_it_is.flatten()[prior.canvas.argmax()]), abs=1e-6)
    assert prior.alike is not None
    assert torch.equal(prior.alike, as_it_is)


def test_signs_from_afar_are_those_of_the_view_from_afar(tiny: PerSAM) -> None:
    concept = tiny.learn(scene(LARGE))
    photo = tiny.encode(draw_scene(radius=SMALL, seed=3)[0])
    trace = tiny.segment(photo, concept, explain=True).trace
    assert trace is not None
    assert trace.prior is not None
    signs = signs_of(photo, concept, trace.prior, trace.mask)
    assert set(signs) == {"similarity", *SIGNS, *SIGNS_FROM_AFAR}
    alone = replace(concept, targets=concept.targets[1:], cues=concept.cues[1:], from_afar=0)
    from_afar = signs_of(photo, alone, trace.prior, trace.mask)
    for name in ("explained", "cells", "explained_cells", "unity", "colour", "identity"):
        assert signs[f"{name}_afar"] == from_afar[name]
    as_it_is = replace(concept, targets=concept.targets[:1], cues=concept.cues[:1], from_afar=0)
    plain = signs_of(photo, as_it_is, trace.prior, trace.mask)
    assert plain == {name: signs[name] for name in plain}
    assert score_in(photo, concept, trace.prior, trace.mask) == score_of(signs, concept.fitted)


@pytest.mark.parametrize(("near", "far"), [(0.7, 0.2), (0.2, 0.7), (0.5, 0.5)])
def test_the_odds_are_the_mean_of_both(near: float, far: float) -> None:
    """By numbers for which the odds are the sign itself."""
    numbers = Fitted(
        {},
        0.0,
        refine=False,
        presence={"a": (1, 0)},
        presence_offset=0,
        presence_afar={"b": (1, 1)},
        presence_afar_offset=1,
    )
    odds = USUAL / (1 - USUAL) * np.mean([np.exp(near), np.exp(far)])
    assert score_of({"a": near, "b": far}, numbers) == pytest.approx(odds / (1 + odds))
    alone = USUAL / (1 - USUAL) * np.exp(near)
    assert score_of({"a": near}, numbers) == pytest.approx(alone / (1 + alone))  # not seen from afar


def test_another_shot_adds_its_own(tiny: PerSAM) -> None:
    first = tiny.learn(scene(LARGE), name="disc")
    both = tiny.learn(scene(LARGE, seed=1), base=first)
    assert (len(both.references), len(both.targets), both.from_afar) == (2, 4, 2)
    photo = draw_scene(seed=2)[0]
    together = tiny.learn([scene(LARGE), scene(LARGE, seed=1)], name="disc")
    assert tiny.segment(photo, both).score == pytest.approx(tiny.segment(photo, together).score, abs=1e-5)


def test_a_file_keeps_it(tiny: PerSAM, tmp_path: Path) -> None:
    concept = tiny.tune(tiny.learn(scene(LARGE), keep_references=True))
    again = Concept.load(concept.save(tmp_path / "disc.safetensors"))
    assert (len(again.targets), len(again.cues), again.from_afar) == (2, 2, 1)
    assert again.content_hash == concept.content_hash
    photo = draw_scene(seed=2)[0]
    first, second = tiny.segment(photo, concept), tiny.segment(photo, again)
    assert first.score == pytest.approx(second.score, abs=1e-6)
    assert np.array_equal(first.mask, second.mask)
    assert tiny.tune(again).scale_weights == pytest.approx(concept.scale_weights, abs=1e-4)


def test_a_file_from_before_has_none_and_a_wrong_number_is_told(tiny: PerSAM, tmp_path: Path) -> None:
    file = without(tiny).learn(scene(LARGE)).save(tmp_path / "disc.safetensors")
    with safe_open(file, framework="pt") as opened:
        words = opened.metadata()
    tensors, meta = load_file(file), json.loads(words["persam"])

    def written(values: dict[str, object]) -> Path:
        save_file(tensors, file, metadata=words | {"persam": json.dumps(values)})
        return file

    before = {key: value for key, value in meta.items() if key != "from_afar"}
    assert Concept.load(written(before)).from_afar == 0
    for wrong, told in ((1, "target.1.embedding is missing"), (-1, "from_afar is -1"), ("many", "from_afar is 'many'")):
        with pytest.raises(PersamError, match=told):
            Concept.load(written(meta | {"from_afar": wrong}))


def test_what_was_learned_from_a_portrait_is_found_where_it_is_small(tiny: PerSAM) -> None:
    """The demo's things fill their references, and a sixth of the photos that they are looked for in."""
    changes = []
    for album in make_albums():
        assert album.mask.mean() > FILLS
        concepts = [persam.learn(album.reference, album.mask) for persam in (tiny, without(tiny))]
        for photo in album.photos:
            if photo.count == 1:
                afar, as_it_is = (tiny.segment(photo.pixels, concept) for concept in concepts)
                change = iou(afar.assumed_mask, photo.truth) - iou(as_it_is.assumed_mask, photo.truth)
                changes.append((afar.score - as_it_is.score, change))
    assert len(changes) == 12
    scores, ious = np.mean(changes, 0)
    assert scores > 0.05
    assert ious > -0.01
