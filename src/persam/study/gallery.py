"""Figure 2: a photo, the mask that a person prompted, and the mask that the model predicted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from persam.drawing import PALETTE, Colour, draw_overlay
from persam.errors import PersamError
from persam.files import safe_name
from persam.geometry import fit, fit_mask
from persam.images import read_image
from persam.instance import rle_mask
from persam.reports.contact_sheet import ContactSheet
from persam.reports.pictures import PAPER, Tile
from persam.study.checks import Problem, read_study_mask
from persam.study.results import OWN, StudyAnswer, StudyResult

PICTURE = 320  # longest side of a picture at most, pixels
_LEAST = 240  # and at least: small photos are enlarged
MODEL_COLOUR: Colour = (255, 255, 255)
_DIM = 0.6  # how much darker all but a mask becomes
_EMPTY = np.full((1, 1, 3), PAPER, np.uint8)
_PLACES = ("best", "middle", "worst")


@dataclass(frozen=True, eq=False)
class Triple:
    """Photo, prompt mask and predicted mask.

    Attributes:
        place: which one of its category it is: ``best``, ``middle`` or ``worst`` by IoU.
        tiles: the three.
    """

    place: str
    tiles: tuple[Tile, Tile, Tile]


def colour_of_annotator(result: StudyResult, annotator: str) -> Colour:
    """The colour of an annotator in every picture and plot of a report."""
    people = result.study.annotators
    return PALETTE[people.index(annotator) % len(PALETTE)]


def triples(result: StudyResult) -> dict[str, list[Triple]]:
    """The best, the middle and the worst photo of each category, by the model's IoU with all annotators.

    The masks are those of the annotator on whom the model's IoU is the middle one in that photo.
    """
    chosen: dict[str, list[Triple]] = {}
    for category in result.study.categories:
        by_photo: dict[str, list[StudyAnswer]] = {}
        for answer in result.answers:
            if answer.category == category.name:
                by_photo.setdefault(answer.photo, []).append(answer)
        order = sorted(by_photo.values(), key=lambda answers: -mean(each.iou[OWN] for each in answers))
        places = dict.fromkeys((0, len(order) // 2, len(order) - 1)) if order else {}
        names = _PLACES if len(places) == 3 else (_PLACES[0], _PLACES[2])
        for place, index in zip(names, places, strict=False):
            middle = sorted(order[index], key=lambda answer: answer.iou[OWN])[len(order[index]) // 2]
            photo, prompt, predicted = _tiles(result, [middle])
            chosen.setdefault(category.name, []).append(Triple(place, (photo, prompt, predicted)))
    return chosen


def write_gallery(result: StudyResult, out: Path, chosen: dict[str, list[Triple]]) -> list[Path]:
    """Write ``gallery.png``, figure 2, and ``gallery/CATEGORY.png`` with every photo and every annotator.

    Returns:
        The files.
    """
    model = result.model
    sheet = ContactSheet(
        f"{model['method']}, {model['model']}, mode {model['mode']}: photo, prompt mask, predicted mask",
        columns=3 * len(_PLACES),
    )
    for category, row in chosen.items():
        for triple in row:
            for tile in triple.tiles:
                sheet.add_picture(tile.picture, f"{category} · {triple.place}: {tile.caption}", tile.note)
        for _ in range(sheet.columns - 3 * len(row)):  # empty places keep the rows of the categories below each other
            sheet.add_picture(_EMPTY, "")
    files = sheet.write_png(out / "gallery.png")
    for name in dict.fromkeys(answer.category for answer in result.answers):
        files += _write_category(result, name, out / "gallery" / f"{safe_name(name)}.png")
    return files


def _write_category(result: StudyResult, category: str, file: Path) -> list[Path]:
    answers = [answer for answer in result.answers if answer.category == category]
    people = sorted({answer.annotator for answer in answers})
    sheet = ContactSheet(
        f"{category}: photo, and for each annotator prompt mask and prediction", columns=1 + 2 * len(people)
    )
    for photo in dict.fromkeys(answer.photo for answer in answers):
        here = {answer.annotator: answer for answer in answers if answer.photo == photo}
        tiles = iter(_tiles(result, [here[who] for who in people if who in here]))
        row = [next(tiles)]
        for who in people:
            row += [next(tiles), next(tiles)] if who in here else [Tile(_EMPTY, f"{who}: no mask")] * 2
        for tile in row:
            sheet.add_picture(tile.picture, tile.caption, tile.note)
    return sheet.write_png(file)


def _tiles(result: StudyResult, answers: list[StudyAnswer]) -> list[Tile]:
    """The photo that the answers share, then prompt mask and predicted mask of each."""
    category = next(one for one in result.study.categories if one.name == answers[0].category)
    photo = category.photo(answers[0].photo)
    if photo is None:
        raise PersamError(f"The photo {answers[0].photo} of {category.name} is gone; run the study again.")
    pixels = read_image(photo)
    size = (pixels.shape[0], pixels.shape[1])
    small = _shrunk(pixels)
    tiles = [Tile(small, photo.name, "photo")]
    for answer in answers:
        mask = read_study_mask(category, answer.annotator, photo, size)
        if isinstance(mask, Problem):
            raise PersamError(f"A mask has changed since the study was run: {mask.sentence}")
        colour = colour_of_annotator(result, answer.annotator)
        tiles.append(Tile(_marked(small, mask, colour), answer.annotator, "prompt mask"))
        predicted = _marked(small, rle_mask(answer.mask), MODEL_COLOUR)
        tiles.append(Tile(predicted, f"IoU {answer.iou[OWN]:.2f}", f"predicted, shown {answer.annotator}'s mask"))
    return tiles


def _marked(small: np.ndarray, mask: np.ndarray, colour: Colour) -> np.ndarray:
    """A mask on its shrunk photo."""
    drawn = fit_mask(mask, small)
    if not drawn.any():
        return (small * (1 - _DIM)).astype(np.uint8)
    return draw_overlay(small, drawn, colour, tint=0.25, dim=_DIM)


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    return fit(pixels, min(PICTURE, max(_LEAST, *pixels.shape[:2])))
