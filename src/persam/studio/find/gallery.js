// Cards stay where they are and change: a card that has the focus keeps it, and pictures are not loaded twice.
const grid = element.querySelector(".cards"), none = element.querySelector(".none");

function part(tag, name, parent) {
  const made = document.createElement(tag);
  made.className = name;
  parent.append(made);
  return made;
}
function make(key) {
  const card = document.createElement("button");
  card.type = "button";
  card.className = "card";
  card.dataset.card = key;
  const frame = part("div", "frame", card), text = part("div", "text", card);
  card.parts = { frame, name: part("div", "name", text), concept: part("div", "concept", text) };
  const line = part("div", "line", text);
  Object.assign(card.parts, { word: part("span", "word", line), score: part("span", "score", line) });
  card.parts.bar = part("i", "", part("div", "bar", text));
  return card;
}
function fill(card, one, kind) {
  const parts = card.parts;
  card.dataset.state = one.state;
  card.setAttribute("aria-pressed", String(one.chosen));
  card.setAttribute("aria-label", one.alt + (one.score === null ? "" : ", " + percent(one.score)));
  card.title = one.problem || one.name;
  parts.name.textContent = one.name;
  parts.word.textContent = one.word;
  parts.score.textContent = one.score === null ? "" : percent(one.score);
  parts.bar.parentNode.style.visibility = one.score === null ? "hidden" : "visible";
  parts.bar.style.width = (one.score || 0) * 100 + "%";
  parts.concept.textContent = one.concept;
  parts.concept.hidden = !one.concept;
  if (one.concept) {
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = one.colour;
    parts.concept.prepend(dot);
  }
  if (one.problem) {
    if (parts.frame.textContent !== one.problem) {
      parts.frame.replaceChildren();
      part("div", "sentence", parts.frame).textContent = one.problem;
    }
    return;
  }
  let picture = parts.frame.querySelector("img");
  if (!picture) {
    parts.frame.replaceChildren();
    picture = part("img", "", parts.frame);
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.alt = "";
  }
  if (picture.getAttribute("src") !== one.src) picture.src = one.src;
  picture.className = kind;
}
function percent(share) {
  return (share * 100).toFixed(0) + " %";
}
function draw() {
  const value = props.value || {}, cards = value.cards || [];
  const known = new Map([...grid.children].map((card) => [card.dataset.card, card]));
  const kind = cards.length && (cards[0].src.match(/cutout/) || [""])[0];
  const wanted = cards.map((one) => {
    const card = known.get(one.key) || make(one.key);
    fill(card, one, kind);
    return card;
  });
  const same = wanted.length === grid.children.length && wanted.every((card, at) => grid.children[at] === card);
  if (!same) grid.replaceChildren(...wanted);
  none.textContent = value.empty || "";
}
grid.addEventListener("click", (event) => {
  const card = event.target.closest("button");
  if (!card) return;
  trigger("select", { card: card.dataset.card });
  // On a phone what was chosen is shown far below the card.
  const detail = document.getElementById("find-detail");
  if (detail && window.innerWidth < 700) detail.scrollIntoView({ block: "start" });
});
grid.addEventListener("keydown", (event) => {
  const every = [...grid.children], at = every.indexOf(document.activeElement);
  const row = every.filter((card) => card.offsetTop === (every[0] || {}).offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -at, End: every.length - 1 - at };
  const next = event.key in steps && at >= 0 && every[at + steps[event.key]];
  if (!next) return;
  event.preventDefault();
  next.focus();
});
watch("value", draw);
draw();
