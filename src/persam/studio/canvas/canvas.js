// The drawing surface in the browser. Gradio runs this once for every canvas of a page, with its own `element`, `props`
// (value, photo, reply, label, empty), `trigger` and `watch`. Three coordinate systems: client pixels of the browser;
// view pixels of the stage, (0, 0) its upper left; photo pixels, in which everything that is drawn is kept.
const find = (selector) => element.querySelector(selector);
const stage = find(".pc-stage"), canvas = find(".pc-canvas"), note = find(".pc-note"), said = find(".pc-said");
const widthInput = find(".pc-width input"), help = find(".pc-help"), holdButton = find("[data-hold]");
const tools = [...element.querySelectorAll("[data-tool]")];
const [veil, edge] = [0, 1].map(() => document.createElement("canvas"));
const [pen, veilPen, edgePen] = [canvas, veil, edge].map((each) => each.getContext("2d"));

const NOTHING = { points: [], box: null, strokes: [] };
const ADD = "#16a34a", REMOVE = "#dc2626", MASK = "#0ea5e9", FARTHEST = 16;
const TAP = 6; // view pixels that a pointer may move in a click

let photo = null, mask = null; // pictures: of the photo, and of the mask as alpha in its colour
let history = [NOTHING], at = 0, number = 0, answered = 0, loading = 0;
let tool = "add", zoom = 1, left = 0, top_ = 0; // where the photo's corner is in the view
let viewWidth = 0, viewHeight = 0, fitted = 1, ratio = 1;
let gesture = null, cross = null, corner = null, hovering = null, hidden = false, spaceHeld = false, showCross = false;
const fingers = new Map();

// ------------------------------------------------------------------------------------------------ what is drawn

const drawn = () => history[at];
const size = () => [props.photo.width, props.photo.height];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const tenth = (value) => Math.round(value * 10) / 10;

function commit(change) {
  history = [...history.slice(0, at + 1), { ...drawn(), ...change }];
  at += 1;
  tell();
}

function tell() {
  number += 1;
  props.value = { ...drawn(), number, photo: props.photo.url };
  trigger("input");
  refresh();
}

// A pixel's middle has whole numbers, as the model counts; the view counts from pixels' edges.
const pixel = ([x, y]) => [tenth(clamp(x - 0.5, 0, size()[0] - 1)), tenth(clamp(y - 0.5, 0, size()[1] - 1))];
const addPoint = (where, label) => commit({ points: [...drawn().points, [...pixel(where), label]] });
const addStroke = (stroke) => commit({ strokes: [...drawn().strokes, { ...stroke, points: stroke.points.map(pixel) }] });

function setBox(one, other) {
  const [width, height] = size();
  const xs = [one[0], other[0]].map((x) => tenth(clamp(x, 0, width))), ys = [one[1], other[1]].map((y) => tenth(clamp(y, 0, height)));
  commit({ box: [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)] });
}

const acts = {
  undo: () => { if (at > 0) { at -= 1; tell(); say("Undone"); } },
  redo: () => { if (at < history.length - 1) { at += 1; tell(); say("Done again"); } },
  clear: () => { if (!isEmpty(drawn())) { commit(NOTHING); say("Cleared"); } },
  closer: () => zoomAt(zoom * 1.5, viewWidth / 2, viewHeight / 2),
  farther: () => zoomAt(zoom / 1.5, viewWidth / 2, viewHeight / 2),
  fit: () => zoomAt(1, 0, 0),
  help: () => { help.hidden = !help.hidden; find("[data-act=help]").setAttribute("aria-expanded", String(!help.hidden)); },
};
const isEmpty = (value) => !(value.points.length || value.box || value.strokes.length);
const strokeWidth = () => Math.max(1, tenth(Number(widthInput.value) / scale()));

// ------------------------------------------------------------------------------------------------ what Python says

function picture(url, then) {
  const image = new Image();
  image.onload = () => then(image);
  image.onerror = () => { note.textContent = "The photo could not be shown; load it again."; };
  image.src = url;
}

// A mask comes as a black and white picture; here white becomes the mask's colour and black nothing.
function coloured(image) {
  const layer = document.createElement("canvas"), layerPen = layer.getContext("2d");
  [layer.width, layer.height] = [image.naturalWidth, image.naturalHeight];
  layerPen.drawImage(image, 0, 0);
  const pixels = layerPen.getImageData(0, 0, layer.width, layer.height);
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(MASK.slice(start, start + 2), 16));
  for (let each = 0; each < pixels.data.length; each += 4) pixels.data.set([red, green, blue, pixels.data[each]], each);
  layerPen.putImageData(pixels, 0, 0);
  return layer;
}

let shownUrl = "";
function hear() {
  const url = (props.photo && props.photo.url) || "";
  const given = { ...NOTHING, ...(props.value || {}) };
  if (url !== shownUrl) {
    shownUrl = url;
    restart(given);
    photo = null;
    zoom = 1;
    const turn = (loading += 1);
    if (url) picture(url, (image) => { if (turn === loading) { photo = image; lay(); } });
    lay();
  } else if (given.number !== number) {
    restart(given); // a program drew something else
  }
  answer(props.reply || {});
  offer(offered());
  refresh();
}

const offered = () => props.tools || tools.map((each) => each.dataset.tool); // a canvas that was not shown has no props

function offer(names) {
  for (const each of tools) each.hidden = !names.includes(each.dataset.tool);
  find(".pc-width").hidden = !names.includes("brush") && !names.includes("eraser");
  if (!names.includes(tool)) choose(names[0]);
}

function restart(given) {
  history = [{ points: given.points, box: given.box, strokes: given.strokes }];
  at = 0;
  answered = number; // nobody has to answer what a program drew
  mask = gesture = cross = corner = null;
  note.textContent = "";
}

let answers = 0;
function answer(reply) {
  if (!shownUrl || reply.photo !== shownUrl || (reply.number >= 0 && reply.number < number)) return; // overtaken
  const turn = (answers += 1), number_ = Math.max(reply.number, answered);
  const done = (layer) => { mask = layer; answered = number_; note.textContent = reply.note || ""; refresh(); };
  if (!reply.mask) done(null);
  else picture(reply.mask, (image) => { if (turn === answers) done(coloured(image)); });
}

// ------------------------------------------------------------------------------------------------ the view

const scale = () => fitted * zoom;
const toPhoto = ([x, y]) => [(x - left) / scale(), (y - top_) / scale()];
const toView = ([x, y]) => [x * scale() + left, y * scale() + top_];

function lay() {
  const width = stage.clientWidth;
  if (!width) return; // in a tab that is not shown
  const [photoWidth, photoHeight] = shownUrl ? size() : [1, 0];
  const most = Math.max(220, window.innerHeight * 0.72);
  viewWidth = width;
  viewHeight = Math.round(Math.min(width * photoHeight / photoWidth, most));
  fitted = Math.min(viewWidth / photoWidth, viewHeight / Math.max(photoHeight, 1));
  ratio = window.devicePixelRatio || 1;
  canvas.style.height = viewHeight + "px";
  for (const each of [canvas, veil, edge]) {
    each.width = Math.round(viewWidth * ratio);
    each.height = Math.round(viewHeight * ratio);
  }
  veiled = {};
  keepInside();
  refresh();
}

function keepInside() {
  const [width, height] = shownUrl ? size().map((side) => side * scale()) : [0, 0];
  left = width <= viewWidth ? (viewWidth - width) / 2 : clamp(left, viewWidth - width, 0);
  top_ = height <= viewHeight ? (viewHeight - height) / 2 : clamp(top_, viewHeight - height, 0);
}

function zoomAt(wanted, x, y) {
  if (!shownUrl) return;
  const [photoX, photoY] = toPhoto([x, y]);
  zoom = clamp(wanted, 1, Math.max(FARTHEST, 4 / fitted));
  left = x - photoX * scale();
  top_ = y - photoY * scale();
  keepInside();
  refresh();
}

let asked = false;
function refresh() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; paint(); report(); });
}

function paint() {
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, viewWidth, viewHeight);
  if (!photo) return;
  const [width, height] = size().map((side) => side * scale());
  pen.imageSmoothingEnabled = scale() < 3;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(photo, left, top_, width, height);
  if (!hidden) {
    if (mask) paintMask(width, height);
    paintPrompts();
  }
  if (showCross && cross) paintCross(toView(cross));
}

// Tint and outline of the mask; made anew only when it or the view changes, for it takes many passes.
let veiled = {};
function paintMask(width, height) {
  const now = { mask, left, top_, width, height, pixels: veil.width };
  if (Object.keys(now).some((each) => now[each] !== veiled[each])) {
    veiled = now;
    paintVeil(width, height);
  }
  pen.drawImage(veil, 0, 0, viewWidth, viewHeight);
}

function paintVeil(width, height) {
  for (const each of [veilPen, edgePen]) {
    each.setTransform(ratio, 0, 0, ratio, 0, 0);
    each.globalCompositeOperation = "source-over";
  }
  veilPen.clearRect(0, 0, viewWidth, viewHeight);
  veilPen.globalAlpha = 0.38;
  veilPen.drawImage(mask, left, top_, width, height);
  veilPen.globalAlpha = 1;
  for (const [reach, colour] of [[3, "rgba(255,255,255,0.9)"], [1.8, MASK]]) {
    edgePen.globalCompositeOperation = "source-over";
    edgePen.clearRect(0, 0, viewWidth, viewHeight);
    for (let turn = 0; turn < 12; turn += 1) {
      const angle = turn * Math.PI / 6;
      edgePen.drawImage(mask, left + reach * Math.cos(angle), top_ + reach * Math.sin(angle), width, height);
    }
    edgePen.globalCompositeOperation = "destination-out";
    edgePen.drawImage(mask, left, top_, width, height);
    edgePen.globalCompositeOperation = "source-in";
    edgePen.fillStyle = colour;
    edgePen.fillRect(0, 0, viewWidth, viewHeight);
    veilPen.drawImage(edge, 0, 0, viewWidth, viewHeight);
  }
}

function paintPrompts() {
  const { points, box, strokes } = drawn();
  if (answered < number && strokes.length) paintStroke(strokes[strokes.length - 1], 0.5); // not in the mask yet
  if (gesture && gesture.stroke) paintStroke(gesture.stroke, 0);
  const corners = gesture && gesture.from && gesture.kind === "box" ? [gesture.from, gesture.to]
    : corner && cross ? [corner, cross] : box ? [[box[0], box[1]], [box[2], box[3]]] : null;
  if (corners) {
    const [[x0, y0], [x1, y1]] = corners.map(toView);
    for (const [colour, dash] of [["#fff", []], ["#0f172a", [6, 5]]]) {
      pen.setLineDash(dash);
      pen.lineWidth = 2;
      pen.strokeStyle = colour;
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    pen.setLineDash([]);
  }
  for (const [x, y, label] of points) paintPoint(toView([x + 0.5, y + 0.5]), label);
  if (hovering && (tool === "brush" || tool === "eraser")) {
    pen.beginPath();
    pen.arc(...hovering, Number(widthInput.value) / 2, 0, 7);
    for (const [colour, width] of [["#fff", 3], ["#0f172a", 1]]) { pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke(); }
  }
}

function paintStroke(stroke, half) {
  pen.globalAlpha = 0.55;
  pen.strokeStyle = pen.fillStyle = stroke.label ? MASK : "#f8fafc";
  pen.lineWidth = stroke.width * scale();
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  stroke.points.forEach(([x, y], index) => pen[index ? "lineTo" : "moveTo"](...toView([x + half, y + half])));
  if (stroke.points.length === 1) pen.lineTo(...toView([stroke.points[0][0] + half + 0.01, stroke.points[0][1] + half]));
  pen.stroke();
  pen.globalAlpha = 1;
}

function paintPoint([x, y], label) {
  pen.beginPath();
  pen.arc(x, y, 7, 0, 7);
  pen.fillStyle = label ? ADD : REMOVE;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = "#fff";
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x - 3.5, y);
  pen.lineTo(x + 3.5, y);
  if (label) { pen.moveTo(x, y - 3.5); pen.lineTo(x, y + 3.5); }
  pen.stroke();
}

function paintCross([x, y]) {
  for (const [colour, width] of [["#fff", 3], ["#0f172a", 1]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 4 * dx, y + 4 * dy);
      pen.lineTo(x + 22 * dx, y + 22 * dy);
    }
    pen.stroke();
  }
}

// What a style sheet and a test want to know.
function report() {
  const state = !shownUrl ? "empty" : !photo ? "loading" : answered < number ? "thinking" : "ready";
  const { points, box, strokes } = drawn();
  Object.assign(stage.dataset, {
    state, tool, number, points: points.length, box: box ? 1 : 0, strokes: strokes.length, mask: mask ? 1 : 0,
    zoom: zoom.toFixed(2), scale: scale(), left, top: top_,
  });
  stage.setAttribute("aria-busy", String(state === "thinking" || state === "loading"));
  stage.setAttribute("aria-label", shownUrl
    ? (props.label || "Photo") + ", drawing surface. " + points.length + " points" + (box ? ", a box" : "") + ", " + strokes.length +
      " strokes. Arrow keys move a crosshair, Enter uses the tool there; the question mark shows all keys."
    : (props.label || "Photo") + ", drawing surface, no photo yet");
  find(".pc-empty").textContent = props.empty || "";
  find("[data-act=undo]").disabled = at === 0;
  find("[data-act=redo]").disabled = at === history.length - 1;
  find("[data-act=clear]").disabled = isEmpty(drawn());
  holdButton.disabled = !mask;
  // One finger scrolls the page where it would only click; else it draws, or moves a photo that is zoomed.
  canvas.style.touchAction = zoom === 1 && (tool === "add" || tool === "remove") ? "pan-y" : "none";
  canvas.style.cursor = tool === "pan" || spaceHeld ? "grab" : tool === "brush" || tool === "eraser" ? "none" : "crosshair";
}

const say = (text) => { said.textContent = said.textContent === text ? text + "\u00a0" : text; };

// ------------------------------------------------------------------------------------------------ pointers

const inView = (event) => {
  const corner = canvas.getBoundingClientRect();
  return [event.clientX - corner.left, event.clientY - corner.top];
};

canvas.addEventListener("pointerdown", (event) => {
  if (!photo || (event.button && event.pointerType === "mouse" && event.button > 2)) return;
  stage.focus({ preventScroll: true });
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
  if (gesture) dragged(event, where);
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
    if (gesture && gesture.byKeys) { const done = gesture.stroke; gesture = null; addStroke(done); say("Stroke done"); }
    else {
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
});
element.addEventListener("keyup", (event) => {
  if (event.key === " ") spaceHeld = false;
  if (event.key.toLowerCase() === "h") hide(false);
  refresh();
});
stage.addEventListener("blur", () => { spaceHeld = false; hide(false); });

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
