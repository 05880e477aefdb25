"""From a photo and a concept to a mask without PyTorch: onnxruntime, numpy and Pillow are enough.

    python without_torch.py CONCEPT.npz PHOTO MASK.png        (the exported model lies beside this file)

It does what mode paper does, in the paper's order: confidence map, two points, guided attention and semantic prompt,
three passes.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "persam.json").read_text(encoding="utf-8"))
SIDE, GRID, LOW = ABOUT["canvas"], ABOUT["grid"], ABOUT["low_resolution"]


def graph(name):
    """The encoder or the decoder: a function of its inputs, by name, that gives its outputs in order."""
    session = onnxruntime.InferenceSession(HERE / f"{name}.onnx", providers=["CPUExecutionProvider"])
    return lambda **inputs: session.run(None, inputs)


def resized(values, size):
    """Values (h, w) at another size (H, W), bilinear."""
    steps = values.shape[1] / size[1], 0, 0, 0, values.shape[0] / size[0], 0
    return np.array(Image.fromarray(np.float32(values)).transform((*size[::-1],), Image.AFFINE, steps, Image.BILINEAR))


def segment(photo, concept, encoder, decoder):
    """The mask of a concept in an RGB photo, (H, W) bool."""
    width, height = (max(1, int(length * SIDE / max(photo.size) + 0.5)) for length in photo.size)
    pixels = np.array(photo.resize((width, height), Image.BILINEAR))
    canvas = np.zeros((1, 3, SIDE, SIDE), np.float32)
    canvas[0, :, :height, :width] = ((pixels - ABOUT["mean"]) / np.array(ABOUT["std"])).transpose(2, 0, 1)
    (features,) = encoder(pixels=canvas)

    def on_photo(rows, columns):  # which cells of the canvas show the photo, not the padding
        used = max(1, round(rows * height / SIDE)), max(1, round(columns * width / SIDE))
        return (np.arange(rows)[:, None] < used[0]) & (np.arange(columns) < used[1])

    # Where is it alike (Eq. 5-6), and the two points that follow (Eq. 7)
    cells = np.einsum("nc,chw->nhw", concept["directions"], features[0] / np.linalg.norm(features[0], axis=0)).max(0)
    confidence, shown = resized(cells, LOW), on_photo(*LOW)
    most, least = np.where(shown, confidence, -np.inf).argmax(), np.where(shown, confidence, np.inf).argmin()
    step = np.array([SIDE / LOW[1], SIDE / LOW[0]])
    points = (np.stack(np.unravel_index([most, least], LOW)[::-1], -1) + 0.5) * step - 0.5

    # What steers the first pass: attention (Eq. 8) and semantic prompt (Eq. 9-10)
    weights = np.exp(cells) * on_photo(*GRID)
    attention, semantic = concept["alpha"] * weights.reshape(1, -1) / weights.sum(), concept["semantic"][None]

    def masks(box, before, guided):  # a box is two points with labels 2 and 3; without one SAM expects a point -1
        corners, labels = ([(0, 0)], [-1]) if box is None else (box, [2, 3])
        inputs = {"features": features, "points": [[*points, *corners]], "labels": [[1, 0, *labels]]}
        inputs |= {"mask": before[None, None], "has_mask": [not guided], "second_softmax": [guided]}
        inputs |= {"attention": attention * guided, "semantic": semantic * guided}
        return [each[0] for each in decoder(**{name: np.float32(values) for name, values in inputs.items()})]

    def share(mask):
        return (mask > 0)[shown].mean()

    # The passes (Fig. 3): guided; with the mask so far; also with its box. A tuned concept's first: Eq. 11
    logits, scores = masks(None, np.zeros(LOW), True)
    taken, tuned = logits[0], len(concept["scale_weights"]) > 0
    if tuned:
        taken = np.tensordot(concept["scale_weights"], logits[1:], 1)
        taken = taken if 0 < share(taken) < 0.95 else logits[1 + scores[1:].argmax()]
    for with_box in (tuned, True):
        if with_box and not share(taken):
            break
        at = np.argwhere((taken > 0) & shown)[:, ::-1]
        box = np.minimum([at.min(0) * step, (at.max(0) + 1) * step], (width, height)) - 0.5 if with_box else None
        logits, scores = masks(box, taken, False)
        best = logits[1 + scores[1:].argmax()]
        if share(best) and (share(best) < 0.95 or share(taken) >= 0.95):  # not run away over the whole photo
            taken = best
    return resized(resized(taken, (SIDE, SIDE))[:height, :width], photo.size[::-1]) > 0


if __name__ == "__main__":
    learned = np.load(sys.argv[1])
    if learned["model"] != ABOUT["fingerprint"]:
        sys.exit(f"{sys.argv[1]} was learned with another model than the one in {HERE}.")
    picture = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
    Image.fromarray(segment(picture, learned, graph("encoder"), graph("decoder"))).save(sys.argv[3])
