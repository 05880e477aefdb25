// The drawing surface in the browser: its state, and what it tells Python and hears from it; then `painting.js`, what is
// seen, and `hands.js`, pointers and keys, which go on in the same scope. Gradio runs the three once for every canvas of
// a page, with its own `element`, `props` (value, photo, reply, label, tools), `trigger` and `watch`. There are
// three coordinate systems: client pixels of the browser; view pixels of the stage, (0, 0) its upper left; photo pixels,
// in which everything that is drawn is kept.
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
