"""The house stays in order: who may import whom, one meaning a name, one spelling an option, nothing written twice."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import click
import pytest
import typer

from persam.cli.main import app

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "persam"
FILES = sorted(PACKAGE.rglob("*.py"))
TASKS = (
    "album",
    "benchmark",
    "classify",
    "demo",
    "dreambooth",
    "study",
    "video",
)  # one folder for each thing a person does
FACES = ("server", "studio")  # a service for programs and a page for people; they stand on the tasks
GROUND = ("album", "video", "study")  # what they stand on, and on nothing inside it
# An album's speed is measured as one is filled, and how well objects are followed as they are.
MEASURED = {("benchmark", "album"), ("benchmark", "video")}
SAME_LINES = 10


@cache
def imports_of(file: Path) -> frozenset[str]:
    """Modules of persam that a file imports, also within functions; for types alone does not count."""
    found = set()

    def look(node: ast.AST) -> None:
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            return
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
            base = ".".join(parts[: -node.level]) + "." if node.level else ""
            found.update({base + node.module, *(f"{base}{node.module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            look(child)

    look(ast.parse(file.read_text(encoding="utf-8")))
    return frozenset(name for name in found if name.startswith("persam"))


def imports_from(folder: str) -> set[str]:
    home = PACKAGE / folder
    files = [home.with_suffix(".py")] if home.with_suffix(".py").is_file() else sorted(home.rglob("*.py"))
    assert files, folder
    return set().union(*(imports_of(file) for file in files))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((one, other) for one in TASKS for other in TASKS if one != other and (one, other) not in MEASURED),
        ("benchmark/running", "benchmark.reporting"),
        ("benchmark/reporting", "benchmark.running"),
        ("demo/report", "demo.job"),
        ("models/encoders", "models.loading"),
        *(
            ("method", above)
            for above in ("persam", "concept", "images", "files", "reports", "cli", "segmentation", *TASKS)
        ),
        *(("models", above) for above in ("method", "concept", "persam", "cli", *TASKS)),
        *(("metrics", above) for above in ("persam", "method", "models", "cli", *TASKS)),
        *(("reports", above) for above in ("persam", "method", "cli", *TASKS)),
        *((task, "cli") for task in TASKS),
        *((face, "cli") for face in FACES),
        *((below, face) for below in ("persam", "method", "models", "reports", "metrics", *TASKS) for face in FACES),
        ("server", "studio"),
    ],
)
def test_does_not_import(one: str, other: str) -> None:
    found = {name for name in imports_from(one) if f"{name}.".startswith(f"persam.{other}.")}
    assert not found


def is_inside(name: str) -> bool:
    """Whether a name of persam is a module in a task that faces stand on, not what its package gives."""
    _, *inner = name.split(".")
    place = PACKAGE.joinpath(*inner[:2])
    return len(inner) > 1 and inner[0] in GROUND and (place.is_dir() or place.with_suffix(".py").is_file())


def test_faces_stand_on_tasks_and_on_nothing_inside_them() -> None:
    files = [file for face in FACES for file in sorted((PACKAGE / face).rglob("*.py"))]
    found = [str(file.relative_to(PACKAGE)) for file in files if any(map(is_inside, imports_of(file)))]
    assert found == [], "import it from the task's package, which may have to name it"
    assert is_inside("persam.study.times")
    assert not is_inside("persam.study.read")


def test_imports_are_seen() -> None:
    assert "persam.models.base" in imports_from("method")
    assert "persam.method.segment" in imports_of(PACKAGE / "persam.py")


def test_a_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(str(file.relative_to(PACKAGE)))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_no_group_of_equal_lines_stands_twice() -> None:
    """Blank lines, comments and imports aside."""
    seen: dict[tuple[str, ...], str] = {}
    twice = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        imported = {
            line
            for node in ast.walk(ast.parse(text))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        lines = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), start=1)
            if number not in imported and line.strip() and not line.strip().startswith("#")
        ]
        for start in range(len(lines) - SAME_LINES + 1):
            group = tuple(line for _, line in lines[start : start + SAME_LINES])
            place = f"{file.relative_to(PACKAGE)}:{lines[start][0]}"
            if group in seen:
                twice.append(f"{place} ~ {seen[group]}")
            seen.setdefault(group, place)
    assert twice == []


def commands(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    inner = getattr(command, "commands", {})
    return [(name, command), *(pair for word, each in inner.items() for pair in commands(each, f"{name} {word}"))]


def test_an_option_is_spelled_the_same_everywhere() -> None:
    short = {"--output": "-o", "--model": "-m"}
    for name, command in commands(typer.main.get_command(app), "persam"):
        for option in command.params:
            spelled = set(option.opts)
            assert not spelled & {"--out", "--out-dir", "--weights", "-j"}, name
            for long, letter in short.items():
                if long in spelled:
                    assert letter in spelled, f"{name} {long}"


def test_a_file_is_read_in_one_sitting() -> None:
    for file in [*FILES, *sorted((ROOT / "training").glob("*.py"))]:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 450, file
