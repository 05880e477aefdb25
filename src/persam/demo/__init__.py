"""The demo: all of the main job on photos whose truth is known."""

from __future__ import annotations

from persam.demo.job import PhotoResult, Report, ThingResult, run

__all__ = ["PhotoResult", "Report", "ThingResult", "run"]
