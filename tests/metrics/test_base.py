"""Each metric class gives what its function gives, whole, in parts, merged, and shared by two processes."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("torchmetrics")

from tests.metrics.sharing import CASES, NAMES, numbers, updates
from torchmetrics import Metric, MetricCollection

from persam import metrics
from persam.metrics.base import LazyMetric

CLASSES = [
    name
    for name in metrics.__all__
    if isinstance(getattr(metrics, name), type) and issubclass(getattr(metrics, name), LazyMetric)
]


def filled(case, rows):
    metric = case.make()
    for row in rows:
        metric.update(*row)
    return metric


def agree(found, expected, tolerance=1e-9):
    assert numbers(found) == pytest.approx(expected, abs=tolerance)


def test_every_class_is_tested():
    assert {name.split(",")[0] for name in CASES} == set(CLASSES)
    assert len(CLASSES) == 15


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
class TestEveryClass:
    @pytest.mark.parametrize("seed", range(3))
    def test_it_gives_what_its_function_gives(self, case, seed):
        rows = updates(case, seed)
        metric = filled(case, rows)
        assert isinstance(metric, Metric)
        agree(metric.compute(), case.expected(rows))

    def test_two_states_merged_are_one_state(self, case):
        rows = updates(case)
        for cut in (1, len(rows) // 2, len(rows) - 1):
            first, second = filled(case, rows[:cut]), filled(case, rows[cut:])
            first.merge_state(second)
            agree(first.compute(), case.expected(rows))

    def test_the_order_of_updates_does_not_matter(self, case):
        rows = updates(case)
        agree(filled(case, rows[::-1]).compute(), case.expected(rows))

    def test_reset_forgets_and_starts_anew(self, case):
        metric = filled(case, updates(case, 1))
        metric.reset()
        rows = updates(case, 2)
        for row in rows:
            metric.update(*row)
        agree(metric.compute(), case.expected(rows))

    def test_a_copy_has_a_state_of_its_own(self, case):
        rows = updates(case)
        metric = filled(case, rows[:-1])
        copies = copy.deepcopy(metric), metric.clone()
        metric.update(*rows[-1])
        for each in copies:
            agree(each.compute(), case.expected(rows[:-1]))
        agree(metric.compute(), case.expected(rows))

    def test_it_can_be_computed_on_the_way(self, case):
        rows = updates(case)
        metric = filled(case, rows[:-1])
        agree(metric.compute(), case.expected(rows[:-1]))
        metric.update(*rows[-1])
        agree(metric.compute(), case.expected(rows))

    def test_the_state_travels(self, case):
        rows = updates(case)
        metric = pickle.loads(pickle.dumps(filled(case, rows)))
        agree(metric.compute(), case.expected(rows))

    def test_single_precision_does_not_cost_digits(self, case):
        rows = updates(case)
        agree(filled(case, rows).float().compute(), case.expected(rows))

    @pytest.mark.filterwarnings("ignore:The ``compute`` method")
    def test_nothing_to_compute(self, case):
        metric = case.make()
        if case.rows == "named":  # objects that nobody predicted
            assert 0 <= metric.compute().item() <= 1
        else:
            with pytest.raises(ValueError, match="There is no"):
                metric.compute()


@pytest.mark.parametrize("name", ["ImageIoU", "PixelAccuracy", "BoundaryIoU", "BoundaryF", "ObjectIoU", "ClassIoU"])
def test_forward_gives_the_figure_of_that_image(name):
    case = CASES[name]
    rows = updates(case)
    metric = case.make()
    for row in rows:
        agree(metric(*row), case.expected([row]))
    agree(metric.compute(), case.expected(rows))


def test_a_collection():
    rows = updates(CASES["ImageIoU"])
    collection = MetricCollection([metrics.ImageIoU(), metrics.BoundaryIoU(), metrics.BoundaryF()])
    for row in rows:
        collection.update(*row)
    found = collection.compute()
    for name in ("ImageIoU", "BoundaryIoU", "BoundaryF"):
        agree(found[name], CASES[name].expected(rows))


def test_metrics_that_agree_on_the_first_image_stay_apart_in_a_collection():
    truth = np.zeros((30, 40), bool)
    truth[5:20, 5:25] = True
    named = {
        "iou": metrics.ObjectIoU(["mug"]),
        "narrow": metrics.ObjectBoundaryIoU(["mug"]),
        "wide": metrics.ObjectBoundaryIoU(["mug"], dilation=0.1),
    }
    unnamed = {"iou": metrics.ImageIoU(), "narrow": metrics.BoundaryIoU(), "wide": metrics.BoundaryIoU(dilation=0.1)}
    for made, name in ((named, ["mug"]), (unnamed, [])):
        collection = MetricCollection(made)
        for prediction, target in ((np.zeros_like(truth), np.zeros_like(truth)), (np.roll(truth, 2, 1), truth)):
            collection.update(prediction, target, *name)
        assert len({round(value.item(), 6) for value in collection.compute().values()}) == 3


def test_two_processes(tmp_path):
    """As on a cluster: each computes from the images of both."""
    if not torch.distributed.is_available() or sys.platform == "win32":
        pytest.skip("this PyTorch has no torch.distributed, or the system no fork")
    program = Path(__file__).with_name("two_processes.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path / "store")], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads((tmp_path / f"store.{rank}.json").read_text()) for rank in (0, 1)]
    for name, case in CASES.items():
        expected = case.expected(updates(case))
        for result in results:
            assert result[name] == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize("name", ["ObjectIoU", "ObjectAccuracy", "ObjectBoundaryIoU", "ClassIoU", "DavisJF"])
def test_names(name):
    kind = getattr(metrics, name)
    with pytest.raises(ValueError, match="needs a name of its own"):
        kind([])
    with pytest.raises(ValueError, match="needs a name of its own"):
        kind(["mug", "mug"])
    mask = np.ones((2, 2), bool)
    with pytest.raises(ValueError, match="hat is none of the 3 names"):
        kind(NAMES).update(mask, mask, "hat", *([1] if name == "DavisJF" else []))


@pytest.mark.parametrize("case", [CASES["ImageIoU"], CASES["ObjectIoU"], CASES["DavisJF"]])
def test_a_refused_mask_leaves_the_state_as_it_was(case):
    rows = updates(case)
    metric = filled(case, rows)
    with pytest.raises(ValueError, match="different sizes"):
        metric.update(np.ones((2, 3), bool), np.ones((3, 2), bool), *rows[0][2:-1])
    agree(metric.compute(), case.expected(rows))


def test_what_is_better():
    assert metrics.ImageIoU.higher_is_better
    assert metrics.PresenceAUROC.higher_is_better
    assert metrics.PresenceFPR.higher_is_better is False
    assert metrics.PresenceThreshold.higher_is_better is None


def test_a_subclass_is_a_metric_like_any():
    class Larger(metrics.ImageIoU):
        _figure = staticmethod(lambda *masks: 2 * metrics.iou(*masks))

    metric = Larger()
    metric.update(np.ones((2, 2)), np.ones((2, 2)))
    assert isinstance(metric, Metric)
    assert isinstance(metric, metrics.ImageIoU)
    assert (metric.compute().item(), repr(metric)) == (2, "Larger()")
    assert type(type(metric)()) is type(metric) is type(Larger())


def test_without_torchmetrics_a_class_names_the_extra_and_functions_work():
    code = """
import sys
sys.modules["torchmetrics"] = None
import numpy as np
from persam.errors import PersamError
from persam import metrics
mask = np.ones((2, 2), bool)
print(metrics.iou(mask, mask), metrics.boundary_f(mask, mask), metrics.auroc([1, 0], [True, False]))
for name in metrics.__all__:
    kind = getattr(metrics, name)
    if isinstance(kind, type) and issubclass(kind, metrics.base.LazyMetric):
        try:
            kind()
        except PersamError as error:
            print(error)
print(*[name for name in ("torch", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *sentences, loaded = done.stdout.splitlines()
    assert first == "1.0 1.0 1.0"
    needs = "The metric class {} needs torchmetrics; install it with pip install persam[bench]."
    assert sorted(sentences) == sorted(needs.format(name) for name in CLASSES)
    assert loaded == ""


def test_functions_need_neither_torchmetrics_nor_torch():
    code = (
        "import sys, persam.metrics; "
        "print(*[name for name in ('torch', 'torchmetrics', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
