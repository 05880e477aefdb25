"""The studio of a whole run of tests, its log where a test fails, and the photos that are shown to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene

pytest.importorskip("gradio", reason="the studio needs the extra 'studio'")
pytest.importorskip("playwright", reason="the studio is tested with playwright")

from playwright.sync_api import Browser, Playwright, sync_playwright
from tests.studio.browsing import SIZES, StudioProcess, Visit, chromium
