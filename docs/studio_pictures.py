"""The pictures of the studio in README and docs: a real browser on a real `persam studio`, with the demo's photos.

    python -m docs.studio_pictures docs/images

Run it in the checkout; it needs the extras `studio` and `demo`, playwright, and Chromium.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright
from tests.studio.browsing import StudioProcess, Visit, chromium

from persam import PerSAM, study
from persam.demo.albums import AlbumPhoto, DemoAlbum, make_albums
from persam.files import atomic_path
from persam.reports.pictures import write_image

WIDTH, SHARP = 1120, 1.5  # of the window, and pixels of the picture for each of its own


def main(images: Path) -> None:
    """Make all of them."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, chromium(playwright) as browser:
        work = Path(folder)
        (album,) = make_albums(["cup"])
        model = PerSAM.from_pretrained()
        (work / "concepts").mkdir()
        taught = model.learn(album.reference, album.mask, name="my cup")
        taught.save(work / "concepts" / "my cup.safetensors", thumbnail=True)
        made = make_study(work, album)
        with running(work, "--study", made.folder) as studio:
            for name, scheme in (("studio-teach", "light"), ("studio-teach-dark", "dark")):
                picture_of_teach(browser, studio, images / f"{name}.webp", scheme)
            picture_of_find(browser, studio, images / "studio-find.webp", sorted((work / "photos").iterdir()))
            boxes = [box_of(photo) for photo in with_it(album)[:2]]
            picture_of_study(browser, studio, images / "studio-study.webp", boxes)


def make_study(work: Path, album: DemoAlbum) -> study.Study:
    """A study of the album's photos, which lie in `photos/`."""
    for photo in album.photos:
        write_image(work / "photos" / f"{photo.name}.jpg", photo.pixels)
    for photo in with_it(album):
        write_image(work / "cups" / f"{photo.name}.jpg", photo.pixels)
    return study.new(work / "study", {"cup": work / "cups"}, ["anna", "ben"])


def with_it(album: DemoAlbum) -> list[AlbumPhoto]:
    """The photos with one cup, in the order of their names, as a study shows them."""
    return sorted((photo for photo in album.photos if photo.count == 1), key=lambda photo: photo.name)


def box_of(photo: AlbumPhoto) -> list[tuple[float, float]]:
    """Two corners of a box around the cup."""
    y, x = np.nonzero(photo.truth)
    return [(float(x.min()), float(y.min())), (float(x.max()), float(y.max()))]


@contextmanager
def running(work: Path, *options: object) -> Iterator[StudioProcess]:
    """A studio with the concepts in `concepts/`."""
    studio = StudioProcess(work)
    studio.start(*options)
    try:
        yield studio
    finally:
        studio.stop()


def opened(browser: Browser, studio: StudioProcess, tab: str, height: int, scheme: str = "light") -> Visit:
    """The studio in a window of its own."""
    size = {"width": WIDTH, "height": height}
    page = browser.new_page(viewport=size, color_scheme=scheme, device_scale_factor=SHARP)  # type: ignore[arg-type]
    return Visit(page, studio.url).open(tab)


def picture_of_teach(browser: Browser, studio: StudioProcess, file: Path, scheme: str) -> None:
    """The cup, marked with a box and three clicks."""
    seen = opened(browser, studio, "Teach", 680, scheme)
    seen.page.get_by_role("button", name="Try a cup").click()
    board = seen.canvas("teach-canvas")
    board.answered()
    board.tool("box")
    board.drag([(78, 20), (516, 416)])
    board.tool("add")
    for place in ((300, 120), (240, 350), (470, 240)):
        board.click(place)
    expect(seen.page.locator("#teach-doctor")).to_contain_text("reference")
    save(seen, file)


def picture_of_find(browser: Browser, studio: StudioProcess, file: Path, photos: list[Path]) -> None:
    """The album, searched, with one photo chosen."""
    seen = opened(browser, studio, "Find", 900)
    seen.page.get_by_label("my cup", exact=True).check()
    seen.upload("find-files", *photos)
    expect(seen.page.locator("#find-files")).to_contain_text(".jpg")
    seen.page.locator("#find-run").click()
    cards = seen.page.locator("#find-gallery button.card")
    expect(seen.status("find")).to_contain_text(f"{len(photos)} photos: ")
    expect(cards).to_have_count(len(photos))
    cards.filter(has_text="with-the-cat").click()
    expect(seen.page.locator("#find-large img")).to_be_visible()
    save(seen, file, whole=True)


def picture_of_study(
    browser: Browser, studio: StudioProcess, file: Path, boxes: Sequence[list[tuple[float, float]]]
) -> None:
    """The second photo of a study, marked with a box."""
    seen = opened(browser, studio, "Study", 860)
    expect(seen.status("study")).to_contain_text("The study has")
    seen.type_in("study-annotator", "anna")
    seen.page.locator("#study-start").click()
    board = seen.canvas("study-canvas")
    for number, box in enumerate(boxes, start=1):
        expect(seen.page.locator("#study-progress")).to_contain_text(f"photo {number} of")
        board.answered()
        board.tool("box")
        board.drag(box)
        if number < len(boxes):
            seen.page.locator("#study-save").click()
    save(seen, file)


def save(seen: Visit, file: Path, *, whole: bool = False) -> None:
    """Write the window, or the whole page, as a small picture, once all of its pictures are there."""
    seen.page.mouse.move(0, 0)
    seen.page.evaluate("scrollTo(0, 0)")
    seen.page.wait_for_function("[...document.images].every((image) => image.complete)")
    shot = Image.open(io.BytesIO(seen.page.screenshot(full_page=whole)))
    with atomic_path(file) as temporary:
        shot.convert("RGB").save(temporary, "WEBP", quality=82, method=6)
    print(f"{file}: {file.stat().st_size // 1024} kB")
    assert seen.wrong == []
    seen.page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
