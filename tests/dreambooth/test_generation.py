"""Generation: the pipeline's own pictures, the same noise for every run, what was made is not made again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from tests.dreambooth.score_fixtures import generated
from tests.dreambooth.test_runs import run_in

from persam.dreambooth import generation as module
from persam.dreambooth.gallery import GRID, PAGE, PictureGrid, write_gallery_of
from persam.dreambooth.generated import read_generated
from persam.dreambooth.generation import PicturePlan, Sampling, SamplingChoice, generate, plan
from persam.dreambooth.pipelines import load_pipeline, quiet
from persam.dreambooth.prompts import DEFAULT_PROMPTS, FilledPrompt, check_prompts, fill, read_prompts
from persam.dreambooth.runs import Run, write_run
from persam.dreambooth.sources import PictureSource, read_sources
from persam.dreambooth.subjects import Subject
from persam.errors import PersamError, UsageError

Tiny = Callable[[str], Path]
PROMPTS = ("a photo of {subject}", "a red {subject} on the beach")


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, `one` and `other`, the second with other weights."""
    home = tmp_path_factory.mktemp("runs")
    pipeline = load_pipeline(tiny("sd15"), device="cpu", dtype="float32")
    for number, name in enumerate(("one", "other")):
        with torch.no_grad():
            pipeline.unet.conv_out.bias.fill_(0.2 * number)
        with quiet():
            pipeline.save_pretrained(home / name / "pipeline")
        write_run(replace(run_in(home / name, tiny("sd15"), "full"), masked=number == 0))
    return home


def planned(sources: list[PictureSource], folder: Path, seeds: int = 2, **more: Any) -> PicturePlan:
    choice = more.pop("choice", SamplingChoice(steps=3))
    return plan(sources, PROMPTS, range(seeds), folder, choice=choice, device="cpu", dtype="float32", **more)


def test_pictures_are_those_of_the_pipeline(runs: Path, tiny: Tiny, tmp_path: Path) -> None:
    """Made once more with diffusers alone, as published but for the number of steps; the base is asked without t@y."""
    found, notes = generate(planned(read_sources([str(runs / "other")], base=True), tmp_path))
    assert notes == []
    assert list(found.runs) == ["other", "base"]
    for run, folder, words in (
        ("other", runs / "other" / "pipeline", "a red t@y mug on the beach"),
        ("base", tiny("sd15"), "a red mug on the beach"),
    ):
        pipeline = load_pipeline(folder, device="cpu", dtype="float32")
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
        noise = torch.Generator().manual_seed(1)
        with quiet():
            theirs = pipeline(words, generator=noise, num_inference_steps=3, guidance_scale=10.0, height=32, width=32)
        picture = found.of(run, 1)[1]
        assert (picture.asked, picture.caption, picture.seed) == (words, "a red mug on the beach", 1)
        np.testing.assert_array_equal(np.asarray(theirs.images[0]), np.asarray(Image.open(picture.file)))


def test_every_run_begins_with_the_same_noise(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins: list[torch.Tensor] = []
    step = DDIMScheduler.step

    def first_steps(self: Any, output: Any, timestep: Any, sample: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if timestep == self.timesteps[0]:
            begins.extend(sample.clone())
        return step(self, output, timestep, sample, *rest, **more)

    monkeypatch.setattr(DDIMScheduler, "step", first_steps)
    sources = read_sources([str(runs / "one"), str(runs / "other")], base=True)
    generate(planned(sources, tmp_path), batch=2)
    assert len(begins) == 3 * 2 * 2
    by_seed = [torch.stack(begins[seed::2]) for seed in (0, 1)]
    assert all(bool((each == each[0]).all()) for each in by_seed)
    assert not torch.equal(by_seed[0][0], by_seed[1][0])


def test_what_is_there_is_not_made_again(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = read_sources([str(runs / "one")])
    made: list[str] = []
    write = module._write

    def counted(each: Any, pixels: np.ndarray, **more: Any) -> None:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(each.picture.file.name)
        write(each, pixels, **more)

    monkeypatch.setattr(module, "_write", counted)
    with pytest.raises(KeyboardInterrupt):
        generate(planned(sources, tmp_path))
    assert len(read_generated(tmp_path).pictures) == 3  # what is there is listed
    before = {each.file: each.file.stat().st_mtime_ns for each in read_generated(tmp_path).pictures}
    made.clear()
    told: list[dict[str, int]] = []
    found, _ = generate(planned(sources, tmp_path), progress=lambda **what: told.append(what))
    assert made == ["seed_0001.png"]
    assert told == [{"before": 3}, {}]
    assert len(found.pictures) == 4
    assert {file: file.stat().st_mtime_ns for file in before} == before

    made.clear()
    generate(planned(sources, tmp_path, seeds=1, choice=SamplingChoice(steps=2)))  # other settings: made anew
    assert len(made) == 2
    made.clear()
    monkeypatch.setattr(PictureSource, "pipeline", lambda *_: pytest.fail("loaded for nothing"))
    generate(planned(sources, tmp_path, seeds=1, choice=SamplingChoice(steps=2)))
    assert made == []
    (runs / "one" / "run.json").touch()  # trained anew
    with pytest.raises(pytest.fail.Exception, match="loaded for nothing"):
        generate(planned(sources, tmp_path, seeds=1, choice=SamplingChoice(steps=2)))


@pytest.mark.parametrize(
    ("family", "usual"),
    [
        ("sd21", Sampling("ddim", 100, 10.0)),
        ("sdxl", Sampling("ddim", 100, 10.0)),
        ("sd3", Sampling("own", 28, 7.0)),
        ("flux", Sampling("own", 28, 3.5)),
    ],
)
def test_every_family_has_its_usual_numbers_and_makes_pictures(
    family: str, usual: Sampling, tiny: Tiny, tmp_path: Path
) -> None:
    sources = read_sources([str(tiny(family))])
    assert SamplingChoice().for_source(sources[0]) == usual
    prompts, choice = ["a photo of mug"], SamplingChoice(steps=2, size=32)
    found, _ = generate(plan(sources, prompts, [0], tmp_path, choice=choice, device="cpu", dtype="float32"))
    assert Image.open(found.pictures[0].file).size == (32, 32)
    assert found.runs[family]["family"] == family
    if family in ("sd3", "flux"):
        with pytest.raises(UsageError, match="trained by flow matching, for which there is no ddim; use own"):
            SamplingChoice(sampler="ddim").for_source(sources[0])


def test_schnell_takes_four_steps(tiny: Tiny) -> None:
    source = replace(read_sources([str(tiny("flux"))])[0], model="black-forest-labs/FLUX.1-schnell")
    assert SamplingChoice().for_source(source) == Sampling("own", 4, 0.0)


def test_other_samplers(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = load_pipeline(runs / "one" / "pipeline", device="cpu", dtype="float32")
    own = pipeline.scheduler
    monkeypatch.setattr(PictureSource, "pipeline", lambda *_: pipeline)
    for sampler, name in {"own": "PNDM", "dpm++": "DPMSolverMultistep", "euler": "EulerDiscrete"}.items():
        pipeline.scheduler = own
        choice = SamplingChoice(sampler, steps=2, guidance=3)
        found, _ = generate(planned(read_sources([str(runs / "one")]), tmp_path, seeds=1, choice=choice))
        assert found.runs["one"]["sampler"] == sampler
        assert type(pipeline.scheduler).__name__ == f"{name}Scheduler"


def test_a_withheld_picture_is_told(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Checked:
        """A pipeline whose checker withholds all."""

        def __call__(self, prompt: list[str], **_: Any) -> Any:
            count = len(prompt)
            return type("Made", (), {"images": np.zeros((count, 8, 8, 3)), "nsfw_content_detected": [True] * count})

    monkeypatch.setattr(PictureSource, "pipeline", lambda *_: Checked())
    own = SamplingChoice("own", steps=1)
    for _ in range(2):  # the second time nothing is made
        found, notes = generate(planned(read_sources([str(runs / "one")]), tmp_path, choice=own))
        assert "safety checker withheld 4 of 4 pictures, which are black, such as images" in notes[0]
        assert found.shown == ()
        assert all(each.withheld for each in read_generated(tmp_path).pictures)
    assert "seed 1, withheld" in write_gallery_of(found)[1].read_text(encoding="utf-8")
    Checked.__call__ = lambda self, prompt, **_: type("Made", (), {"images": np.full((len(prompt), 8, 8, 3), np.nan)})
    with pytest.raises(PersamError, match="gives NaN or infinity for the picture 'a photo of t@y mug'"):
        generate(planned(read_sources([str(runs / "one")]), tmp_path / "other", choice=own))


class Drawing:
    """A pipeline that draws grey, and has `seen` what is listed before it begins."""

    def __init__(self, folder: Path, seen: list[int]) -> None:
        self.folder, self.seen = folder, seen

    def __call__(self, prompt: list[str], **_: Any) -> Any:
        self.seen.append(len(read_generated(self.folder).pictures) if (self.folder / "generated.json").exists() else 0)
        return type("Made", (), {"images": np.full((len(prompt), 8, 8, 3), 0.5)})


def test_the_list_is_written_after_every_source(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        shutil.copy(runs / name / "run.json", tmp_path / name)
    seen: list[int] = []
    monkeypatch.setattr(PictureSource, "pipeline", lambda *_: Drawing(tmp_path / "out", seen))
    asked = planned(
        read_sources([str(tmp_path / "one"), str(tmp_path / "other")]), tmp_path / "out", choice=SamplingChoice("own")
    )
    (tmp_path / "one" / "run.json").write_text("changed meanwhile")
    found, notes = generate(asked, batch=2)
    assert seen == [0, 0, 4, 4]
    assert found.runs["one"]["run"]["steps"] == 40
    assert notes == []


def test_other_sizes_begin_with_other_noise(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = read_sources([str(runs / "one"), str(runs / "other")])
    assert isinstance(other.run, Run)
    monkeypatch.setattr(PictureSource, "pipeline", lambda *_: Drawing(tmp_path, []))
    larger = replace(other, run=replace(other.run, resolution=64))
    found, notes = generate(planned([one, larger], tmp_path, choice=SamplingChoice("own")))
    assert not found.same_noise
    assert "one seed gives each of them other start noise" in notes[0]
    assert "begin with the same noise" not in write_gallery_of(found)[1].read_text(encoding="utf-8")


def test_a_model_that_was_trained_anew_makes_other_pictures(tiny: Tiny, tmp_path: Path) -> None:
    base = shutil.copytree(tiny("sd15"), tmp_path / "base")
    lora, full = run_in(tmp_path / "lora", base), run_in(tmp_path / "full", base, "full")
    for each in (lora, full):
        write_run(each)

    def notes() -> list[str]:
        asked = planned(read_sources([str(base), str(lora.folder), str(full.folder)]), tmp_path / "out", seeds=1)
        return [asked.pictures[name][0].note for name in ("base", "lora", "full")]

    before = notes()
    assert before == notes()
    next(base.rglob("*.safetensors")).touch()
    changed = [old != new for old, new in zip(before, notes(), strict=True)]
    assert changed == [True, True, False]  # the full run has all of its model


# ------------------------------------------------------------------------------------------- names and words


def test_sources_have_names_of_their_own(runs: Path, tiny: Tiny, tmp_path: Path) -> None:
    again = tmp_path / "one"
    again.mkdir()
    (again / "run.json").write_bytes((runs / "one" / "run.json").read_bytes())
    named = read_sources([str(runs / "one"), str(again), str(tiny("sd15"))], base=True)
    assert [each.name for each in named] == ["one", "one_2", "sd15"]  # the base is named already


def test_a_base_is_known_by_any_path(runs: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny("sd15").parent)
    for name in ("sd15", "../" + tiny("sd15").parent.name + "/sd15"):
        named = read_sources([str(runs / "one"), name], base=True)
        assert [each.name for each in named] == ["one", "sd15"]
        assert named[1].model == str(tiny("sd15"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "empty has neither run.json nor model_index.json: no training ended there"),
        ("runs/no", "there is no folder runs/no"),
        (
            "nobody/no-such-model",
            "The model nobody/no-such-model is not on this machine, and the hub cannot be reached",
        ),
    ],
)
def test_what_is_no_run(name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("runs").mkdir()
    with pytest.raises(PersamError, match=said):
        read_sources([name])


def test_runs_that_mean_different_things(runs: Path) -> None:
    one, other = read_sources([str(runs / "one"), str(runs / "other")])
    assert isinstance(other.run, Run)
    cat = replace(other, run=replace(other.run, subjects=(Subject("mug", "t@y", "cat", ()),)))
    with pytest.raises(UsageError, match="know mug as t@y mug and as t@y cat"):
        planned([one, cat], runs)


MUG, CAT = Subject("mug", "t@y", "mug", ()), Subject("tom", "s@x", "cat", ())


def test_prompts_are_filled() -> None:
    both = fill("{tom} beside {mug}, and {subject}", [MUG, CAT], "mug")
    assert both.asked == "s@x cat beside t@y mug, and t@y mug"
    assert both.caption == "cat beside mug, and mug"
    assert set(both.subjects) == {"mug", "tom"}
    assert fill("a t@y mug", [MUG, CAT]).subjects == ("mug",)
    assert fill("pet@y mug", [MUG]).caption == "pet@y mug"
    assert fill("a photo of t@y", [MUG]).caption == "a photo of mug"
    assert fill("a lake", []).subjects == ()
    for prompt, subjects, said in (
        ("a {mag}", [MUG], "has the place {mag}, which stands for nothing; use: {subject}, {mug}"),
        ("a {subject}", [MUG, CAT], "several subjects .mug, tom.: say with --subject"),
        ("a {subject}", [], "Nothing says what {subject} in the prompt"),
    ):
        with pytest.raises(UsageError, match=said):
            fill(prompt, subjects)
    assert all("{subject}" in prompt for prompt in DEFAULT_PROMPTS)


def test_subjects_that_were_prepared_apart_have_one_identifier() -> None:
    cat = Subject("tom", "t@y", "cat", ())
    assert fill("a photo of {mug}", [MUG, cat]) == FilledPrompt("a photo of t@y mug", "a photo of mug", ("mug",))
    assert fill("a t@y cat in snow", [MUG, cat]) == FilledPrompt("a t@y cat in snow", "a cat in snow", ("tom",))
    assert fill("a t@y thing", [MUG, cat]) == FilledPrompt("a t@y thing", "a thing", ())


def test_places_and_identifiers_within_quotes_and_brackets() -> None:
    for prompt in ('a book titled "{subject}", and ({subject})', 'a book titled "t@y mug", and (t@y mug)'):
        filled = fill(prompt, [MUG])
        assert filled.asked == 'a book titled "t@y mug", and (t@y mug)'
        assert filled.caption == 'a book titled "mug", and (mug)'
        assert filled.subjects == ("mug",)


def test_a_file_of_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeffa  {subject}\n\n# of places\na {subject} in snow\na {subject}\n", encoding="utf-8")
    assert read_prompts(file) == ("a {subject}", "a {subject} in snow")
    assert check_prompts(["  ", ""]) == ()
    file.write_text("\n# nothing\n")
    with pytest.raises(UsageError, match="has no prompt; write one a line"):
        read_prompts(file)
    with pytest.raises(UsageError, match="There is no file of prompts"):
        read_prompts(tmp_path / "no.txt")
    file.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(PersamError, match="cannot be read as UTF-8"):
        read_prompts(file)


@pytest.mark.parametrize(
    "wrong", [{"sampler": "ddpm"}, {"steps": 0}, {"guidance": -1}, {"guidance": float("nan")}, {"size": 30}]
)
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SamplingChoice(**wrong)


@pytest.mark.parametrize(
    ("family", "choice", "said"),
    [
        ("sd15", {"steps": 1001}, "1001 steps do not spread over the 1000 times .* give 500"),
        ("sd15", {"steps": 1000}, "give 500"),
        ("sdxl", {"steps": 600}, "give 500"),
        ("sd15", {"steps": 350}, "give 333 or 500"),
        ("sd3", {"size": 520}, "sd3 cannot make a picture of 520 pixels; give a --size that is a multiple of 16"),
        ("flux", {"size": 520}, "multiple of 16"),
    ],
)
def test_what_a_family_cannot_make(family: str, choice: dict[str, int], said: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        plan(read_sources([str(tiny(family))]), ["a mug"], [0], tmp_path, choice=SamplingChoice(**choice))


def test_all_other_steps_begin_near_the_largest_noise() -> None:
    for steps in range(1, 501):
        scheduler = DDIMScheduler(steps_offset=1)
        scheduler.set_timesteps(steps)
        apart = 1000 // steps
        begins = int(scheduler.timesteps[0]) + apart - 1
        try:
            module._check_spread(steps, "model")
        except UsageError:
            assert begins < 800
        else:
            assert 800 <= begins <= 1000
            assert int(scheduler.timesteps[0]) < 1000


def test_seeds_that_torch_does_not_know(runs: Path, tmp_path: Path) -> None:
    sources = read_sources([str(runs / "one")])
    with pytest.raises(UsageError, match=f"The seed {2**63} is out of range; give 0 to {2**63 - 1}"):
        plan(sources, PROMPTS, [2**63 - 1, 2**63], tmp_path)


# ------------------------------------------------------------------------------------------- to look at


def test_the_grid_has_every_picture_in_its_place() -> None:
    def picture(row: int, group: int, column: int) -> np.ndarray | None:
        if (row, group, column) == (1, 1, 1):
            return None
        return np.full((4, 4, 3), (10 + row, 20 + group, 30 + column), np.uint8)

    drawn = PictureGrid("title", ("first", "second"), ("a", "b"), [("seed 0", "seed 1")] * 2, picture).draw()
    places = {}
    for row, group, column in np.ndindex(2, 2, 2):
        seen = (drawn == (10 + row, 20 + group, 30 + column)).all(2)
        if (row, group, column) == (1, 1, 1):
            assert not seen.any()
        else:
            assert seen.sum() == 160 * 160
            places[row, group, column] = np.argwhere(seen)[0]
    assert places[0, 0, 0][0] == places[0, 1, 1][0] < places[1, 0, 0][0]
    assert places[0, 0, 0][1] < places[0, 0, 1][1] < places[0, 1, 0][1] < places[0, 1, 1][1]


def test_a_grid_of_many_stays_narrow() -> None:
    names = [str(number) for number in range(10)]
    drawn = PictureGrid("title", ("first",), names, [names[:8]] * 10, lambda *_: None).draw()
    assert 5000 < drawn.shape[1] <= 6000


def test_the_page_shows_all_and_links_to_the_files(tmp_path: Path) -> None:
    made = generated(tmp_path)
    runs = {
        name: told | {"family": "sd15", "sampler": "ddim", "steps": 100, "guidance": 10.0, "dtype": "float32"}
        for name, told in made.runs.items()
    }
    made = replace(made, runs=runs, prompts=("a <b>{subject}</b>", *made.prompts[1:]))
    assert write_gallery_of(made) == [tmp_path / GRID, tmp_path / PAGE]
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.count("<img ") == len(made.pictures)
    assert page.count('href="images/') == len(made.pictures)
    assert "a &lt;b&gt;{subject}" in page
    assert f"<b>{next(iter(runs))}</b>: tiny as it is, asked without identifiers; ddim, 100 steps" in page
    assert "begin with the same noise in every run" in page
