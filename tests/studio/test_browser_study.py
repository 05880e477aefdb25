"""The tab Study in a browser: two photos are masked, and only the time at them counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from tests.conftest import draw_scene
from tests.studio.accessibility import poor_contrast
from tests.studio.browsing import Visit

from persam.masks import read_mask
from persam.study import MaskTime, Study, new
from persam.study.times import BY_HAND, HAND, PROMPTS, read_times

CENTERS = [(140, 120), (90, 110)]
_HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

# Gradio's streams of answers: what ends the one that tells of a folder reaches the page when `letGo` is called, and it
# could be read on until the page gives it up.
_LATE_END = """(() => {
const ask = window.fetch, bytes = new TextEncoder(), text = new TextDecoder();
window.fetch = async (what, how) => {
  const answer = await ask(what, how);
  if (!String(what.url || what).includes("/queue/data")) return answer;
  const signal = what.signal || how.signal, reader = answer.body.getReader();
  const given = new Promise((_, fail) => signal.addEventListener("abort", () => fail(new Error("given up"))));
  given.catch(() => null);
  let holds = false, ended = false;
  const pull = async (stream) => {
    if (ended) return given;
    const { done, value } = await Promise.race([reader.read(), given]);
    if (done) return stream.close();
    const said = text.decode(value), end = said.indexOf("close_stream"), cut = said.lastIndexOf("data:", end);
    holds = holds || said.includes("Type the folder");
    if (end < 0 || !holds) return stream.enqueue(value);
    stream.enqueue(bytes.encode(said.slice(0, cut)));
    await Promise.race([new Promise((go) => { window.letGo = go; }), given]);
    stream.enqueue(bytes.encode(said.slice(cut)));
    ended = true;
  };
  return new Response(new ReadableStream({ pull }), { headers: answer.headers });
};
})();"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "photos").mkdir()
    for number, center in enumerate(CENTERS):
        pixels, _ = draw_scene(240, 320, center=center, radius=50, seed=number)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02}.png")
    return new(tmp_path / "study", {"disc": tmp_path / "photos"}, ["anna"])


def times_of(study: Study, who: str) -> dict[str, MaskTime]:
    return {time.photo: time for time in read_times(study.categories[0].times_file(who), "disc", who).times}


def test_two_photos(visit: Callable[..., Visit], study: Study) -> None:
    here = visit("Study")
    page = here.page
    page.locator("#study-start").click()
    expect(here.status("study")).to_have_text("Open a study first, or make a new one.")
    page.locator("#study-folder").get_by_role("textbox").fill(str(study.folder))
    page.locator("#study-open").click()
    expect(here.status("study")).to_have_text("The study has 2 photos in 1 category.")
    here.type_in("study-annotator", "zoë")  # who is new
    page.locator("#study-start").click()
    progress, board = page.locator("#study-progress"), here.canvas("study-canvas")

    # The first with a click; a page that is hidden for a second is not looked at.
    expect(progress).to_contain_text("photo 1 of 2 (0 done, zoë)")
    board.answered()
    page.locator("#study-organiser button").first.click()  # arrows on a choice go to no other photo
    page.evaluate("document.getElementById('study-next').addEventListener('click', () => { window.skipped = true; })")
    page.locator("#study-method label").first.click()
    expect(page.locator("#study-method input").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.skipped") is None
    board.click(CENTERS[0])
    page.evaluate(_HIDE, True)
    page.wait_for_timeout(1000)
    page.evaluate(_HIDE, False)
    seen = board.mask((240, 320))
    page.keyboard.press("s")
    expect(here.status("study")).to_have_text("00.png is saved.")
    expect(progress).to_contain_text("photo 2 of 2 (1 done, zoë)")
    file = study.folder / "disc" / "annotators" / "zoë" / "00.png"
    saved = read_mask(file)
    assert saved.shape == (240, 320)
    assert np.logical_xor(saved, seen).sum() < 0.05 * saved.sum()  # as far as a screen shows it
    assert saved[CENTERS[0][::-1]]
    time = times_of(study, "zoë")["00"]
    assert (time.made, time.positive_points, time.place) == (PROMPTS, 1, 1)
    assert 0.2 < time.active_seconds < time.wall_seconds - 0.9

    # Who does not move for long is elsewhere; a movement, and one is back.
    page.evaluate("const now = Date.now.bind(Date); Date.now = () => now() + 31000")
    page.wait_for_timeout(400)
    idle = page.evaluate("window.persamStopwatch().active")
    page.wait_for_timeout(400)
    assert page.evaluate("window.persamStopwatch().active") == idle
    page.mouse.move(300, 300)
    page.wait_for_timeout(400)
    assert page.evaluate("window.persamStopwatch().active") > idle

    # The second by hand, from the page as somebody finds it another day.
    page.locator("#study-change").click()
    page.locator("#study-assistance label").filter(has_text="By hand").click()
    photo = study.categories[0].photos[1]
    kept = photo.read_bytes()
    photo.write_bytes(b"")
    page.locator("#study-start").click()
    expect(here.status("study")).to_contain_text("You may skip this photo.")
    page.keyboard.press("PageDown")  # keys work there, too
    expect(here.status("study")).to_contain_text("but for 01.png, which cannot be read")
    photo.write_bytes(kept)
    page.locator("#study-more").click()
    page.locator("#study-start").click()
    expect(progress).to_contain_text("photo 2 of 2")
    board.answered()
    expect(board.root.get_by_label("Click on the object", exact=True)).to_be_hidden()
    page.locator("#study-save").click()
    expect(here.status("study")).to_contain_text("Nothing is marked in 01.png.")
    board.tool("brush")
    x, y = CENTERS[1]
    board.drag([(x - 30, y), (x + 30, y)])
    page.locator("#study-save").click()
    expect(page.locator("#study-done")).to_contain_text("Done, thank you, zoë")
    time = times_of(study, "zoë")["01"]
    assert (time.made, time.assistance, time.strokes, time.place) == (HAND, BY_HAND, 1, 2)
    assert read_mask(file.with_name("01.png"))[y, x]
    assert here.sideways() == 0

    # Who works with a mouse may scroll by Space: the focus is not taken to a button that it would press.
    expect(page.locator("#study-save")).to_be_hidden()  # else Space is for that
    page.keyboard.press("Space")
    page.wait_for_timeout(1000)
    assert page.evaluate("document.activeElement === document.body")


def test_by_keyboard_alone_and_with_mistakes(visit: Callable[..., Visit], study: Study) -> None:
    """Lists that Tab leaves are closed, the keyboard is never lost, and what is drawn is neither lost nor left so."""
    here = visit("Study", size="narrow", scheme="dark")
    page, board, said = here.page, here.canvas("study-canvas"), here.status("study")
    keys = page.keyboard
    expect(said).to_have_text("Open a study, or make a new one.")
    page.locator("#study-folder").get_by_role("textbox").focus()
    for wrong, words in (  # words that no answer before has, or what is typed next is sent with it
        (study.folder.parent / "photos", "holds photos and is no study"),
        (study.folder.parent / "gone", "There is no study at"),
        (study.folder / "disc", "is one category of a study"),
        ("x" * 300, "xxx"),
    ):
        keys.press("Control+a")
        keys.type(str(wrong))
        keys.press("Enter")
        expect(said).to_contain_text(words)
        expect(page.locator("#study-open")).to_have_attribute("aria-disabled", "false")  # it hears again
    keys.press("Control+a")
    keys.type(str(study.folder))
    keys.press("Enter")
    expect(said).to_have_text("The study has 2 photos in 1 category.")
    page.locator("#study-annotator input").focus()
    expect(page.get_by_role("listbox")).to_be_visible()
    for _ in range(2):
        keys.press("Tab")
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.locator("#study-start").focus()  # at the lower end of a small window
    keys.press("Enter")
    expect(said).to_have_text("Type the name of the person who masks the photos.")
    expect(said).to_be_in_viewport()
    assert poor_contrast(page) == []

    # The photo has the keyboard as soon as it is there, and a stroke that is not ended is saved with the mask.
    page.locator("#study-annotator input").focus()
    keys.type("ANNA")  # half a name is one, if Tab leaves it
    keys.press("Tab")
    expect(page.locator("#study-annotator input")).to_have_value("ANNA")
    page.locator("#study-start").focus()
    keys.press("Enter")
    expect(board.stage).to_be_focused()
    expect(board.stage).to_be_in_viewport()
    board.answered()
    keys.press("d")
    keys.press("Enter")  # the crosshair appears
    keys.press("Enter")
    for _ in range(6):
        keys.press("ArrowRight")
    keys.press("s")
    expect(said).to_have_text("00.png is saved.")
    assert times_of(study, "anna")["00"].strokes == 1

    # The browser asks before a drawing is lost; the same name another time is told whose masks these are.
    board.answered()
    asks = "() => window.persamUnsaved()"
    page.wait_for_function(f"!({asks})()")
    for _ in range(3):
        keys.press("Enter")
    board.answered()
    assert board.drawn() == (0, 0, 1)
    page.wait_for_function(asks)
    here.tab("Find")  # wherever one looks
    assert page.evaluate(asks)
    here.tab("Study")
    with page.expect_event("dialog") as coming:
        page.close(run_before_unload=True)
    assert coming.value.type == "beforeunload"
    coming.value.dismiss()  # and whoever stays goes on as before
    keys.press("PageUp")
    expect(page.locator("#study-progress")).to_contain_text("photo 1 of 2")
    page.wait_for_function(asks)  # it is still kept
    page.locator("#study-change").focus()
    keys.press("Enter")
    expect(page.locator("#study-annotator input")).to_be_focused()
    expect(said).to_contain_text("What is drawn on 01.png is not saved yet")
    page.locator("#study-start").focus()
    keys.press("Enter")
    expect(said).to_contain_text("You go on as anna, who has done 1 of 2 photos of disc. If that is not you")
    expect(board.stage).to_be_focused()
    assert board.drawn() == (0, 0, 1)
    keys.press("s")
    expect(page.locator("#study-more")).to_be_focused()
    page.wait_for_function(f"!({asks})()")


def ask_before_the_end(here: Visit) -> None:
    """Press Begin when all that was asked before is answered, and the page has not heard yet that this was all."""
    page, said = here.page, here.status("study")
    page.add_init_script(_LATE_END)
    here.open("Study")
    expect(said).to_have_text("Open a study, or make a new one.")
    page.locator("#study-open").click()
    expect(said).to_have_text("Type the folder of a study.")
    page.wait_for_function("typeof window.letGo === 'function'")
    page.evaluate("() => { window.isTheSame = true; }")
    with page.expect_response("**/queue/join*"):
        page.locator("#study-start").click()


def see_it_answered(here: Visit) -> None:
    """Let the page hear of the end, and see that it answers nevertheless, and is not loaded anew."""
    here.page.evaluate("() => window.letGo()")
    expect(here.status("study")).to_have_text("Open a study first, or make a new one.")
    here.page.wait_for_timeout(3000)  # Gradio looks every 2 seconds whether a lost connection is there again
    assert here.page.evaluate("window.isTheSame")


def test_what_is_pressed_as_the_last_answer_comes_is_answered(visit: Callable[..., Visit]) -> None:
    """Gradio's page would wait for ever, or be loaded anew: it was done with its stream of answers."""
    here = visit("Study")
    ask_before_the_end(here)
    see_it_answered(here)


def test_who_stays_is_answered_what_was_asked_before(visit: Callable[..., Visit]) -> None:
    """Gradio's page ends its stream of answers before one has decided."""
    here = visit("Study")
    ask_before_the_end(here)
    here.page.evaluate("() => { window.persamUnsaved = () => true; }")
    with here.page.expect_event("dialog") as coming:
        here.page.close(run_before_unload=True)
    coming.value.dismiss()
    see_it_answered(here)
    here.page.evaluate("() => { window.persamUnsaved = () => false; }")
