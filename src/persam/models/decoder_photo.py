"""What SAM's mask decoder keeps of a photo, and the cells of prompts made of it: for `fast_decoder`.

In the first layer y_c = p_c + W_m m_c + b_m: the photo, and what a mask prompt adds, which is 16 channels through a
matrix (without one, it is the same for all cells). There the photo is projected, once:

    x_t . (W y_c + b)       =  x_t . (W p_c)  +  ((W W_m)' x_t) . m_c  +  (W b_m + b) . x_t
    sum_c w_tc (W y_c + b)  =  sum_c w_tc (W p_c)  +  W W_m (sum_c w_tc m_c)  +  W b_m + b

Then the tokens tell the cells something, and the sums are normalised. From the second concept of a photo on, the cells
are not written down for that either. A norm is linear but for one number a cell, so after k of them still, beside a
mean over the channels that the next one removes,

    y_c  =  s_c p^k_c  +  sum_j b_jc r_j

with p^k the photo, centred and weighed k times, one number s_c, and some hundred rows r_j: the mask's channels, what
each token told, and constants; like the photo they go through every norm, centred and weighed. Their weights b_jc are
the mask, the attention that told it, and 1. What a norm divides by follows from

    |y_c|^2  =  s_c^2 |p^k_c|^2  +  sum_j b_jc (2 s_c (p^k_c . r_j)  +  sum_i (r_i . r_j) b_ic)

where p^k_c . r_j = (W_o' p^k_c) . v_j for what a token has just told, r_j = W_o v_j: again a projection of the photo.
For what was told earlier, the photo goes back through the norms since then instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from persam.models.decoder_cells import Linear, OwnCells, columns_of, heads_of, out_of, weights_by_head

KEEPING = 3  # prompts, those of one concept: what is kept for later layers costs what it spares in four or five more
FEW_ROWS = 0.75  # of as many as there are channels: with more, cells that are written down are quicker


@dataclass(eq=False)
class PhotoStage:
    """A photo's cells p^k after k norms, as far as they depend on nothing else, and their projections.

    Attributes:
        projected: by the attention layers that project cells, each (h, d, m). In the first stage, where nothing weighs
            them, with their positions.
        centred: p^k without its mean over the channels, (m, C).
        lengths: |p^k_c|^2 of that, (m,).
        telling: W_o' p^k of this layer and of those before it, through their norms, (h, d, m) each.
        drawn: by the layers that draw, each (m, c); of the last stage.
    """

    projected: dict[nn.Linear, Tensor] = field(default_factory=dict)
    centred: Tensor | None = None
    lengths: Tensor | None = None
    telling: list[Tensor] = field(default_factory=list)
    drawn: list[Tensor] = field(default_factory=list)
    _met: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def products(self, rows: Tensor) -> Tensor:
        """p^k_c . r_j, (f, m), with rows (f, C) that come again and again, with a mask prompt and without."""
        for met, products in self._met:
            if torch.equal(met, rows):
                return products
        assert self.centred is not None
        products = rows @ self.centred.T
        self._met = [*self._met[-1:], (rows.clone(), products)]
        return products


@dataclass(eq=False)
class PhotoCells:
    """A photo as the decoder takes it, for all its concepts and passes.

    With 64 x 64 cells it needs 14 MB, and 55 MB for several concepts; they are free when another photo comes.

    Attributes:
        cells: its features cell by cell, (m, C).
        places: positions of the cells, (m, C).
        stages: before the first layer, and after each, if that is kept too.
        projected_places: what the later layers make of the positions: the same for all photos.
        prompts: how many there were.
    """

    cells: Tensor
    places: Tensor
    stages: list[PhotoStage]
    projected_places: dict[nn.Linear, Tensor]
    prompts: int = 0

    @classmethod
    def of(cls, decoder: Any, features: Tensor, places: Tensor) -> PhotoCells:
        """The photo that this decoder saw last, if it is the same: concepts and passes of a photo follow one another.

        Args:
            decoder: of masks.
            features: (1, C, h, w).
            places: positions of the cells, (1, C, h, w).
        """
        layers = decoder.transformer.layers
        made_of = [features[0], places[0], *_weights(decoder)]  # however many prompts they are viewed for
        state = [_state(each) for each in made_of]
        kept: tuple[Any, PhotoCells, list[Tensor]] | None = getattr(decoder, "_persam_photo", None)
        if kept is not None and kept[0] == state:
            return kept[1]
        before = kept[1] if kept is not None and kept[0][1:] == state[1:] else None
        cells, at = (each[0].flatten(1).T.contiguous() for each in (features, places))
        look, tell = layers[0].cross_attn_token_to_image, layers[0].cross_attn_image_to_token
        first = _projections(look, {look.k_proj: cells + at, look.v_proj: cells, tell.q_proj: cells + at})
        photo = cls(cells, at, [PhotoStage(first)], before.projected_places if before else {})
        decoder._persam_photo = (state, photo, made_of)  # as long as these are there, no others lie in their place
        return photo

    def stages_for(self, prompts: int, rows: int, decoder: Any, drawing: Sequence[Linear]) -> list[PhotoStage]:
        """Those that the next prompts use: the first alone, if the later layers are quicker with cells of their own.

        Args:
            prompts: how many.
            rows: that each of them adds to the photo.
            decoder: of masks.
            drawing: the layers that it draws with.
        """
        self.prompts += prompts
        channels = self.cells.shape[1]
        if self.prompts <= KEEPING or rows > FEW_ROWS * channels or self.cells.dtype != torch.float32:
            return self.stages[:1]
        if len(self.stages) == 1:
            self.deepen(decoder.transformer, drawing)
        return self.stages

    def deepen(self, transformer: Any, drawing: Sequence[Linear]) -> None:
        """Keep what the later layers, and those that draw, need of it."""
        layers, final = list(transformer.layers), transformer.final_attn_token_to_image
        cells, stages = self.cells, [PhotoStage(self.stages[0].projected)]
        for number, layer in enumerate(layers):
            stage = stages[number]
            stage.centred = cells - cells.mean(1, keepdim=True)
            stage.lengths = stage.centred.square().sum(1)
            back = stage.centred  # r_j went through the norms since it was told; in the product the photo goes back
            for earlier in reversed(layers[: number + 1]):
                if earlier is not layer:
                    back = back * earlier.layer_norm4.weight
                    back = back - back.mean(1, keepdim=True)
                stage.telling.insert(0, columns_of(earlier.cross_attn_image_to_token) @ back.T)
            cells = stage.centred * layer.layer_norm4.weight
            after = layers[number + 1] if number + 1 < len(layers) else None
            look = after.cross_attn_token_to_image if after else final
            finding = [look.k_proj, after.cross_attn_image_to_token.q_proj] if after else [look.k_proj]
            stages.append(PhotoStage(_projections(look, dict.fromkeys([*finding, look.v_proj], cells))))
            missing = [each for each in finding if each not in self.projected_places]
            self.projected_places |= _projections(look, dict.fromkeys(missing, self.places))
        stages[-1].drawn = [cells @ weight.T for weight, _ in drawing]
        self.stages = stages  # at once, as another thread may look


def _projections(attention: Any, cells: dict[nn.Linear, Tensor]) -> dict[nn.Linear, Tensor]:
    """What layers make of cells (m, C), each (h, d, m), without the bias."""
    made = {layer: weights_by_head(layer, heads_of(attention)) @ each.T for layer, each in cells.items()}
    values = made.get(attention.v_proj)
    if values is not None:  # which are summed up over the cells
        made[attention.v_proj] = values.transpose(1, 2).contiguous().transpose(1, 2)
    return made


def _weights(decoder: Any) -> list[Tensor]:
    """Those that the projections of a photo are made of."""
    layers: list[Any] = [decoder.upscale_conv1]
    for layer in decoder.transformer.layers:
        tell = layer.cross_attn_image_to_token
        layers += [layer.cross_attn_token_to_image.k_proj, layer.cross_attn_token_to_image.v_proj]
        layers += [tell.q_proj, out_of(tell), layer.layer_norm4]
    final = decoder.transformer.final_attn_token_to_image
    return [each.weight for each in (*layers, final.k_proj, final.v_proj)]


def _state(tensor: Tensor) -> tuple[Any, ...]:
    """What changes when a tensor is another one, or was written into.

    Two ways of writing leave no trace: into a tensor that was made under `torch.inference_mode`, as features are that
    `encode` gives there, and through `.data`.
    """
    version = 0 if tensor.is_inference() else tensor._version
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, version


# ------------------------------------------------------------------------------------ the photo's, told by a prompt


def rows_of(marked: int, layers: int, rows_of_a_layer: int) -> tuple[int, int]:
    """How many first rows a prompt has, the mask's channels and a constant of every stage, and how many in all."""
    first = marked + layers + 1
    return first, first + layers * rows_of_a_layer


@dataclass(eq=False)
class ToldCells:
    """The cells of N prompts of a photo as a layer takes them, made of what is kept of the photo.

    The first rows are the mask's channels, and a constant of every stage; then come those of every layer that told
    something. As the weights of a cell and a head add up to 1, what the first token had to tell is in the constant,
    and the others' rows are what they had beside it. Changed in place when cells are told more.

    Attributes:
        photo: of all prompts.
        stages: of the photo; the first alone, if the later layers have cells of the prompts' own.
        marked: how many channels their mask prompts have; may be 0.
        weights: b, with room for the rows of all layers, (N, R, m).
        rows: r_j, so far (N, r, C).
        common: the first f rows, but without what tokens told: the same for all prompts, (f, C).
        scale: s, (N, m), once it is not 1.
        first: what the first token told, of every layer so far, (N, h, d) each.
        others: what the other tokens told beside it, (N, h, n - 1, d) each.
    """

    photo: PhotoCells
    stages: list[PhotoStage]
    marked: int
    weights: Tensor
    rows: Tensor
    common: Tensor
    scale: Tensor | None = None
    first: list[Tensor] = field(default_factory=list)
    others: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        photo: PhotoCells,
        stages: list[PhotoStage],
        mask: Tensor,
        through: Tensor,
        constant: Tensor,
        rows_of_a_layer: int,
    ) -> ToldCells:
        """As the first layer takes them.

        Args:
            photo: of all prompts.
            stages: of the photo that are used.
            mask: channels of the mask prompts, (N, k, m); k may be 0.
            through: matrix through which they are added, (C, k).
            constant: what else is added to every cell, (C,).
            rows_of_a_layer: that it adds to those of a prompt: heads times tokens but one.
        """
        prompts, marked, cells = mask.shape
        fixed, rows_in_all = rows_of(marked, len(stages) - 1, rows_of_a_layer)
        weights = mask.new_empty(prompts, rows_in_all, cells)
        weights[:, :marked], weights[:, marked], weights[:, marked + 1 : fixed] = mask, 1, 0
        common = mask.new_zeros(fixed, len(constant))
        common[:marked], common[marked] = through.T, constant
        return cls(photo, stages, marked, weights, common.expand(prompts, -1, -1), common)

    @property
    def _known(self) -> Tensor:
        """Weights of the rows so far, (N, r, m)."""
        return self.weights[:, : self.rows.shape[1]]

    @property
    def _stage(self) -> int:
        """How many layers have told the cells something."""
        return len(self.first)

    @property
    def _constant(self) -> int:
        """The newest row whose weight is 1 for all cells."""
        return self.marked + self._stage

    def logits(self, asking: Tensor, layer: nn.Linear) -> Tensor:
        """As of `OwnCells`."""
        projected, heads = self.stages[self._stage].projected[layer], asking.shape[1]
        through = (asking @ weights_by_head(layer, heads)).flatten(1, 2) @ self.rows.mT
        through[:, :, self._constant] += (asking @ layer.bias.view(heads, -1, 1)).flatten(1)
        logits = asking.new_empty(*asking.shape[:3], projected.shape[2])
        for one, found in zip(asking, logits, strict=True):
            torch.bmm(one, projected, out=found)
        if self.scale is not None:
            logits *= self.scale[:, None, None]
            for one, found in zip(asking, logits, strict=True):
                found.baddbmm_(one, self.photo.projected_places[layer])
        logits.flatten(1, 2).baddbmm_(through, self._known)
        return logits

    def sums(self, weights: Tensor, layer: nn.Linear) -> Tensor:
        """As of `OwnCells`."""
        values, heads = self.stages[self._stage].projected[layer].mT, weights.shape[1:3]
        scaled = weights if self.scale is None else weights * self.scale[:, None, None]
        seen = torch.stack([one @ values for one in scaled])
        added = weights.flatten(1, 2) @ self._known.mT @ self.rows  # (N, h n, C)
        return seen + added.unflatten(1, heads) @ weights_by_head(layer, heads[0]).mT + layer.bias.view(heads[0], 1, -1)

    def told(self, logits: Tensor, values: Tensor, layer: Any) -> ToldCells | OwnCells:
        """As of `OwnCells`; each prompt has cells of its own from here on, unless the photo has later stages."""
        if len(self.stages) == 1:
            cells = logits.new_empty(len(logits), *self.photo.cells.shape)
            own = OwnCells(cells, torch.empty_like(cells), self.photo.places[None])
            return own.filled(self._before, logits, values, layer)
        self._add(logits, values, layer.cross_attn_image_to_token)
        self._normalise(layer.layer_norm4)
        return self

    def _before(self, number: int, tile: slice) -> Tensor:
        return torch.addmm(self.photo.cells[tile], self._known[number, :, tile].T, self.rows[number])

    def _add(self, logits: Tensor, values: Tensor, attention: Any) -> None:
        """Add what tokens tell the cells, and centre the rows."""
        first, others = values[:, :, 0], values[:, :, 1:] - values[:, :, :1]
        constant, old = self._constant, self.rows.shape[1]
        self.common = self.common.clone()
        self.common[constant] += out_of(attention).bias
        self.common -= self.common.mean(1, keepdim=True)
        self.rows = torch.cat([self.rows, (others @ columns_of(attention)).flatten(1, 2)], 1)
        self.rows[:, constant] += F.linear(first.flatten(1), out_of(attention).weight, out_of(attention).bias)
        self.rows -= self.rows.mean(2, keepdim=True)
        strength = logits.sub_(logits.amax(2, keepdim=True)).exp_()
        told = self._known[:, old:].unflatten(1, others.shape[1:3])
        torch.div(strength[:, :, 1:], strength.sum(2, keepdim=True), out=told)
        self.first.append(first)
        self.others.append(others)

    def _normalise(self, norm: nn.LayerNorm) -> None:
        """Divide the centred cells by their deviation, and weigh them: the next stage."""
        scale = (self._lengths() / self.rows.shape[2] + norm.eps).rsqrt()
        self._known.mul_(scale[:, None])
        self.scale = scale if self.scale is None else self.scale * scale
        self.rows, self.common = self.rows * norm.weight, self.common * norm.weight
        self.rows[:, self._constant] = self.common[self._constant] = norm.bias
        self.weights[:, self._constant] = 1

    def _lengths(self) -> Tensor:
        """|y_c|^2 of the centred cells, (N, m); where photo and rows nearly cancel out, few of its digits are right."""
        stage, known, rows, start = self.stages[self._stage - 1], self._known, self.rows, len(self.common)
        assert stage.lengths is not None
        products = torch.empty_like(known)  # p^k_c . r_j
        products[:, :start] = stage.products(self.common)
        for number, (first, others, telling) in enumerate(zip(self.first, self.others, stage.telling, strict=True)):
            products[:, self.marked + number] += first.flatten(1) @ telling.flatten(0, 1)
            end = start + others.shape[1] * others.shape[2]
            for one, told in zip(others, products[:, start:end].unflatten(1, others.shape[1:3]), strict=True):
                torch.bmm(one, telling, out=told)
            start = end
        lengths = stage.lengths
        if self.scale is not None:
            products *= self.scale[:, None]
            lengths = lengths * self.scale.square()
        among, half = rows @ rows.mT, rows.shape[1] // 2
        among[:, half:, :half] *= 2  # a row of one half with one of the other, which counts for this with that, too
        products[:, :half].baddbmm_(among[:, :half, :half], known[:, :half], beta=2)
        products[:, half:].baddbmm_(among[:, half:], known, beta=2)
        return (lengths + products.mul_(known).sum(1)).clamp_(min=0)

    def projected(self, number: int, layers: Sequence[Linear]) -> list[Callable[[slice], Tensor]]:
        """As `projected_by`, of the cells of one prompt."""
        assert self.scale is not None
        scale, rows, known = self.scale[number, :, None], self.rows[number], self._known[number]
        made: list[Callable[[slice], Tensor]] = []
        for (weight, bias), photo in zip(layers, self.stages[-1].drawn, strict=True):
            through = rows @ weight.T
            through[self._constant] += bias

            def some(tile: slice, through: Tensor = through, photo: Tensor = photo) -> Tensor:
                return (photo[tile] * scale[tile]).addmm_(known[:, tile].T, through)

            made.append(some)
        return made
