"""Pages that are made when the site is built: the API reference, from the package's tree, and the model card.

A hook of MkDocs. The reference has one page for `persam` and one for each package in it; no page names a module, so
that it follows whatever the package becomes. What a package names in ``__all__`` is on its page; one without it shows
all that is public in its modules.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parents[1] / "src" / "persam"
FACES = {"cli", "demo"}  # commands, not an API
CARD = "MODEL_CARD.md"  # beside the bundled weights
PAPER_ORDER = (
    "settings",
    "learn",
    "prior",
    "segment",
    "scale",
)  # where modules have these names; others follow by name


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation."""
    config.nav.append({"API reference": [{name: f"reference/{name}.md"} for name, _ in packages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages themselves."""
    for card in PACKAGE.rglob(CARD):
        files.append(File.generated(config, "model-card.md", content=card.read_text(encoding="utf-8")))
    for name, folder in packages():
        files.append(File.generated(config, f"reference/{name}.md", content=page(name, folder)))
    return files


def packages() -> list[tuple[str, Path]]:
    """Return dotted name and folder of `persam` and of every package directly in it, but for its faces."""
    inner = sorted(file.parent for file in PACKAGE.glob("[!_]*/__init__.py") if file.parent.name not in FACES)
    return [("persam", PACKAGE), *((f"persam.{folder.name}", folder) for folder in inner)]


def page(name: str, folder: Path) -> str:
    """Write a package's page: its docstring, then its names or its modules."""
    options = "members: false, show_root_heading: false, show_root_toc_entry: false"
    summary = f"# {name}\n\n::: {name}\n    options: {{{options}}}\n"
    names = public_names(folder / "__init__.py")
    if names:
        return summary + "".join(f"\n::: {name}.{each}\n" for each in names if each != "__version__")
    return summary + "".join(
        f"\n::: {module}\n    options: {{show_root_full_path: true}}\n" for module in modules(name, folder)
    )


def public_names(init: Path) -> list[str]:
    """Read ``__all__`` of a package without importing it; empty if it has none."""
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return list(ast.literal_eval(node.value))
    return []


def modules(name: str, folder: Path) -> Iterator[str]:
    """Go through the public modules of a package and of the packages in it, in the paper's order where it has one."""
    place = {module: number for number, module in enumerate(PAPER_ORDER)}
    for path in sorted(folder.iterdir(), key=lambda path: (place.get(path.stem, len(place)), path.name)):
        if path.name.startswith("_"):
            continue
        if path.suffix == ".py":
            yield f"{name}.{path.stem}"
        elif (path / "__init__.py").is_file():
            yield from modules(f"{name}.{path.name}", path)
