"""The documentation: it builds without a warning, no link in it is dead, and what it shows exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
from typer.main import get_command

import persam
from persam.cli.main import app

mkdocs_build = pytest.importorskip("mkdocs.commands.build")
mkdocs_config = pytest.importorskip("mkdocs.config")

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [ROOT / "README.md", *PAGES, *(ROOT / "src").rglob("*.md"), *(ROOT / "training").glob("*.md")]
REMOTE = ("http", "https")
EMBEDDED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


class Html(HTMLParser):
    """What a page links to, what it embeds, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.embedded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag == "link" and found.get("rel") not in ("canonical", "prev", "next"):
            self.embedded.append(found["href"])
        if EMBEDDED.get(tag) in found:
            self.embedded.append(found[EMBEDDED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. With ``strict`` any warning of the builder ends it: a dead link, an anchor that is not there."""
    folder = tmp_path_factory.mktemp("site")
    config = mkdocs_config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        mkdocs_build.build(config)
    finally:
        config.plugins.on_shutdown()
    return folder


@cache
def parsed(page: Path) -> Html:
    return Html(page.read_text(encoding="utf-8"))


def built_pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if page.name != "404.html"]  # its links begin at the host


def test_every_link_and_picture_of_the_site_leads_somewhere(site: Path) -> None:
    dead = []
    for page in built_pages(site):
        for target in parsed(page).links + parsed(page).embedded:
            parts = urlsplit(target)
            if parts.scheme or target.startswith("//"):
                continue
            file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file() or (file.suffix == ".html" and unquote(parts.fragment) not in parsed(file).anchors):
                dead.append(f"{page.relative_to(site)}: {target}")
    assert not dead


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert [target for target in parsed(page).embedded if re.match(r"(https?:)?//", target)] == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_has_every_public_name(site: Path) -> None:
    anchors = parsed(site / "reference" / "persam.html").anchors
    assert [name for name in persam.__all__ if name != "__version__" and f"persam.{name}" not in anchors] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_and_picture_of_a_text_leads_somewhere(text: Path) -> None:
    """In the repository, where people read the texts as they are; the hook makes the pages in `made`."""
    made = re.compile(r"^(reference/[\w.]+|model-card)\.md$")
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path = urlsplit(target).path
        if urlsplit(target).scheme in REMOTE or not path or (text in PAGES and made.match(path)):
            continue
        assert (text.parent / path).exists(), target


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )


def commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["persam"]:
                yield words[1:]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    """The command is parsed as if it were called, but for the checks of its values: files need not be there."""
    for words in commands(page):
        command, context = get_command(app), click.Context(get_command(app))
        while isinstance(command, click.Group):
            _, command, words = command.resolve_command(context, words)
            context = click.Context(command, parent=context)
        parser = command.make_parser(context)
        _, rest, _ = parser.parse_args(words)
        assert rest == [], words


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_every_snippet_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python"), 1):
        compile(block, f"{page.name}, snippet {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for file in re.findall(r"`(\w+/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file() or (ROOT / "src" / "persam" / file).is_file(), file
