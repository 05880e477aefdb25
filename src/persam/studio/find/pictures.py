"""Pictures of what a search found: drawn when the page asks for one, and kept in the search's folder.

The page holds addresses alone, such as ``/search/NAME/12/1/overlay/card?v=0&n=1``; so a hundred results are a few
kilobytes, and a browser asks for the pictures that somebody scrolls to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np

from persam.drawing import Colour
from persam.errors import PersamError
from persam.explain.paint import heat
from persam.files import write_bytes
from persam.geometry import fit_mask, shrink
from persam.images import open_picture, read_smaller
from persam.instance import Instance
from persam.reports.contact_sheet import marked
from persam.reports.pictures import encoded
from persam.segmentation import Segmentation
from persam.studio.find.results import PhotoSearch, SearchedPhoto, SearchResult

if TYPE_CHECKING:
    from fastapi import APIRouter

CARD, LARGE = 480, 1600  # longest side in pixels: of a card's picture, of the chosen one's
SIZES = {"card": CARD, "large": LARGE}
_MAP_SIDE = 256  # pixels of a kept confidence map; it has no finer detail than the encoder's cells

#: How a result can be shown: key, and what it is called.
KINDS = {"overlay": "Overlay", "map": "Confidence map", "cutout": "Cut-out", "photo": "Photo"}


def address_of(search: PhotoSearch, one: SearchResult, kind: str, size: str) -> str:
    """Where the page gets a picture of a result; another address each time that the picture is another one.

    It says how many things count as there, so that the picture is of that whatever threshold is chosen meanwhile.
    """
    place = search.concepts.index(one.concept) if one.concept in search.concepts else 0
    count = one.count(search.choice.threshold)
    return f"/search/{quote(search.name)}/{one.photo.number}/{place}/{kind}/{size}?v={one.version}&n={count}"


# ------------------------------------------------------------------------- what is kept while a photo is at hand


def keep_photo(search: PhotoSearch, photo: SearchedPhoto, pixels: np.ndarray) -> None:
    """Keep a photo, (H, W, 3) uint8, small enough for a card."""
    write_bytes(_place(search, photo, "photo-card.jpg"), encoded(shrink(pixels, CARD), "JPEG", quality=88))


def keep_map(search: PhotoSearch, photo: SearchedPhoto, found: Segmentation) -> tuple[float, float] | None:
    """Keep the confidence map of a segmentation that has its trace, as a small grey picture.

    Returns:
        What black and white in it stand for: 0 and 1 where it is a chance, so that maps of several photos can be
        compared, else its own lowest and highest similarity; None where there is no trace.
    """
    trace = found.trace
    if trace is None or trace.prior is None:
        return None
    values = _small_map(trace)
    low, high = (0.0, 1.0) if trace.prior.alike is not None else (float(values.min()), float(values.max()))
    grey = np.clip((values - low) / max(high - low, 1e-8), 0, 1) * 255
    place = search.concepts.index(found.concept)
    write_bytes(_place(search, photo, f"map-{place}.png"), encoded(np.round(grey).astype(np.uint8), "PNG"))
    return low, high


def _small_map(trace: Instance) -> np.ndarray:
    """The confidence map no larger than it need be: its frame is that of a photo of that size."""
    assert trace.prior is not None
    height, width = trace.prior.frame.photo
    share = min(1.0, _MAP_SIDE / max(height, width))
    frame = replace(trace.prior.frame, photo=(max(1, round(height * share)), max(1, round(width * share))))
    return replace(trace, prior=replace(trace.prior, frame=frame)).confidence_map()


# -------------------------------------------------------------------------------------------- drawn when asked for


def picture_of(search: PhotoSearch, one: SearchResult, kind: str, size: str, count: int) -> Path:
    """The file of a picture of a result, drawn if it was not yet.

    Args:
        search: whose it is.
        one: the result.
        kind: of `KINDS`.
        size: of `SIZES`.
        count: how many things count as there, see `SearchResult.with_first`.

    Raises:
        PersamError: the photo is gone or cannot be read, or there is no such picture.
    """
    if kind not in KINDS or size not in SIZES:
        raise PersamError("There is no such picture.")
    drawn = kind != "photo" and bool(one.found) and (kind != "map" or one.levels is not None)
    if not drawn:
        file = _place(search, one.photo, f"photo-{size}.jpg")
        if not file.is_file():
            write_bytes(file, encoded(_photo(search, one.photo, size), "JPEG", quality=88))
        return file
    place = search.concepts.index(one.concept)
    suffix = "webp" if kind == "cutout" else "jpg"
    file = _place(search, one.photo, f"{kind}-{size}-{place}-{one.version}-{count}.{suffix}")
    if not file.is_file():
        picture = _draw(search, one, kind, _photo(search, one.photo, size), count)
        write_bytes(file, encoded(picture, "WEBP" if suffix == "webp" else "JPEG", quality=86))
    return file


def _photo(search: PhotoSearch, photo: SearchedPhoto, size: str) -> np.ndarray:
    kept = _place(search, photo, f"photo-{size}.jpg")
    if kept.is_file():
        return np.asarray(open_picture(kept).convert("RGB"))
    return shrink(read_smaller(photo.path, SIZES[size])[0], SIZES[size])


def _draw(search: PhotoSearch, one: SearchResult, kind: str, photo: np.ndarray, count: int) -> np.ndarray:
    if kind == "map":
        return _map_on(search, one, photo)
    found = one.with_first(count)
    if kind == "cutout":
        return _cut_out(found, photo)
    colour: Colour = search.colours()[one.concept]
    return marked(found, photo, colour)


def _map_on(search: PhotoSearch, one: SearchResult, photo: np.ndarray) -> np.ndarray:
    grey = np.asarray(open_picture(_place(search, one.photo, f"map-{search.concepts.index(one.concept)}.png")))
    values = cv2.resize(grey, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    return heat(photo, values, 0.0, 1.0)


def _cut_out(found: Segmentation, photo: np.ndarray) -> np.ndarray:
    """The thing alone, (h, w, 4) uint8; where it is not there, the photo faintly, so that one sees what it was."""
    if not found.found:
        return np.dstack([photo, np.full(photo.shape[:2], 40, np.uint8)])
    return replace(found, mask=fit_mask(found.mask, photo), instances=(), candidate=None).cutout(photo)


def _place(search: PhotoSearch, photo: SearchedPhoto, name: str) -> Path:
    return search.folder / "pictures" / str(photo.number) / name


# ------------------------------------------------------------------------------------------------ for the browser


def picture_routes(search_of: Callable[[str], PhotoSearch | None]) -> APIRouter:
    """The addresses that `address_of` gives, and other pictures that a search keeps under its own name.

    Args:
        search_of: finds a search by its name.
    """
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import FileResponse

    router = APIRouter()

    def known(name: str) -> PhotoSearch:
        search = search_of(name)
        if search is None:
            raise HTTPException(404, "This search is over; find again.")
        return search

    @router.get("/search/{name}/{number}/{place}/{kind}/{size}", include_in_schema=False)
    def picture(name: str, number: int, place: int, kind: str, size: str, n: int = 1) -> Any:
        search = known(name)
        concept = search.concepts[place] if 0 <= place < len(search.concepts) else ""
        one = search.get((number, concept)) or search.get((number, ""))
        if one is None:
            raise HTTPException(404, "There is no such result.")
        most = one.count(0.0)  # a file is kept for every number
        try:
            file = picture_of(search, one, kind, size, min(max(n, 0), most))
        except PersamError as error:
            raise HTTPException(404, str(error).replace(str(one.photo.path), one.photo.name)) from error
        # The address changes with the picture, so a browser never has to ask again.
        return FileResponse(file, headers={"Cache-Control": "private, max-age=86400, immutable"})

    @router.get("/search/{name}/file/{file}", include_in_schema=False)
    def kept(name: str, file: str) -> Any:
        place = known(name).folder / "shown" / Path(file).name
        if not place.is_file():
            raise HTTPException(404, "There is no such picture.")
        return FileResponse(place)

    return router


def keep_shown(search: PhotoSearch, name: str, picture: np.ndarray) -> str:
    """Keep any picture, (H, W, 3) uint8, for the page under a name with a suffix, and give its address."""
    kind = "JPEG" if name.endswith(".jpg") else "PNG"
    write_bytes(search.folder / "shown" / name, encoded(picture, kind))
    return f"/search/{quote(search.name)}/file/{quote(name)}"
