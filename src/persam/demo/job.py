"""What `persam demo` does: learn, tune, find, measure, and leave pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from persam.demo.albums import AlbumPhoto, DemoAlbum, layouts_of, make_albums
from persam.demo.originals import THINGS, photo_folder
from persam.demo.report import NUMBERS, PAGE, SHEET, DemoReport, PhotoResult, ThingResult
from persam.drawing import colour_of, draw_overlay
from persam.explain import explain
from persam.files import expanded
from persam.ledger import claimed, holds_json
from persam.metrics import iou
from persam.reports.pictures import write_image, write_mask
from persam.segmentation import Segmentation

if TYPE_CHECKING:
    from persam.concept import Concept
    from persam.persam import PerSAM


def run(
    out: str | Path = "persam-demo",
    *,
    model: str | PerSAM = "tiny",
    mode: str = "persam",
    seed: int = 0,
    things: Sequence[str] | None = None,
    photos: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[str, int, int], object] = lambda what, done, total: None,
) -> DemoReport:
    """Learn things from one photo each, tune, find them in small albums, and leave pictures to look at.

    The albums are made of the photographs that scikit-image ships, so nothing is downloaded, and the truth is known.

    Args:
        out: folder to write into; a rerun replaces its own files only.
        model: name of a model, see `PerSAM.from_pretrained`, or a loaded one.
        mode: ``persam``, ``official`` or ``paper``; a loaded model keeps its own.
        seed: of the albums.
        things: ``cup``, ``cat``, ``motorcycle``; all by default.
        photos: how many photos of each at most, 2 or more.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        overwrite: replace files of others, too.
        progress: called with what is being done, the steps done and all steps.

    Raises:
        PersamError: scikit-image is missing, the model is not to be had, or the folder cannot be written.
        UsageError: an unknown thing or mode, too few photos, or a file of others is in the way.
    """
    from persam.persam import PerSAM

    photo_folder()  # before anything slow
    albums = make_albums(things, photos=photos, seed=seed)
    names = list(things or THINGS)
    with claimed(out, _files(names), is_ours=_has_demo, overwrite=overwrite):
        loaded = model if isinstance(model, PerSAM) else PerSAM.from_pretrained(model, mode=mode, device=device)
        return _run(loaded, albums, names, expanded(out), seed, progress)


def _files(things: Sequence[str]) -> list[str]:
    """All files that the demo may write, named from its folder on."""
    files = [PAGE, NUMBERS, SHEET]
    for thing in things:
        files += [f"{thing}/{name}" for name in ("reference.png", "reference-mask.png", f"{thing}.safetensors")]
        for photo in layouts_of(thing):
            places = (("album", "jpg"), ("truth", "png"), ("masks", "png"), ("found", "jpg"), ("explain", "png"))
            files += [f"{thing}/{place}/{photo.name}.{suffix}" for place, suffix in places]
    return files


def _has_demo(folder: Path) -> bool:
    return holds_json(folder / NUMBERS, "things", "presence_right")


def _run(
    loaded: PerSAM,
    albums: Iterable[DemoAlbum],
    names: Sequence[str],
    folder: Path,
    seed: int,
    progress: Callable[[str, int, int], object],
) -> DemoReport:
    results: list[ThingResult] = []
    for number, album in enumerate(albums):
        each = len(album.photos) + 1

        def step(what: str, done: int, base: int = number * each, each: int = each) -> None:
            progress(what, base + done, each * len(names) + 1)

        results.append(_find(loaded, album, folder, step))
    progress("contact sheet", len(names) * each, len(names) * each + 1)
    report = DemoReport(
        folder,
        loaded.model.name,
        loaded.settings.mode,
        seed,
        tuple(results),
        folder / SHEET,
        folder / PAGE,
    )
    report.write()
    return report


def _find(model: PerSAM, album: DemoAlbum, folder: Path, step: Callable[[str, int], None]) -> ThingResult:
    """Do the main job for one thing, as anyone would: with files, and the three verbs."""
    home = folder / album.thing
    reference, mask = home / "reference.png", home / "reference-mask.png"
    step(f"learn the {album.thing}", 0)
    write_image(reference, album.reference)
    write_mask(mask, album.mask)
    start = time.perf_counter()
    concept = model.learn(reference, mask, name=album.thing)
    learned = time.perf_counter()
    tuned = model.tune(concept)
    done = time.perf_counter()
    file = home / f"{album.thing}.safetensors"
    tuned.save(file, thumbnail=True)
    found = []
    for number, photo in enumerate(album.photos, start=1):
        step(f"find the {album.thing}: {photo.name}", number)
        found.append(_find_in(model, album, photo, (concept, tuned), folder))
    return ThingResult(
        album.thing,
        str(file.relative_to(folder)),
        str(reference.relative_to(folder)),
        tuned.scale_weights or (0.0, 0.0, 0.0),
        learned - start,
        done - learned,
        tuple(found),
    )


def _find_in(
    model: PerSAM, album: DemoAlbum, photo: AlbumPhoto, concepts: tuple[Concept, Concept], folder: Path
) -> PhotoResult:
    home = folder / album.thing
    file = home / "album" / f"{photo.name}.jpg"
    write_image(file, photo.pixels)
    write_mask(home / "truth" / f"{photo.name}.png", photo.truth)
    most = max(1, photo.count)
    start = time.perf_counter()
    encoded = model.encode(file)
    tuned = model.segment(encoded, concepts[1], max_instances=most, explain=True)
    seconds = time.perf_counter() - start
    plain = model.segment(encoded, concepts[0], max_instances=most)
    write_mask(home / "masks" / f"{photo.name}.png", tuned.mask)
    overlay, explained = home / "found" / f"{photo.name}.jpg", home / "explain" / f"{photo.name}.png"
    write_image(overlay, _marked(photo, tuned))
    explain(photo.pixels, tuned, reference=(album.reference, album.mask), concept=concepts[1]).write(explained)
    there = photo.count > 0
    return PhotoResult(
        photo.name,
        photo.count,
        bool(tuned.present),
        tuned.score,
        iou(plain.assumed_mask, photo.truth) if there else None,
        iou(tuned.assumed_mask, photo.truth) if there else None,
        seconds,
        *(str(path.relative_to(folder)) for path in (file, overlay, explained)),
    )


def _marked(photo: AlbumPhoto, found: Segmentation) -> np.ndarray:
    """The photo with what was found tinted, and a white line around the truth.

    A mask of a thing that was missed, because it was not called present, is outlined only.
    """
    picture = found.overlay(photo.pixels) if found.found else photo.pixels.copy()
    if photo.count and not found.found:
        picture = draw_overlay(picture, found.assumed_mask, colour_of(found.concept), tint=0.0)
    outline, _ = cv2.findContours(photo.truth.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(picture, outline, -1, (255, 255, 255), 2, cv2.LINE_AA)
    return picture
