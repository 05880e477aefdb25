"""A project's labelling configuration, and its regions as masks and back.

Places are in percent of the photo's width and height, of continuous coordinates: 0 is the left edge of the first pixel,
100 the right edge of the last one.
"""

from __future__ import annotations

import hashlib
import re
import uuid
import xml.etree.ElementTree as ET  # entities, by which a document grows, are refused before it is read
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import cv2
import numpy as np

from persam.errors import PersamError, UsageError
from persam.files import safe_name
from persam.geometry import Size
from persam.instance import mask_box
from persam.masks import read_mask
from persam.outlines import filled, in_one_stroke, simple_outlines
from persam.segmentation import SURE_ENOUGH, check_search
from persam.server.label_studio.bitmask import decode_bitmask, encode_bitmask
from persam.server.label_studio.brush import decode_brush, encode_brush
from persam.server.label_studio.ellipse import ellipse_around, ellipse_mask

Kind = Literal["brushlabels", "bitmasklabels", "polygonlabels", "ellipselabels", "rectanglelabels"]

_KINDS: tuple[Kind, ...] = get_args(Kind)  # the more of a mask a region can say, the earlier
_CLICKS, _LABELS = "keypointlabels", "labels"
_LONGEST_CONFIG = 1_000_000  # characters
_MOST_DRAWN = 2_000_000_000  # pixels of all masks of an annotation, which take some twenty seconds
_SMALLEST_PART = 0.01  # of a mask: smaller parts are no regions of their own, which somebody would have to delete
_MOST_CORNERS = 100_000


@dataclass(frozen=True)
class Control:
    """A tag of the configuration with which regions are drawn.

    Attributes:
        kind: of its regions; also their ``type`` and the key of their labels.
        name: its own, ``from_name`` of its regions.
        image: name of the image's tag, their ``to_name``.
        field: of a task's data, which holds the photo's address.
        labels: what a region can be called.
        max_instances: objects of one label that are looked for in a photo (attribute ``model_max_instances``).
        threshold: score from which on one is proposed (attribute ``model_threshold``).
        beside: name of the tag ``Labels`` that holds the labels, where the tag has none itself, as ``Brush``: of each
            region there are two results then, one with its labels.
        strokes: what is painted with it are strokes on the object, which show where it is, and not the object itself
            (attribute ``model_strokes``).
    """

    kind: str
    name: str
    image: str
    field: str
    labels: tuple[str, ...]
    max_instances: int = 1
    threshold: float = SURE_ENOUGH
    beside: str | None = None
    strokes: bool = False


@dataclass(frozen=True)
class Labelling:
    """The tags of a labelling configuration that persam understands, in its order."""

    controls: tuple[Control, ...]

    @classmethod
    def read(cls, config: str) -> Labelling:
        """Read a labelling configuration, which is XML.

        Raises:
            PersamError: it is no XML, or nothing in it draws regions on a photo.
        """
        if len(config) > _LONGEST_CONFIG or re.search(r"<!(DOCTYPE|ENTITY)", config, re.IGNORECASE):
            raise PersamError("The labelling configuration is too long or declares entities; give a plain one.")
        try:
            tags = list(ET.fromstring(config).iter())  # noqa: S314
        except (ET.ParseError, RecursionError, ValueError) as error:
            raise PersamError("The labelling configuration is not valid XML; save it again in Label Studio.") from error
        for tag in tags:
            tag.tag = tag.tag.lower()  # Label Studio takes a tag in any case
        images = {tag.get("name"): tag.get("value", "") for tag in tags if tag.tag == "image"}
        on_photos = [tag for tag in tags if images.get(tag.get("toName"), "").startswith("$")]
        controls = [
            _control(tag, labels, images[tag.get("toName")])
            for tag in on_photos
            for labels in _labels_of(tag, on_photos)
        ]
        if not any(control.kind in _KINDS for control in controls):
            raise PersamError(
                "The labelling configuration has no BrushLabels, BitmaskLabels, PolygonLabels, EllipseLabels or "
                'RectangleLabels on an Image with a value such as "$image", nor Labels beside a Brush or the like; add '
                "one."
            )
        return cls(tuple(controls))

    @property
    def labels(self) -> list[str]:
        """All labels, each once."""
        return list(dict.fromkeys(label for one in self.controls for label in one.labels))

    def of_label(self, label: str) -> Control | None:
        """With what a label is proposed: of its controls the one whose regions say most of a mask; None if none."""
        fit = [one for one in self.controls if label in one.labels and one.kind in _KINDS]
        return min(fit, key=lambda one: _KINDS.index(one.kind), default=None)

    def address(self, task: Mapping[str, Any]) -> str:
        """Where the photo of a task is.

        Raises:
            PersamError: the task does not say.
        """
        data = task.get("data")
        for control in self.controls:
            found = data.get(control.field) if isinstance(data, Mapping) else None
            if isinstance(found, str) and found:
                return found
        wanted = " or ".join(dict.fromkeys(f'"{control.field}"' for control in self.controls))
        number = task.get("id") if isinstance(task.get("id"), int) else "without a number"
        raise PersamError(f"The task {number} has no address of a photo in its data; {wanted} is empty.")


@dataclass(frozen=True)
class Project:
    """A project of Label Studio: its number, and how its tasks are labelled."""

    number: str
    labelling: Labelling

    @classmethod
    def of(cls, uid: Any, config: Any) -> Project:
        """Read it from what requests say.

        Args:
            uid: its number, or ``NUMBER.TIME``.
            config: its labelling configuration.

        Raises:
            PersamError: something else.
        """
        number = str(uid).partition(".")[0]
        if not re.fullmatch(r"[0-9]{1,12}", number) or not isinstance(config, str):
            raise PersamError("The request names no project of Label Studio and its labelling configuration.")
        return cls(number, Labelling.read(config))

    @property
    def prefix(self) -> str:
        """With which the names of its concepts begin."""
        return f"label-studio-{self.number}-"

    def concept(self, label: str) -> str:
        """Name of a label's concept; labels that would have the same file get names of their own."""
        clean = safe_name(label)[:80]
        other = "" if clean == label else f"-{hashlib.sha256(label.encode('utf-8', 'replace')).hexdigest()[:6]}"
        return f"{self.prefix}{clean}{other}"


def _labels_of(tag: ET.Element, tags: Sequence[ET.Element]) -> list[ET.Element]:
    """Which tags hold the labels of one that draws: itself (``BrushLabels``), or those beside it (``Brush``)."""
    if tag.tag in (*_KINDS, _CLICKS):
        return [tag]
    draws = f"{tag.tag}{_LABELS}" in (*_KINDS, _CLICKS)
    return [each for each in tags if draws and (each.tag, each.get("toName")) == (_LABELS, tag.get("toName"))]


def _control(tag: ET.Element, holder: ET.Element, image: str) -> Control:
    labels = [each.get("alias") or each.get("value") for each in holder.iter("label")]
    try:
        most, threshold = int(tag.get("model_max_instances", "1")), float(tag.get("model_threshold", str(SURE_ENOUGH)))
        check_search(most, threshold)
    except (ValueError, UsageError) as error:
        raise PersamError(
            f"The tag {tag.get('name')} has a model_max_instances or model_threshold that is none; give a number of "
            "objects such as 3, and a score from 0 to 1."
        ) from error
    return Control(
        kind=f"{tag.tag.removesuffix(_LABELS)}{_LABELS}",
        name=tag.get("name", ""),
        image=tag.get("toName", ""),
        field=image.removeprefix("$"),
        labels=tuple(label for label in labels if label),
        max_instances=most,
        threshold=threshold,
        beside=None if holder is tag else holder.get("name", ""),
        strokes=tag.get("model_strokes", "").lower() == "true",
    )


# ------------------------------------------------------------------------------------------------ regions, read


@dataclass
class Drawn:
    """What somebody drew of one label in one photo.

    Attributes:
        mask: (H, W) bool, all that was painted, polygons and ellipses together; None if there are none.
        boxes: rectangles (x0, y0, x1, y1) in pixels.
        points: clicks (x, y) in pixels.
        signs: of the clicks, 1 on the object, 0 beside it.
    """

    mask: np.ndarray | None = None
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)
    signs: list[int] = field(default_factory=list)

    def add(self, region: Mapping[str, Any], size: Size) -> None:
        """Take a region in.

        Args:
            region: one of an annotation's ``result``.
            size: (H, W) of the photo, upright.

        Raises:
            PersamError: it is damaged, or was drawn on a turned photo or one of another aspect.
        """
        try:
            kind, value = _kind_of(region), region["value"]
            if region.get("image_rotation"):
                raise PersamError("A region was drawn on a photo that was turned by hand; turn it back and draw again.")
            if kind == "brushlabels":
                self._add_mask(_brush_mask(region, size))
            elif kind == "bitmasklabels":
                self._add_mask(decode_bitmask(value["imageDataURL"], size))
            elif kind == "ellipselabels":
                self._add_mask(ellipse_mask(value, size))
            elif kind == "polygonlabels":
                self._add_mask(_polygon_mask(value["points"], size))
            elif kind == "rectanglelabels":
                self.boxes.append(_box(value, size))
            elif kind == _CLICKS:
                self.points.append(_inside(value["x"], value["y"], size))
                self.signs.append(int(bool(int(region.get("is_positive", 1)))))
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise PersamError("A region of the annotation is damaged; draw it again.") from error

    def _add_mask(self, mask: np.ndarray) -> None:
        if self.mask is None:
            self.mask = mask
        else:
            self.mask |= mask

    @property
    def is_empty(self) -> bool:
        """Whether nothing was drawn on the object."""
        return self.mask is None and not self.boxes and not any(self.signs)


def drawn_by_label(regions: Any, size: Size) -> dict[str, Drawn]:
    """What was drawn of each label: a mask of the photo's size for each, so of many labels take one after another.

    Raises:
        PersamError: a region is damaged, or they are too many.
    """
    found: dict[str, Drawn] = {}
    check_masks(regions, size)
    for label, those in by_label(regions).items():
        drawn = Drawn()
        for region in those:
            drawn.add(region, size)
        if not drawn.is_empty:
            found[label] = drawn
    return found


def check_masks(regions: Any, size: Size) -> None:
    """See that the masks of an annotation, of all labels together, can be read soon: few bytes may hold many pixels.

    Raises:
        PersamError: they are too many for a photo of size (H, W).
    """
    kinds = [_kind_of(one) for those in by_label(regions).values() for one in those]
    masks = sum(kind not in ("rectanglelabels", _CLICKS) for kind in kinds)
    if masks * size[0] * size[1] > _MOST_DRAWN:
        raise PersamError("The annotation has more regions than are read of a photo as large as this; merge some.")


def by_label(regions: Any) -> dict[str, list[Mapping[str, Any]]]:
    """The regions of each label, in the order of an annotation's regions; others than on photos are passed over."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for region in regions if isinstance(regions, Sequence) else ():
        label = label_of(region)
        if label is not None:
            found.setdefault(label, []).append(region)
    return found


def label_of(region: Any) -> str | None:
    """The label of a region of a photo, the first if it has several; None if it is something else."""
    if not isinstance(region, Mapping) or _kind_of(region) is None:
        return None
    value = region.get("value")
    labels = value.get(region["type"]) if isinstance(value, Mapping) else None
    first = labels[0] if isinstance(labels, list) and labels else None
    return first if isinstance(first, str) and first else None


def _kind_of(region: Mapping[str, Any]) -> str | None:
    """What was drawn; None if it is something else than on a photo. With a tag ``Labels`` the value alone tells it."""
    kind, value = region.get("type"), region.get("value")
    if kind != _LABELS or not isinstance(value, Mapping):
        return kind if kind in (*_KINDS, _CLICKS) else None
    signs = dict(zip(("rle", "imageDataURL", "points", "radiusX", "height", "width"), (*_KINDS, _CLICKS), strict=True))
    return next((drawn for sign, drawn in signs.items() if sign in value), None)


def _brush_mask(region: Mapping[str, Any], size: Size) -> np.ndarray:
    drawn_on = int(region["original_height"]), int(region["original_width"])
    if not (min(drawn_on) > 0 and drawn_on[0] * drawn_on[1] <= size[0] * size[1]):
        raise PersamError("A brush region was drawn on a photo of another size; draw it again.")
    mask = decode_brush(region["value"]["rle"], drawn_on)
    return mask if drawn_on == size else read_mask(mask, size, what="brush region", may_be_trivial=True)


def _polygon_mask(corners: Any, size: Size) -> np.ndarray:
    places = np.asarray(corners, np.float64)
    if places.ndim != 2 or places.shape[1] != 2 or not 3 <= len(places) <= _MOST_CORNERS:
        raise ValueError(places.shape)
    return filled([[_corners(places, size)]], size)


def _corners(percent: np.ndarray, size: Size) -> np.ndarray:
    """Pixels (N, 2) int32 under places in percent."""
    if not np.isfinite(percent).all():
        raise ValueError(percent)
    pixels = percent.clip(0, 100) / 100 * (size[1], size[0]) - 0.5
    return np.round(pixels.clip(0, (size[1] - 1, size[0] - 1))).astype(np.int32)


def _box(value: Mapping[str, Any], size: Size) -> tuple[float, float, float, float]:
    """Around a rectangle, which may be turned about its upper left corner, clockwise, in degrees."""
    left, top, width, height = (float(value[each]) / 100 for each in ("x", "y", "width", "height"))
    angle = np.deg2rad(float(value.get("rotation") or 0))
    if not np.isfinite([left, top, width, height, angle]).all():
        raise ValueError(value)
    width, height = width * size[1], height * size[0]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ turn.T
    corners += np.array([left * size[1], top * size[0]])
    corners = corners.clip(0, (size[1], size[0]))
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise PersamError("A rectangle has no pixels of the photo in it; draw it again.")
    return x0, y0, x1, y1


def _inside(x: float, y: float, size: Size) -> tuple[float, float]:
    column, row = _corners(np.array([[float(x), float(y)]]), size)[0].tolist()
    return float(column), float(row)


# ------------------------------------------------------------------------------------------------ regions, written


def regions_of(mask: np.ndarray, control: Control, label: str, score: float) -> list[dict[str, Any]]:
    """A mask (H, W) bool as regions of a control, as they stand in a prediction's ``result``.

    One region that is painted, one rectangle or ellipse, or a polygon for every part, its holes joined to it by ways of
    no width.
    """
    box = mask_box(mask)
    if box is None:
        return []
    height, width = mask.shape
    x0, y0, x1, y1 = box
    values: list[dict[str, Any]]
    if control.kind == "brushlabels":
        values = [{"format": "rle", "rle": encode_brush(mask)}]
    elif control.kind == "bitmasklabels":
        values = [{"imageDataURL": encode_bitmask(mask)}]
    elif control.kind == "ellipselabels":
        values = [ellipse_around(mask)]
    elif control.kind == "polygonlabels":
        values = [{"points": points, "closed": True} for points in _polygons(mask)]
    else:
        whole = (100 / width, 100 / height)
        values = [
            {"x": x0 * whole[0], "y": y0 * whole[1], "width": (x1 - x0) * whole[0], "height": (y1 - y0) * whole[1]}
            | {"rotation": 0}
        ]
    about = {
        "to_name": control.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "score": round(score, 6),
        "readonly": False,
    }
    if control.beside is None:
        tags = [(control.name, control.kind, {control.kind: [label]})]
    else:  # the region, and what it is called
        tags = [(control.name, control.kind.removesuffix(_LABELS), {}), (control.beside, _LABELS, {_LABELS: [label]})]
    names = [uuid.uuid4().hex[:10] for _ in values]
    return [
        {"id": name, "from_name": tag, "type": kind, **about, "value": value | called}
        for name, value in zip(names, values, strict=True)
        for tag, kind, called in tags
    ]


def _polygons(mask: np.ndarray) -> Iterator[list[list[float]]]:
    """Corners in percent, for every part of a mask that is no speck."""
    height, width = mask.shape
    smallest = _SMALLEST_PART * np.count_nonzero(mask)
    for number, part in enumerate(simple_outlines(mask)):
        if number == 0 or cv2.contourArea(part[0]) >= smallest:
            places = (in_one_stroke(part) + 0.5) / (width, height) * 100
            yield places.round(4).tolist()
