"""The page of all finds: what it says and shows, and how a real browser sorts and filters it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from persam.album.formats import write_formats
from persam.reports.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def page(album, tmp_path) -> Path:
    """The page of the small album, with the masks that its pictures show."""
    for line in album.lines:
        file = tmp_path / line["files"]["mask"]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((line["height"], line["width"]), np.uint8)).save(file)
    written = write_formats(["sheet"], lambda: iter(album.lines), tmp_path)
    assert written.failures == []
    return tmp_path / "sheet.html"


def cards(text: str) -> list[dict[str, str]]:
    """The cards of a page, in its order, with what they say and whether they are hidden."""
    found = []
    for head in re.findall(r"<figure ([^>]*)>", text):
        data = {key: html.unescape(value) for key, value in re.findall(r'data-(\w+)="([^"]*)"', head)}
        found.append(data | {"hidden": "hidden" in re.sub(r'"[^"]*"', "", head)})
    return found


class TestPage:
    def test_has_a_card_for_every_line_the_likeliest_first(self, page, album):
        found = cards(page.read_text(encoding="utf-8"))
        assert len(found) == len(album.lines)
        scores = [float(card["score"]) for card in found]
        assert scores == sorted(scores, reverse=True)
        assert {card["concept"] for card in found} == {line["concept"] for line in album.lines}

    def test_every_picture_is_there_small_and_loaded_late(self, page):
        text = page.read_text(encoding="utf-8")
        sources = re.findall(r'<img loading="lazy"[^>]* src="([^"]+)"', text)
        assert len(sources) == len(cards(text))
        for source in sources:
            with Image.open(page.parent / source.replace("%20", " ").replace("%26", "&")) as picture:
                assert max(picture.size) <= 320
        assert not re.search(r'(src|href)="(https?:|//)', text)

    def test_pictures_that_are_up_to_date_are_not_made_again(self, page, album):
        before = {file: file.stat().st_mtime_ns for file in page.parent.rglob("sheet/**/*.jpg")}
        assert before
        write_formats(["sheet"], lambda: iter(album.lines), page.parent)
        assert {file: file.stat().st_mtime_ns for file in before} == before

    def test_a_photo_that_is_gone_is_told_and_the_page_is_written(self, album, tmp_path):
        line = album.lines[0] | {"image": str(tmp_path / "gone.jpg")}
        written = write_formats(["sheet"], lambda: iter([line]), tmp_path)
        assert [photo for photo, _ in written.failures] == [line["image"]]
        assert len(cards((tmp_path / "sheet.html").read_text(encoding="utf-8"))) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
class TestInChromium:
    @staticmethod
    def opened(page: Path, state: str = "") -> str:
        """The page after its script ran."""
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
        call = [str(CHROMIUM), *options, page.as_uri() + state]
        return subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout

    def test_filters_and_sorts_as_the_address_says(self, page, album):
        concept = album.lines[0]["concept"]
        found = cards(self.opened(page, f"#concept={concept}&first=name"))
        assert {card["concept"] for card in found if not card["hidden"]} == {concept}
        assert {card["concept"] for card in found if card["hidden"]} == {line["concept"] for line in album.lines} - {
            concept
        }
        names = [card["name"] for card in found]
        assert names == sorted(names, key=lambda name: (name.casefold(), name))

    def test_five_thousand_cards(self, tmp_path):
        rng = np.random.default_rng(0)
        many = [
            {
                "image": f"photo {number}.jpg",
                "concept": "mug",
                "score": float(score),
                "verdict": "unsure" if 0.25 <= score < 0.75 else "present" if score >= 0.75 else "absent",
                "address": f"sheet/mug/{number}.jpg",
                "width": 320,
                "height": 240,
            }
            for number, score in enumerate(rng.random(5000))
        ]
        write_page(tmp_path / "sheet.html", "album/formats/sheet.html.j2", title="mug", cards=many, concepts=["mug"])
        found = cards(self.opened(tmp_path / "sheet.html", "#verdict=unsure&first=unsure"))
        shown = [abs(float(card["score"]) - 0.5) for card in found if not card["hidden"]]
        assert len(found) == 5000
        assert len(shown) == sum(card["verdict"] == "unsure" for card in many)
        assert shown == sorted(shown)
