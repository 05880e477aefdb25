"""`persam bench instances`: what is asked, what is counted, and that the figures are the field's."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.fakes import ColourModel
from torchmetrics.detection import PanopticQuality

from persam.benchmark.suites.instance_figures import Counted, average_precisions, counted, pair, summarise_instances
from persam.benchmark.suites.instances import count_instances
from persam.benchmark.suites.suite import Trial, read_photos
from persam.errors import UsageError
from persam.instance import Instance, mask_rle

RED, GREEN = (200, 30, 40), (30, 190, 60)
# Where discs of a colour are, by photo: red ones are apples, green ones limes.
PHOTOS = {
    "a": {RED: [(60, 60)]},
    "b": {RED: [(30, 40), (100, 80)]},
    "c": {RED: [(25, 30), (80, 90), (130, 40)], GREEN: [(130, 100)]},
    "d": {GREEN: [(50, 50)]},
    "e": {GREEN: [(50, 50), (110, 70)]},
}


def disc(x: int, y: int, radius: int = 18) -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.fixture
def folder(tmp_path):
    """As a data set of many things: photos, masks with ids, and the kind of each."""
    items = {}
    (tmp_path / "fruit").mkdir()
    for name, discs in PHOTOS.items():
        image, ids, kinds = np.full((120, 160, 3), 120, np.uint8), np.zeros((120, 160), np.uint8), []
        for colour, places in discs.items():
            for place in places:
                kinds.append("apple" if colour == RED else "lime")
                image[disc(*place)], ids[disc(*place)] = colour, len(kinds)
        Image.fromarray(image).save(tmp_path / "fruit" / f"{name}.webp", lossless=True)
        Image.fromarray(ids).save(tmp_path / "fruit" / f"{name}.png")
        items[name] = {"classes": kinds}
    (tmp_path / "objects.json").write_text(json.dumps({"fruit": {"items": items}}))
    return tmp_path


def trial(folder, **more) -> Trial:
    return Trial(read_photos(folder, "things", names="classes"), ColourModel(), **more)


def rows_of(found, method: str) -> dict:
    return {row["number"]: row for row in found.rows if row["method"] == method}


class TestSuite:
    def test_every_object_of_drawn_kinds_is_found_and_counted(self, folder):
        steps = []
        found = count_instances(trial(folder, progress=lambda: steps.append(1)), ["persam"], most=5)
        rows = rows_of(found, "persam")
        # Apples are learned from a, where one is alone, and looked for in b, c and the two others; limes likewise.
        assert {number: row["questions"] for number, row in rows.items()} == {None: 7, "0": 3, "1": 1, "2": 2, "3+": 1}
        assert len(steps) == 4  # photos with it
        assert rows[None]["true"] == pytest.approx((1 + 2 + 2 + 3) / 7)
        assert (rows["3+"]["found"], rows["3+"]["exact"], rows["3+"]["f1"]) == (3, 1, 1)
        assert rows["2"]["count_error"] == 0
        assert rows["2"]["pq"] > 0.7
        alone = rows_of(found, "persam, one object")
        assert (alone["3+"]["found"], alone["3+"]["count_error"], alone["3+"]["f1"]) == (1, 2, pytest.approx(2 / 4))
        json.dumps(found.to_dict())
        assert [len(table.rows) for table in found.tables] == [2, 8]
        assert "COCO's" in "".join(found.below())
        # In c both kinds are asked: one photo, two questions.
        assert found.tables[0].title.endswith("4 photos of 2 objects, 7 questions")

    def test_in_the_same_photo(self, folder):
        found = count_instances(trial(folder), ["persam"], most=5, same_photo=True)
        rows = rows_of(found, "persam")
        assert rows[None]["questions"] == 4  # none without
        assert rows[None]["exact"] == 1
        assert "in which it is looked for itself" in found.about["protocol"]

    def test_a_photo_that_cannot_be_read_is_left_out_and_told(self, folder):
        asked = trial(folder)
        (folder / "fruit" / "b.webp").write_bytes(b"")
        found = count_instances(asked, ["persam"], most=2, without=0)
        assert rows_of(found, "persam")[None]["questions"] == 3
        assert "1 questions had no answer" in found.notes[0]
        assert "b.webp" in found.notes[0]

    def test_masks_without_ids_are_refused(self, data):
        with pytest.raises(UsageError, match="ids of their own"):
            few = read_photos(data, limit=2)
            nothing = replace(few, episodes=tuple(replace(each, tests=()) for each in few.episodes))
            count_instances(Trial(nothing, ColourModel()), ["persam"])


def random_objects(rng: np.random.Generator, number: int) -> list[np.ndarray]:
    """Rectangles that do not lie on one another: columns of a strip of 60, cut at random."""
    cuts = np.sort(rng.choice(np.arange(1, 60), 2 * number, replace=False))
    masks = []
    for left, right in zip(cuts[::2], cuts[1::2], strict=True):
        mask = np.zeros((8, 60), bool)
        mask[:, left:right] = True
        masks.append(mask)
    return masks


def a_question(rng: np.random.Generator, kind: str, number: int) -> tuple[Counted, list, list]:
    true, found = random_objects(rng, rng.integers(0, 4)), random_objects(rng, rng.integers(0, 4))
    if len(true) > 1:  # one that is nearly right, so that there are pairs
        found = [
            np.roll(true[0], 1, axis=1),
            *(each for each in found if not (each & np.roll(true[0], 1, axis=1)).any()),
        ]
    made = [Instance(mask, float(rng.random())) for mask in found]
    return counted("m", kind, f"{number}", made, true), found, true


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


class TestFigures:
    def test_pairs_are_the_best_by_brute_force(self):
        rng = np.random.default_rng(0)
        for number in range(60):
            question, found, true = a_question(rng, "k", number)
            table = [[value if (value := iou(one, other)) > 0.5 else 0 for other in true] for one in found]
            orders = itertools.permutations(range(len(true)), len(found)) if len(found) <= len(true) else ()
            every = [sum(row[place] for row, place in zip(table, order, strict=True)) for order in orders]
            if len(found) <= len(true):
                assert sum(question.ious) == pytest.approx(max(every, default=0))
            assert all(0.5 < each <= 1 for each in question.ious)

    def test_panoptic_quality_as_torchmetrics_has_it(self):
        rng = np.random.default_rng(1)
        asked: list[Counted] = []
        metric = PanopticQuality(things={1}, stuffs={0}, return_per_class=True)
        for number in range(40):
            question, found, true = a_question(rng, "k", number)
            asked.append(question)
            maps = []
            for objects in (found, true):
                pixels = np.zeros((8, 60, 2), int)
                for value, mask in enumerate(objects, 1):
                    pixels[mask] = (1, value)
                maps.append(torch.from_numpy(pixels)[None])
            metric.update(*maps)
        (whole, *_) = summarise_instances(asked)
        assert whole.pq == pytest.approx(float(metric.compute()[0, 0]), abs=1e-6)

    def test_by_hand(self):
        a, b, c = (np.zeros((10, 30), bool) for _ in range(3))
        a[:, :10], b[:, 10:20], c[:, 20:] = True, True, True
        most = a.copy()
        most[:, 8:] = False  # IoU 0.8
        asked = [
            counted("m", "k", "1", [Instance(most, 0.9), Instance(c, 0.6)], [a, b]),
            counted("m", "k", "2", [], []),
            counted("m", "j", "3", [Instance(b, 0.7)], []),
        ]
        whole, none, two = summarise_instances(asked)
        assert (whole.questions, none.questions, two.questions) == (3, 2, 1)
        assert (two.exact, two.count_error, two.f1, two.pq) == (1, 0, 0.5, pytest.approx(0.4))
        assert (whole.exact, whole.count_error) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
        assert whole.f1 == pytest.approx(2 / 5)
        assert (none.exact, none.f1) == (0.5, 0)
        assert summarise_instances(asked[1:2])[0].f1 is None
        assert two.ap is None

    def test_pixels_that_do_not_count(self):
        left, ignore = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
        left[:, :5], ignore[:, 4:] = True, True
        whole, open_to_doubt = Instance(left, 0.9), Instance(ignore, 0.8)
        one = counted("m", "k", "1", [whole, open_to_doubt], [left], ignore)
        assert (one.ious, one.scores) == ((1.0,), (0.9,))

    def test_ap_by_hand(self):
        a, b = np.zeros((10, 20), bool), np.zeros((10, 20), bool)
        a[:, :10], b[:, 10:] = True, True
        sure = counted("m", "k", "1", [Instance(a, 0.9), Instance(b, 0.8)], [a, b])
        wrong = counted("m", "k", "2", [Instance(a, 0.95)], [])
        assert average_precisions([sure]) == pytest.approx((1, 1))
        ap, ap50 = average_precisions([sure, wrong])  # precision 1/2 and 2/3 at the two recalls; the envelope is 2/3
        assert (ap, ap50) == pytest.approx((2 / 3, 2 / 3))
        assert average_precisions([wrong]) == (None, None)
        assert average_precisions([counted("m", "k", "3", [], [a])]) == (0, 0)

    def test_no_object_has_two_partners(self):
        mask = np.ones((4, 4), bool)
        assert pair([mask_rle(mask)] * 3, [mask_rle(mask)]) == (1.0,)
