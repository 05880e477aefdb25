"""The documentation: it builds without a warning, no link in it is dead, and what it shows exists."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from tests.server.threaded import served
from tests.video.drawn import write_clip
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

import persam
from persam.cli.main import app
from persam.server.app import create_app
from persam.server.settings import Limits, ServerSettings

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
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
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


persam_command = cache(partial(get_command, app))


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_every_command_that_is_shown_exists_with_its_options(page: Path) -> None:
    """The words are read as if the command were called: an unknown option or a missing argument is an error here."""
    for words in commands(page):
        command = persam_command()
        context = command.context_class(command)
        while isinstance(command, TyperGroup):
            name, command, words = command.resolve_command(context, words)
            if isinstance(command, TyperGroup):
                context = command.context_class(command, parent=context)
        command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: path.name)
def test_every_snippet_compiles(page: Path) -> None:
    for number, block in enumerate(blocks(page, "python"), 1):
        compile(block, f"{page.name}, snippet {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    for file in re.findall(r"`(\w+/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file() or (ROOT / "src" / "persam" / file).is_file(), file


# What the pages call by name; the rest of a page's files is made by its own commands.
PHOTOS = "mug portrait 1 2 3 kitchen a b album/one album/two holiday/day/one frames/1 frames/2"
THINGS = "things/mug/1 things/mug/2 things/cat/1 things/cat/2 new/1"
STUDY = "photos/horses/one photos/horses/two photos/mugs/one photos/mugs/two"
MASKS = (
    "mug_mask portrait_mask kitchen_mask 1 2 3 strokes first frame12 mended corrected things/mug/masks/1 "
    "things/cat/masks/1"
)
# Downloads, buckets, clusters, data sets, what COLMAP makes.
ELSEWHERE = (
    "facebook/",
    "openai/",
    ".pth",
    "mobile_sam.pt",
    "fine.safetensors",  # learned with a model from the hub
    "persam bench",
    "PerSeg",
    "s3://",
    "--address",
    "--poses",
    "persam serve",
)
SERVICE = ROOT / "docs" / "serve.md"
# With text-to-image models.
TRAINED = ("dreambooth train", "dreambooth generate", "dreambooth score", "dreambooth leak", "read_sources(")

# They wait for visitors.
OPEN = ("persam studio",)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name: a red disc on grey, and its mask."""
    photo = np.full((480, 640, 3), 90, np.uint8)
    cv2.circle(photo, (270, 250), 140, (40, 40, 220), -1)
    mask = cv2.inRange(photo, (40, 40, 220), (40, 40, 220))
    pictures = {f"{name}.jpg": photo for name in f"{PHOTOS} {STUDY} {THINGS}".split()} | {
        f"{name}.png": mask for name in MASKS.split()
    }
    for name, picture in (pictures | {"mug_cutout.png": np.dstack([photo, mask])}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    write_clip(tmp_path / "clip.mp4", [np.ascontiguousarray(cv2.resize(photo, (160, 120))[:, :, ::-1])] * 13)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_masks(desk: Path) -> None:
    """What the annotators of a study do."""
    for person in desk.glob("study/*/annotators/*"):
        for photo in person.parents[1].glob("images/*"):
            (person / f"{photo.stem}.png").write_bytes((desk / "mug_mask.png").read_bytes())


def call(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"persam {shlex.join(words)}: {result.output}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != SERVICE], ids=lambda path: path.name)
def test_everything_that_is_shown_runs(page: Path, desk: Path) -> None:
    for name in ("mug", "cat"):  # which are learned on some pages, and only used on others
        if not re.search(rf"-o {name}(\.safetensors)?\s", page.read_text(encoding="utf-8")):
            call(["learn", "mug.jpg", "mug_mask.png", "--name", name, "-o", f"{name}.safetensors"])
    for words in commands(page):
        if not any(each in shlex.join(["persam", *words]) for each in (*ELSEWHERE, *TRAINED, *OPEN)):
            call(words)
        draw_masks(desk)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page, "python"), 1):
        if any(each in block for each in TRAINED):
            continue
        exec(compile(block, f"{page.name}, snippet {number}", "exec"), names)


@pytest.mark.slow
def test_every_request_that_is_shown_is_answered(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the page of the service asks with curl and with Python, from top to bottom, of one service."""
    page = SERVICE.read_text(encoding="utf-8").replace("\\\n", " ")
    settings = ServerSettings(tmp_path_factory.mktemp("service"))
    ran = []
    with served(create_app(settings, persam.PerSAM.from_pretrained())) as url:
        for kind, block in re.findall(r"^```(bash|python)\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE):
            shown = block.replace("http://127.0.0.1:8000", url)
            if kind == "python":
                exec(compile(shown, SERVICE.name, "exec"), {})
            for line in shown.splitlines() if kind == "bash" else ():
                if line.startswith(("curl", "python")) and "persam-token" not in line:  # the container's
                    command = re.sub("^curl", "curl --silent --show-error --fail-with-body", line)
                    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
                    assert done.returncode == 0, f"{line}: {done.stdout} {done.stderr}"
                    ran.append(line)
    assert len(ran) > 12


def test_every_limit_of_the_service_stands_on_its_page() -> None:
    page = SERVICE.read_text(encoding="utf-8")
    assert [limit.name for limit in fields(Limits) if f"| `{limit.name}` |" not in page] == []


# Of all runs into one folder, so that a run adds to them.
GROWING = {f"found/{name}" for name in ("results.jsonl", "coco.json", "sheet.png", "sheet.html", ".persam/files.jsonl")}

ALBUM = "seen/"  # all that is in an album is its own, and follows from all of its concepts


def test_the_readme_from_top_to_bottom_harms_no_file(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds: it is what a user does first, every command that needs no download, one after another."""
    monkeypatch.setattr(persam.PerSAM, "from_pretrained", cache(persam.PerSAM.from_pretrained))
    for kind, suffix in (("images", "jpg"), ("masks", "png")):
        (desk / "my_photos" / kind).mkdir(parents=True)
        for number in (1, 2):
            (desk / f"my_photos/{kind}/{number}.{suffix}").write_bytes((desk / f"{number}.{suffix}").read_bytes())
    call(["learn", "mug.jpg", "mug_mask.png", "-o", "dog.safetensors"])  # which is only used
    ran = []
    for words in commands(ROOT / "README.md"):
        shown = shlex.join(["persam", *words])
        if "persam bench folder" not in shown and any(each in shown for each in ELSEWHERE):
            continue
        before = contents(desk)
        call(words)
        after = contents(desk)
        harmed = [
            name
            for name, content in before.items()
            if after.get(name) != content and name not in GROWING and not name.startswith(ALBUM)
        ]
        assert harmed == [], shown
        ran.append(words[0])
        draw_masks(desk)
    assert {"learn", "segment", "show", "models", "bench", "study"} <= set(ran)


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_page_of_results_is_what_its_script_writes(tmp_path: Path) -> None:
    """Each run has the options that the page tells of; the script runs with stand-ins for persam and Python."""
    home, data, bin_folder = tmp_path / "docs", tmp_path / "data", tmp_path / "bin"
    for folder in (home, data / "kinds", bin_folder):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "docs/measure.sh", home)
    persam = """#!/bin/bash
echo "$*" >> "$CALLS"; mkdir -p "${@: -1}"; echo "# Table of $2" > "${@: -1}/table.md"
"""
    for name, text in (("persam", persam), ("python", "#!/bin/bash\necho HEAD\n")):
        (bin_folder / name).write_text(text)
        (bin_folder / name).chmod(0o755)
    calls = tmp_path / "calls.txt"
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "CALLS": str(calls)}
    command = ["bash", str(home / "measure.sh"), str(data), str(tmp_path / "runs"), "--device", "cpu"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    called = {line.split()[1]: line for line in calls.read_text().splitlines()}
    written, shown = (home / "results.md").read_text(), (ROOT / "docs/results.md").read_text()
    (limit,) = re.findall(r"No more than (\d+) photos", shown)
    (part,) = set(re.findall(r"photos of part (\w+)", shown))
    assert {name for name, line in called.items() if "--limit" in line} == {"small"}
    assert f"--limit {limit} --device cpu" in called["small"]
    assert f"--part {part} --device cpu" in called["instances"]
    assert "HEAD" in written
    for name in called:
        assert f"## Table of {name}\n" in written
    introduction = slice(written.index("What a model reaches"), written.index("## Table"))
    assert written[introduction].strip() in shown
