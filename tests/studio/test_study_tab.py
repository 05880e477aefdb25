"""What the tab Study tells annotators and the person who runs the study, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from tests.fakes import ColourModel
from tests.study.people import CAREFUL, ERODER, mask_photos, write_photos
from tests.study.test_times import a_time

from persam import PerSAM, PersamError
from persam.server.engine import Engine
from persam.server.store import ConceptStore
from persam.studio.study import organise
from persam.studio.study.sitting import Sitting
from persam.studio.study.texts import categories, instructions, progress, thanks, within
from persam.studio.workshop import Workshop
from persam.study import Annotation, Study, check, new, read


@dataclass
class Running:
    """A study of two categories of three photos, and a studio for it."""

    study: Study
    truth: dict[str, np.ndarray]
    workshop: Workshop


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    truth = write_photos(tmp_path / "photos" / "disc", 3)
    write_photos(tmp_path / "photos" / "plate", 3, seed=9)
    study = new(tmp_path / "study", {"disc": tmp_path / "photos/disc", "plate": tmp_path / "photos/plate"}, ["anna"])
    with Engine(PerSAM(ColourModel())) as engine, Workshop(engine, ConceptStore(tmp_path / "concepts")) as workshop:
        yield Running(study, truth, workshop)


def text_of(html: str) -> str:
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(html)
    return " ".join(" ".join(parts).split())


def test_what_is_left_is_counted_for_each_person(running: Running) -> None:
    work = Annotation.of(running.study, "disc", "anna")
    work.save(work.photos[1], running.truth["01"], a_time())
    choices = categories(running.study, "anna")
    assert choices["choices"] == [("disc: 1 of 3 done", "disc"), ("plate: 3 photos", "plate")]
    assert choices["value"] == "disc"
    for photo in (work.photos[0], work.photos[2]):
        work.save(photo, running.truth[photo.stem], a_time())
    assert categories(running.study, "anna")["value"] == "plate"
    assert categories(running.study, "somebody new")["choices"][0] == ("disc: 3 photos", "disc")
    sitting = Sitting(running.workshop, work, "model")
    assert "What is left: plate: 3 of 3 photos." in text_of(thanks(sitting))


def test_where_one_is(running: Running) -> None:
    sitting = Sitting(running.workshop, Annotation.of(running.study, "disc", "anna"), "model")
    assert text_of(progress(sitting)).startswith("disc : photo 1 of 3 (0 done, anna) The model will be shown your mask")
    sitting.work.save(sitting.work.photos[1], running.truth["01"], a_time())
    sitting.place = 1
    assert text_of(progress(sitting)) == "disc : photo 2 of 3 (1 done, anna) You have done this photo already."


def test_the_instructions_are_those_of_the_study(running: Running) -> None:
    file = running.study.folder / "README.txt"
    assert "What is asked of you" in instructions(running.study)
    file.write_text("<script>alert(1)</script>")
    assert "<script>" not in instructions(running.study)
    file.unlink()
    assert "This study has no README.txt." in instructions(running.study)


def test_who_has_done_how_much(running: Running) -> None:
    work = Annotation.of(running.study, "disc", "anna")
    work.save(work.photos[0], running.truth["00"], a_time())
    work.save_nothing(work.photos[1], a_time())
    (work.mask_file(work.photos[2])).write_bytes(b"")
    told = text_of(organise._table(check(read(running.study.folder))))
    assert "masks anna disc 1 of 3 plate 0 of 3" in told
    assert "by anna, who says that the object is not in it" in told
    assert "disc/annotators/anna/02.png" in told
    assert str(running.study.folder) not in told  # whoever looks need not know where it lies
    assert "plate/00.png has no mask" not in told  # the numbers say so


def test_the_comparison_ends_in_its_report(running: Running) -> None:
    people = {"anna": CAREFUL, "ben": ERODER}
    mask_photos(running.study.categories[0].folder, running.truth, people, 1)
    mask_photos(running.study.categories[1].folder, running.truth, people, 2)
    said = [text_of(html) for html in organise._compare(running.workshop, read(running.study.folder), "persam")]
    assert said[0] == "Comparing: 0 of 6 photos."
    assert said[-3:-1] == ["Comparing: 6 of 6 photos.", "Writing the report."]
    assert (running.study.folder / "report" / "report.html").is_file()
    [name] = running.workshop.reports._files
    app = FastAPI()
    app.include_router(organise._reports(running.workshop))
    got = TestClient(app).get(f"/study-reports/{name}")
    assert got.headers["content-type"].startswith("text/html")
    assert "sandbox" in got.headers["content-security-policy"]
    assert "<h1>Annotation study</h1>" in got.text
    assert TestClient(app).get("/study-reports/other.html").status_code == 404
    assert check(read(running.study.folder)).complete  # the report is no stray


def test_a_comparison_without_masks_is_a_sentence_and_leaves_nothing(running: Running) -> None:
    with pytest.raises(PersamError, match="There is no mask in") as raised:
        list(organise._compare(running.workshop, running.study, "persam"))
    assert within(running.study.folder, raised.value) == (
        "There is no mask in the study's folder that can be used; see `persam study check`."
    )
    assert not (running.study.folder / "report").exists()
    with gr.Blocks():
        place = gr.HTML()

    @organise._said_in(place)
    def action(folder: str) -> Iterator[dict[Any, Any]]:
        raise raised.value
        yield {}

    (said,) = action(str(running.study.folder))
    assert text_of(said[place]).endswith('that can be used; press "Who has done how much".')
