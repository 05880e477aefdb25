"""`persam study`: several people mask the same photos; the model is compared with each, and they with each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from persam.cli.console import out, print_json, say, table
from persam.cli.options import Device, Encoder, Fitted, Json, Mode, Model, load_model
from persam.cli.progress import progress_bar

if TYPE_CHECKING:
    from persam.study import CheckReport, Problem, StudyResult, StudySummary

app = typer.Typer(
    help="Compare the model with several people who masked the same photos, and the people with each other.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's folder.", show_default=False)]
_NAMED = 8  # problems that are named on the screen after a run


@app.command()
def new(
    study: Folder,
    photos: Annotated[
        list[str],
        typer.Option("--photos", help="CATEGORY=DIR, again for each category; or a folder with one folder a category."),
    ],
    annotators: Annotated[str, typer.Option("--annotators", help="Their names, with commas between: anna,ben,cleo.")],
    json: Json = False,
) -> None:
    """Make a study's folder from photos, which are copied, with a README.txt for the annotators.

    [bold]Example[/bold]

    persam study new my-study --photos horse=~/horses --photos mug=~/mugs --annotators anna,ben,cleo
    """
    from persam.study.create import README, new, photo_folders
    from persam.words import counted

    made = new(study, photo_folders(photos), annotators.split(","))
    if json:
        categories = {category.name: len(category.photos) for category in made.categories}
        print_json({"study": str(made.folder), "categories": categories, "annotators": made.annotators})
        return
    say(
        f"{counted(made.photo_count, 'photo')} in {counted(len(made.categories), 'category', 'categories')} "
        f"for {', '.join(made.annotators)}; "
        f"what the annotators are to do stands in {made.folder / README}."
    )


@app.command()
def check(study: Folder, json: Json = False) -> None:
    """Say which masks a study has and exactly what is missing; exit code 1 if something is.

    [bold]Example[/bold]

    persam study check my-study
    """
    from persam.study.checks import check
    from persam.study.layout import read
    from persam.study.report import problems_json

    found = read(study)
    with progress_bar("Checking", found.photo_count) as advance:
        report = check(found, advance)
    if json:
        masks = [{"category": c, "who": who, "masks": count} for (c, who), count in report.usable.items()]
        print_json({"study": str(found.folder), "masks": masks, "problems": problems_json(report.problems)})
    else:
        _print_check(report)
    if not report.complete:
        raise typer.Exit(1)


@app.command()
def run(
    study: Folder,
    model: Model = "tiny",
    mode: Mode = "persam",
    method: Annotated[str, typer.Option(help="persam, or persam-f with tuned scale weights.")] = "persam",
    reference: Annotated[
        str, typer.Option(help="The photo that the model is shown: first by name, or the name of one in each category.")
    ] = "first",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the report.")] = Path("study-report"),
    encoder: Encoder = None,
    fitted: Fitted = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Compare, print table I, and write a report with plots, tables, consensus masks and a gallery.

    [bold]Example[/bold]

    persam study run my-study --method persam-f -o my-report
    """
    from persam.study.compare import run
    from persam.study.layout import read
    from persam.study.report import check_libraries, claimed_out, metrics, write_report
    from persam.study.results import summarise

    check_libraries()
    found = read(study)
    with claimed_out(output, found):
        loaded = load_model(model, device=device, dtype="auto", mode=mode, encoder=encoder, fitted=fitted)
        with progress_bar("Photos", found.photo_count) as advance:
            result = run(found, loaded, method=method, reference=reference, progress=advance)
            advance(done=found.photo_count, what="Report")
            page = write_report(result, output)
    summary = summarise(result)
    if json:
        print_json(metrics(result, summary) | {"report": str(page)})
        return
    _print_result(result, summary)
    _say_left_out(result.left_out)
    say(f"The report is {page}.")


def _print_check(report: CheckReport) -> None:
    from persam.study.layout import GOLD

    study = report.study
    gold = [GOLD] if any(category.has_gold for category in study.categories) else []
    people = [*study.annotators, *gold]
    grid = table("category", "photos", *map(escape, people), right=("photos", *map(escape, people)))
    for category in study.categories:
        counts = [report.usable.get((category.name, who)) for who in people]
        photos = len(category.photos)
        shown = [
            "-" if count is None else str(count) if count == photos else f"[red]{count} of {photos}[/red]"
            for count in counts
        ]
        grid.add_row(escape(category.name), str(photos), *shown)
    console = out()
    console.print(grid)
    for problem in report.problems:
        console.print(f"- {escape(problem.sentence)}", soft_wrap=True)
    if report.complete:
        say("Nothing is missing.")
    else:
        say(f"{_count(report.problems)}.")


def _print_result(result: StudyResult, summary: StudySummary) -> None:
    from persam.study.report import people_table, table_one
    from persam.study.time_summary import times_table

    console = out()
    first = table_one(result, summary)
    console.print(first.grid(stacked=True))
    console.print(escape(first.title), style="dim", soft_wrap=True)
    people = table("annotator", "masks", "area beside majority", "area beside gold", "sensitivity", "specificity")
    for row in people_table(summary).rows:
        people.add_row(*map(escape, row[:6]))
    console.print()
    console.print(people)
    console.print()
    if summary.times is not None:
        times_table(summary.times).print(console)
        console.print()
    if summary.nearness is None:
        console.print("Nobody shares a photo with another annotator, so that agreement cannot be told.")
        return
    near = summary.nearness
    difference = f"{near.test.difference:+.3f} [{near.test.low:+.3f}, {near.test.high:+.3f}]"
    console.print(escape(f"{near.verdict}: IoU {near.model:.3f} against {near.people:.3f}, {difference}."))
    disputed = ", ".join(f"{row.name} {row.people.mean:.3f}" for row in summary.disputed if row.people is not None)
    console.print(escape(f"People disagree most first: {disputed}."), soft_wrap=True)


def _say_left_out(problems: tuple[Problem, ...]) -> None:
    if not problems:
        return
    say(f"Left out were {_count(problems)}.")
    for problem in problems[:_NAMED]:
        say(f"- {problem.sentence}")
    if len(problems) > _NAMED:
        say(f"... and {len(problems) - _NAMED} more in the report.")


def _count(problems: tuple[Problem, ...]) -> str:
    from persam.study.checks import KINDS

    kinds = [problem.kind for problem in problems]
    return ", ".join(f"{what}: {kinds.count(kind)}" for kind, what in KINDS.items() if kind in kinds)
