"""How the identity network is trained: cutouts, which things are strangers, the loss, and the command."""

from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from persam.models.identity.network import CHANNELS, SIDE, IdentityNetwork
from training import identity
from training.cutouts import cutout, with_surroundings
from training.photos import read_photos
from training.segments import Segment


def test_a_cutout_shows_the_thing_and_nothing_else(photos):
    random = Random(0)
    for thing in photos.things:
        for _ in range(10):
            photo = photos[thing.photo]
            seen = cutout(photo.image, Segment.of(photo, thing), random)
            assert seen.shape == (CHANNELS, SIDE, SIDE)
            assert seen.dtype == np.float32
            assert np.isfinite(seen).all()
            assert 0.03 < (seen != 0).any(0).mean() < 0.98


def test_a_wire_is_not_lost_where_it_is_shrunk():
    """Of none of the small pixels it covers a half, and still it is there."""
    mask = np.zeros((300, 300), bool)
    mask[:, 150] = mask[40, 100:200] = True
    segment = Segment.under(0, mask, is_mistaken=True)  # so that its mask stays as it is
    shares = [cutout(np.full((300, 300, 3), 200, np.uint8), segment, Random(seed))[3].sum() for seed in range(20)]
    assert min(shares) > 3


def test_surroundings_hold_all_of_the_thing(photos):
    for thing in photos.things:
        photo = photos[thing.photo]
        image, mask = with_surroundings(photo.image, Segment.of(photo, thing))
        assert image.shape[:2] == mask.shape
        assert mask.sum() == thing.area


def test_things_are_drawn_once_and_those_held_back_never(photos, monkeypatch):
    names = {id(thing): ("street/cup" if number % 2 else None, None) for number, thing in enumerate(photos.things)}
    material = identity.Material(photos, held_back=["street/cup"])
    monkeypatch.setattr(identity.Material, "names", lambda _, thing: names[id(thing)])
    free = [thing for thing in photos.things if names[id(thing)][0] is None]
    drawn = material.draw(len(free), Random(0))
    assert {id(each) for each in drawn} == {id(each) for each in free}
    assert len(drawn) == len(free)


def test_there_are_no_more_things_than_there_are(photos):
    material = identity.Material(photos)
    drawn = material.draw(1000, Random(0))
    assert sorted(map(id, drawn)) == sorted(map(id, photos.things))
    cutouts, same = material.batch(1000, Random(0))
    assert len(cutouts) == 2 * len(same) == 2 * len(photos.things)


def test_one_thing_cannot_be_told_from_others(photos, monkeypatch):
    monkeypatch.setattr(identity.Material, "names", lambda *_: ("street/cup", None))
    with pytest.raises(ValueError, match="0 things cannot be told apart"):
        identity.Material(photos, held_back=["street/cup"])


def test_what_may_be_the_same_is_no_stranger():
    names = [("a/cup", None), ("a/cup", None), (None, "pets/cat"), (None, "pets/cat"), (None, None), (None, None)]
    same = identity.alike(names)
    assert same.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 2], [2, 3], [3, 2], [3, 3]]


def test_contrast_is_the_cross_entropy_over_all_strangers():
    vectors = F.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    loss, right = identity.contrast(vectors, same, 4.0)
    losses, found = [], []
    for i in range(6):
        like, group = (i + 3) % 6, {0: (0, 1), 1: (0, 1), 2: (2,)}[i % 3]
        strangers = [j for j in range(6) if j % 3 not in group]
        odds = torch.stack([4 * vectors[i] @ vectors[j] for j in [like, *strangers]])
        losses.append(-odds.log_softmax(0)[0])
        found.append(float(odds.argmax() == 0))
    assert float(loss) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-5)
    assert float(right) == pytest.approx(np.mean(found))


def test_the_command_writes_weights_that_say_how_they_were_made(drawn_folder, tmp_path, capsys):
    output = tmp_path / "identity.safetensors"
    asked = ["--data", str(drawn_folder), "--val", str(drawn_folder), "--minutes", "5", "--steps", "2", "--things", "4"]
    identity.train(identity.parser().parse_args([*asked, "-o", str(output), "--threads", "1"]))
    network = IdentityNetwork.load(output)
    (run,) = network.history["runs"]
    assert run["cutouts"] == 16
    assert network.history["validation"]["things"] == 12
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["step"] == 2
    identity.train(identity.parser().parse_args([*asked, "-o", str(output), "--init", str(output), "--threads", "1"]))
    assert len(IdentityNetwork.load(output).history["runs"]) == 2


def test_a_thing_is_held_back_only_if_every_run_held_it_back(drawn_folder, tmp_path, monkeypatch):
    output = tmp_path / "identity.safetensors"
    some = ["--data", str(drawn_folder), "--minutes", "5", "--steps", "1", "--things", "2", "--segments", "0"]
    for more, held_back in (([], ["a/cup", "a/key"]), (["--init", str(output)], ["a/key", "a/pen"])):
        objects = [held_back[0], "a/other", held_back[1]]
        monkeypatch.setattr(
            identity, "read_photos", lambda *_, _objects=objects, **__: with_objects(drawn_folder, _objects)
        )
        identity.train(identity.parser().parse_args([*some, *more, "-o", str(output), "--threads", "1"]))
    assert IdentityNetwork.load(output).history["held_back"] == ["a/key"]


def with_objects(folder, names):
    """Photos of which it is said that these things are in several."""
    photos = read_photos(folder)
    photos.objects = names
    photos.by_object = dict.fromkeys(names, photos.things[:1])
    return photos


def test_it_begins_with_the_bundled_models_encoder():
    from persam.models.tiny.architecture import TinySam

    ours, theirs = identity.started(None).body.state_dict(), TinySam.load().vision_encoder.body.state_dict()
    assert not ours[identity.FIRST][:, 3:].any()  # of the mask it knows nothing yet
    ours[identity.FIRST] = ours[identity.FIRST][:, :3]
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
