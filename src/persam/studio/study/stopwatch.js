// Counts active seconds, see stopwatch.py. Gradio runs this once, with `element`, `props` and `watch`.
const MOVES = ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"];
const TICK = 250; // milliseconds
let active = 0, last = Date.now(), moved = Date.now(), photo = "", arriving = false;

function isOpen() {
  const place = document.getElementById(props.place);
  return !document.hidden && place && place.offsetParent !== null;
}
const isLookedAt = () => photo && isOpen();
function tick() {
  const now = Date.now(), until = Math.min(now, moved + props.idle * 1000);
  // A machine that slept, or a page that was not run for a while, was not looked at.
  if (isLookedAt() && until > last) active += Math.min(until - last, 4 * TICK);
  last = now;
  land();
  bringIn();
  tell();
}
function begin() {
  if (props.photo === photo) return;
  arriving = Boolean(!photo && props.photo);
  photo = props.photo;
  active = 0;
  last = moved = Date.now();
}
for (const move of MOVES) document.addEventListener(move, () => { tick(); moved = Date.now(); }, { capture: true, passive: true });
document.addEventListener("visibilitychange", () => { last = moved = Date.now(); });
setInterval(tick, TICK);
watch("photo", begin);
begin();
window.persamStopwatch = () => { tick(); return { photo, active: active / 1000 }; };

// Who pressed a button that is gone stands nowhere: by keyboard it would be a long way to what is shown instead.
// A finger is not led to a field of text, which would bring up the keys of the screen.
let held = null, byKeys = false;
const isSeen = (each) => Boolean(each) && each.offsetParent !== null;
document.addEventListener("focusin", (event) => { held = event.target; });
document.addEventListener("keydown", () => { byKeys = true; }, { capture: true });
document.addEventListener("pointerdown", () => { byKeys = false; }, { capture: true });
function land() {
  if (!byKeys || !held || isSeen(held) || document.activeElement !== document.body) return;
  const goal = props.landing.map((each) => document.querySelector(each)).find(isSeen);
  if (goal) goal.focus({ preventScroll: true });
}

// What is wrong is said above, and the button that was pressed may be a long way below.
let told = null;
function tell() {
  const problem = document.querySelector(`${props.top} .problem`);
  if (problem && problem !== told && problem.getBoundingClientRect().top < 0) document.querySelector(props.top).scrollIntoView();
  told = problem;
}

// A photo that does not fit the window is brought into it once, below the line that says what happens.
function bringIn() {
  const place = document.getElementById(props.place);
  if (!arriving || !isOpen() || !place.getBoundingClientRect().height) return;
  arriving = false;
  if (place.getBoundingClientRect().bottom > innerHeight) document.querySelector(props.top).scrollIntoView();
}

// Drawings live as long as the page, which asks before it goes (studio.js).
function isDrawn() {
  const { points, box, strokes } = document.querySelector(`#${props.place} .pc-stage`).dataset;
  return [points, box, strokes].some((each) => Number(each));
}
window.persamUnsaved = () => props.unsaved || Boolean(isLookedAt() && isDrawn());

// Keys press buttons while the place is on the screen, also where its photo cannot be shown, but never while somebody
// types; arrows that change what has the focus press none.
const TYPED = "input:not([type=range]):not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable=true]";
const MOVED = "input, [role=radio], [role=slider], [role=tab], [role=listbox], [role=menu]";
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey || event.metaKey || event.repeat || !isOpen()) return;
  if (event.target.closest && event.target.closest(TYPED)) return;
  const inCanvas = event.target.closest && event.target.closest(`#${props.place}`);
  const onButton = event.target.closest && event.target.closest("button, a, [role=button], input, summary");
  const name = (event.ctrlKey ? "ctrl+" : "") + event.key.toLowerCase();
  // The canvas moves its crosshair by arrows and draws with Enter; Enter presses whatever button has the focus.
  if (inCanvas && /^(enter|arrow)/.test(name)) return;
  if (onButton && name === "enter") return;
  if (name.startsWith("arrow") && event.target.closest && event.target.closest(MOVED)) return;
  const button = document.getElementById(props.keys[name] || "");
  if (!button || button.disabled) return;
  event.preventDefault();
  button.click();
});
