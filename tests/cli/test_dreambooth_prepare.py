"""`persam dreambooth prepare` and `enlarge`: the user's way, and the user's mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import Run
from tests.conftest import draw_scene

SMALL = ("--resolution", "128")
Refused = Callable[..., str]


@pytest.fixture
def masks(album: Path, tmp_path: Path) -> Path:
    """The true masks of the album's photos."""
    (tmp_path / "masks").mkdir()
    for number in range(3):
        _, mask = draw_scene(120, 180, center=(50 + 30 * number, 60), radius=30, seed=number)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number}.png")
    return tmp_path / "masks"


def test_from_photos_to_a_corrected_folder_and_a_data_set(run: Run, learned: Path, album: Path) -> None:
    """With the bundled model, as anyone would."""
    made = run("dreambooth", "prepare", album, "--concept", learned, "--class", "disc", "-o", "ready", *SMALL)
    assert made.exit_code == 0, made.output
    assert "my disc: 3 photos, taught as: a photo of t@y disc." in made.stderr
    assert "Look at ready/contact-sheet.html" in made.stderr
    assert made.stdout.count("found") == 3
    mask = Path("ready/my disc/masks/0.png")
    painted = np.asarray(Image.open(mask)).copy()
    painted[:40] = 255
    Image.fromarray(painted).save(mask)
    Path("ready/my disc/images/2.png").unlink()
    again = run("dreambooth", "prepare", "ready")
    assert again.exit_code == 0, again.output
    assert "Removed by you: my disc/images/2.png." in again.stderr
    assert "corrected" in again.stdout
    assert "my disc: 2 photos" in again.stderr
    assert "More photos teach it better" in again.stderr
    assert "is read again as it is" in run("dreambooth", "prepare", "ready", "--resolution", "256").stderr
    Image.fromarray(painted[:100]).save(mask)
    wrong = run("dreambooth", "prepare", "ready")
    assert wrong.exit_code == 1
    assert wrong.stdout == ""
    assert "128 x 100 pixels, its photo 128 x 128" in wrong.stderr
    assert "Nothing was changed in ready" in wrong.stderr
    more = run("dreambooth", "enlarge", album, "-c", learned, "-o", "set", "--json")
    assert more.exit_code == 0, more.output
    told = json.loads(more.stdout)
    assert [photo["name"] for photo in told["photos"]] == ["00", "01", "02"]
    assert Path("set/Images/my_disc/02.jpg").is_file()


def test_masks_that_are_there(run: Run, album: Path, masks: Path) -> None:
    made = run("dreambooth", "prepare", album, "--masks", masks, "--class", "red disc", "-o", "ready", "--json", *SMALL)
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert told["subjects"][0]["name"] == "red disc"
    assert told["subjects"][0]["photos"][0]["caption"] == "a photo of t@y red disc"
    (album / "1.jpg").write_bytes(b"no photo")
    broken = run("dreambooth", "prepare", album, "--masks", masks, "--class", "red disc", "-o", "other", *SMALL)
    assert broken.exit_code == 1
    assert "1 of 3 photos could not be read" in broken.stderr
    assert len(list(Path("other/red disc/images").iterdir())) == 2


def test_mistakes_get_a_sentence_and_leave_nothing(
    refused: Refused, run: Run, learned: Path, album: Path, masks: Path
) -> None:
    prepare = ("dreambooth", "prepare")
    assert "No concept was named" in refused(*prepare, album, code=2)
    assert "There is no folder gone" in refused(*prepare, album, "--masks", "gone", code=2)
    assert "no pictures in the folder" in refused(*prepare, Path.cwd(), "-c", learned, code=2)
    assert "0.jpg is no concept" in refused(*prepare, album, "-c", learned, "-c", album / "0.jpg", code=2)
    assert "not both" in refused(*prepare, album, "-c", learned, "--masks", masks, code=2)
    assert "are both named 'my disc'" in refused(*prepare, album, "-c", learned, "-c", copied(learned), code=2)
    assert "without blanks" in refused(*prepare, album, "-c", learned, "--identifier", "t y", code=2)
    wrong = ("--class", "a", "--class", "b")
    assert "--class was given 2 times for one subject" in refused(*prepare, album, "-c", learned, *wrong, code=2)
    assert "multiple of 8" in refused(*prepare, album, "-c", learned, "--resolution", "500", code=2)
    assert "cannot be filled in" in refused(*prepare, album, "--masks", masks, "--caption", "{what}", code=2)
    Path("file").touch()
    assert "file" in refused(*prepare, album, "--masks", masks, "-o", "file", code=1)
    enlarge = ("dreambooth", "enlarge")
    assert "There are no pictures" in refused(*enlarge, empty(), "-c", learned, code=2)
    assert sorted(entry.name for entry in Path.cwd().iterdir()) == [
        "album",
        "copy.safetensors",
        "empty",
        "file",
        "masks",
    ]


def copied(file: Path) -> Path:
    copy = Path("copy.safetensors")
    copy.write_bytes(file.read_bytes())
    return copy


def empty() -> Path:
    Path("empty").mkdir()
    return Path("empty")


def test_help_has_examples(run: Run) -> None:
    assert (
        "persam dreambooth prepare photos/ --concept mug.safetensors" in run("dreambooth", "prepare", "--help").stdout
    )
    assert "persam dreambooth enlarge generated" in run("dreambooth", "enlarge", "--help").stdout
