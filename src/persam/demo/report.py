"""The demo's contact sheet: one picture, and one HTML page that holds all of its pictures and needs nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from persam.contact_sheet import ContactSheet
from persam.demo.job import PhotoResult, Report, ThingResult
from persam.demo.template import CARD, PAGE, REFERENCE, SECTION, VIEW
from persam.drawing import colour_of, draw_overlay
from persam.files import write_text
from persam.images import read_image
from persam.masks import read_mask

_THUMBNAIL = 420
_WELL = 0.5  # IoU from which on a thing counts as found, as in detection
_KINDS = {"found": "right", "rightly not found": "right", "badly found": "poor"}


def verdict(photo: PhotoResult) -> str:
    """What was found in a photo, in words."""
    if not photo.count:
        return "false alarm" if photo.present else "rightly not found"
    if not photo.present:
        return "missed"
    return "found" if (photo.iou_persam_f or 0) >= _WELL else "badly found"


def truth(photo: PhotoResult) -> str:
    """What is in the photo, in words."""
    return {0: "not there", 1: "there"}.get(photo.count, f"{photo.count} of it")


def iou(value: float | None) -> str:
    """An IoU, or a dash where there is nothing to find."""
    return "-" if value is None else f"{value:.2f}"


def write_report(report: Report) -> None:
    """Write the contact sheet as PNG and HTML, and the numbers as ``results.json``."""
    _write_sheet(report)
    sections = "\n".join(_section(report, thing) for thing in report.things)
    views = "\n".join(_view(report, thing, photo) for thing in report.things for photo in thing.photos)
    plain, tuned = report.mean_iou
    seconds, photos = report.mean_seconds(), report.photos
    page = PAGE.format(
        photos=len(photos),
        with_thing=sum(photo.count > 0 for photo in photos),
        right=sum(photo.right for photo in photos),
        plain=f"{plain:.2f}",
        tuned=f"{tuned:.2f}",
        learn=_time(seconds["learn"]),
        tune=_time(seconds["tune"]),
        segment=_time(seconds["segment"]),
        model=html.escape(report.model),
        mode=html.escape(report.mode),
        seed=report.seed,
        caution=_caution(report),
        sections=sections,
        views=views,
    )
    write_text(report.page, page)
    write_text(report.folder / "results.json", json.dumps(report.to_dict(), indent=2) + "\n")


def _caution(report: Report) -> str:
    if report.model != "tiny":
        return "This is a demo and no benchmark: a handful of photos, most of them put together."
    return (
        "This is a demo and no benchmark: a handful of photos, most of them put together, and the small model that "
        "comes with the package, which is there to try, to test and to learn with. For real work take a large one, "
        "such as <code>--model facebook/sam-vit-huge</code>."
    )


def _write_sheet(report: Report) -> None:
    plain, tuned = report.mean_iou
    columns = 1 + max(len(thing.photos) for thing in report.things)
    title = f"persam demo · mean IoU {plain:.2f} PerSAM, {tuned:.2f} PerSAM-F · tint: found, white line: truth"
    sheet = ContactSheet(title, columns=columns)
    for thing in report.things:
        sheet.add_picture(_reference(report.folder, thing), f"{thing.thing}: reference", "learned from this one photo")
        for photo in thing.photos:
            note = f"{verdict(photo)} · score {photo.score:.2f}"
            if photo.iou_persam_f is not None:
                note += f" · IoU {photo.iou_persam_f:.2f}"
            sheet.add_picture(read_image(report.folder / photo.overlay), photo.name, note, found=photo.present)
    sheet.write_png(report.sheet)


def _reference(folder: Path, thing: ThingResult) -> np.ndarray:
    photo = read_image(folder / thing.reference)
    mask = read_mask(folder / thing.thing / "reference-mask.png")
    return draw_overlay(photo, mask, colour_of(thing.thing), tint=0.25)


def _section(report: Report, thing: ThingResult) -> str:
    weights = ", ".join(f"{weight:.2f}" for weight in thing.scale_weights)
    reference = REFERENCE.format(
        picture=_embedded(_reference(report.folder, thing), _THUMBNAIL),
        thing=html.escape(thing.thing),
        learn=_time(thing.learn_seconds),
        tune=_time(thing.tune_seconds),
        weights=weights,
    )
    cards = [reference, *(_card(report, thing, photo) for photo in thing.photos)]
    return SECTION.format(thing=html.escape(thing.thing.capitalize()), cards="\n".join(cards))


def _card(report: Report, thing: ThingResult, photo: PhotoResult) -> str:
    ious = f"IoU {iou(photo.iou_persam)} PerSAM, <b>{iou(photo.iou_persam_f)}</b> PerSAM-F"
    return CARD.format(
        id=f"{thing.thing}-{photo.name}",
        picture=_embedded(read_image(report.folder / photo.overlay), _THUMBNAIL),
        name=html.escape(photo.name.replace("-", " ")),
        kind=_KINDS.get(verdict(photo), "wrong"),
        verdict=verdict(photo),
        truth=truth(photo),
        score=f"{photo.score:.2f}",
        ious=ious if photo.count else "nothing to find here",
    )


def _view(report: Report, thing: ThingResult, photo: PhotoResult) -> str:
    return VIEW.format(
        id=f"{thing.thing}-{photo.name}",
        name=html.escape(f"{thing.thing} in {photo.name}"),
        picture=_embedded(read_image(report.folder / photo.explained)),
    )


def _embedded(picture: np.ndarray, longest: int | None = None) -> str:
    """A picture as a data address."""
    image = Image.fromarray(picture)
    if longest is not None:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
