"""`persam bench DATASET` and `persam bench score DATASET`: one command a data set, made from the catalog."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_command

from persam.benchmark.datasets.catalog import DATASETS, DatasetEntry
from persam.benchmark.datasets.options import Option
from persam.benchmark.methods.catalog import METHODS
from persam.cli import bench_video
from persam.cli.bench_options import Encoder, Fitted, Model, Solver, options_of, with_options
from persam.cli.console import out, print_json, say
from persam.cli.options import Device, Json
from persam.cli.progress import progress_bar
from persam.errors import PersamError, UsageError

if TYPE_CHECKING:
    from persam.benchmark.absence.report import AbsentReport
    from persam.benchmark.reporting.report import Report
    from persam.benchmark.video.video_report import VideoReport
    from persam.reports.tables import Table

_PANEL = "Data sets"
_METHODS = ", ".join(METHODS)

_Data = Annotated[Path, typer.Option(help="The data set's folder, as unpacked.", show_default=False)]
_Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Keep predictions, records and the report in this folder.")
]
_Seed = Annotated[int, typer.Option(min=0, help="Of what is random: the data set's draws, training.")]


def _measure(
    entry: DatasetEntry,
    *,
    data: _Data,
    model: Model = "tiny",
    encoder: Encoder = None,
    fitted: Fitted = None,
    mode: Annotated[
        list[str] | None, typer.Option(help="persam (default), official, paper. Repeat it for several.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help=f"Of {_METHODS}. Repeat it for several; default: persam and persam-f.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="METHOD=WEIGHTS, for methods that have their own.")
    ] = None,
    solver: Solver = "direct",
    seed: _Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="No more photos than this, in turns from all.")] = None,
    absent: Annotated[
        bool, typer.Option("--absent", help="Look for every object in every other object's photos.")
    ] = False,
    device: Device = "auto",
    output: _Output = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop an earlier run in --output.")] = False,
    json: Json = False,
    **own: Any,
) -> None:
    from persam.benchmark.conduct import bench, bench_absent
    from persam.benchmark.running.equipment import Setup

    numbers = None if fitted is None else str(fitted)
    of_video = bench_video.wants_video(own)
    if of_video is not None:
        others = {
            "mode": mode,
            "limit": limit,
            "absent": absent,
            "checkpoint": checkpoint,
            "solver": solver != "direct",
            "seed": seed,
            "step": own.pop("step", None),
        }
        shared = {"model": model, "encoder": encoder, "fitted": numbers, "device": device}
        asked = bench_video.setup_of(of_video, others, methods=method or (), **shared)
        _show_video(bench_video.follow(entry.name, data, asked, out=output, fresh=fresh, **own), json)
        return
    setup = Setup(
        methods=method or ["persam", "persam-f"],
        modes=mode or ["persam"],
        model=model,
        encoder=encoder,
        fitted=numbers,
        device=device,
        solver=solver,
        checkpoints=dict(map(_pair, checkpoint or ())),
        seed=seed,
        limit=limit,
    )
    ask = bench_absent if absent else bench
    report: Report | AbsentReport
    done, total = 0, 0
    with progress_bar("photos") as advance:

        def progress(now: int, of: int) -> None:
            nonlocal done, total
            done, total = now, of
            advance(done=now, total=of)

        try:
            report = ask(entry.name, data, setup, out=output, fresh=fresh, progress=progress, **own)
        except KeyboardInterrupt as stop:
            raise type(stop)(_how_to_go_on(output, done, total)) from None
    _show(report, _tables_of(report), json)


def _tables_of(report: Report | AbsentReport) -> list[Table]:
    """What a terminal shows of a report."""
    from persam.benchmark.absence.report import AbsentReport

    if isinstance(report, AbsentReport):
        return [report.table(), report.ranking_table()]
    return [report.table(brief=True)]


def _how_to_go_on(folder: Path | None, done: int, total: int) -> str:
    if folder is None:
        return "Nothing was kept; with --output a run that was stopped can go on."
    return f"{done} of {total or '?'} photos are done and kept in {folder}; run the same command again to go on."


def _score(
    entry: DatasetEntry,
    *,
    data: _Data,
    predictions: Annotated[Path, typer.Option(help="Folder of masks such as cat/01.png.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="What to call whoever made them; default: the folder's.")] = None,
    seed: _Seed = 0,
    output: _Output = None,
    json: Json = False,
    **own: Any,
) -> None:
    from persam.benchmark.score import bench_score

    of_video = bench_video.wants_video(own)
    if of_video is not None:
        asked = bench_video.setup_of(of_video, {"seed": seed, "step": own.pop("step", None)})
        _show_video(bench_video.score(entry.name, data, predictions, asked, name=name, out=output, **own), json)
        return
    with progress_bar("masks") as advance:
        how: dict[str, Any] = {"progress": lambda done, total: advance(done=done, total=total), **own}
        report = bench_score(entry.name, data, predictions, name=name, out=output, seed=seed, **how)
    _show(report, _tables_of(report), json)


class MeasureCommands(TyperGroup):
    """The commands of data sets, which get their options when one is called.

    The options are those of the data set's reader, which takes a while to import: too long for a list of commands.
    """

    work: ClassVar[Callable[..., None]] = staticmethod(_measure)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, and give it its options."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in DATASETS and command is not None:
            alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
            alone.command(name, help=command.help)(_with_own_options(self.work, DATASETS[name]))
            command = get_command(alone)
        return name, command, rest


class ScoreCommands(MeasureCommands):
    """The same for masks of another tool."""

    work: ClassVar[Callable[..., None]] = staticmethod(_score)


def _with_own_options(work: Callable[..., None], entry: DatasetEntry) -> Callable[..., None]:
    shared = {each.name for each in options_of(work)}
    own = [_shown(each) for each in entry.options if each.name not in shared]
    if entry.is_video:
        own += bench_video.video_options(score=work is _score)
    return with_options(partial(work, entry), own, before=True)


def _shown(option: Option) -> Parameter:
    """An option of a data set as one of the command line."""
    default = "" if option.default is None else f" (default {option.default})"
    words = escape(f"{option.help[0].upper()}{option.help[1:]}{default}.")
    settings = typer.Option(min=option.smallest, help=words)
    return Parameter(
        option.name, Parameter.KEYWORD_ONLY, annotation=Annotated[option.kind | None, settings], default=None
    )


def register(app: typer.Typer) -> None:
    """Add a command for every data set to an app of `MeasureCommands`, and the group `score`."""
    score = typer.Typer(
        cls=ScoreCommands,
        help="Score masks that any other tool made, with the data set's protocol.",
        no_args_is_help=True,
    )

    def named() -> None:
        """Stands in the list; see `MeasureCommands`."""

    for entry in DATASETS.values():
        short = f"{entry.title}. Folder: {entry.layout}. From: {entry.origin}."
        app.command(entry.name, help=_help(entry, "bench"), short_help=escape(short), rich_help_panel=_PANEL)(named)
        score.command(entry.name, help=_help(entry, "bench score"), short_help=escape(f"{entry.title}."))(named)
    app.add_typer(score, name="score")


_VERBS = {"bench": "Measure on", "bench score": "Score the masks of another tool on"}


def _help(entry: DatasetEntry, command: str) -> str:
    more = " --predictions THEIRS" if command.endswith("score") else " --output runs/" + entry.name
    parts = [
        f"{_VERBS[command]} {entry.title}.",
        f"[bold]Folder[/bold]: {escape(entry.layout)}",
        f"[bold]From[/bold]: {escape(entry.origin)} ({escape(entry.licence)})",
        f"[bold]Protocol[/bold]: {escape(entry.protocol)}",
        f"[bold]Example[/bold]: persam {command} {entry.name} --data DIR{more}",
    ]
    return "\n\n".join(parts)


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise UsageError(f"--checkpoint takes METHOD=WEIGHTS, such as unet=microsoft/resnet-50, not {text!r}.")
    return name, value


def _show_video(report: VideoReport, as_json: bool) -> None:
    _show(report, report.tables(brief=True), as_json)


def _show(report: Report | AbsentReport, shown: list[Table], as_json: bool) -> None:
    if as_json:
        print_json(report.metrics())
    for table in [] if as_json else shown:
        table.print(out())
    if report.folder is not None:
        from persam.benchmark.running.run_folder import PREDICTIONS

        masks = ", CSV and predictions" if (report.folder / PREDICTIONS).is_dir() else " and CSV"
        say(f"All of it is in {report.folder}/: report.html, metrics.json, table.md, table.tex, pictures{masks}.")
    missing = [f"{name} ({why})" for each in report.missing.values() for name, why in each.items()]
    if missing:
        more = f", and {len(missing) - 3} more" if len(missing) > 3 else ""
        are = "answer is missing and counts" if len(missing) == 1 else "answers are missing and count"
        raise PersamError(f"{len(missing)} {are} as none: {', '.join(missing[:3])}{more}.")
