"""For the person who runs a study: who has done how much, and the comparison with the model.

Ids of its controls: ``study-check``, ``study-table``, ``study-method``, ``study-run``, ``study-report``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr
from fastapi import APIRouter, Response

from persam.errors import UsageError
from persam.studio.cards import Action, Updates, telling
from persam.studio.components import on_press
from persam.studio.study.texts import within
from persam.studio.workshop import Workshop
from persam.study import (
    GOLD,
    METHODS,
    CheckReport,
    Problem,
    Study,
    StudyRun,
    check,
    check_libraries,
    claimed_out,
    read,
    saw_nothing,
    write_report,
)
from persam.words import counted

REPORT = "report"  # folder in the study's
_NAMED = 12  # problems that are named
_ADDRESS = "/study-reports"
# A report needs nothing but itself; whatever is in it, nothing runs.
_ALONE = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


def build(workshop: Workshop, folder: gr.State) -> None:
    """Lay out what stands below the tab "Study".

    Args:
        workshop: whose model is compared.
        folder: of the study, or None.
    """
    workshop.routers.append(_reports(workshop))
    gr.Markdown(
        "The report shows everybody's masks: open it when all are done. In a terminal the same is `persam study check` "
        "and `persam study run`."
    )
    with gr.Row(elem_classes="toolbar"):
        look = gr.Button("Who has done how much", elem_id="study-check", min_width=160)
        compare = gr.Button("Run the comparison", elem_id="study-run", min_width=160)
        method = gr.Radio(
            list(METHODS), value=METHODS[0], label="Method", show_label=False, container=False, elem_id="study-method"
        )
    table = gr.HTML(elem_id="study-table")
    report = gr.HTML(elem_id="study-report")

    @_said_in(table)
    def looked(folder: str | None) -> Iterator[Updates]:
        yield {table: _table(check(_study(folder)))}

    @_said_in(report)
    def compared(folder: str | None, method: str) -> Iterator[Updates]:
        study = _study(folder)
        check_libraries()
        for said in _compare(workshop, study, method):
            yield {report: said}

    look.click(looked, [folder], [table])
    on_press(compare, compared, [folder, method], [report])


def _said_in(place: gr.HTML) -> Callable[[Action], Action]:
    """Make an action, whose first argument is the study's folder or None, say in a place what went wrong."""

    def tell(sentence: str, given: tuple[Any, ...]) -> Updates:
        return {place: _sentence(within(given[0], sentence) if given[0] else sentence)}

    return telling(tell)


def _reports(workshop: Workshop) -> APIRouter:
    """Where the page gets reports."""
    router = APIRouter()

    @router.get(f"{_ADDRESS}/{{name}}")
    def report(name: str) -> Response:
        page = workshop.reports.get(name)
        if page is None:
            return Response("This report is gone from here; it lies in the study's folder.", status_code=404)
        return Response(page, media_type="text/html", headers=_ALONE)

    return router


def _study(folder: str | None) -> Study:
    if folder is None:
        raise UsageError("Open a study first.")
    return read(folder)


def _compare(workshop: Workshop, study: Study, method: str) -> Iterator[str]:
    """Run a study photo by photo, so that others get the model in between, and write its report into the study."""
    out = study.folder / REPORT
    with claimed_out(out, study):
        going = StudyRun(study, workshop.engine.model, method=method)
        steps, total = going.steps(), study.photo_count
        for done in range(total + 1):
            yield _sentence(f"Comparing: {done} of {counted(total, 'photo')}.")
            if workshop.engine.call(lambda _: next(steps, True), patient=True).result() is not None:
                break
        yield _sentence("Writing the report.")
        page = write_report(going.result(), out)
    address = f"{_ADDRESS}/{workshop.reports.put(page.read_bytes(), 'html')}"
    yield (
        f'<p>The comparison is done: <a href="{address}" target="_blank" rel="noopener">open the report</a>. '
        f"It lies in the study's folder, in {REPORT}/, and all numbers and pictures beside it.</p>"
    )


def _table(found: CheckReport) -> str:
    """How many masks there are, by category and person, and what is wrong."""
    study = found.study
    people = sorted({who for _, who in found.usable}, key=lambda who: (who not in study.annotators, who))

    def cell(category: str, who: str, photos: int) -> str:
        count = found.usable.get((category, who))
        return "<td>–</td>" if count is None else f"<td>{count} of {photos}</td>"

    head = "".join(f'<th scope="col">{escape(who)}</th>' for who in people)
    rows = "".join(
        f'<tr><th scope="row">{escape(category.name)}</th>'
        + "".join(cell(category.name, who, len(category.photos)) for who in people)
        + "</tr>"
        for category in study.categories
    )
    told = [problem for problem in found.problems if not _is_in_table(study, problem)]
    problems = "".join(f"<li>{escape(within(study.folder, problem.sentence))}</li>" for problem in told[:_NAMED])
    more = len(told) - _NAMED
    rest = f"<p>... and {more} more; <code>persam study check</code> names all.</p>" if more > 0 else ""
    listed = f"<ul>{problems}</ul>{rest}" if problems else ""
    if found.complete:
        listed = "<p>Nothing is missing.</p>"
    return (
        f'<div style="overflow-x:auto"><table><tr><th scope="col">masks</th>{head}</tr>{rows}</table></div>'
        f"<div>{listed}</div>"
    )


def _is_in_table(study: Study, problem: Problem) -> bool:
    """Whether the numbers say it already: a mask that nobody has drawn yet."""
    category = next((one for one in study.categories if one.name == problem.category), None)
    if problem.kind != "missing" or category is None or problem.who == GOLD:
        return False
    return not saw_nothing(category.times_file(problem.who), problem.photo)


def _sentence(text: Any) -> str:
    return f'<p role="status">{escape(str(text))}</p>'
