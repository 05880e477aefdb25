// Counts active seconds, see desk_watch.py. Gradio runs this once, with `element`, `props` and `watch`, and then
// `desk.js`, which goes on in the same scope.
// On `window`, the first to hear: keys that are for the browser alone (studio.js) are movements too.
const MOVES = ["pointermove", "pointerdown", "keydown", "wheel", "touchmove"];
const TICK = 250; // milliseconds
let active = 0, last = Date.now(), moved = Date.now(), photo = "", arriving = false;

function isOpen() {
  const place = document.getElementById(props.place);
  return !document.hidden && place && place.offsetParent !== null;
}
function tick() {
  const now = Date.now(), until = Math.min(now, moved + props.idle * 1000);
  // A machine that slept, or a page that was not run for a while, was not looked at.
  if (photo && isOpen() && until > last) active += Math.min(until - last, 4 * TICK);
  last = now;
}
function begin() {
  if (props.photo === photo) return;
  arriving = Boolean(!photo && props.photo);
  photo = props.photo;
  active = 0;
  last = moved = Date.now();
}
for (const move of MOVES) window.addEventListener(move, () => { tick(); moved = Date.now(); }, { capture: true, passive: true });
document.addEventListener("visibilitychange", () => { last = moved = Date.now(); });
setInterval(tick, TICK);
watch("photo", begin);
begin();
window.persamStopwatch = () => { tick(); return { photo, active: active / 1000 }; };
