"""`persam`: the commands, and what the user sees when something goes wrong."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from persam import __version__
from persam.cli import (
    album,
    bench,
    check,
    classify,
    demo,
    dreambooth,
    export,
    learn,
    models,
    segment,
    serve,
    show,
    studio,
    study,
    video,
)
from persam.cli.console import complain, print_json, say
from persam.cli.stopping import exit_code_of, sigterm_stops
from persam.cli.streams import lasting_streams, nothing_is_printed
from persam.errors import PersamError, PersamWarning, first_line, system_error, write_error

DEBUG_VARIABLE = "PERSAM_DEBUG"
_AS_JSON = "persam.as_json"  # in the context: whether a script reads the result


class Commands(TyperGroup):
    """The group of commands: it turns errors into one sentence and an exit code."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run as a program, whatever stdout and stderr are."""
        with lasting_streams() as stdout:
            try:
                return super().main(*arguments, **options)
            finally:
                stdout.flush()
                if stdout.problem is not None and stdout.is_lost:
                    complain(str(write_error("to stdout", stdout.problem)))
                    _end_with_failure(sys.exception())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands, since people add it at the end of the call that failed."""
        before = args[: args.index("--")] if "--" in args else args
        ctx.meta[_AS_JSON] = "--json" in before
        if "--debug" in before:
            args = ["--debug", *(arg for arg in before if arg != "--debug"), *args[len(before) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings(), sigterm_stops():
                if not (ctx.params.get("debug") or sys.warnoptions):
                    warnings.simplefilter("ignore")  # libraries warn developers; users get sentences
                _say_warnings()
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as stop:
            sentence = " ".join(["Stopped.", *(str(word) for word in stop.args)])
            say(sentence)
            raise _ended(ctx, sentence, exit_code_of(stop)) from None
        except Exception as error:
            if hasattr(error, "exit_code") and hasattr(error, "format_message"):
                # An error of usage, for which the command-line library has its own words.
                _ended(ctx, error.format_message(), error.exit_code)
                raise
            if ctx.params.get("debug"):
                raise
            told = _told(error)
            complain(str(told))
            raise _ended(ctx, str(told), told.exit_code) from None


def _told(error: Exception) -> PersamError:
    """The sentence for an error."""
    if isinstance(error, PersamError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return system_error(error)
    if isinstance(error, MemoryError):
        return PersamError("There is not enough memory for this; close other programs, or take smaller photos.")
    return PersamError(
        f"persam met an error that is its own fault ({type(error).__name__}: {first_line(error)}); "
        "run the same with --debug to see where, and please report it."
    )


def _ended(ctx: Any, sentence: str, code: int) -> typer.Exit:
    """The end of a command that failed. A script that asked for JSON gets the sentence as JSON, if not yet a result."""
    if ctx.meta[_AS_JSON] and nothing_is_printed():
        print_json({"error": sentence, "exit_code": code})
    return typer.Exit(code)


def _say_warnings() -> None:
    """Let persam's own warnings be said, each once. The caller's `warnings.catch_warnings` ends it."""
    said: set[str] = set()
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, PersamWarning):
            shown(message, category, *place, **more)
        elif str(message) not in said:
            said.add(str(message))
            say(str(message))

    warnings.simplefilter("always", PersamWarning)
    warnings.showwarning = show


def _end_with_failure(ending: BaseException | None) -> None:
    """End with exit code 1, unless it ends with a failure already."""
    if not isinstance(ending, SystemExit) or not ending.code:
        raise SystemExit(1)


app = typer.Typer(
    cls=Commands,
    name="persam",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"persam {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", envvar=DEBUG_VARIABLE, help="Show the traceback of an error.")
    ] = False,
) -> None:
    """One photo and one rough mask of your thing, and every other photo of it is segmented.

    Try it: [bold]persam demo[/bold]. Then: [bold]persam learn[/bold] PHOTO MASK, and
    [bold]persam segment[/bold] CONCEPT PHOTOS.
    """


app.command("learn")(learn.learn)
app.command("check")(check.check)
app.command("segment")(segment.segment)
app.command("video")(video.video)
app.command("show")(show.show)
app.command("models")(models.models)
app.command("export")(export.export)
app.command("demo")(demo.demo)
app.command("serve")(serve.serve)
app.command("studio")(studio.studio)
app.add_typer(album.app, name="album")
app.add_typer(classify.app, name="classify")
app.add_typer(bench.app, name="bench")
app.add_typer(study.app, name="study")
app.add_typer(dreambooth.app, name="dreambooth")

if __name__ == "__main__":
    app()
