"""Every format is read back by a reader that is not ours."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from pycocotools.coco import COCO
from tests.album.conftest import SmallAlbum

from persam.album.formats import FORMATS, check_formats, write_formats
from persam.album.formats.colmap import _BACK
from persam.errors import PersamError, UsageError
from persam.ledger import Ledger
from persam.outlines import GOOD_IOU

NAMES = ["mug", "cat & <dog>"]


def write(album: SmallAlbum, folder: Path, *names: str, **more: bool) -> list[str]:
    written = write_formats(names, lambda: iter(album.lines), folder, **more)
    assert written.failures == []
    assert all((folder / file).is_file() for file in written.files)
    return written.files


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def same_things(found: list[tuple[str, np.ndarray]], truth: list[tuple[str, np.ndarray]], least: float = 1.0) -> None:
    assert [name for name, _ in found] == [name for name, _ in truth]
    for (_, mask), (_, expected) in zip(found, truth, strict=True):
        assert mask.shape == expected.shape
        assert iou(mask.astype(bool), expected) >= least


def pairs_of(detections: Any) -> list[tuple[str, np.ndarray]]:
    """The things in supervision's Detections."""
    if not len(detections):
        return []
    return [(NAMES[number], mask) for number, mask in zip(detections.class_id, detections.mask, strict=True)]


class TestCoco:
    def test_pycocotools(self, album, tmp_path):
        write(album, tmp_path, "coco")
        with contextlib.redirect_stdout(io.StringIO()):
            data = COCO(str(tmp_path / "coco.json"))
        home = Path(data.dataset["info"]["photos"])
        images = data.loadImgs(data.getImgIds())
        assert [str(home / image["file_name"]) for image in images] == album.photos
        for image in images:
            annotations = data.loadAnns(data.getAnnIds(image["id"]))
            found = [(data.cats[each["category_id"]]["name"], data.annToMask(each)) for each in annotations]
            same_things(found, album.masks(str(home / image["file_name"])))
            assert (image["height"], image["width"]) == (160, 120) if "side" in image["file_name"] else (120, 160)

    def test_supervision(self, album, tmp_path):
        from supervision import DetectionDataset

        write(album, tmp_path, "coco")
        data = DetectionDataset.from_coco(str(album.home), str(tmp_path / "coco.json"), force_masks=True)
        assert data.classes == NAMES
        for photo, _, found in data:
            same_things(pairs_of(found), album.masks(photo))


class TestYolo:
    def test_supervision(self, album, tmp_path):
        from supervision import DetectionDataset

        write(album, tmp_path, "yolo")
        home = tmp_path / "yolo"
        data = DetectionDataset.from_yolo(str(home / "images"), str(home / "labels"), str(home / "data.yaml"))
        assert data.classes == NAMES
        assert sorted(str(Path(path).resolve()) for path in data.image_paths) == sorted(album.photos)
        for path, _, found in data:
            joined = "two" in path  # the line between its two parts is one pixel wide
            same_things(pairs_of(found), album.masks(str(Path(path).resolve())), 0.95 if joined else GOOD_IOU)

    def test_lines_are_as_ultralytics_wants_them(self, album, tmp_path):
        """Its rules: one line a thing, three corners or more, from 0 to 1; what it cuts off is the same pixel."""
        write(album, tmp_path, "yolo")
        labels = tmp_path / "yolo/labels"
        assert (labels / "none.txt").read_text() == ""
        assert len((labels / "two.txt").read_text().splitlines()) == 3
        for file in labels.glob("*.txt"):
            for line in file.read_text().splitlines():
                number, *corners = line.split()
                shares = np.array(corners, np.float32).reshape(-1, 2)
                assert number in "01"
                assert len(shares) >= 3
                assert shares.min() >= 0
                assert shares.max() <= 1
                size = (120, 160) if "side" in file.name else (160, 120)
                cut_off = (shares * size).astype(np.int32)
                assert (cut_off == np.round(shares * size)).all()
        pixel = (labels / "ring_jpg.txt").read_text().split()
        assert (np.array(pixel[1:3], float) * (160, 120)).astype(int).tolist() == [70, 50]

    def test_every_label_lies_where_ultralytics_looks(self, album, tmp_path):
        import yaml

        write(album, tmp_path, "yolo")
        home = tmp_path / "yolo"
        data = yaml.safe_load((home / "data.yaml").read_text(encoding="utf-8"))
        assert data["names"] == dict(enumerate(NAMES))
        listed = [(home / data[part]).read_text().splitlines() for part in ("train", "val")]
        assert all(listed)
        assert len({*listed[0], *listed[1]}) == len(album.photos)
        for photo in (home / line for part in listed for line in part):
            before, _, after = str(photo).rpartition("/images/")
            label = Path(f"{before}/labels/{after}").with_suffix(".txt")
            assert photo.is_file()
            assert label.is_file()

    def test_links_cost_nothing_and_copies_can_be_moved(self, album, tmp_path):
        write(album, tmp_path, "yolo")
        link = tmp_path / "yolo/images/ring.jpg"
        assert str(link.readlink()) == album.photos[0]
        write(album, tmp_path, "yolo", copy=True)
        assert not link.is_symlink()
        assert link.read_bytes() == Path(album.photos[0]).read_bytes()
        inode = link.stat().st_ino
        write(album, tmp_path, "yolo", copy=True)
        assert link.stat().st_ino == inode  # not copied again

    def test_where_the_disk_knows_no_links_photos_are_copied(self, album, tmp_path, monkeypatch):
        def refuse(self: Path, target: str) -> None:
            raise OSError(1, "no links here")

        monkeypatch.setattr(Path, "symlink_to", refuse)
        write(album, tmp_path, "yolo")
        assert (tmp_path / "yolo/images/ring.jpg").read_bytes() == Path(album.photos[0]).read_bytes()

    def test_a_second_run_in_a_guarded_folder(self, album, tmp_path):
        for _ in range(2):
            with Ledger(tmp_path):
                write(album, tmp_path, "yolo")
        with Ledger(tmp_path):
            (tmp_path / "yolo/labels/ring.txt").write_text("corrected by hand")
            with pytest.raises(UsageError, match=r"ring\.txt was changed after persam wrote it"):
                write(album, tmp_path, "yolo")

    def test_a_photo_that_went_is_named_and_the_others_are_there(self, album, tmp_path):
        lines = [{**line, "image": "/nowhere/a.jpg", "name": "a"} for line in album.lines[:2]] + album.lines[2:]
        written = write_formats(["yolo", "blank", "colmap"], lambda: lines, tmp_path)
        assert [photo for photo, _ in written.failures] == ["/nowhere/a.jpg"] * 3
        assert {sentence for _, sentence in written.failures} == {
            "There is no photo at /nowhere/a.jpg; check the path."
        }
        assert not (tmp_path / "yolo/labels/a.txt").exists()
        assert (tmp_path / "yolo/labels/two.txt").exists()


class TestLabelme:
    def test_polygons_as_labelme_draws_them(self, album, tmp_path):
        """Pillow fills them, as LabelMe's `shape_to_mask` does; shapes of one group are one thing."""
        write(album, tmp_path, "labelme")
        pages = {page.stem: json.loads(page.read_text(encoding="utf-8")) for page in (tmp_path / "labelme").iterdir()}
        assert len(pages) == len(album.photos)
        for name, page in pages.items():
            photo = (tmp_path / "labelme" / page["imagePath"]).resolve()
            things: dict[object, tuple[str, np.ndarray]] = {}
            for number, shape in enumerate(page["shapes"]):
                drawn = Image.new("L", (page["imageWidth"], page["imageHeight"]))
                assert shape["shape_type"] == "polygon"
                assert len(shape["points"]) >= 3
                ImageDraw.Draw(drawn).polygon([tuple(corner) for corner in shape["points"]], outline=1, fill=1)
                key = ("thing", number) if shape["group_id"] is None else shape["group_id"]
                earlier = things.get(key, (shape["label"], np.zeros(np.shape(drawn), bool)))[1]
                things[key] = shape["label"], earlier | np.asarray(drawn, bool)
            same_things(list(things.values()), album.masks(str(photo)), 0.97 if name == "ring" else GOOD_IOU)

    def test_labelme_itself(self, album, tmp_path):
        labelme = pytest.importorskip("labelme")
        write(album, tmp_path, "labelme")
        for page in (tmp_path / "labelme").iterdir():
            file = labelme.LabelFile(str(page))  # raises for a field that is wrong, and for a photo of another size
            assert file.image_data
            shape = Image.open(io.BytesIO(file.image_data)).size[::-1]
            for one in file.shapes:
                assert labelme.utils.shape_to_mask(shape, one["points"], one["shape_type"]).any()

    def test_flags_say_what_is_there_and_what_one_should_look_at(self, album, tmp_path):
        unsure = [{**line, "verdict": "unsure"} for line in album.lines]
        write_formats(["labelme"], lambda: unsure, tmp_path)
        page = json.loads((tmp_path / "labelme/ring.json").read_text())
        assert page["flags"] == {"mug": True, "cat & <dog>": False}
        assert page["shapes"][0]["flags"] == {"unsure": True}
        assert page["imageData"] is None
        assert "../" in page["imagePath"]


class TestCvat:
    def test_masks_by_the_published_rule(self, album, tmp_path):
        """The box's rows one after the other, in turn how many pixels are background and thing."""
        write(album, tmp_path, "cvat")
        root = ET.parse(tmp_path / "cvat.xml").getroot()
        assert [label.findtext("name") for label in root.iter("label")] == NAMES
        assert root.findtext("meta/task/size") == "5"
        images = root.findall("image")
        assert [str(album.home / image.get("name")) for image in images] == album.photos
        for image in images:
            found = []
            for mask in image.findall("mask"):
                left, top, width, height = (int(mask.get(key)) for key in ("left", "top", "width", "height"))
                pixels, colour = [], False
                for run in mask.get("rle").split(", "):
                    pixels += [colour] * int(run)
                    colour = not colour
                whole = np.zeros((int(image.get("height")), int(image.get("width"))), bool)
                whole[top : top + height, left : left + width] = np.reshape(pixels, (height, width))
                found.append((mask.get("label"), whole))
                assert mask.find("attribute").text in ("0.9000", "0.8000")
            same_things(found, album.masks(str(album.home / image.get("name"))))

    def test_datumaro(self, album, tmp_path):
        """CVAT's own library."""
        dataset = pytest.importorskip("datumaro.components.dataset")
        write(album, tmp_path, "cvat")
        (tmp_path / "images").symlink_to(album.home)
        data = dataset.Dataset.import_from(str(tmp_path), "cvat")
        items = list(data)
        assert len(items) == len(album.photos)
        labels = data.categories()[next(iter(data.categories()))]
        for item in items:
            photo = next(photo for photo in album.photos if photo.startswith(str(album.home / item.id)))
            same_things([(labels[one.label].name, one.image) for one in item.annotations], album.masks(photo))


class TestTables:
    def test_csv(self, album, tmp_path):
        write(album, tmp_path, "csv")
        with (tmp_path / "results.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert [(row["photo"], row["concept"]) for row in rows] == [
            (line["image"], line["concept"]) for line in album.lines
        ]
        assert [int(row["instances"]) for row in rows] == [len(line["instances"]) for line in album.lines]
        assert rows[1]["x0"] == ""
        assert [int(rows[3][side]) for side in ("x0", "y0", "x1", "y1")] == [0, 100, 40, 120]
        assert rows[3]["mask"] == album.lines[3]["files"]["mask"]

    def test_pandas_reads_the_csv(self, album, tmp_path):
        pandas = pytest.importorskip("pandas")
        write(album, tmp_path, "csv")
        frame = pandas.read_csv(tmp_path / "results.csv")
        assert frame["present"].dtype == bool
        assert frame[frame.present].groupby("concept").instances.sum().to_dict() == {"mug": 5, "cat & <dog>": 2}

    def test_parquet(self, album, tmp_path):
        parquet = pytest.importorskip("pyarrow.parquet")
        from pycocotools import mask as coco_mask

        write(album, tmp_path, "parquet")
        rows = parquet.read_table(tmp_path / "results.parquet").to_pylist()
        for row, line in zip(rows, album.lines, strict=True):
            sizes = [{"size": [row["height"], row["width"]], "counts": one["counts"]} for one in row["masks"]]
            found = [(row["concept"], coco_mask.decode(code)) for code in sizes]
            same_things(found, [(row["concept"], mask) for mask in album.truth[line["image"], line["concept"]]])
            assert (row["x0"], row["score"]) == ((line["box"] or [None])[0], line["score"])

    def test_without_pyarrow_one_sentence_names_the_extra_before_anything_is_written(
        self, album, tmp_path, monkeypatch
    ):
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        with pytest.raises(PersamError, match=r"pip install 'persam\[parquet\]'"):
            write(album, tmp_path / "out", "csv", "parquet")
        assert not (tmp_path / "out").exists()

    def test_names_that_are_no_letters(self, album, tmp_path):
        pytest.importorskip("pyarrow")
        odd = [{**album.lines[0], "image": "/a/\udcff.jpg", "concept": 'a "b", c'}]
        write_formats(["csv", "parquet", "coco", "cvat", "labelme"], lambda: odd, tmp_path)
        assert r"/a/\udcff.jpg" in (tmp_path / "results.csv").read_text(encoding="utf-8")
        ET.parse(tmp_path / "cvat.xml")


class TestColmap:
    def test_masks_lie_as_the_photo_is_stored(self, album, tmp_path):
        files = write(album, tmp_path, "colmap")
        assert len(files) == len(album.lines)
        for (photo, concept), masks in album.truth.items():
            name = Path(photo).relative_to(album.home)
            folder = {"mug": "mug", "cat & <dog>": "cat & _dog_"}[concept]
            mask = Image.open(tmp_path / "colmap" / folder / f"{name}.png")
            stored = Image.open(photo)
            assert mask.mode == "L"
            assert mask.size == stored.size
            exif = stored.getexif()
            turned = Image.Image.copy(mask)
            turned.getexif()[0x0112] = exif.get(0x0112, 1)
            shown = np.asarray(ImageOps.exif_transpose(turned)) > 0
            assert (shown == (np.logical_or.reduce(masks) if masks else np.zeros_like(shown))).all()

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation(self, orientation):
        stored = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
        stored.getexif()[0x0112] = orientation
        upright = ImageOps.exif_transpose(stored)
        turn = _BACK.get(orientation)
        back = upright if turn is None else upright.transpose(turn)
        assert np.asarray(back).tolist() == np.asarray(stored).tolist()

    def test_colmap_itself_sees_nothing_beside_the_thing(self, album, tmp_path):
        pycolmap = pytest.importorskip("pycolmap")
        write(album, tmp_path, "colmap")
        options = pycolmap.ImageReaderOptions(mask_path=str(tmp_path / "colmap/mug"))
        pycolmap.extract_features(
            tmp_path / "colmap.db",
            album.home,
            reader_options=options,
            extraction_options=pycolmap.FeatureExtractionOptions(use_gpu=False, num_threads=1),
        )
        with pycolmap.Database.open(tmp_path / "colmap.db") as database:
            seen = 0
            for image in database.read_all_images():
                mask = np.asarray(Image.open(tmp_path / "colmap/mug" / f"{image.name}.png")) > 0
                places = np.floor(database.read_keypoints(image.image_id)[:, :2]).astype(int)
                assert mask[places[:, 1], places[:, 0]].all()
                seen += len(places)
            assert seen > 20


class TestAll:
    def test_lines_are_never_held(self, album, tmp_path):
        """Of a hundred photos, the lines of a few are alive at a time."""

        class Watched(dict):
            __hash__ = object.__hash__

        alive: weakref.WeakSet[Watched] = weakref.WeakSet()
        most = 0

        def lines() -> Iterator[dict]:
            nonlocal most
            for number in range(100):
                line = Watched(album.lines[0], image=f"{album.photos[0]}", name=f"{number}")
                line["image"] = str(Path(album.photos[0]).with_name(f"{number}.jpg"))
                alive.add(line)
                most = max(most, len(alive))
                yield line

        write_formats(["coco", "labelme", "cvat", "csv"], lines, tmp_path)
        assert most <= 4
        assert len(list((tmp_path / "labelme").iterdir())) == 100

    def test_a_photo_whose_lines_do_not_come_together_is_a_mistake_of_the_caller(self, album, tmp_path):
        with pytest.raises(UsageError, match="do not come together; sort them"):
            write_formats(["yolo"], lambda: [*album.lines, album.lines[0]], tmp_path)

    def test_an_album_of_nothing(self, tmp_path):
        names = [name for name in FORMATS if name != "parquet"]
        assert write_formats(names, list, tmp_path).failures == []
        assert json.loads((tmp_path / "coco.json").read_text())["images"] == []

    def test_a_format_that_there_is_not(self):
        with pytest.raises(UsageError, match=r"no format 'yollo' \(did you mean yolo\?\); choose from coco, yolo"):
            check_formats(["yollo"])

    def test_every_format_has_a_line_for_help_texts(self):
        for each in FORMATS.values():
            assert callable(each.load())
            assert 10 < len(each.about) < 70

    def test_a_photo_that_left_the_album_leaves_its_files_too(self, album, tmp_path):
        names = ["yolo", "labelme", "colmap", "blank"]
        fewer = [line for line in album.lines if line["image"] != album.photos[0]]
        with Ledger(tmp_path) as ledger:
            before = write_formats(names, lambda: album.lines, tmp_path, ledger=ledger).files
            (tmp_path / "labelme/mine.json").write_text("of somebody else")
            (tmp_path / "labelme/ring.json").write_text("corrected by hand")
            lost = [{**line, "image": "/nowhere/a.jpg"} if line["name"] == "two" else line for line in fewer]
            assert write_formats(["blank", "colmap"], lambda: lost, tmp_path, ledger=ledger).failures
            assert (tmp_path / "blanked/two.png").exists()
            after = write_formats(names, lambda: fewer, tmp_path, ledger=ledger).files
        there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        there = {file for file in there if not file.startswith(".persam")}
        assert there == {*after, "labelme/mine.json", "labelme/ring.json"}
        assert len(after) < len(before)

    def test_concepts_whose_names_differ_only_in_letters_that_no_folder_has(self, album, tmp_path):
        lines = [{**album.lines[0], "concept": name} for name in ("a:b", "a/b", "A?B")]
        files = write_formats(["colmap"], lambda: lines, tmp_path).files
        assert len({file.casefold() for file in files}) == 3
