// What is seen: where the photo lies in the view, and how it, its mask and what is drawn are painted.

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
  find("[data-act=undo]").disabled = at === 0;
  find("[data-act=redo]").disabled = at === history.length - 1;
  find("[data-act=clear]").disabled = isEmpty(drawn());
  holdButton.disabled = !mask;
  // One finger scrolls the page where it would only click; else it draws, or moves a photo that is zoomed.
  canvas.style.touchAction = zoom === 1 && (tool === "add" || tool === "remove") ? "pan-y" : "none";
  canvas.style.cursor = tool === "pan" || spaceHeld ? "grab" : tool === "brush" || tool === "eraser" ? "none" : "crosshair";
}

const say = (text) => { said.textContent = said.textContent === text ? text + "\u00a0" : text; };
