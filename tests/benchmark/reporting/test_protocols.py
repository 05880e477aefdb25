"""Protocols and summaries, computed by hand from the definitions."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from tests.benchmark.records_for_tests import record

from persam.benchmark.reporting.protocols import (
    DAVIS,
    FEW_SHOT,
    FOLDER,
    FOLLOWED,
    LABELS,
    PERSEG,
    PROTOCOLS,
    common_figures,
)
from persam.benchmark.reporting.summary import summarise


def test_perseg_pools_per_object_then_takes_the_mean():
    records = [
        record("mug", 1, 10, 10, 20, boundary=(1, 2, 3)),  # IoU 1/2
        record("mug", 2, 1, 2, 4, boundary=(2, 2, 2)),  # IoU 1/5
        record("cat", 1, 0, 5, 5, boundary=(0, 1, 1)),  # IoU 0
    ]
    (summary,) = summarise(records, PERSEG)
    value = {key: figure.value for key, figure in summary.figures.items()}
    assert value["miou"] == pytest.approx(((10 + 1) / (20 + 5) + 0) / 2)
    assert value["macc"] == pytest.approx(((10 + 1) / (20 + 4) + 0) / 2)
    assert value["biou"] == pytest.approx(((1 + 2) / (4 + 2) + 0) / 2)
    assert value["biou_image"] == pytest.approx((1 / 4 + 1 + 0) / 3)
    assert value["iou"] == pytest.approx((0.5 + 0.2 + 0) / 3)
    low, high = summary.figures["miou"].over_objects or (9, 9)
    assert low == pytest.approx(0, abs=1e-9)
    assert high == pytest.approx(11 / 25)
    assert summary.figures["miou"].over_images is None
    assert summary.figures["iou"].over_images is not None
    assert summary.figures["iou"].over_objects is not None
    assert summary.by_object["mug"]["iou_pooled"] == pytest.approx(11 / 25)
    assert summary.by_object["mug"]["photos"] == 2
    assert (summary.photos, summary.objects) == (3, 2)
    json.dumps(asdict(summary))


def test_one_object_has_no_interval_over_objects():
    figures = summarise([record("mug", 1, 1, 2, 2), record("mug", 2, 2, 2, 2)], PERSEG)[0].figures
    assert figures["miou"].over_objects is None
    assert figures["iou"].over_objects is None
    assert figures["iou"].over_images is not None


def test_davis():
    j = [0.9, 0.8, 0.6, 0.4]
    records = [
        record("bear", frame, round(100 * value), 100, 100, contour=1 - value / 2) for frame, value in enumerate(j)
    ]
    ious = [each.iou for each in records]
    records.append(record("dog/1", 1, 0, 0, 50, contour=0.0))
    value = {key: figure.value for key, figure in summarise(records, DAVIS)[0].figures.items()}
    f = [1 - each / 2 for each in j]
    assert value["j_mean"] == pytest.approx((np.mean(ious) + 0) / 2)
    assert value["f_mean"] == pytest.approx((np.mean(f) + 0) / 2)
    assert value["jf"] == pytest.approx((value["j_mean"] + value["f_mean"]) / 2)
    assert value["j_recall"] == pytest.approx((np.mean([each > 0.5 for each in ious]) + 0) / 2)
    # quarters of 4 frames are 0..1, 1..2 and so on, both ends included: first less last, mean over two objects
    first, last = np.mean(ious[:2]), np.mean(ious[2:])
    assert value["j_decay"] == pytest.approx((first - last) / 2)


def test_few_shot_pools_per_class_and_takes_the_mean_of_folds():
    records = [
        record("dog", 1, 4, 4, 8, fold=0),
        record("dog", 2, 0, 4, 4, fold=0),
        record("owl", 1, 5, 5, 5, fold=0),
        record("bus", 1, 1, 2, 2, fold=1),
    ]
    (summary,) = summarise(records, FEW_SHOT)
    first, second = (4 / (8 + 8) + 1) / 2, 1 / 3
    assert summary.figures["miou"].value == pytest.approx((first + second) / 2)
    assert summary.by_fold["0"]["miou"] == pytest.approx(first)
    assert summary.by_fold["1"]["miou"] == pytest.approx(second)
    foreground, background = 9 / (8 + 8 + 5), (92 + 92 + 95) / (96 + 100 + 95)
    assert summary.by_fold["0"]["fb_iou"] == pytest.approx((foreground + background) / 2)


def test_a_failure_counts_as_nothing_found():
    records = [record("mug", 1, 4, 4, 4), record("mug", 2, 0, 0, 4, failure="odd", contour=0.0, present=None)]
    (summary,) = summarise(records, PERSEG)
    assert summary.figures["miou"].value == pytest.approx(4 / 8)
    assert summary.figures["iou"].value == pytest.approx(0.5)
    assert summary.missing == {"mug/2": "odd"}


def test_a_failure_where_nothing_was_to_be_found_is_no_success():
    both_empty = record("mug", 1, 0, 0, 0, failure="odd", boundary=(0, 0, 0))
    assert both_empty.iou == 0 == both_empty.boundary_iou
    assert record("mug", 1, 0, 0, 0, boundary=(0, 0, 0)).iou == 1


def test_located_and_presence_leave_out_what_says_nothing():
    records = [
        record("a", 1, 1, 1, 1, on_object=True, present=True),
        record("a", 2, 0, 1, 1, on_object=False, present=False),  # there, and called absent
        record("a", 3, 0, 1, 0, on_object=None, present=False),  # not there, and called absent
        record("a", 4, 1, 1, 1, on_object=None, present=None),
    ]
    figures = common_figures(records)
    assert figures["located"].value == pytest.approx(1 / 2)
    assert figures["presence"].value == pytest.approx(2 / 3)
    silent = common_figures([record("a", 1, 1, 1, 1, on_object=None, present=None, boundary=None)])
    assert set(silent) == {"iou"}


def test_intervals_hold_the_value_and_say_the_same_again():
    rng = np.random.default_rng(0)
    records = [record(f"o{n % 5}", n, int(rng.integers(0, 50)), 50, 50) for n in range(60)]
    one, two = summarise(records, PERSEG)[0], summarise(records, PERSEG)[0]
    assert one == two
    for key in ("iou", "miou"):
        for ends in (one.figures[key].over_images, one.figures[key].over_objects):
            if ends is not None:
                assert ends[0] <= one.figures[key].value <= ends[1]


def test_methods_and_data_sets():
    rows = summarise(
        [
            record("mug", 1, 2, 2, 2, method="a"),
            record("mug", 1, 1, 2, 1, method="b"),
            record("dog", 1, 0, 2, 2, method="a", data_set="t"),
        ]
    )
    assert [row.method for row in rows] == ["a", "b"]
    assert rows[0].by_data_set == {"s": 1.0, "t": 0.0}


@pytest.mark.parametrize("protocol", [*PROTOCOLS.values(), FOLLOWED])
def test_every_shown_figure_exists_and_has_a_name(protocol):
    records = [record("a", 1, 1, 2, 2, fold=0), record("b", 1, 1, 2, 2, fold=1)]  # a category of each fold
    figures = summarise(records, protocol)[0].figures
    assert set(protocol.brief) <= set(protocol.shown) <= set(figures) & set(LABELS)
    assert protocol.headline == protocol.shown[0]
    headline = figures[protocol.headline]
    assert headline.over_images or headline.over_objects


def test_folder_is_the_mean_over_images():
    (summary,) = summarise([record("a", 1, 1, 2, 2), record("a", 2, 2, 2, 2)], FOLDER)
    assert summary.figures[FOLDER.headline].value == pytest.approx((1 / 3 + 1) / 2)
