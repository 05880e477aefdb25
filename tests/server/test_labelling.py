"""Labelling configurations as Label Studio's templates have them, and regions there and back."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.server import bad_files

from persam.errors import PersamError
from persam.server.label_studio.brush import encode_brush
from persam.server.label_studio.labelling import Control, Drawn, Labelling, drawn_by_label, regions_of

BRUSH = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <KeyPointLabels name="click" toName="image" smart="true"><Label value="Mug"/></KeyPointLabels>
  <BrushLabels name="tag" toName="image" model_max_instances="3" model_threshold="0.25">
    <Label value="Mug" background="#FFA39E"/><Label value="Big cat" alias="cat"/>
  </BrushLabels>
  <PolygonLabels name="poly" toName="image"><Label value="Mug"/><Label value="Horse"/></PolygonLabels>
  <RectangleLabels name="box" toName="image"><Label value="Car"/></RectangleLabels>
  <Choices name="choice" toName="image"><Choice value="good"/></Choices>
</View>"""
SIZE = (60, 80)


def shape() -> np.ndarray:
    """A disc with a hole."""
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, (40, 30), 20, 1, -1)
    cv2.circle(mask, (40, 30), 6, 0, -1)
    return mask.astype(bool)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def control(kind: str) -> Control:
    return Control(kind, "tag", "image", "image", ("Mug",))


def region(kind: str, **value: Any) -> dict[str, Any]:
    about = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    return {"from_name": "tag", "to_name": "image", "type": kind, **about, "value": value | {kind: ["Mug"]}}


def test_a_configuration_tells_how_each_label_is_proposed() -> None:
    read = Labelling.read(BRUSH)
    assert read.labels == ["Mug", "cat", "Horse", "Car"]
    mug = read.of_label("Mug")
    assert mug is not None
    assert (mug.kind, mug.name, mug.image, mug.field) == ("brushlabels", "tag", "image", "image")
    assert (mug.max_instances, mug.threshold) == (3, 0.25)
    kinds = {label: found.kind for label in read.labels if (found := read.of_label(label))}
    assert kinds == {
        "Mug": "brushlabels",
        "cat": "brushlabels",
        "Horse": "polygonlabels",
        "Car": "rectanglelabels",
    }
    assert read.of_label("good") is None
    assert read.address({"id": 1, "data": {"image": "/data/upload/2/a.jpg"}}) == "/data/upload/2/a.jpg"
    with pytest.raises(PersamError, match=r'The task 4 has no address.*"image" is empty'):
        read.address({"id": 4, "data": {"text": "nothing"}})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("<View>", "not valid XML"),
        ("", "not valid XML"),
        ("<View><Text name='t' value='$text'/></View>", "no BrushLabels, BitmaskLabels, PolygonLabels, EllipseLabels"),
        ("<View><Image name='i' value='$i'/><BrushLabels name='b' toName='other'/></View>", "no BrushLabels"),
        ("<!DOCTYPE x [<!ENTITY a 'aaaa'>]><View>&a;</View>", "declares entities"),
        ("<View>" * 200_000, "too long"),
        (BRUSH.replace('"3"', '"many"'), "number of objects"),
        (BRUSH.replace('"0.25"', '"7"'), "score from 0 to 1"),
    ],
)
def test_another_configuration_is_refused_in_a_sentence(config: str, says: str) -> None:
    with pytest.raises(PersamError, match=says):
        Labelling.read(config)


@pytest.mark.parametrize(
    ("kind", "least"),
    [("brushlabels", 1.0), ("bitmasklabels", 1.0), ("polygonlabels", 0.97), ("rectanglelabels", 1.0)],
)
def test_a_mask_becomes_regions_and_they_a_mask_again(kind: str, least: float) -> None:
    mask = shape()
    regions = regions_of(mask, control(kind), "Mug", 0.75)
    assert len(regions) == 1
    assert regions[0]["type"] == kind
    assert regions[0]["value"][kind] == ["Mug"]
    assert (regions[0]["original_width"], regions[0]["original_height"]) == (80, 60)
    drawn = drawn_by_label(regions, SIZE)["Mug"]
    if kind == "rectanglelabels":
        assert drawn.boxes == [pytest.approx((20, 10, 61, 51))]
    else:
        assert drawn.mask is not None
        assert iou(drawn.mask, mask) >= least


@pytest.mark.parametrize("tool", ["Brush", "Bitmask", "Polygon", "Ellipse", "Rectangle"])
def test_a_tool_beside_its_labels_has_two_results_for_a_region(tool: str) -> None:
    """As the editor stores them: the tool's, and that of ``Labels`` with the same id, which holds the shape as well."""
    config = f"""<View><Image name="image" value="$image"/>
    <Labels name="what" toName="image"><Label value="Mug"/></Labels>
    <Labels name="other" toName="text"><Label value="Car"/></Labels>
    <{tool} name="tool" toName="image" model_max_instances="2"/><KeyPoint name="click" toName="image"/></View>"""
    read = Labelling.read(config)
    assert read.labels == ["Mug"]
    mug = read.of_label("Mug")
    assert mug is not None
    assert (mug.name, mug.beside, mug.max_instances) == ("tool", "what", 2)
    first, second = regions_of(shape(), mug, "Mug", 0.75)
    assert first["id"] == second["id"]
    assert (first["type"], first["from_name"]) == (tool.lower(), "tool")
    assert (second["type"], second["from_name"], second["value"]["labels"]) == ("labels", "what", ["Mug"])
    assert second["value"] == first["value"] | {"labels": ["Mug"]}
    drawn = drawn_by_label([first, second], SIZE)["Mug"]
    plain = drawn_by_label(regions_of(shape(), control(f"{tool.lower()}labels"), "Mug", 0.75), SIZE)["Mug"]
    assert drawn.boxes == plain.boxes
    assert (drawn.mask is None) == (plain.mask is None)
    assert drawn.mask is None or (drawn.mask == plain.mask).all()


def test_a_tag_is_known_in_any_case() -> None:
    plain = Labelling.read(BRUSH)
    for tag in ("Image", "KeyPointLabels", "BrushLabels", "Label", "PolygonLabels"):
        assert Labelling.read(re.sub(rf"\b{tag}\b", tag.lower(), BRUSH)) == plain
    config = """<View><Image name="i" value="$i"/><Labels name="l" toName="i"><Label value="Mug"/></Labels>
    <Brush name="b" toName="i"/></View>"""
    assert Labelling.read(config.replace("Labels", "labels")) == Labelling.read(config)


def test_a_click_beside_its_labels_is_a_click_and_a_text_is_nothing_drawn() -> None:
    click = region("labels", x=50, y=50, width=0.3)
    drawn = drawn_by_label([click, region("labels", start=3, end=9, text="mug")], SIZE)["Mug"]
    assert (drawn.points, drawn.mask, drawn.boxes) == ([(40, 30)], None, [])


def test_every_part_is_a_polygon_but_specks() -> None:
    mask = np.zeros(SIZE, bool)
    mask[5:25, 5:25] = mask[30:50, 40:70] = mask[55:57, 2:4] = True
    regions = regions_of(mask, control("polygonlabels"), "Mug", 0.5)
    assert len(regions) == 2
    found = drawn_by_label(regions, SIZE)["Mug"].mask
    assert found is not None
    assert iou(found, mask) > 0.97
    assert regions_of(np.zeros(SIZE, bool), control("brushlabels"), "Mug", 0.5) == []


def test_regions_of_one_label_are_one_thing_and_others_are_passed_over() -> None:
    half = np.zeros(SIZE, bool)
    half[:, :30] = True
    regions = [
        region("brushlabels", format="rle", rle=encode_brush(half)),
        region("polygonlabels", points=[[50, 0], [100, 0], [100, 100], [50, 100]]),
        {"type": "choices", "value": {"choices": ["good"]}},
        {"type": "brushlabels", "value": {"rle": [1], "brushlabels": []}},
        "nonsense",
    ]
    (drawn,) = drawn_by_label(regions, SIZE).values()
    assert drawn.mask is not None
    assert drawn.mask[:, :30].all()
    assert drawn.mask[:, 40:].all()
    assert not drawn.mask[:, 31:39].any()


def test_a_turned_rectangle_becomes_the_box_around_it() -> None:
    """Turned by 90 degrees about its upper left corner it lies to the left of that."""
    drawn = Drawn()
    drawn.add(region("rectanglelabels", x=50, y=50, width=25, height=100 / 6, rotation=90), SIZE)
    assert drawn.boxes == [pytest.approx((30, 30, 40, 50))]


@pytest.mark.parametrize("turn", [0, 30, 115])
def test_an_ellipse_is_its_inside_and_a_round_thing_an_ellipse(turn: int) -> None:
    """Its middle is x and y, as the editor has it; radii are in percent of width and height, before it is turned."""
    rows, columns = np.mgrid[:60, :80]
    x, y, angle = columns + 0.5 - 40, rows + 0.5 - 30, np.deg2rad(turn)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (along / 24) ** 2 + (across / 12) ** 2 <= 1
    drawn = Drawn()
    drawn.add(region("ellipselabels", x=50, y=50, radiusX=30, radiusY=20, rotation=turn), SIZE)
    assert drawn.mask is not None
    assert iou(drawn.mask, inside) > 0.98
    (proposed,) = regions_of(inside, control("ellipselabels"), "Mug", 0.5)
    value = proposed["value"]
    assert [value[each] for each in ("x", "y", "radiusX", "radiusY")] == pytest.approx([50, 50, 30, 20], abs=0.5)
    assert (value["rotation"] - turn + 90) % 180 == pytest.approx(90, abs=1)
    assert value["ellipselabels"] == ["Mug"]


def test_an_ellipse_may_reach_out_of_the_photo() -> None:
    drawn = Drawn()
    drawn.add(region("ellipselabels", x=100, y=50, radiusX=25, radiusY=25), SIZE)
    assert drawn.mask is not None
    assert drawn.mask[30, 79]
    assert not drawn.mask[:, :58].any()
    assert not drawn.mask[[0, -1], -1].any()


def test_a_speck_is_proposed_as_an_ellipse_that_teaches_the_same() -> None:
    for rows, columns in ((slice(4, 5), slice(9, 10)), (slice(4, 5), slice(9, 30))):
        mask = np.zeros(SIZE, bool)
        mask[rows, columns] = True
        found = drawn_by_label(regions_of(mask, control("ellipselabels"), "Mug", 0.5), SIZE)["Mug"].mask
        assert found is not None
        assert found[rows, columns].mean() > 0.8


def bitmask(picture: Image.Image, kind: str = "PNG") -> dict[str, Any]:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return bitmask_of(stream.getvalue())


def bitmask_of(data: bytes) -> dict[str, Any]:
    return region("bitmasklabels", imageDataURL="data:image/png;base64," + base64.b64encode(data).decode())


def test_a_bitmask_is_what_is_opaque_in_it() -> None:
    """As the editor draws it: black, with soft edges, on nothing; and as programs write masks, white on black."""
    alpha = shape().astype(np.uint8) * 255
    drawn_there = Image.fromarray(np.dstack([np.zeros((*SIZE, 3), np.uint8), cv2.GaussianBlur(alpha, (3, 3), 0)]))
    for picture in (drawn_there, Image.fromarray(alpha)):
        drawn = drawn_by_label([bitmask(picture)], SIZE)["Mug"]
        assert drawn.mask is not None
        assert iou(drawn.mask, shape()) > 0.95
    (proposed,) = regions_of(shape(), control("bitmasklabels"), "Mug", 0.5)
    sent = proposed["value"]["imageDataURL"].removeprefix("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(sent))) as png:
        pixels = np.asarray(png.convert("RGBA"))
    assert not pixels[..., :3].any()
    assert ((pixels[..., 3] == 255) == shape()).all()
    assert set(np.unique(pixels[..., 3])) == {0, 255}


@pytest.mark.parametrize("small", [{"kind": "brushlabels"}, {"kind": "bitmasklabels"}])
def test_a_region_on_a_smaller_copy_fits_the_photo(small: dict[str, str]) -> None:
    drawn = Drawn()
    for each in regions_of(shape(), control(small["kind"]), "Mug", 0.5):
        drawn.add(each, (120, 160))
    assert drawn.mask is not None
    assert drawn.mask.shape == (120, 160)
    assert iou(drawn.mask[::2, ::2], shape()) > 0.95


def test_clicks_are_on_it_or_beside_it() -> None:
    regions = [
        region("keypointlabels", x=50, y=50, width=0.3) | {"is_positive": 1},
        region("keypointlabels", x=100, y=0, width=0.3) | {"is_positive": 0},
    ]
    drawn = drawn_by_label(regions, SIZE)["Mug"]
    assert drawn.points == [(40, 30), (79, 0)]
    assert drawn.signs == [1, 0]
    assert drawn_by_label(regions[1:], SIZE) == {}


@pytest.mark.parametrize(
    "bad",
    [
        region("brushlabels", format="rle", rle=[1, 2, 3]),
        region("brushlabels", format="rle"),
        region("brushlabels", rle=encode_brush(shape())) | {"original_width": 10**9, "original_height": 10**9},
        region("brushlabels", rle=encode_brush(np.eye(160, dtype=bool)))
        | {"original_width": 2 * SIZE[1], "original_height": 2 * SIZE[0]},
        region("brushlabels", rle=encode_brush(shape())) | {"original_width": "wide"},
        region("brushlabels", rle=encode_brush(shape())) | {"image_rotation": 90},
        region("polygonlabels", points=[[1, 2], [3, 4]]),
        region("polygonlabels", points=[[1, 2], [3, float("nan")], [5, 6]]),
        region("polygonlabels", points="round"),
        region("polygonlabels", points=[[1, 2, 3]] * 4),
        region("rectanglelabels", x=1, y=1, width=0, height=0),
        region("rectanglelabels", x=1, y=1, width=float("inf"), height=2),
        region("rectanglelabels", x=None, y=1, width=1, height=1),
        region("keypointlabels", x=[1], y=2),
        region("ellipselabels", x=1, y=1, radiusX=0, radiusY=5),
        region("ellipselabels", x=1, y=1, radiusX=-4, radiusY=5),
        region("ellipselabels", x=400, y=1, radiusX=4, radiusY=5),
        region("ellipselabels", x=1, y=1, radiusX=1e300, radiusY=5),
        region("ellipselabels", x=1, y=1, radiusX=4, radiusY=5, rotation=float("nan")),
        region("ellipselabels", x=1, y=1, radiusX="wide", radiusY=5),
        region("ellipselabels", x=1, y=1, radiusX=4),
        region("bitmasklabels"),
        region("bitmasklabels", imageDataURL=None),
        region("bitmasklabels", imageDataURL="http://studio.local/mask.png"),
        region("bitmasklabels", imageDataURL="data:image/svg+xml;base64,PHN2Zy8+"),
        region("bitmasklabels", imageDataURL="data:image/png;base64,no base64!"),
        region("bitmasklabels", imageDataURL="data:image/png;base64," + "A" * 200_000),
        bitmask(Image.fromarray(shape()), "GIF"),
        bitmask(Image.new("1", (2 * SIZE[1], 2 * SIZE[0]))),
        bitmask_of(bad_files.png_bomb()),
        bitmask_of(bad_files.png_text_bomb()),
        bitmask_of(bad_files.claims()["PNG"]),
        bitmask_of(bad_files.truncated()["PNG"]),
        bitmask_of(b""),
    ],
)
def test_a_damaged_region_is_refused_in_a_sentence(bad: dict[str, Any]) -> None:
    with pytest.raises(PersamError, match=r"draw .*again\.$"):
        drawn_by_label([bad], SIZE)


def test_more_masks_than_can_be_read_soon_are_refused_and_boxes_are_not() -> None:
    large = (20_000, 20_000)
    corner = region("polygonlabels", points=[[1, 1], [2, 1], [2, 2]])
    with pytest.raises(PersamError, match="more regions than are read"):
        drawn_by_label([corner] * 6, large)
    box = region("rectanglelabels", x=1, y=1, width=1, height=1)
    about = {"original_width": large[1], "original_height": large[0]}
    assert len(drawn_by_label([box | about] * 20, large)["Mug"].boxes) == 20
