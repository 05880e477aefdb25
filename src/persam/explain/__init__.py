"""The explain view: pictures of the way to one mask."""

from __future__ import annotations

from persam.explain.explain import explain
from persam.explain.page import Explanation, Panel

__all__ = ["Explanation", "Panel", "explain"]
