"""An album: filled again and again, it does what is new and nothing else, and ends the same whatever the order."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_scene
from tests.fakes import ColourModel

from persam import PerSAM
from persam.album import worker
from persam.album.album import Album
from persam.errors import PersamError, UsageError
from persam.method.settings import Settings

COLOURS = {"red": (200, 30, 40), "green": (30, 190, 60)}


def disc(x: int, y: int) -> np.ndarray:
    rows, columns = np.mgrid[:120, :160]
    return (columns - x) ** 2 + (rows - y) ** 2 <= 400


def draw(**discs: tuple[int, int]) -> np.ndarray:
    """A grey photo (120, 160, 3) with discs of the named colours around (x, y)."""
    image = np.full((120, 160, 3), 120, np.uint8)
    for colour, place in discs.items():
        image[disc(*place)] = COLOURS[colour]
    return image


@pytest.fixture
def model() -> PerSAM:
    return PerSAM(ColourModel())


@pytest.fixture
def concepts(model):
    """Red and green, each learned from a photo with both."""
    photo = draw(red=(40, 60), green=(110, 60))
    masks = {"red": disc(40, 60), "green": disc(110, 60)}
    return {name: model.learn(photo, mask, name=name) for name, mask in masks.items()}


@pytest.fixture
def photos(tmp_path) -> Path:
    """Red alone, green alone, and both."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, discs in {
        "a": {"red": (50, 50)},
        "b": {"green": (100, 70)},
        "c": {"red": (30, 80), "green": (120, 40)},
    }.items():
        Image.fromarray(draw(**discs)).save(folder / f"{name}.png")
    return folder


def fill(folder: Path, model: PerSAM, concepts, photos, **options):
    assert model.longest_side > 0  # found out once a model, by encoding a tiny picture
    model.model.encoded = 0
    with Album(folder, overwrite=options.pop("overwrite", False)) as album:
        return album.fill(model, concepts, photos, **options)


def results(folder: Path) -> list[dict]:
    return [json.loads(row) for row in (folder / "results.jsonl").read_text().split("\n")[:-1]]


def tree(folder: Path) -> dict[str, bytes]:
    """All files of the results, except what is persam's own."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and ".persam" not in file.parts
    }


def test_all_of_it(tmp_path, model, concepts, photos):
    report = fill(tmp_path / "out", model, [concepts["red"], concepts["green"]], photos)
    assert (report.photos, report.done_now, report.done_before, report.failures) == (3, 3, 0, [])
    assert model.model.encoded == 3
    there = {(Path(line["image"]).name, line["concept"]) for line in results(tmp_path / "out") if line["present"]}
    assert there == {("a.png", "red"), ("b.png", "green"), ("c.png", "red"), ("c.png", "green")}
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "red" / "c.png")) > 0
    truth = disc(30, 80)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8
    assert sum(report.verdicts["red"].values()) == 3


def test_again_nothing_is_done_and_no_model_is_loaded(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    before = tree(tmp_path / "out")

    def no_model() -> PerSAM:
        raise AssertionError("nothing is to be looked for")

    with Album(tmp_path / "out") as album:
        report = album.fill(no_model, concepts["red"], photos)
    assert (report.done_now, report.done_before) == (0, 3)
    assert tree(tmp_path / "out") == before


def test_photos_that_were_added_are_the_only_ones_done(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    Image.fromarray(draw(red=(70, 40))).save(photos / "d.png")
    report = fill(tmp_path / "out", model, concepts["red"], photos)
    assert (report.done_now, report.done_before, model.model.encoded) == (1, 3, 1)
    assert len(results(tmp_path / "out")) == 4


def test_a_photo_that_was_renamed_or_copied_is_known(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    (photos / "a.png").rename(photos / "z.png")
    shutil.copy(photos / "c.png", photos / "y.png")
    report = fill(tmp_path / "out", model, concepts["red"], photos)
    assert (report.done_now, report.known, report.done_before, model.model.encoded) == (2, 2, 2, 0)
    assert [Path(image).name for image in report.gone] == ["a.png"]
    assert [Path(line["image"]).name for line in results(tmp_path / "out")] == ["b.png", "c.png", "y.png", "z.png"]
    assert not (tmp_path / "out" / "masks" / "red" / "a.png").exists()
    assert (tmp_path / "out" / "masks" / "red" / "z.png").exists()


def test_a_changed_photo_and_a_changed_concept_are_done_again(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    Image.fromarray(draw(green=(70, 40))).save(photos / "a.png")
    report = fill(tmp_path / "out", model, concepts["red"], photos)
    assert (report.done_now, report.done_before, model.model.encoded) == (1, 2, 1)
    assert not results(tmp_path / "out")[0]["present"]
    other = model.learn(draw(green=(80, 60)), disc(80, 60), name="red")
    assert fill(tmp_path / "out", model, other, photos).done_now == 3
    assert results(tmp_path / "out")[0]["present"]


def test_one_concept_after_the_other_is_as_both_at_once(tmp_path, model, concepts, photos):
    fill(tmp_path / "both", model, [concepts["green"], concepts["red"]], photos)
    fill(tmp_path / "one", model, concepts["red"], photos / "c.png")
    fill(tmp_path / "one", model, concepts["green"], photos)
    fill(tmp_path / "one", model, concepts["red"], photos)
    assert tree(tmp_path / "one") == tree(tmp_path / "both")


def test_a_kept_encoding_is_not_made_again(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos, cache=10**8)
    fill(tmp_path / "out", model, concepts["green"], photos, cache=10**8)
    assert model.model.encoded == 0
    fill(tmp_path / "fresh", model, [concepts["red"], concepts["green"]], photos)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_a_concept_found_in_another_gives_way(tmp_path, model, concepts, photos):
    """The same thing under two names: whoever is surer has it, and no pixel has both."""
    alike = model.learn(draw(red=(80, 60)), disc(80, 60), name="scarlet")
    fill(tmp_path / "out", model, [concepts["red"], alike], photos)
    lines = {(Path(line["image"]).name, line["concept"]): line for line in results(tmp_path / "out")}
    assert sum(lines["a.png", name]["present"] for name in ("red", "scarlet")) == 1


def test_a_bad_photo_is_named_and_the_others_are_done(tmp_path, model, concepts, photos):
    (photos / "aa.png").write_text("dear diary")
    told = []
    report = fill(tmp_path / "out", model, concepts["red"], photos, on_photo=lambda *each: told.append(each))
    assert report.done_now == 3
    assert [Path(photo).name for photo, _ in report.failures] == ["aa.png"]
    assert len(told) == 4
    (photos / "aa.png").unlink()
    assert fill(tmp_path / "out", model, concepts["red"], photos).failures == []


def test_ctrl_c_keeps_what_was_done(tmp_path, model, concepts, photos):
    def stop_after_two(photo: Path, problem: str | None) -> None:
        if photo.name == "b.png":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        fill(tmp_path / "out", model, concepts["red"], photos, on_photo=stop_after_two)
    assert stopped.value.report.done_now == 2
    assert len(results(tmp_path / "out")) == 2
    report = fill(tmp_path / "out", model, concepts["red"], photos)
    assert (report.done_now, report.done_before) == (1, 2)
    fill(tmp_path / "whole", model, concepts["red"], photos)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_unsure_ones_are_listed_the_most_unsure_first(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, [concepts["red"], concepts["green"]], photos)
    unsure = [line for line in results(tmp_path / "out") if line["verdict"] == "unsure"]
    with (tmp_path / "out" / "unsure.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["photo"], row["concept"]) for row in rows} == {(line["image"], line["concept"]) for line in unsure}
    distances = [abs(float(row["score"]) - 0.5) for row in rows]
    assert distances == sorted(distances)


@pytest.mark.skipif(os.name == "nt", reason="names are texts there")
def test_names_of_any_bytes_are_listed(tmp_path, model, concepts, photos, monkeypatch):
    monkeypatch.setattr("persam.segmentation.UNSURE", (0.0, 1.0))
    (photos / "a.png").rename(photos / os.fsdecode(b"caf\xe9.png"))
    fill(tmp_path / "out", model, concepts["red"], photos)
    for name in ("unsure.csv", "correct.csv"):
        assert "caf\\udce9.png" in (tmp_path / "out" / name).read_text("utf-8")


def test_pictures_that_are_wanted_later_are_added_without_looking_again(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    fill(tmp_path / "out", model, concepts["red"], photos, overlay=True, cutout=True)
    assert model.model.encoded == 0
    assert len(list((tmp_path / "out" / "overlays" / "red").iterdir())) == 3


def test_a_mask_that_a_person_corrected_stays_and_stops_nothing(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos)
    mask = tmp_path / "out" / "masks" / "red" / "a.png"
    Image.new("L", (160, 120), 255).save(mask)
    corrected = mask.read_bytes()
    Image.fromarray(draw(red=(70, 40))).save(photos / "d.png")
    report = fill(tmp_path / "out", model, concepts["red"], photos)
    assert (report.done_now, report.done_before, report.kept) == (1, 3, [])
    report = fill(tmp_path / "out", model, concepts["red"], photos, max_instances=2)
    assert [Path(photo).name for photo in report.kept] == ["a.png"]
    assert report.done_now == 3
    assert mask.read_bytes() == corrected
    fill(tmp_path / "out", model, concepts["red"], photos, overwrite=True)
    assert mask.read_bytes() != corrected


def test_strangers_files_are_not_replaced_and_nothing_is_begun(tmp_path, model, concepts, photos):
    mine = tmp_path / "out" / "masks" / "red" / "b.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"masks/red/b.png"):
        fill(tmp_path / "out", model, concepts["red"], photos)
    assert mine.read_bytes() == b"mine"
    assert [file for file in (tmp_path / "out").rglob("*") if file.is_file()] == [
        mine
    ]  # nothing that looks like an album
    assert model.model.encoded == 0


def test_two_at_once_are_refused(tmp_path, model, concepts, photos):
    with Album(tmp_path / "out"), pytest.raises(PersamError, match="Another persam is writing"):
        Album(tmp_path / "out")


def test_results_of_segment_are_not_replaced(tmp_path, model, concepts, photos):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match=r"results.jsonl"):
        Album(tmp_path / "out")


def test_two_concepts_of_one_name_are_refused(tmp_path, model, concepts, photos):
    with pytest.raises(UsageError, match="of another name"):
        fill(tmp_path / "out", model, [concepts["red"], concepts["red"]], photos)


def test_a_drawn_scene_with_the_bundled_model(tmp_path):
    model = PerSAM.from_pretrained()
    image, mask = draw_scene()
    Image.fromarray(draw_scene(center=(90, 50), seed=3)[0]).save(tmp_path / "p.jpg")
    with Album(tmp_path / "out") as album:
        album.fill(model, model.learn(image, mask, name="disc"), tmp_path / "p.jpg")
        (line,) = album.lines()
    alone = model.segment(tmp_path / "p.jpg", model.learn(image, mask, name="disc"))
    assert line["score"] == pytest.approx(alone.score, abs=1e-4)
    assert (np.asarray(Image.open(tmp_path / "out" / line["files"]["mask"])) > 0).sum() == alone.mask.sum()


def test_a_small_thing_in_a_large_photo_is_found_also_by_what_was_kept_of_it(tmp_path):
    """The photo is read at a part of its size, and for the second concept not at all."""
    model = PerSAM.from_pretrained()
    image, _ = draw_scene(1800, 2400, center=(1600, 600), radius=52, seed=1)
    Image.fromarray(image).save(tmp_path / "p.jpg", quality=95)
    first, second = (model.learn(*draw_scene(), name=name) for name in ("disc", "disc again"))
    with Album(tmp_path / "out") as album:
        album.fill(model, first, tmp_path / "p.jpg", cache=10**8)
        (line,) = album.lines()
        (ranked,) = album.find(model, second, cache=10**8)
    assert (ranked.score, list(ranked.box)) == (line["score"], line["box"])
    assert line["score"] == pytest.approx(model.segment(tmp_path / "p.jpg", first).score, abs=0.05)
    assert np.abs(np.array(line["box"]) - [1548, 548, 1653, 653]).max() < 15


def test_find_ranks_an_album_by_a_new_concept_and_writes_nothing(tmp_path, model, concepts, photos):
    fill(tmp_path / "out", model, concepts["red"], photos, cache=10**8)
    before = tree(tmp_path / "out")
    with Album(tmp_path / "out") as album:
        ranked = album.find(model, concepts["green"], cache=10**8)
    assert {Path(one.image).name for one in ranked[:2]} == {"b.png", "c.png"}
    assert Path(ranked[2].image).name == "a.png"
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
    assert model.model.encoded == 3  # when the album was filled
    assert tree(tmp_path / "out") == before
    with Album(tmp_path / "out") as album:  # it joins at no cost
        decoded = len(model.model.decoded)
        album.fill(model, concepts["green"], photos)
        assert len(model.model.decoded) == decoded


class TestOddities:
    """What a reader of this code thought of."""

    def test_no_pixel_has_two_concepts_though_some_photos_were_done_otherwise(self, tmp_path, model, concepts, photos):
        alike = model.learn(draw(red=(80, 60)), disc(80, 60), name="scarlet")
        fill(tmp_path / "out", model, concepts["red"], photos)
        fill(tmp_path / "out", model, concepts["red"], photos / "b.png", threshold=0.4)
        fill(tmp_path / "out", model, alike, photos)
        for name in ("a.png", "c.png"):
            both = [np.asarray(Image.open(tmp_path / "out" / "masks" / each / name)) > 0 for each in ("red", "scarlet")]
            assert not (both[0] & both[1]).any()
            assert (both[0] | both[1]).any()

    def test_another_mode_has_encodings_of_its_own(self, tmp_path, photos):
        persam, paper = (PerSAM(ColourModel(), settings=Settings.of(mode)) for mode in ("persam", "paper"))
        large = Image.fromarray(draw(red=(50, 50))).resize((3200, 2400))
        (tmp_path / "large").mkdir()
        large.save(tmp_path / "large" / "p.jpg")
        first = persam.learn(draw(red=(40, 60)), disc(40, 60), name="one")
        second = paper.learn(draw(red=(40, 60)), disc(40, 60), name="two")
        fill(tmp_path / "out", persam, first, tmp_path / "large", cache=10**8)
        fill(tmp_path / "out", paper, second, tmp_path / "large", cache=10**8)
        assert paper.model.encoded == 1

    @pytest.mark.parametrize("error", [MemoryError("no"), ValueError("odd"), RuntimeError("odd"), KeyError("odd")])
    def test_whatever_one_photo_does_the_others_are_done(self, tmp_path, model, concepts, photos, monkeypatch, error):
        own = worker.read_smaller

        def broken(photo: Path, side: int | None, *data: bytes | None):
            if Path(photo).name == "b.png":
                raise error
            return own(photo, side, *data)

        monkeypatch.setattr(worker, "read_smaller", broken)
        report = fill(tmp_path / "out", model, concepts["red"], photos)
        assert [Path(photo).name for photo, _ in report.failures] == ["b.png"]
        assert type(error).__name__ in report.failures[0][1]
        assert len(results(tmp_path / "out")) == 2

    def test_a_full_index_ends_the_run_in_one_sentence(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos / "a.png")
        with Album(tmp_path / "out") as album:
            pages = album.index._db.execute("PRAGMA page_count").fetchone()[0]
            album.index._db.execute(f"PRAGMA max_page_count = {pages}")
            for number in range(60):  # until the free pages are used up, too
                Image.fromarray(draw(red=(30 + number, 50))).save(photos / f"more-{number}.png")
            with pytest.raises(PersamError, match="cannot be used"):
                album.fill(model, concepts["red"], photos)
        assert results(tmp_path / "out")

    def test_a_photo_that_changes_while_it_is_read_is_told(self, tmp_path, model, concepts, photos, monkeypatch):
        fill(
            tmp_path / "out", model, concepts["green"], photos
        )  # so that the model is there, and photos are read ahead
        own = worker.read_smaller

        def changing(photo: Path, side: int | None, *data: bytes | None):
            read = own(photo, side)
            if Path(photo).name == "c.png":
                Image.fromarray(draw(green=(60, 60))).save(photo)
            return read

        monkeypatch.setattr(worker, "read_smaller", changing)
        report = fill(tmp_path / "out", model, concepts["red"], photos)
        assert [Path(photo).name for photo, _ in report.failures] == ["c.png"]
        assert "changed while it was read" in report.failures[0][1]

    def test_results_of_an_empty_folder_stay_for_it_may_be_a_disk_that_is_away(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        away = tmp_path / "away"
        photos.rename(away)
        photos.mkdir()
        other = tmp_path / "other.png"
        Image.fromarray(draw(red=(70, 40))).save(other)
        report = fill(tmp_path / "out", model, concepts["red"], other)
        assert report.gone == []
        assert len(results(tmp_path / "out")) == 4

    def test_overwrite_does_all_again(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        report = fill(tmp_path / "out", model, concepts["red"], photos, overwrite=True)
        assert model.model.encoded == 3
        assert (report.done_now, report.known) == (3, 0)

    def test_fewer_pictures_wanted_take_none_away(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos, overlay=True)
        fill(tmp_path / "out", model, concepts["green"], photos)
        assert len(list(tmp_path.glob("out/overlays/red/*.jpg"))) == 3

    def test_a_photo_that_was_replaced_keeps_no_line_of_the_old_one(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, [concepts["red"], concepts["green"]], photos)
        Image.fromarray(draw(green=(70, 40))).save(photos / "a.png")
        fill(tmp_path / "out", model, concepts["green"], photos)
        of_a = [line["concept"] for line in results(tmp_path / "out") if line["image"].endswith("a.png")]
        assert of_a == ["green"]
        assert not (tmp_path / "out" / "masks" / "red" / "a.png").exists()

    def test_a_lost_index_is_made_anew(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        for file in (tmp_path / "out" / ".persam").glob("index*"):
            file.unlink()
        report = fill(tmp_path / "out", model, concepts["red"], photos)
        assert report.done_now == 3

    def test_what_a_killed_run_left_half_written_goes(self, tmp_path, model, concepts, photos):
        left = [
            tmp_path / "out" / place / ".12-34.tmp.png" for place in (".persam/encodings", "masks/red", "yolo/labels")
        ]
        for file in left:
            file.parent.mkdir(parents=True)
            file.write_bytes(b"half of i")
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            album.export(["yolo"])
        assert [file for file in left if file.exists()] == []

    def test_a_closed_album_says_so(self, tmp_path):
        album = Album(tmp_path / "out")
        album.close()
        album.output.close()
        with pytest.raises(PersamError, match="is closed"):
            list(album.lines())

    def test_an_album_that_cannot_be_opened_is_not_locked(self, tmp_path):
        (tmp_path / "out" / ".persam").mkdir(parents=True)
        (tmp_path / "out" / ".persam" / "index.sqlite").write_bytes(b"dear diary " * 500)
        for _ in range(2):
            with pytest.raises(PersamError, match="all photos are done again"):
                Album(tmp_path / "out")

    @pytest.mark.parametrize("wrong", [{"max_instances": 0}, {"threshold": 7}])
    def test_numbers_out_of_range_are_refused_at_once(self, tmp_path, model, concepts, photos, wrong):
        with pytest.raises(UsageError):
            fill(tmp_path / "out", model, concepts["red"], photos, **wrong)
        assert not list(tmp_path.glob("out/masks/*/*"))

    def test_concepts_of_a_generator(self, tmp_path, model, concepts, photos):
        assert fill(tmp_path / "out", model, (each for each in concepts.values()), photos).done_now == 3


class TestFix:
    """Corrected masks become shots, and the album's."""

    def test_a_mask_that_was_drawn_in_the_folder_is_learned_from_and_kept(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        mask = tmp_path / "out" / "masks" / "red" / "b.png"  # where green is, and red was not found
        Image.fromarray(disc(100, 70)).save(mask)
        with Album(tmp_path / "out") as album:
            fixed = album.fix(model, concepts["red"])
            line = album.index.line(str(photos / "b.png"), "red")
        assert [Path(photo).name for photo in fixed.corrected] == ["b.png"]
        assert len(fixed.concept.references) == 2
        assert line is not None
        assert (line["present"], line["score"]) == (True, 1.0)
        np.testing.assert_array_equal(np.asarray(Image.open(mask)) > 0, disc(100, 70))
        again = model.segment(draw(green=(40, 40)), fixed.concept)  # what the correction taught
        assert (again.mask & disc(40, 40)).sum() > 500
        report = fill(tmp_path / "out", model, fixed.concept, photos)  # the correction is there to stay
        assert report.kept == []
        np.testing.assert_array_equal(np.asarray(Image.open(mask)) > 0, disc(100, 70))

    def test_only_unsure_photos_are_looked_at_again(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            unsure = [line["image"] for line in album.lines() if line["verdict"] == "unsure"]
            model.model.encoded = 0
            fixed = album.fix(model, concepts["red"], {str(photos / "a.png"): disc(50, 50)})
        assert fixed.looked_at == [image for image in unsure if not image.endswith("a.png")]
        assert model.model.encoded == 1 + len(fixed.looked_at)  # and the new shot

    def test_it_is_not_there(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            fixed = album.fix(model, concepts["red"], {str(photos / "a.png"): np.zeros((120, 160), bool)})
            line = album.index.line(str(photos / "a.png"), "red")
        assert fixed.concept is concepts["red"]
        assert line is not None
        assert (line["present"], line["verdict"], line["score"]) == (False, "absent", 0.0)

    def test_an_earlier_correction_is_carried_on(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            first = album.fix(model, concepts["red"], {str(photos / "a.png"): disc(50, 50)})
            second = album.fix(model, first.concept, {str(photos / "c.png"): disc(30, 80)})
            album.fill(model, second.concept, photos)
            lines = {Path(line["image"]).name: line for line in album.lines()}
        assert (lines["a.png"]["score"], lines["c.png"]["score"]) == (1.0, 1.0)
        assert len(second.concept.references) == 3

    def test_a_correction_holds_however_the_concept_is_looked_for(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            fixed = album.fix(model, concepts["red"], {str(photos / "b.png"): disc(100, 70)})
        other = model.learn(draw(red=(80, 60)), disc(80, 60), name="red")
        for again, options in ((fixed.concept, {"max_instances": 3}), (other, {}), (other, {"overwrite": True})):
            fill(tmp_path / "out", model, again, photos, **options)
            mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "red" / "b.png")) > 0
            np.testing.assert_array_equal(mask, disc(100, 70))
        with Album(tmp_path / "out") as album:
            assert album.find(model, other)[0].score == 1.0

    def test_nothing_to_correct(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            with pytest.raises(UsageError, match="There is no correction"):
                album.fix(model, concepts["red"])
            with pytest.raises(UsageError, match='no concept "green"'):
                album.fix(model, concepts["green"])
            with pytest.raises(PersamError, match="aspect"):
                album.fix(model, concepts["red"], {str(photos / "a.png"): np.ones((10, 90), bool)})

    def test_another_number_format_is_another_find(self, tmp_path, model, concepts, photos):
        fill(tmp_path / "out", model, concepts["red"], photos)
        with Album(tmp_path / "out") as album:
            assert album.fill(model, concepts["red"], photos, dtypes=["float32"]).done_now == 0
            assert album.fill(model, concepts["red"], photos, dtypes=["bfloat16"]).done_now == 3
