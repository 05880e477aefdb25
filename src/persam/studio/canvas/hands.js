// What hands do: pointers (mouse, pen, fingers), buttons and keys. At the end the canvas starts.

// ------------------------------------------------------------------------------------------------ pointers

const inView = (event) => {
  const corner = canvas.getBoundingClientRect();
  return [event.clientX - corner.left, event.clientY - corner.top];
};

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || (event.button && event.pointerType === "mouse" && event.button > 2)) return;
  stage.focus({ preventScroll: true });
  endStrokeOfKeys();
  showCross = false;
  corner = null;
  const where = inView(event);
  fingers.set(event.pointerId, where);
  try { canvas.setPointerCapture(event.pointerId); } catch { /* a pointer that a program made up */ }
  if (fingers.size === 2) { gesture = pinchStart(); return; }
  if (fingers.size > 2) { gesture = null; return; }
  if (event.button === 1 || tool === "pan" || spaceHeld) gesture = { kind: "pan", start: where, corner: [left, top_] };
  else if (event.button === 2 || tool === "add" || tool === "remove") {
    const label = (tool === "remove") === (event.button === 2) ? 1 : 0;
    gesture = { kind: "point", label: tool === "add" || tool === "remove" ? label : 0, start: where, corner: [left, top_] };
  } else if (tool === "box") gesture = { kind: "box", from: toPhoto(where), to: toPhoto(where), start: where };
  else gesture = { kind: "stroke", stroke: { label: tool === "brush" ? 1 : 0, width: strokeWidth(), points: [toPhoto(where)] } };
  if (event.button === 1) event.preventDefault();
  refresh();
});

canvas.addEventListener("pointermove", (event) => {
  const where = inView(event);
  hovering = event.pointerType === "touch" ? null : where;
  if (fingers.has(event.pointerId)) fingers.set(event.pointerId, where);
  if (gesture && !gesture.byKeys) dragged(event, where);
  if (gesture || tool === "brush" || tool === "eraser") refresh();
});

function dragged(event, where) {
  const moved = gesture.start ? Math.hypot(where[0] - gesture.start[0], where[1] - gesture.start[1]) : 0;
  if (gesture.kind === "pinch") pinch();
  else if (gesture.kind === "pan" || (gesture.kind === "point" && moved > TAP)) {
    gesture.kind = "pan"; // a click that moves is none: it moves a zoomed photo
    left = gesture.corner[0] + where[0] - gesture.start[0];
    top_ = gesture.corner[1] + where[1] - gesture.start[1];
    keepInside();
  } else if (gesture.kind === "box") gesture.to = toPhoto(where);
  else if (gesture.kind === "stroke") {
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    for (const each of all.length ? all : [event]) gesture.stroke.points.push(toPhoto(inView(each)));
  }
}

canvas.addEventListener("pointerup", (event) => {
  const where = inView(event), ended = gesture;
  fingers.delete(event.pointerId);
  if (ended && ended.kind === "pinch" && fingers.size) return; // until both fingers are up
  gesture = null;
  if (!ended || !photo) return;
  if (ended.kind === "point") addPoint(toPhoto(ended.start), ended.label);
  else if (ended.kind === "stroke") addStroke(thinned(ended.stroke));
  else if (ended.kind === "box" && Math.hypot(where[0] - ended.start[0], where[1] - ended.start[1]) > TAP) setBox(ended.from, toPhoto(where));
  refresh();
});

canvas.addEventListener("pointercancel", (event) => { fingers.delete(event.pointerId); gesture = null; refresh(); });
canvas.addEventListener("pointerleave", () => { hovering = null; refresh(); });
canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("wheel", (event) => {
  if (!photo || !(event.ctrlKey || event.metaKey)) return; // the page scrolls
  event.preventDefault();
  zoomAt(zoom * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.003)), ...inView(event));
}, { passive: false });

// Corners that a hand does not mean: closer than a third of a view pixel's width to the last one that is kept.
function thinned(stroke) {
  const far = Math.max(1, stroke.width * scale() / 12) / scale(), points = stroke.points;
  const kept = [points[0]];
  for (const each of points.slice(1)) {
    const last = kept[kept.length - 1];
    if (Math.hypot(each[0] - last[0], each[1] - last[1]) >= far || each === points[points.length - 1]) kept.push(each);
  }
  return { ...stroke, points: kept };
}

const two = () => {
  const [one, other] = [...fingers.values()];
  return { apart: Math.hypot(one[0] - other[0], one[1] - other[1]), middle: [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2] };
};
function pinchStart() {
  const { apart, middle } = two();
  return { kind: "pinch", apart, zoom, held: toPhoto(middle) };
}
function pinch() {
  if (fingers.size !== 2) return;
  const { apart, middle } = two();
  zoom = clamp(gesture.zoom * apart / Math.max(gesture.apart, 1), 1, Math.max(FARTHEST, 4 / fitted));
  left = middle[0] - gesture.held[0] * scale();
  top_ = middle[1] - gesture.held[1] * scale();
  keepInside();
}

// ------------------------------------------------------------------------------------------------ buttons and keys

function choose(name) {
  endStrokeOfKeys();
  tool = name;
  corner = null;
  for (const each of tools) each.setAttribute("aria-checked", String(each.dataset.tool === name));
  refresh();
}
for (const each of tools) each.addEventListener("click", () => choose(each.dataset.tool));
for (const each of element.querySelectorAll("[data-act]")) each.addEventListener("click", () => acts[each.dataset.act]());
widthInput.addEventListener("input", refresh);

function hide(on) {
  hidden = on && Boolean(mask);
  holdButton.classList.toggle("pc-held", hidden);
  refresh();
}
holdButton.addEventListener("pointerdown", () => hide(true));
for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) holdButton.addEventListener(end, () => hide(false));
holdButton.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") hide(true); });
holdButton.addEventListener("keyup", () => hide(false));

function moveCross(dx, dy, far) {
  const [width, height] = size(), step = (far ? 40 : 4) / scale();
  cross = cross || toPhoto([viewWidth / 2, viewHeight / 2]);
  cross = [clamp(cross[0] + dx * step, 0, width), clamp(cross[1] + dy * step, 0, height)];
  showCross = true;
  const [x, y] = toView(cross); // it stays in sight
  left += Math.max(0, 24 - x) - Math.max(0, x - viewWidth + 24);
  top_ += Math.max(0, 24 - y) - Math.max(0, y - viewHeight + 24);
  keepInside();
  if (gesture && gesture.byKeys) gesture.stroke.points.push(cross);
  say(Math.round(cross[0]) + ", " + Math.round(cross[1]));
}

// Whatever ends a stroke that keys began keeps it; true if there was one.
function endStrokeOfKeys() {
  if (!gesture || !gesture.byKeys) return false;
  const done = gesture.stroke;
  gesture = null;
  addStroke(done);
  say("Stroke done");
  return true;
}

function useTool() {
  if (!cross) return moveCross(0, 0, false);
  const [x, y] = cross.map(Math.round);
  if (tool === "add" || tool === "remove") {
    addPoint(cross, tool === "add" ? 1 : 0);
    say((tool === "add" ? "Point on the object at " : "Point beside the object at ") + x + ", " + y);
  } else if (tool === "box") {
    if (corner) { setBox(corner, cross); corner = null; say("Box done"); }
    else { corner = cross; say("First corner at " + x + ", " + y + "; move on and press Enter"); }
  } else if (tool === "brush" || tool === "eraser") {
    if (!endStrokeOfKeys()) {
      gesture = { kind: "stroke", byKeys: true, stroke: { label: tool === "brush" ? 1 : 0, width: strokeWidth(), points: [cross] } };
      say("Stroke begins at " + x + ", " + y + "; move on and press Enter");
    }
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const LETTERS = { a: "add", n: "remove", b: "box", d: "brush", e: "eraser", m: "pan" };
const ACTS = { z: "undo", y: "redo", x: "clear", "+": "closer", "=": "closer", "-": "farther", "0": "fit", "?": "help" };

// True if the key meant something here.
function pressed(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key, onStage = event.target === stage;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") acts[event.shiftKey ? "redo" : "undo"]();
    else if (key === "y") acts.redo();
    else return false;
    return true;
  }
  if (event.altKey) return false;
  if (onStage && photo && ARROWS[key]) moveCross(...ARROWS[key], event.shiftKey);
  else if (onStage && photo && key === "Enter") useTool();
  else if (onStage && key === " ") spaceHeld = true;
  else if (key === "Escape" && (gesture || corner || showCross)) { gesture = corner = null; showCross = false; }
  else if (key === "h") hide(true);
  else if (key === "[" || key === "]") widthInput.value = String(Number(widthInput.value) * (key === "]" ? 1.25 : 0.8));
  else if (LETTERS[key] && offered().includes(LETTERS[key])) { choose(LETTERS[key]); say(find("[data-tool=" + LETTERS[key] + "]").getAttribute("aria-label")); }
  else if (ACTS[key]) acts[ACTS[key]]();
  else return false;
  return true;
}
element.addEventListener("keydown", (event) => {
  if (event.target === widthInput && event.key.startsWith("Arrow")) return;
  if (pressed(event)) { event.preventDefault(); event.stopPropagation(); refresh(); }
  else if (!["Shift", "Control", "Alt", "Meta"].includes(event.key)) endStrokeOfKeys(); // such as S, which saves it
});
element.addEventListener("keyup", (event) => {
  if (event.key === " ") spaceHeld = false;
  if (event.key.toLowerCase() === "h") hide(false);
  refresh();
});
stage.addEventListener("blur", () => { spaceHeld = false; hide(false); endStrokeOfKeys(); });

new ResizeObserver(lay).observe(stage);
window.addEventListener("resize", lay);
function followDensity() { // a window may move to a denser screen, and a page be zoomed
  const same = window.matchMedia("(resolution: " + window.devicePixelRatio + "dppx)");
  same.addEventListener("change", () => { lay(); followDensity(); }, { once: true });
}
followDensity();
watch(["value", "photo", "reply", "tools"], hear);
hear();
lay();
