"""What people who see badly or use no mouse need: names, contrast, a visible place of the keyboard (WCAG 2.2)."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CONTROLS = {
    "button", "link", "textbox", "searchbox", "checkbox", "radio", "slider", "spinbutton", "combobox", "listbox",
    "tab", "switch", "menuitem", "application", "img", "image", "Canvas",
}  # fmt: skip

# WCAG 1.4.3: luminance of every visible text against the ground below it, through all half-transparent layers.
_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => sum + share * linear(c[i] / 255), 0);
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== "none") return null;  // a picture: whoever paints it answers for it
      const colour = rgba(style.backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const poor = [], seen = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    if (!text || seen.has(e) || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName)) continue;
    seen.add(e);
    if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (e.closest("[disabled], [aria-disabled=true], svg")) continue;  // 1.4.3 leaves out what cannot be used
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (box.width < 2 || box.height < 2) continue;
    let faint = 1;
    for (let p = e; p; p = p.parentElement) faint *= Number(getComputedStyle(p).opacity);
    const below = ground(e);
    if (!below) continue;
    const colour = rgba(style.color); colour[3] *= faint;
    const [a, b] = [luminance(over(colour, below)), luminance(below)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5))
      poor.push(`${ratio.toFixed(2)} "${text.slice(0, 40)}" ${style.color} <${e.tagName} class="${e.className}">`);
  }
  return poor;
}"""

# Even the shortest transition has its first colour until the next frame. Spinners turn for ever: nobody waits for them.
_STILL = """async () => {
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    await frame();
    const passing = document.getAnimations().filter(each => each instanceof CSSTransition);
    await Promise.allSettled(passing.map(each => each.finished));
    await frame();
}"""


def poor_contrast(page: Page) -> list[str]:
    """The visible texts that are too pale for their ground, once no colour is on its way to another."""
    page.evaluate(_STILL)
    poor = page.evaluate(_CONTRAST)
    if poor:  # an answer may have come in between, and set colours off again
        page.evaluate(_STILL)
        poor = page.evaluate(_CONTRAST)
    return poor


def nameless(page: Page) -> list[str]:
    """The controls and pictures of which a screen reader could say no more than what they are."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    found = []
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in CONTROLS or node.get("name", {}).get("value", "").strip():
            continue
        described = session.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"]
        if described["localName"] == "svg":
            continue  # an ornament inside a control that has a name
        attributes = " ".join(described.get("attributes", []))
        found.append(f"{role}: <{described['localName']} {attributes[:120]}>")
    session.detach()
    return found


def out_of_reach(page: Page) -> list[str]:
    """The controls that lie right or left of the window, where nobody scrolls to."""
    return page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a, [tabindex='0']")].filter((e) => {
          const box = e.getBoundingClientRect();
          if (!e.checkVisibility({opacityProperty: true, visibilityProperty: true}) || box.width < 2) return false;
          return box.right > innerWidth + 1 || box.left < -1;
        }).map((e) => e.outerHTML.slice(0, 120))"""
    )
