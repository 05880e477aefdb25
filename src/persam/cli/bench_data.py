"""`persam bench DATASET` and `persam bench score DATASET`: one command a data set, made from the catalog."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding

from persam.benchmark.datasets.catalog import DATASETS, DatasetEntry, Option
from persam.benchmark.methods.catalog import METHODS
from persam.cli.console import out, print_json, say, table
from persam.cli.options import Json
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError

if TYPE_CHECKING:
    from persam.benchmark.absence.report import AbsentReport
    from persam.benchmark.reporting.report import Report
    from persam.benchmark.reporting.tables import Table

_PANEL = "Data sets"
_METHODS = ", ".join(METHODS)

_DATA = Annotated[Path, typer.Option(help="The data set's folder, as unpacked.", show_default=False)]
_OUT = Annotated[
    Path | None, typer.Option("-o", "--out", help="Keep predictions, records and the report in this folder.")
]
_SEED = Annotated[int, typer.Option(min=0, help="Of what is random: the data set's draws, training.")]

_BENCH_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (
        Annotated[str, typer.Option("-m", "--model", help="tiny, a hub id, a folder, or a .pth of SAM.")],
        "tiny",
    ),
    "encoder": (Annotated[str | None, typer.Option(help="Another encoder for the confidence map.")], None),
    "mode": (
        Annotated[list[str] | None, typer.Option(help="persam (default), official, paper. Repeat it for several.")],
        None,
    ),
    "method": (
        Annotated[
            list[str] | None,
            typer.Option(help=f"Of {_METHODS}. Repeat it for several; default: persam and persam-f."),
        ],
        None,
    ),
    "checkpoint": (
        Annotated[list[str] | None, typer.Option(help="METHOD=WEIGHTS, for methods that have their own.")],
        None,
    ),
    "solver": (Annotated[str, typer.Option(help="Of PerSAM-F: direct, or adamw as published.")], "direct"),
    "seed": (_SEED, 0),
    "limit": (Annotated[int | None, typer.Option(min=1, help="No more photos than this, in turns from all.")], None),
    "absent": (
        Annotated[bool, typer.Option("--absent", help="Look for every object in every other object's photos.")],
        False,
    ),
    "device": (Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")], "auto"),
    "output": (_OUT, None),
    "fresh": (Annotated[bool, typer.Option("--fresh", help="Drop an earlier run in --out.")], False),
    "as_json": (Json, False),
}
_SCORE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "name": (Annotated[str | None, typer.Option(help="What to call whoever made them; default: the folder's.")], None),
    "seed": (_SEED, 0),
    "output": (_OUT, None),
    "as_json": (Json, False),
}
_PREDICTIONS = Annotated[Path, typer.Option(help="Folder of masks such as cat/01.png.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add a command for every data set, and the group `score`."""
    score = typer.Typer(
        help="Score masks that any other tool made, with the data set's protocol.", no_args_is_help=True
    )
    for entry in DATASETS.values():
        short = f"{entry.title}. Folder: {entry.layout}. From: {entry.origin}."
        app.command(entry.name, help=_help(entry, "bench"), short_help=escape(short), rich_help_panel=_PANEL)(
            _command(entry, _run, {"data": (_DATA, ...)}, _BENCH_OPTIONS)
        )
        needed = {"data": (_DATA, ...), "predictions": (_PREDICTIONS, ...)}
        score.command(entry.name, help=_help(entry, "bench score"), short_help=escape(f"{entry.title}."))(
            _command(entry, _score, needed, _SCORE_OPTIONS)
        )
    app.add_typer(score, name="score")


def _help(entry: DatasetEntry, command: str) -> str:
    more = " --predictions THEIRS" if command.endswith("score") else " --out runs/" + entry.name
    parts = [
        f"{_VERBS[command]} {entry.title}.",
        f"[bold]Folder[/bold]: {escape(entry.layout)}",
        f"[bold]From[/bold]: {escape(entry.origin)} ({escape(entry.licence)})",
        f"[bold]Protocol[/bold]: {escape(entry.protocol)}",
        f"[bold]Example[/bold]: persam {command} {entry.name} --data DIR{more}",
    ]
    return "\n\n".join(parts)


_VERBS = {"bench": "Measure on", "bench score": "Score the masks of another tool on"}


def _command(
    entry: DatasetEntry,
    work: Callable[[DatasetEntry, dict[str, Any]], None],
    needed: dict[str, tuple[Any, Any]],
    common: dict[str, tuple[Any, Any]],
) -> Callable[..., None]:
    """A function with the options that the data set has, for typer to read."""
    own = {option.name: (_annotation(option), None) for option in entry.options if option.name not in common}
    options = needed | own | common

    def command(**values: Any) -> None:
        work(entry, values)

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=inspect.Parameter.empty if default is ... else default,
            )
            for name, (annotation, default) in options.items()
        ]
    )
    command.__annotations__ = {name: annotation for name, (annotation, _) in options.items()}
    return command


def _annotation(option: Option) -> Any:
    default = "" if option.default is None else f" (default {option.default})"
    words = f"{option.help[0].upper()}{option.help[1:]}{default}."
    return Annotated[option.kind | None, typer.Option(min=option.smallest, help=escape(words))]


def _split(entry: DatasetEntry, values: dict[str, Any], common: Iterable[str]) -> dict[str, Any]:
    """The options that belong to the data set."""
    known = {option.name for option in entry.options}
    return {name: values[name] for name in values if name in known and name not in common}


def _run(entry: DatasetEntry, values: dict[str, Any]) -> None:
    from persam.benchmark.conduct import bench, bench_absent
    from persam.benchmark.running.equipment import Setup

    setup = Setup(
        methods=values["method"] or ["persam", "persam-f"],
        modes=values["mode"] or ["persam"],
        model=values["model"],
        encoder=values["encoder"],
        device=values["device"],
        solver=values["solver"],
        checkpoints=dict(map(_pair, values["checkpoint"] or ())),
        seed=values["seed"],
        limit=values["limit"],
    )
    ask = bench_absent if values["absent"] else bench
    report: Report | AbsentReport
    done, total = 0, 0
    with progress_bar("photos") as advance:

        def progress(now: int, of: int) -> None:
            nonlocal done, total
            done, total = now, of
            advance(done=now, total=of)

        try:
            report = ask(
                entry.name,
                values["data"],
                setup,
                out=values["output"],
                fresh=values["fresh"],
                progress=progress,
                **_split(entry, values, _BENCH_OPTIONS),
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(values["output"], done, total)) from None
    table = report.table() if values["absent"] else report.table(brief=True)  # type: ignore[call-arg]
    _show(report, table, values["as_json"])


def _how_to_go_on(folder: Path | None, done: int, total: int) -> str:
    if folder is None:
        return "Nothing was kept; with --out a run that was stopped can go on."
    return f"{done} of {total or '?'} photos are done and kept in {folder}; run the same command again to go on."


def _score(entry: DatasetEntry, values: dict[str, Any]) -> None:
    from persam.benchmark.score import bench_score

    with progress_bar("masks") as advance:
        report = bench_score(
            entry.name,
            values["data"],
            values["predictions"],
            name=values["name"],
            out=values["output"],
            seed=values["seed"],
            progress=lambda now, of: advance(done=now, total=of),
            **_split(entry, values, _SCORE_OPTIONS),
        )
    _show(report, report.table(brief=True), values["as_json"])


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise UsageError(f"--checkpoint takes METHOD=WEIGHTS, such as unet=microsoft/resnet-50, not {text!r}.")
    return name, value


def _show(report: Report | AbsentReport, shown: Table, as_json: bool) -> None:
    if as_json:
        print_json(report.metrics())
    else:
        print_table(shown)
    if report.folder is not None:
        from persam.benchmark.running.run_folder import PREDICTIONS

        masks = ", CSV and predictions" if (report.folder / PREDICTIONS).is_dir() else " and CSV"
        say(f"All of it is in {report.folder}/: metrics.json, table.md, table.tex, pictures{masks}.")
    missing = [f"{name} ({why})" for each in report.missing.values() for name, why in each.items()]
    if missing:
        more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""
        are = "answer is missing and counts" if len(missing) == 1 else "answers are missing and count"
        raise PersamError(f"{len(missing)} {are} as none: {', '.join(missing[:3])}{more}.")


def print_table(shown: Table) -> None:
    """Print a table of results on stdout, its notes dim below."""
    console = out()
    columns = [escape(column) for column in shown.columns]
    grid = table(*columns, right=tuple(column for column in columns[1:] if column not in {"method", "encoder", "own"}))
    for row in shown.rows:
        grid.add_row(*map(escape, row))
    for row in shown.published:
        grid.add_row(*map(escape, row), style="dim")
    console.print(escape(shown.title), style="bold")
    if Measurement.get(console, console.options.update(max_width=10_000), grid).maximum <= console.width:
        console.print(grid)
    else:
        _print_one_by_one(console, shown)
    for note in shown.notes:
        console.print(escape(note), style="dim")


def _print_one_by_one(console: Console, shown: Table) -> None:
    """Print a table that is too wide for the terminal row by row, without empty cells."""
    for row in (*shown.rows, *shown.published):
        style = "dim" if row in shown.published else None
        console.print(escape(row[0]), style=style)
        cells = [f"{head} {cell}" for head, cell in zip(shown.columns[1:], row[1:], strict=True) if cell != "–"]
        console.print(Padding(escape(" · ".join(cells)), (0, 0, 0, 2)), style=style)
