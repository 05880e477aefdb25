// What the page does for whoever sits at the desk, besides counting time; goes on where `stopwatch.js` ends.

// Who pressed a button that is gone stands nowhere: by keyboard it would be a long way to what is shown instead.
// A finger is not led to a field of text, which would bring up the keys of the screen; and a key that is pressed when
// what had the focus is gone already was not what lost it.
let held = null, byKeys = false;
const isSeen = (each) => Boolean(each) && each.offsetParent !== null && !each.disabled;
window.addEventListener("focusin", (event) => { held = event.target; }, { capture: true });
window.addEventListener("keydown", () => { if (isSeen(held)) byKeys = true; }, { capture: true });
window.addEventListener("pointerdown", () => { byKeys = false; }, { capture: true });
function land() {
  if (!byKeys || !held || isSeen(held) || document.activeElement !== document.body) return;
  const goal = props.landing.map((each) => document.querySelector(each)).find(isSeen);
  if (goal) goal.focus({ preventScroll: true });
}

// What is wrong is said above, and the button that was pressed may be a long way below.
let told = null;
function showProblem() {
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
setInterval(() => { land(); bringIn(); showProblem(); }, TICK);

// Drawings live as long as the page, which asks before it goes (studio.js), wherever one looks by then.
function isDrawn() {
  const drawn = document.querySelector(`#${props.place} .pc-stage`)?.dataset || {};
  return [drawn.points, drawn.box, drawn.strokes].some((each) => Number(each || 0));
}
window.persamUnsaved = () => props.unsaved || Boolean(photo && isDrawn());

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
