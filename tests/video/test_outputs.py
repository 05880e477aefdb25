"""What is written of a clip beside labels and lines: mask videos, cut-outs, COCO, the timeline; all of it read back."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from tests.fakes import ColourModel
from tests.video.drawn import write_clip
from tests.video.test_resume import FRAMES, SCENES, SURE
from tests.video.test_track import RED, draw

from persam import PerSAM, UsageError
from persam.drawing import PALETTE
from persam.video.clips import open_clip
from persam.video.drawings import mask_picture, video_drawer
from persam.video.folder import track_into
from persam.video.layout import Outputs
from persam.video.timeline import _GAP, _ROW, _TOP, Timeline, timeline_picture
from persam.video.writers import davis_palette, video_writer

TIMES = [0, 10, 13, 14, 30, 40, 60, 61]  # of no steady rate


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two discs, with all that can be written."""
    folder = tmp_path_factory.mktemp("tracked")
    frames = [pixels for pixels, _ in SCENES]
    clip = write_clip(folder / "clip.mp4", frames, pixel_format="yuv444p", times=TIMES, sound=True)
    outputs = Outputs(folder / "out", overlay=True, masks=True, cutout=True, cutout_as="mov", coco=True)
    track_into(PerSAM(ColourModel()), open_clip(clip), SCENES[0][1], outputs, names=["red", "blue"], threshold=SURE)
    return folder / "out"


def labels_in(folder: Path) -> list[np.ndarray]:
    return [np.array(Image.open(file)) for file in sorted((folder / "labels").iterdir())]


# ------------------------------------------------------------------------------------------------------- videos


@pytest.mark.parametrize("size", [(48, 64), (41, 63)])
def test_a_threshold_gives_the_masks_back(tmp_path: Path, size: tuple[int, int]) -> None:
    """Also those of single pixels, of which no codec keeps much."""
    rng = np.random.default_rng(0)
    labels = [(rng.random(size) < share).astype(np.uint8) for share in (0.0, 0.02, 0.5, 0.98, 1.0)]
    clip = open_clip([np.zeros((*size, 3), np.uint8)] * len(labels))
    with video_drawer(tmp_path, ["masks.mp4"], clip, PALETTE[:1]) as write:
        for frame, each in zip(clip, labels, strict=True):
            write(frame, each)
    read = [frame.pixels[: size[0], : size[1]] for frame in open_clip(tmp_path / "masks.mp4")]
    for found, truth in zip(read, labels, strict=True):
        np.testing.assert_array_equal((found >= 128).all(2), truth > 0)
    with av.open(str(tmp_path / "masks.mp4")) as container:  # and every player shows it
        assert container.streams.video[0].codec_context.profile == "High"


def test_objects_of_a_label_mask_have_its_colours_everywhere(tracked: Path) -> None:
    """In the overlay and the timeline as in the label pictures; things of concepts have those of their names."""
    (frame, *_), (labels, *_) = open_clip(tracked / "overlay.mp4"), labels_in(tracked)
    shown = np.array(Image.open(tracked / "labels" / "00000.png").convert("RGB"))
    timeline = np.array(Image.open(tracked / "timeline.png").convert("RGB")).astype(int)
    for number in (1, 2):
        colour, there = davis_palette()[number].astype(int), labels == number
        assert (shown[there] == colour).all()
        tints = [0.65 * SCENES[0][0][there].mean(0) + 0.35 * np.array(each) for each in (colour, *PALETTE)]
        assert np.abs(np.array(tints) - frame.pixels[there].mean(0)).sum(1).argmin() == 0
        assert (np.abs(timeline - colour).sum(2) < 12).sum() > 500


def test_several_masks_have_the_colours_of_davis(tracked: Path) -> None:
    for frame, labels in zip(open_clip(tracked / "masks.mp4"), labels_in(tracked), strict=True):
        away = np.abs(frame.pixels[None].astype(int) - davis_palette()[:3, None, None].astype(int)).sum(3)
        assert (away.argmin(0) == labels).mean() > 0.985  # edges are soft: colours have half the resolution
    assert mask_picture(np.array([[0, 2]], np.uint8), 2).tolist() == [[[0, 0, 0], [0, 128, 0]]]
    assert mask_picture(np.array([[0, 1]], np.uint8), 1).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("name", ["overlay.mp4", "masks.mp4", "cutout.mov"])
def test_every_video_has_the_clip_s_frames_and_times(tracked: Path, name: str) -> None:
    assert [float(frame.time or 0) for frame in open_clip(tracked / name)] == pytest.approx(
        [tick / 100 for tick in TIMES], abs=0.001
    )
    with av.open(str(tracked / name)) as container:
        assert bool(container.streams.audio) == (name == "overlay.mp4")


def alpha_in(file: Path, codec: str) -> list[np.ndarray]:
    """The alpha channels of a video, which its usual decoder may leave out."""
    with av.open(str(file)) as container:
        decoder = av.CodecContext.create(codec, "r")
        decoder.extradata = container.streams.video[0].codec_context.extradata
        frames = [frame for packet in container.demux(video=0) for frame in decoder.decode(packet)]
    return [frame.to_ndarray(format="rgba")[:, :, 3] for frame in frames]


def test_a_cut_out_for_editors_is_prores_with_the_labels_for_alpha(tracked: Path) -> None:
    with av.open(str(tracked / "cutout.mov")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.profile) == ("prores", "4444")
    for alpha, labels in zip(alpha_in(tracked / "cutout.mov", "prores"), labels_in(tracked), strict=True):
        np.testing.assert_array_equal(alpha >= 128, labels > 0)


def test_what_is_cut_away_is_not_in_the_file(tracked: Path) -> None:
    """A player that knows of no alpha channel shows black, and not what was to be left out."""
    with av.open(str(tracked / "cutout.mov")) as container:
        read = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for pixels, labels in zip(read, labels_in(tracked), strict=True):
        far = cv2.dilate((labels > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) == 0
        assert pixels[far].max() < 12
        assert pixels[labels > 0].max() > 150 or not labels.any()


@pytest.mark.parametrize(("name", "codec"), [("out.webm", "libvpx-vp9"), ("out.mov", "prores")])
def test_transparency_moves_with_the_object_at_no_steady_rate(tmp_path: Path, name: str, codec: str) -> None:
    clip = open_clip(write_clip(tmp_path / "clip.mp4", [draw([])[0]] * 6, times=[0, 3, 9, 10, 30, 31]))
    alphas = []
    with video_writer(tmp_path / name, clip, see_through=True) as write:
        for frame in clip:
            _, labels = draw([(RED, 30 + 10 * frame.number, 40, 16)])
            alphas.append(labels > 0)
            write(frame, np.dstack([frame.pixels, (labels * 255).astype(np.uint8)]))
    read = alpha_in(tmp_path / name, codec)
    assert len(read) == 6
    for found, truth in zip(read, alphas, strict=True):
        assert ((found >= 128) == truth).mean() > 0.995
    times = [frame.time for frame in open_clip(tmp_path / name)]
    assert times == pytest.approx([Fraction(tick, 100) for tick in (0, 3, 9, 10, 30, 31)], abs=0.001)


def test_a_cut_out_is_webm_or_mov(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="A cut-out is written as webm or mov, not gif"):
        Outputs(tmp_path, cutout=True, cutout_as="gif")


# --------------------------------------------------------------------------------------------------------- COCO


def test_pycocotools_reads_the_clip(tracked: Path) -> None:
    coco = COCO(str(tracked / "coco.json"))
    assert [one["name"] for one in coco.loadCats(coco.getCatIds())] == ["red", "blue"]
    images = coco.loadImgs(coco.getImgIds())
    assert [image["file_name"] for image in images] == [f"0000{number}.jpg" for number in range(FRAMES)]
    assert [image["frame_id"] for image in images] == list(range(FRAMES))
    (video,) = coco.dataset["videos"]
    assert (video["length"], video["width"], video["height"]) == (FRAMES, 128, 96)
    for image, labels in zip(images, labels_in(tracked), strict=True):
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert {one["track_id"] for one in found} == set(np.unique(labels).tolist()) - {0}
        for one in found:
            mask = coco_mask.decode(one["segmentation"]) > 0
            np.testing.assert_array_equal(mask, labels == one["track_id"])
            assert one["area"] == mask.sum()
            assert one["category_id"] == one["track_id"]
            assert one["video_id"] == image["video_id"] == video["id"]


def test_frames_of_a_folder_keep_their_files_names(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, (pixels, _) in enumerate(SCENES[:2]):
        Image.fromarray(pixels).save(tmp_path / "frames" / f"a {number}.png")
    outputs = Outputs(tmp_path / "out", coco=True)
    track_into(PerSAM(ColourModel()), open_clip(tmp_path / "frames"), SCENES[0][1], outputs)
    coco = COCO(str(tmp_path / "out" / "coco.json"))
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a 0.png", "a 1.png"]
    rows = list(csv.DictReader((tmp_path / "out" / "timeline.csv").open()))
    assert [(row["from_frame"], row["from_s"], row["to_s"]) for row in rows] == [("0", "", "")] * 2


# ----------------------------------------------------------------------------------------------------- timeline


def lines_of(there: dict[str, list[float]], times: list[float] | None = None) -> list[dict]:
    """Lines of ``results.jsonl`` with objects' scores; one below 0.5 is not there."""
    count = len(next(iter(there.values())))
    return [
        {
            "frame": number,
            "time": None if times is None else times[number],
            "objects": [
                {"concept": name, "present": s[number] >= 0.5, "box": [0, 0, 1, 1], "score": s[number]}
                for name, s in there.items()
            ],
        }
        for number in range(count)
    ]


def test_the_frame_to_look_at_first_is_the_least_sure_one_in_which_it_is() -> None:
    lines = lines_of({"mug": [1.0, 0.8, 0.6, 0.7, 0.2], "plate": [1.0] * 5})  # the last one is out of sight
    assert Timeline.of(lines).least_sure == {"mug": (lines[2]["frame"], 0.6)}
    assert Timeline.of(lines).present == {"mug": 4, "plate": 5}


def test_a_stretch_is_when_an_object_is_on_screen(tracked: Path) -> None:
    labels = np.stack(labels_in(tracked))
    rows = list(csv.DictReader((tracked / "timeline.csv").open()))
    assert list(rows[0]) == ["object", "from_frame", "to_frame", "from_s", "to_s", "frames", "mean_score"]
    for number, name in enumerate(("red", "blue"), start=1):
        own = [row for row in rows if row["object"] == name]
        seen = sorted(k for row in own for k in range(int(row["from_frame"]), int(row["to_frame"]) + 1))
        assert seen == np.flatnonzero((labels == number).any((1, 2))).tolist()
        for row in own:
            assert float(row["from_s"]) == pytest.approx(TIMES[int(row["from_frame"])] / 100, abs=0.001)
            assert float(row["to_s"]) == pytest.approx(TIMES[int(row["to_frame"])] / 100, abs=0.001)
            assert int(row["frames"]) == int(row["to_frame"]) - int(row["from_frame"]) + 1
            assert 0.5 <= float(row["mean_score"]) <= 1
    assert len([row for row in rows if row["object"] == "blue"]) == 2  # it leaves and comes back


def test_stretches_at_both_ends_and_of_one_frame() -> None:
    lines = lines_of({"mug": [0.9, 0.7, 0.2, 0.6, 0.1, 0.8], "cat": [0.1] * 6}, [0, 0.5, 1, 1.5, 2, 2.5])
    found = [
        (one.object, one.from_frame, one.to_frame, one.frames, one.mean_score) for one in Timeline.of(lines).stretches()
    ]
    assert found == [("mug", 0, 1, 2, 0.8), ("mug", 3, 3, 1, 0.6), ("mug", 5, 5, 1, 0.8)]


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("count", [1, 2, 49, 5000])
def test_the_picture_has_a_bar_where_an_object_is_on_screen(count: int, times: bool) -> None:
    scores = [1.0 if k < (count + 1) // 2 else 0.0 for k in range(count)]
    timeline = Timeline.of(lines_of({"mug": scores}, [k / 25 for k in range(count)] if times else None))
    picture = timeline_picture(timeline, [(0, 158, 255)])
    assert picture.shape[0] < 200
    bar = (np.abs(picture.astype(int) - (0, 158, 255)).sum(2) < 12)[:, 190:1150].any(0)
    shares = (count + 1) // 2 / count
    assert bar.mean() == pytest.approx(shares, abs=0.02)
    assert bar[: int(0.9 * shares * len(bar))][5:].all()


def test_a_threshold_is_drawn_where_there_is_one() -> None:
    """Mode official has none."""
    lines = lines_of({"mug": [1.0, 1.0]})
    without = timeline_picture(Timeline.of(lines), [PALETTE[0]])
    lines[0]["objects"][0]["threshold"] = 0.5
    dotted = timeline_picture(Timeline.of(lines), [PALETTE[0]])
    assert (dotted != without).any(1).any(1).sum() > 5  # rows: the dots, and the words
    height = _ROW - 11
    row = _TOP + height - round(0.5 * height)
    is_dark = (dotted[row - 1 : row + 2, 200:1100].min((0, 2)) < 170).mean()
    assert is_dark > 0.2
    assert without[row - 1 : row + 2, 200:1100].min() > 200


def test_many_objects_and_strange_names_have_a_picture() -> None:
    names = {f"object {k} " + "\u676f\n" * 5: [0.9, 0.2, 0.9] for k in range(60)}
    picture = timeline_picture(Timeline.of(lines_of(names)), [PALETTE[k % 8] for k in range(60)])
    for row in range(60):
        band = picture[_TOP + (_ROW + _GAP) * row :][:_ROW].astype(int)
        assert (band[:, 20:170] < 120).any(), "no name"
        is_bar = (np.abs(band[:, 190:1150] - PALETTE[row % 8]).sum(2) < 12).any(0)
        assert is_bar.mean() == pytest.approx(2 / 3, abs=0.03)
