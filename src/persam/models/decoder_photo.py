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
from dataclasses import dataclass, field, replace
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
class _Told:
    """What a prompt's cells have beside the photo: s (m,), once it is not 1; b (R, m), and r, so far (r, C).

    The first rows are the mask's channels, and a constant of every stage; then come those of every layer that told
    something. As the weights of a cell and a head add up to 1, what the first token had to tell, (h, d), is in the
    constant, and the others' rows and values, (h, n - 1, d), are what they had beside it. `common`, (f, C), are the
    first rows without it, the same for all prompts. Changed in place when cells are told more.
    """

    scale: Tensor | None
    weights: Tensor
    rows: Tensor
    common: Tensor
    first: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class ToldCells:
    """The cells of N prompts of a photo as a layer takes them, made of what is kept of the photo.

    Attributes:
        photo: of all prompts.
        stages: of the photo; the first alone, if the later layers have cells of the prompts' own.
        each: of the prompts.
        marked: how many channels their mask prompts have; may be 0.
        stage: how many layers have told them something.
    """

    photo: PhotoCells
    stages: list[PhotoStage]
    each: list[_Told]
    marked: int
    stage: int = 0

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
            mask: channels of the mask prompts, (N, r, m); r may be 0.
            through: matrix through which they are added, (C, r).
            constant: what else is added to every cell, (C,).
            rows_of_a_layer: that it adds to those of a prompt: heads times tokens but one.
        """
        layers, channels = len(stages) - 1, len(constant)
        fixed, rows_in_all = rows_of(mask.shape[1], layers, rows_of_a_layer)
        each = []
        for own in mask:
            weights = own.new_empty(rows_in_all, own.shape[1])
            weights[: len(own)], weights[len(own)], weights[len(own) + 1 : fixed] = own, 1, 0
            rows = own.new_zeros(fixed, channels)
            rows[: len(own)], rows[len(own)] = through.T, constant
            each.append(_Told(None, weights, rows, rows))
        return cls(photo, stages, each, mask.shape[1])

    def _through(self, one: _Told, asked: Tensor, constant: Tensor) -> Tensor:
        """Products of vectors (a, C) with the rows, (a, r), and of constants (a,) with the one that is 1 everywhere."""
        products = asked @ one.rows.T
        products[:, self.marked + self.stage] += constant
        return products

    def logits(self, asking: Tensor, layer: nn.Linear) -> Tensor:
        """As of `OwnCells`."""
        stage, heads = self.stages[self.stage], asking.shape[1]
        asked, constant = asking @ weights_by_head(layer, heads), asking @ layer.bias.view(heads, -1, 1)
        logits = asking.new_empty(*asking.shape[:3], len(self.photo.cells))
        for number, one in enumerate(self.each):
            found = torch.bmm(asking[number], stage.projected[layer], out=logits[number])
            if one.scale is not None:
                found.mul_(one.scale).baddbmm_(asking[number], self.photo.projected_places[layer])
            through = self._through(one, asked[number].flatten(0, 1), constant[number].flatten())
            found.flatten(0, 1).addmm_(through, one.weights[: len(one.rows)])
        return logits

    def sums(self, weights: Tensor, layer: nn.Linear) -> Tensor:
        """As of `OwnCells`."""
        heads, values = weights.shape[1:3], self.stages[self.stage].projected[layer].transpose(1, 2)
        through = weights_by_head(layer, heads[0]).transpose(1, 2)
        sums = []
        for one, weight in zip(self.each, weights, strict=True):
            seen = (weight if one.scale is None else weight * one.scale) @ values
            added = weight.flatten(0, 1) @ one.weights[: len(one.rows)].T @ one.rows  # (h n, C)
            sums.append(seen + added.unflatten(0, heads) @ through)
        return torch.stack(sums) + layer.bias.view(heads[0], 1, -1)

    def told(self, logits: Tensor, values: Tensor, layer: Any) -> ToldCells | OwnCells:
        """As of `OwnCells`; each prompt has cells of its own from here on, unless the photo has later stages."""
        if len(self.stages) == 1:
            cells = logits.new_empty(len(logits), *self.photo.cells.shape)
            own = OwnCells(cells, torch.empty_like(cells), self.photo.places[None])
            return own.filled(self._before, logits, values, layer)
        for each in zip(self.each, logits, values, strict=True):
            self._tell_one(*each, layer)
        return replace(self, stage=self.stage + 1)

    def _before(self, number: int, tile: slice) -> Tensor:
        one = self.each[number]
        return torch.addmm(self.photo.cells[tile], one.weights[: len(one.rows), tile].T, one.rows)

    def _tell_one(self, one: _Told, logits: Tensor, values: Tensor, layer: Any) -> None:
        """Add to a prompt what tokens tell its cells: (h, n, m), and (h, n, d)."""
        attention, norm = layer.cross_attn_image_to_token, layer.layer_norm4
        first, others = values[:, 0], values[:, 1:] - values[:, :1]
        told, constant = (others @ columns_of(attention)).flatten(0, 1), self.marked + self.stage
        common = one.common.clone()
        common[constant] += out_of(attention).bias
        common -= common.mean(1, keepdim=True)
        rows = torch.cat([one.rows, told])
        rows[constant] += F.linear(first.flatten(), out_of(attention).weight, out_of(attention).bias)
        rows -= rows.mean(1, keepdim=True)
        known = one.weights[: len(rows)]
        strength = logits.sub_(logits.amax(1, keepdim=True)).exp_()
        torch.div(
            strength[:, 1:], strength.sum(1, keepdim=True), out=known[len(one.rows) :].view(*others.shape[:2], -1)
        )
        one.first.append(first)
        one.values.append(others)
        scale = (self._lengths(one, known, rows, common) / rows.shape[1] + norm.eps).rsqrt()
        known *= scale
        one.scale = scale if one.scale is None else one.scale * scale
        one.rows, one.common = rows * norm.weight, common * norm.weight
        one.rows[constant + 1] = one.common[constant + 1] = norm.bias
        one.weights[constant + 1] = 1

    def _lengths(self, one: _Told, known: Tensor, rows: Tensor, common: Tensor) -> Tensor:
        """|y_c|^2 of the cells, centred, (m,); where photo and rows nearly cancel out, few of its digits are right."""
        stage, old = self.stages[self.stage], len(one.rows)
        assert stage.lengths is not None
        products = torch.empty_like(known)  # p^k_c . r_j
        start = len(common)
        products[:start] = stage.products(common)
        for number, (first, values, telling) in enumerate(zip(one.first, one.values, stage.telling, strict=True)):
            products[self.marked + number] += first.flatten() @ telling.flatten(0, 1)
            end = start + values.shape[0] * values.shape[1]
            torch.bmm(values, telling, out=products[start:end].view(*values.shape[:2], -1))
            start = end
        lengths = stage.lengths
        if one.scale is not None:
            products *= one.scale
            lengths = lengths * one.scale.square()
        among = rows @ rows.T
        among[old:, :old] *= 2  # an old row with a new one, and this with the other
        torch.addmm(products[:old], among[:old, :old], known[:old], beta=2, out=products[:old])
        torch.addmm(products[old:], among[old:], known, beta=2, out=products[old:])
        return (lengths + products.mul_(known).sum(0)).clamp_(min=0)

    def projected(self, number: int, layers: Sequence[Linear]) -> list[Callable[[slice], Tensor]]:
        """As `projected_by`, of the cells of one prompt."""
        one = self.each[number]
        made: list[Callable[[slice], Tensor]] = []
        assert one.scale is not None
        scale = one.scale[:, None]
        for (weight, bias), photo in zip(layers, self.stages[-1].drawn, strict=True):
            through = one.rows @ weight.T
            through[self.marked + self.stage] += bias

            def some(tile: slice, through: Tensor = through, photo: Tensor = photo) -> Tensor:
                return (photo[tile] * scale[tile]).addmm_(one.weights[: len(one.rows), tile].T, through)

            made.append(some)
        return made
