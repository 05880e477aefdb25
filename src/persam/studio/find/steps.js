const root = element.querySelector(".steps"), step = element.querySelector(".step"), strip = element.querySelector(".strip");
const none = element.querySelector(".none"), back = element.querySelector(".back"), on = element.querySelector(".on");
let at = 0;

function every() {
  return (props.value && props.value.steps) || [];
}
function show() {
  const all = every(), one = all[at];
  step.hidden = !one;
  none.textContent = (props.value && props.value.empty) || "";
  if (!one) return;
  element.querySelector(".where").textContent = "Step " + (at + 1) + " of " + all.length;
  element.querySelector("h4").textContent = one.title;
  element.querySelector(".sentence").textContent = one.sentence;
  element.querySelector(".note").textContent = one.note;
  const picture = element.querySelector(".step > img");
  picture.src = one.address;
  picture.alt = one.title;
  back.disabled = at === 0;
  on.disabled = at === all.length - 1;
  [...strip.children].forEach((button, place) => {
    if (place === at) button.setAttribute("aria-current", "step");
    else button.removeAttribute("aria-current");
  });
  const current = strip.children[at];
  if (current) strip.scrollLeft = current.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;
}
function go(place) {
  if (place < 0 || place >= every().length) return;
  at = place;
  show();
}
function begin() {
  at = 0;
  strip.replaceChildren(...every().map((one, place) => {
    const button = document.createElement("button"), picture = document.createElement("img");
    button.type = "button";
    button.setAttribute("aria-label", "Step " + (place + 1) + ": " + one.title);
    picture.src = one.address;
    picture.alt = "";
    button.append(picture);
    button.addEventListener("click", () => go(place));
    return button;
  }));
  show();
}
back.addEventListener("click", () => go(at - 1));
on.addEventListener("click", () => go(at + 1));
root.addEventListener("keydown", (event) => {
  const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: every().length - 1 };
  if (!(event.key in steps)) return;
  event.preventDefault();
  go(steps[event.key]);
});
watch("value", begin);
begin();
