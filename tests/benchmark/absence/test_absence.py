"""Is it there at all: every object in every other object's photos."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.benchmark.methods_for_tests import ByColour, Failing, drawn_episodes
from tests.fakes import ColourModel

from persam.benchmark.absence.plots import draw_reliability, plot_scores
from persam.benchmark.absence.report import RELIABILITY, AbsentReport
from persam.benchmark.absence.summary import failure_of, is_there, pair_row, summarise_absent
from persam.benchmark.episodes import Episode
from persam.benchmark.methods.ours import PersamMethod
from persam.benchmark.records import Record, presence_queries
from persam.benchmark.running.run import ask
from persam.benchmark.running.run_folder import ABSENT, RunFolder
from persam.errors import PersamError
from persam.method.settings import Settings
from persam.metrics import Counts
from persam.models.fitted import Fitted

CUES = {"similarity": 4.0, "nearest": 1.0, "background": 1.0, "colour": 0.5}
FITTED = Fitted(CUES, -0.5, refine=False, presence={"likeness": (4.0, 0.8)}, presence_offset=0.1)


def look_for_all(episodes: list[Episode], method, progress=None, folder=None) -> list[Record]:
    """Every object in every photo, as `persam bench --absent` asks."""
    store = None if folder is None else RunFolder(folder, {}, records=ABSENT)
    return ask(presence_queries(episodes), [method], progress, store=store, masks=False)


class Knowing(ByColour):
    """Its score is how near the photo's red centre is to the reference's, so it can be told what is where."""

    def find(self, photo, learned):
        found = super().find(photo, learned)
        return replace(found, score=len(learned) / 10, present=learned == "mug")


def test_every_object_in_the_photos_of_all(tmp_path):
    episodes = drawn_episodes(tmp_path, ("mug", "cat", "elephant"))
    steps: list[int] = []
    answers = look_for_all(episodes, Knowing("m"), lambda: steps.append(1))
    assert len(steps) == len(presence_queries(episodes)) == 6
    assert len(answers) == 6 * 3
    asked = [(answer.sample, answer.object, is_there(answer)) for answer in answers]
    assert asked[:3] == [("mug/01", "mug", True), ("mug/01", "cat", False), ("mug/01", "elephant", False)]
    assert sum(map(is_there, answers)) == 6
    assert all(answer.boundary is None is answer.contour for answer in answers)  # only the verdict counts


def test_each_photo_is_encoded_once_for_all_concepts(tmp_path):
    model = ColourModel()
    method = PersamMethod("p", model, Settings.of("persam"))
    answers = look_for_all(drawn_episodes(tmp_path, ("mug", "cat", "owl")), method)
    assert model.encoded == 3 + 6  # references and photos
    assert len(answers) == 18
    assert all(answer.threshold is not None and answer.failure is None for answer in answers)


def test_an_object_that_is_out_of_sight_is_absent_in_its_own_photo(tmp_path):
    episodes = drawn_episodes(tmp_path)
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "masks/mug/01.png")
    answers = look_for_all(episodes, Knowing())
    assert [is_there(a) for a in answers if a.sample == "mug/01"] == [False, False]


def test_two_objects_of_one_photo(tmp_path):
    """DAVIS 2017: both objects are in the frame, which is one photo."""
    first, second = drawn_episodes(tmp_path, ("bear/1", "cat"))
    twin = replace(
        first, object="bear/2", tests=tuple(replace(s, name=s.name.replace("/1/", "/2/")) for s in first.tests)
    )
    answers = look_for_all([first, twin, second], Knowing())
    assert len(presence_queries([first, twin, second])) == 4
    there = {(a.sample, a.object) for a in answers if is_there(a)}
    assert {("bear/1/01", "bear/1"), ("bear/1/01", "bear/2"), ("cat/01", "cat")} <= there
    assert ("cat/01", "bear/2") not in there


def test_an_object_is_not_looked_for_in_its_own_reference(tmp_path):
    first, second = drawn_episodes(tmp_path)
    second = replace(second, tests=(*second.tests, first.references[0]))
    answers = look_for_all([first, second], Knowing())
    assert ("mug/00", "mug") not in {(a.sample, a.object) for a in answers}
    assert ("mug/00", "cat") in {(a.sample, a.object) for a in answers}


def test_failures_are_named_and_do_not_count(tmp_path):
    answers = look_for_all(drawn_episodes(tmp_path), Failing("m", on=[1]))
    (failed,) = [answer for answer in answers if answer.failure]
    assert failed.score is None
    (summary,) = summarise_absent([replace(a, score=None if a.failure else float(is_there(a))) for a in answers])
    assert list(summary.missing) == [f"{failed.object} in {failed.sample}"]
    assert summary.with_object + summary.without == 7
    episodes = drawn_episodes(tmp_path)
    episodes[0].tests[0].photo.write_bytes(b"")
    answers = look_for_all(episodes, Knowing())
    assert [(a.object, is_there(a)) for a in answers if a.failure is not None] == [("mug", True), ("cat", False)]


def test_a_score_that_is_no_number_is_no_answer(tmp_path):
    class Unsure(Knowing):
        def find(self, photo, learned):
            return replace(super().find(photo, learned), score=float("nan"))

    answer, *_ = look_for_all(drawn_episodes(tmp_path), Unsure())
    assert (answer.score, failure_of(answer)) == (None, "the score is no finite number")
    assert pair_row(answer)["failure"] == failure_of(answer)


def test_going_on(tmp_path):
    episodes, out = drawn_episodes(tmp_path / "data"), tmp_path / "out"
    whole = look_for_all(episodes, Knowing(), folder=out)
    assert sorted(path.name for path in out.iterdir()) == [ABSENT, "settings.json"]  # no predictions
    lines = (out / ABSENT).read_text().splitlines(keepends=True)
    (out / ABSENT).write_text("".join(lines[:3]))
    method = Knowing()
    again = look_for_all(episodes, method, folder=out)
    assert method.asked == 5
    assert sorted(method.learned) == ["cat", "mug"]
    assert [pair_row(a) | {"seconds": 0} for a in again] == [pair_row(a) | {"seconds": 0} for a in whole]


def test_answers_of_another_version(tmp_path):
    RunFolder(tmp_path, {})
    (tmp_path / ABSENT).write_text('{"method": "m"}\n')
    with pytest.raises(PersamError, match="another version of persam"):
        look_for_all(drawn_episodes(tmp_path), Knowing(), folder=tmp_path)


def answer(
    score: float | None,
    expected: bool,
    present: bool | None = None,
    photo: str = "",
    *,
    calibrated: bool = False,
    method: str = "m",
) -> Record:
    return Record(
        method=method,
        data_set="s",
        object="o",
        sample=photo or f"p{score}",
        references=(),
        fold=None,
        counts=Counts(0, 0, int(expected), 100),
        on_object=None,
        score=score,
        present=present,
        seconds=0.1,
        threshold=None if present is None else 0.4,
        calibrated=calibrated,
    )


def honest(method: str = "m", count: int = 400, bend: float = 1.0) -> list[Record]:
    """Answers of a method that knows how sure it may be, or, bent, is too sure of itself; half of the questions are
    with the object, though the score is for 1 in 4."""
    rng = np.random.default_rng(3)
    answers = []
    for number in range(count):
        expected = number % 2 == 0
        evidence = rng.normal(1 if expected else -1)  # of which the log odds are 2 * evidence
        odds = bend * 2 * evidence - np.log(3)
        score = float(1 / (1 + np.exp(-odds)))
        answers.append(answer(score, expected, score >= 0.5, str(number), calibrated=True, method=method))
    return answers


def test_summary_by_hand():
    answers = [
        answer(0.9, True, True),
        answer(0.6, True, True),
        answer(0.3, True, False),
        answer(0.5, False, True),
        answer(0.2, False, False),
        answer(0.1, False, False),
    ]
    (summary,) = summarise_absent(answers)
    wins = sum(p > n for p in (0.9, 0.6, 0.3) for n in (0.5, 0.2, 0.1))
    assert summary.auroc == pytest.approx(wins / 9)
    assert summary.fpr_at_95_tpr == pytest.approx(1 / 3)
    assert (summary.own_tpr, summary.own_fpr) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert summary.own_thresholds == pytest.approx((0.4, 0.4, 0.4))
    assert (summary.paper.tpr, summary.paper.fpr) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert summary.auroc_interval is not None
    assert summary.auroc_interval[0] <= summary.auroc <= summary.auroc_interval[1]
    assert summary.best.tpr - summary.best.fpr == pytest.approx(2 / 3)


def test_how_often_the_verdict_is_right():
    answers = [answer(0.9, True, True), answer(0.3, True, False), answer(0.2, False, False), answer(0.1, False, False)]
    (summary,) = summarise_absent([*answers, answer(0.5, False), answer(None, True, True)])
    assert (summary.right, summary.verdicts) == (0.75, 4)  # neither without a verdict nor without a score
    assert summary.right_interval is not None
    assert summary.right_interval[0] < 0.75 < summary.right_interval[1]
    assert summary.calibration is None


def test_calibration_by_hand():
    answers = [
        answer(0.9, True, True, calibrated=True),
        answer(0.6, True, True, calibrated=True),
        answer(0.8, False, True, calibrated=True),
        answer(0.5, False, True, calibrated=True),
        answer(0.2, False, False, calibrated=True),
    ]
    (summary,) = summarise_absent(answers)
    found = summary.calibration
    assert summary.paper is None  # 0.45 is of a similarity
    # A quarter in all for the two with the object, three quarters for the three without.
    assert found.brier == pytest.approx(0.125 * (0.1**2 + 0.4**2) + 0.25 * (0.8**2 + 0.5**2 + 0.2**2))
    assert found.error == pytest.approx(0.125 * (0.1 + 0.4) + 0.25 * (0.8 + 0.5 + 0.2))
    assert [each.count for each in found.bins] == [1, 1, 1, 1, 1]
    assert found.unsure == pytest.approx(2 / 5)  # 0.6 and 0.5
    assert (found.sure, found.sure_right) == (3, pytest.approx(2 / 3))  # 0.8 is not right


def test_an_honest_score_is_told_from_one_that_is_too_sure():
    good, bad = summarise_absent([*honest("good"), *honest("bad", bend=3)])
    assert good.auroc == pytest.approx(bad.auroc)
    assert good.calibration.error < 0.06 < bad.calibration.error
    assert good.calibration.brier < bad.calibration.brier
    assert good.calibration.brier_interval[0] < good.calibration.brier < good.calibration.brier_interval[1]
    assert good.calibration.unsure > bad.calibration.unsure
    assert good.calibration.sure_right > good.right


def test_a_score_that_is_no_probability_is_not_taken_for_one():
    mixed = [answer(0.9, True, True, calibrated=True), answer(-0.2, False, False)]
    assert summarise_absent(mixed)[0].calibration is None


def test_whether_it_is_calibrated_goes_through_the_files(tmp_path):
    (record, *_) = honest(count=2)
    assert Record.from_dict(record.to_dict()).calibrated
    old = {key: value for key, value in record.to_dict().items() if key != "calibrated"}
    assert not Record.from_dict(old).calibrated
    model = ColourModel()
    method = PersamMethod("p", model, Settings.of("persam"))
    assert not any(each.calibrated for each in look_for_all(drawn_episodes(tmp_path), method))
    method.persam.fitted = FITTED
    answers = look_for_all(drawn_episodes(tmp_path), method, folder=tmp_path / "out")
    assert all(each.calibrated and 0 <= each.score <= 1 for each in answers)
    assert look_for_all(drawn_episodes(tmp_path), method, folder=tmp_path / "out") == answers


class TestReport:
    def test_all_of_it(self, tmp_path):
        rough = [answer(0.7, True, True, method="rough"), answer(0.5, False, True, method="rough")]
        report = AbsentReport("title", [*honest("good"), *honest("bad", bend=3), *rough], {})
        names = report.write(tmp_path)
        assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
        picture = np.asarray(Image.open(tmp_path / RELIABILITY).convert("RGB"))
        assert picture.shape[0] > 800
        assert (tmp_path / "report.html").read_text(encoding="utf-8").count("data:image/png;base64,") == 2
        values = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
        found = values["methods"]["good"]["calibration"]
        assert sum(each["count"] for each in found["bins"]) == 400
        assert values["methods"]["rough"]["calibration"] is None
        assert "1 in 4" in values["protocol"]["sentence"]

    def test_cells(self):
        rows = {row[0]: dict(zip(table.columns, row, strict=True)) for table in [self.table()] for row in table.rows}
        assert rows["good"]["0.45"] == "–"
        assert rows["good"]["right"].endswith("of 400")
        assert "else right" in rows["good"]["unsure"]
        assert rows["rough"]["Brier"] == rows["rough"]["ECE"] == rows["rough"]["unsure"] == "–"
        assert rows["rough"]["0.45"] == "TPR 100.0%, FPR 100.0%"

    def table(self):
        rough = [answer(0.7, True, True, method="rough"), answer(0.5, False, True, method="rough")]
        return AbsentReport("title", [*honest("good"), *rough], {}).table()

    def test_without_a_calibrated_method_nothing_is_said_of_calibration(self, tmp_path):
        report = AbsentReport("title", [answer(0.7, True, True), answer(0.5, False, True)], {})
        assert RELIABILITY not in report.write(tmp_path)
        assert not (tmp_path / RELIABILITY).exists()
        assert not any("Brier" in note for note in report.table().notes)
        assert draw_reliability(report.summaries, "title") is None


def test_a_method_without_a_verdict():
    (summary,) = summarise_absent([answer(0.9, True), answer(0.1, False)])
    assert summary.own_tpr is None is summary.own_thresholds
    assert summary.right is None is summary.right_interval


def test_histogram(tmp_path):
    rng = np.random.default_rng(0)
    answers = [answer(float(rng.normal(0.7 if n % 2 else 0.4, 0.1)), bool(n % 2), True, str(n)) for n in range(80)]
    plot_scores(answers, summarise_absent(answers), "title", tmp_path / "scores.png")
    picture = np.asarray(Image.open(tmp_path / "scores.png").convert("RGB"))
    assert picture.shape[1] == 960
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_scores_of_one_kind_alone_are_refused():
    with pytest.raises(ValueError, match="one kind is missing"):
        summarise_absent([answer(0.9, True), answer(0.8, True)])
