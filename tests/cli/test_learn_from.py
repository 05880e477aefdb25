"""`persam learn --from`: more references, tuning again, another model; and what a file must keep for that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import SMALL_TINY

from persam import Concept, PerSAM
from persam.models.tiny.architecture import TinySam


@pytest.fixture
def others(tmp_path: Path) -> list[str]:
    """Two more references as they are named on the command line."""
    for number in (2, 3):
        image, mask = draw_scene(seed=number, radius=20 + number)
        Image.fromarray(image).save(tmp_path / f"{number}.jpg", quality=95)
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
    return ["2.jpg", "2.png", "-r", "3.jpg:3.png"]


def same_vectors(one: Concept, other: Concept) -> bool:
    pairs = zip(one.targets, other.targets, strict=True)
    return all(torch.equal(a.direction, b.direction) and torch.equal(a.embedding, b.embedding) for a, b in pairs)


def test_added_references_are_as_if_learned_together(run, photo_file, mask_file, others, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "one", "--name", "disc").exit_code == 0
    result = run("learn", *others, "--from", "one.safetensors", "-o", "three")
    assert result.exit_code == 0, result.output
    assert "Learned 'disc' from 3 photos, 2 of them new" in result.stdout
    assert (
        run("learn", photo_file, mask_file, "-r", "2.jpg:2.png", "-r", "3.jpg:3.png", "-o", "together").exit_code == 0
    )
    three, together = (Concept.load(tmp_path / f"{name}.safetensors") for name in ("three", "together"))
    assert same_vectors(three, together)
    assert three.threshold == pytest.approx(together.threshold, abs=2e-6)
    assert three.references == together.references
    assert len(three.cues) == 3


def test_tuned_again_from_a_file_that_keeps_its_references(run, photo_file, mask_file, others, tmp_path):
    """And the same as tuned in one go."""
    assert run("learn", photo_file, mask_file, "-o", "kept", "--keep-reference", "--tune").exit_code == 0
    arguments = ("--from", "kept.safetensors", "--keep-reference", "-o", "again")
    result = run("learn", *others, *arguments, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["keeps_references"] == [True, True, True]
    pairs = ("-r", "2.jpg:2.png", "-r", "3.jpg:3.png")
    assert run("learn", photo_file, mask_file, *pairs, "--tune", "-o", "together").exit_code == 0
    again, together = (Concept.load(tmp_path / f"{name}.safetensors") for name in ("again", "together"))
    assert again.scale_weights == pytest.approx(together.scale_weights, abs=1e-5)  # tuned as the first was
    assert again.threshold == pytest.approx(together.threshold, abs=2e-6)
    result = run("learn", "--from", "again.safetensors", "--tune", "-o", "tuned")
    assert "Tuned 'kept' with 3 photos" in result.stdout
    assert Concept.load(tmp_path / "tuned.safetensors").scale_weights == pytest.approx(again.scale_weights, abs=1e-5)


def test_learned_anew_in_another_mode(run, photo_file, mask_file, others, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "kept", "--keep-reference").exit_code == 0
    result = run("learn", *others, "--from", "kept.safetensors", "--mode", "official", "-o", "official")
    assert result.exit_code == 0, result.output
    assert "Not all of its photos are kept in it, so it cannot be tuned again" in result.stderr
    concept = Concept.load(tmp_path / "official.safetensors")
    assert concept.mode == "official"
    assert [kept is not None for kept in concept.kept] == [True, False, False]  # those that were asked for
    assert same_vectors(
        concept,
        PerSAM.from_pretrained(mode="official").learn(
            [*Concept.load(tmp_path / "kept.safetensors").kept_references(), *_references(tmp_path)]
        ),
    )


def test_a_closer_look_is_chosen_when_it_is_learned_or_later(run, refused, photo_file, mask_file, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "one").exit_code == 0
    assert run("learn", photo_file, mask_file, "-o", "off", "--closer-look", "off").exit_code == 0
    assert run("learn", "--from", "one.safetensors", "-o", "always", "--closer-look", "always").exit_code == 0
    one, off, always = (Concept.load(tmp_path / f"{name}.safetensors") for name in ("one", "off", "always"))
    assert [each.settings.closer_look for each in (one, off, always)] == ["small", "off", "always"]
    assert same_vectors(one, always)
    assert always.threshold == one.threshold
    wrong = ("learn", photo_file, mask_file, "-o", "wrong", "--closer-look", "often")
    assert "closer_look" in refused(*wrong, code=2)


def test_masks_are_drawn_again_unless_it_is_not_wanted(run, refused, photo_file, mask_file, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "usual").exit_code == 0
    assert run("learn", photo_file, mask_file, "-o", "once", "--no-redraw").exit_code == 0
    assert run("learn", "--from", "usual.safetensors", "-o", "later", "--no-redraw").exit_code == 0
    assert run("learn", "--from", "once.safetensors", "-o", "again", "--redraw").exit_code == 0
    assert run("learn", photo_file, mask_file, "--from", "once.safetensors", "-o", "more").exit_code == 0
    found = {
        name: Concept.load(tmp_path / f"{name}.safetensors") for name in ("usual", "once", "later", "again", "more")
    }
    drawn = {name: each.settings.redraw for name, each in found.items()}
    assert drawn == {"usual": True, "once": False, "later": False, "again": True, "more": False}
    assert same_vectors(found["usual"], found["later"])
    shown = {name: run("show", f"{name}.safetensors").stdout for name in ("usual", "later")}
    assert [re.search(r"drawn again\s+(\w+)", text)[1] for text in shown.values()] == ["yes", "no"]
    wrong = ("learn", photo_file, mask_file, "-o", "wrong", "--redraw", "--mode", "official")
    assert "masks are drawn once" in refused(*wrong, code=2)
    assert run("learn", photo_file, mask_file, "-o", "official", "--mode", "official").exit_code == 0
    assert "masks are drawn once" in refused("learn", "--from", "official.safetensors", "-o", "no", "--redraw", code=2)


def test_one_place_or_several(run, refused, photo_file, mask_file, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "usual").exit_code == 0
    assert run("learn", photo_file, mask_file, "-o", "one", "--places", "1").exit_code == 0
    assert run("learn", "--from", "usual.safetensors", "-o", "later", "--places", "1").exit_code == 0
    assert run("learn", "--from", "one.safetensors", "-o", "many", "--places", "5").exit_code == 0
    found = {name: Concept.load(tmp_path / f"{name}.safetensors") for name in ("usual", "one", "later", "many")}
    assert {name: each.settings.places for name, each in found.items()} == {"usual": 3, "one": 1, "later": 1, "many": 5}
    assert same_vectors(found["usual"], found["later"])
    shown = [run("show", f"{name}.safetensors").stdout for name in ("usual", "later", "many")]
    assert [re.search(r"places looked at\s+(\w+)", text)[1] for text in shown] == ["3", "1", "5"]
    wrong = ("learn", photo_file, mask_file, "-o", "wrong")
    assert "the likeliest place alone" in refused(*wrong, "--places", "2", "--mode", "official", code=2)
    for number in ("0", "101"):
        assert "a whole number, 1 to 100" in refused(*wrong, "--places", number, code=2)
    assert run("learn", photo_file, mask_file, "-o", "official", "--mode", "official", "--places", "1").exit_code == 0
    more = ("learn", "--from", "official.safetensors", "-o", "no", "--places", "2")
    assert "the likeliest place alone" in refused(*more, code=2)


def test_what_fills_its_photo_is_learned_from_afar_unless_it_is_not_wanted(run, refused, tmp_path):
    for name, radius in (("large", 60), ("small", 20)):
        pixels, mask = draw_scene(radius=radius)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    large, small = ((tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png") for name in ("large", "small"))
    assert run("learn", *large, "-o", "plain", "--no-from-afar").exit_code == 0
    assert run("learn", *large, "-o", "usual").exit_code == 0
    told = run("learn", *large, "-o", "afar", "--from-afar")
    assert "from afar" not in told.output
    told = run("learn", *small, "-o", "no", "--from-afar")
    assert "Nothing was learned from afar: that is done where the object covers more than 20%" in told.stderr
    assert run("learn", *large, "--from", "no.safetensors", "-o", "more").exit_code == 0
    assert run("learn", *large, "--from", "plain.safetensors", "-o", "both", "--from-afar").exit_code == 0
    names = ("plain", "usual", "afar", "no", "more", "both")
    found = {name: Concept.load(tmp_path / f"{name}.safetensors") for name in names}
    assert [(len(each.references), each.from_afar) for each in found.values()] == [
        (1, 0),
        (1, 1),
        (1, 1),
        (1, 0),
        (2, 1),
        (2, 1),
    ]
    for concept, shown in (("plain", "0 of 1 reference"), ("both", "1 of 2 references")):
        assert shown in run("show", f"{concept}.safetensors").stdout
    assert "leave out --from-afar" in refused("learn", *large, "-o", "x", "--from-afar", "--mode", "official", code=2)
    for option in ("--from-afar", "--no-from-afar"):
        told = refused("learn", "--from", "plain.safetensors", "-o", "x", "--tune", option, code=2)
        assert "how photos are learned" in told


def test_learned_anew_for_another_model(run, photo_file, mask_file, tmp_path):
    assert run("learn", photo_file, mask_file, "-o", "kept", "--keep-reference", "--name", "disc").exit_code == 0
    TinySam(SMALL_TINY).save(tmp_path / "small.safetensors")
    result = run("learn", "--from", "kept.safetensors", "--model", "small.safetensors", "-o", "small_disc")
    assert result.exit_code == 0, result.output
    concept = Concept.load(tmp_path / "small_disc.safetensors")
    assert (concept.name, concept.model_name, concept.keeps_references) == ("disc", "small", True)


def _references(folder: Path) -> list:
    from persam import Reference

    return [Reference.read(folder / f"{number}.jpg", folder / f"{number}.png") for number in (2, 3)]


class TestRefused:
    @pytest.fixture
    def plain(self, run, photo_file, mask_file) -> str:
        assert run("learn", photo_file, mask_file, "-o", "plain").exit_code == 0
        return "plain.safetensors"

    def test_tuning_without_references(self, refused, plain):
        sentence = refused("learn", "--from", plain, "--tune", "-o", "x", code=1)
        assert "was read from a file that does not keep its photos, so that it cannot be tuned" in sentence
        assert "--keep-reference" in sentence

    def test_adding_to_a_tuned_one_without_references(self, refused, run, photo_file, mask_file, others):
        assert run("learn", photo_file, mask_file, "--tune", "-o", "tuned").exit_code == 0
        sentence = refused("learn", *others, "--from", "tuned.safetensors", "-o", "x", code=1)
        assert "does not keep its photos" in sentence

    def test_another_mode_without_references(self, refused, plain):
        sentence = refused("learn", "--from", plain, "--mode", "paper", "-o", "x", code=1)
        assert "does not keep its photos; learn it again from them, with --keep-reference" in sentence

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["-o", "x"], "There is nothing to do with plain.safetensors; give a photo to add to it, or --tune"),
            (["--tune"], "Say with -o where to write the new concept"),
            (["--tune", "-o", "x", "--preview", "p.png"], "Name the first photo to learn from"),
            (["-r", "photo.png:photo_mask.png", "-o", "x"], "Name the first photo to learn from"),
        ],
    )
    def test_wrong_calls(self, refused, plain, arguments, words):
        assert words in refused("learn", "--from", plain, *arguments, code=2)

    def test_no_photo_at_all(self, refused):
        assert "Give a photo of the object" in refused("learn", "-o", "x", code=2)


def test_nothing_is_kept_unasked(run, photo_file, mask_file, tmp_path):
    """And what is kept has no word about where and when it was taken."""
    exif = Image.Exif()
    exif[0x010E] = "in the secret garden"
    Image.open(photo_file).save(tmp_path / "garden.jpg", exif=exif, comment=b"secret comment")
    for options in ([], ["--thumbnail"], ["--tune"], ["--keep-reference"]):
        assert run("learn", "garden.jpg", mask_file, "-o", "c", "--overwrite", *options).exit_code == 0
        concept = Concept.load(tmp_path / "c.safetensors")
        assert concept.keeps_references is (options == ["--keep-reference"])
        assert b"secret" not in (tmp_path / "c.safetensors").read_bytes()
    np.testing.assert_array_equal(concept.kept_references()[0].image, np.asarray(Image.open(tmp_path / "garden.jpg")))


def test_show_tells_what_is_kept(run, photo_file, mask_file):
    run("learn", photo_file, mask_file, "-o", "plain")
    run("learn", photo_file, mask_file, "-o", "kept", "--keep-reference")
    assert "photos kept" in run("show", "plain.safetensors").stdout
    assert json.loads(run("show", "plain.safetensors", "--json").stdout)["keeps_references"] == [False]
    assert "yes, with their masks" in " ".join(run("show", "kept.safetensors").stdout.split())
