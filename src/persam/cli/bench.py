"""`persam bench`: how good and how fast, on your machine and your data."""

from __future__ import annotations

import typer

from persam.cli import bench_compare, bench_data, bench_serve, bench_suites

app = typer.Typer(
    cls=bench_data.MeasureCommands,
    help="Measure: accuracy on data sets with their published protocols, comparisons, ablations, speed.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

bench_data.register(app)
app.command("compare")(bench_compare.compare)
bench_suites.register(app)
app.command("serve")(bench_serve.serve)
