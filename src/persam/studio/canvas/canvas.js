const canvas = element.querySelector(".pc-canvas"), empty = element.querySelector(".pc-empty");
const note = element.querySelector(".pc-note"), pen = canvas.getContext("2d");
let photo = null, mask = null, value = props.value, number = 0;

function picture(url, done) {
  const image = new Image();
  image.onload = () => done(image);
  image.src = url;
}
function draw() {
  if (!photo) return;
  canvas.width = photo.naturalWidth;
  canvas.height = photo.naturalHeight;
  pen.drawImage(photo, 0, 0);
  if (mask) {
    pen.globalAlpha = 0.5;
    pen.drawImage(mask, 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 1;
  }
}
function show() {
  const given = props.photo;
  empty.textContent = given && given.url ? "" : props.empty;
  photo = mask = null;
  value = props.value;
  if (given && given.url) picture(given.url, (image) => { photo = image; draw(); hear(); });
}
function hear() {
  const reply = props.reply;
  if (!reply || reply.photo !== props.photo.url || (reply.number >= 0 && reply.number < number)) return;
  note.textContent = reply.note || "";
  if (reply.mask) picture(reply.mask, (image) => { mask = image; draw(); });
  else { mask = null; draw(); }
}
canvas.addEventListener("pointerup", (event) => {
  if (!photo) return;
  const at = canvas.getBoundingClientRect();
  const x = (event.clientX - at.left) / at.width * props.photo.width;
  const y = (event.clientY - at.top) / at.height * props.photo.height;
  number += 1;
  value = { ...value, points: [...value.points, [x, y, 1]], number, photo: props.photo.url };
  props.value = value;
  trigger("input");
});
watch("photo", show);
watch("reply", hear);
show();
