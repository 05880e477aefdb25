"""The demo: all of the main job on photos whose truth is known."""

from __future__ import annotations

from persam.demo.job import run
from persam.demo.report import DemoReport, PhotoResult, ThingResult

__all__ = ["DemoReport", "PhotoResult", "ThingResult", "run"]
