"""Every example in the docstrings of persam.metrics runs, and every public function and class has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

pytest.importorskip("torchmetrics")

from persam import metrics

MODULES = ["persam.metrics", *(found.name for found in pkgutil.walk_packages(metrics.__path__, "persam.metrics."))]


def public(module):
    """Functions and classes that a module defines itself, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not getattr(value, "_is_protocol", False)
    }


def test_all_modules_are_looked_at():
    assert {"persam.metrics.overlap", "persam.metrics.davis"} <= set(MODULES)
    assert len(MODULES) == 10


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    results = doctest.testmod(module)
    assert results.failed == 0
    assert results.attempted


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_an_example(name):
    module = importlib.import_module(name)
    parser = doctest.DocTestParser()
    without = [each for each, value in public(module).items() if not parser.get_examples(inspect.getdoc(value) or "")]
    assert without == []


def test_every_public_name_can_be_had_from_the_package():
    assert sorted(set(metrics.__all__)) == sorted(metrics.__all__)
    own = {each for name in MODULES if name != "persam.metrics.base" for each in public(importlib.import_module(name))}
    assert own - {"GroupedCounts", "PresenceMetric"} <= set(metrics.__all__)
    assert set(metrics.__all__) <= set(dir(metrics))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = metrics.Nothing
