"""`persam`: the commands, and what the user sees when something goes wrong."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from persam import __version__
from persam.cli import album, bench, demo, learn, models, segment, show, study
from persam.cli.console import complain, say
from persam.cli.stopping import exit_code_of, sigterm_stops
from persam.errors import PersamError

DEBUG_VARIABLE = "PERSAM_DEBUG"


class Commands(TyperGroup):
    """The group of commands: it turns errors into one sentence and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take ``--debug`` wherever it stands, since people add it at the end of the call that failed."""
        before = args[: args.index("--")] if "--" in args else args
        if "--debug" in before:
            args = ["--debug", *(arg for arg in before if arg != "--debug"), *args[len(before) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings(), sigterm_stops():
                if not (ctx.params.get("debug") or sys.warnoptions):
                    warnings.simplefilter("ignore")  # libraries warn developers; users get sentences
                return super().invoke(ctx)
        except PersamError as error:
            if ctx.params.get("debug"):
                raise
            complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as stop:
            say(" ".join(["Stopped.", *(str(word) for word in stop.args)]))
            raise typer.Exit(exit_code_of(stop)) from None
        except BrokenPipeError:  # `persam ... | head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # What can format its message is an error of usage, for which the command-line library has its own words.
            if ctx.params.get("debug") or (hasattr(error, "exit_code") and hasattr(error, "format_message")):
                raise
            complain(
                f"persam met an error that is its own fault ({type(error).__name__}: {error}); "
                "run the same with --debug to see where, and please report it."
            )
            raise typer.Exit(1) from None


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
app.command("segment")(segment.segment)
app.command("show")(show.show)
app.command("models")(models.models)
app.command("demo")(demo.demo)
app.add_typer(album.app, name="album")
app.add_typer(bench.app, name="bench")
app.add_typer(study.app, name="study")

if __name__ == "__main__":
    app()
