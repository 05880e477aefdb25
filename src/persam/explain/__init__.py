"""The explain view: pictures of the way to one mask."""

from __future__ import annotations

from persam.explain.explain import Explanation, explain

__all__ = ["Explanation", "explain"]
