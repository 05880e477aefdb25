"""Guidance inside the decoder against an independent decoder in plain torch, written from the published behaviour."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.fakes import random_network, random_sam, sam_config
from torch import Tensor, nn
from transformers import SamModel

from persam.geometry import Frame
from persam.models.base import EncodedImage, Guidance, Prompts
from persam.models.sam import Sam, guided, guided_attention, install

FRAME = Frame.padded((50, 64), 64, (8, 8))


# ------------------------------------------------- the published decoder, independently (published-behaviour 3.3, 3.4)


def linear(layer: Any, x: Tensor) -> Tensor:
    return x @ layer.weight.T + layer.bias


def norm(layer: Any, x: Tensor) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
    return (x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias


def attend(layer: Any, q: Tensor, k: Tensor, v: Tensor, steer: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """(tokens, C), (cells, C), (cells, C) -> (tokens, C); `steer` turns logits (heads, tokens, cells) to weights."""
    q, k, v = linear(layer.q_proj, q), linear(layer.k_proj, k), linear(layer.v_proj, v)
    heads, width = layer.num_attention_heads, q.shape[1] // layer.num_attention_heads
    q, k, v = (x.reshape(len(x), heads, width).permute(1, 0, 2) for x in (q, k, v))
    logits = q @ k.permute(0, 2, 1) / width**0.5
    weights = torch.softmax(logits, -1) if steer is None else steer(logits)
    out = layer.out_proj if hasattr(layer, "out_proj") else layer.o_proj  # of SAM, and of SAM 2
    return linear(out, (weights @ v).permute(1, 0, 2).flatten(1))


def head(layer: Any, x: Tensor) -> Tensor:
    x = F.relu(linear(layer.proj_in, x))
    for inner in layer.layers:
        x = F.relu(linear(inner, x))
    return linear(layer.proj_out, x)


def feed_forward(layer: Any, x: Tensor) -> Tensor:
    first, last = (layer.lin1, layer.lin2) if hasattr(layer, "lin1") else (layer.proj_in, layer.proj_out)
    return linear(last, F.relu(linear(first, x)))


def channel_norm(layer: Any, x: Tensor) -> Tensor:
    return norm(layer, x.permute(1, 2, 0)).permute(2, 0, 1)


def published_transformer(
    transformer: Any,
    tokens: Tensor,
    keys: Tensor,
    positions: Tensor,
    target: Tensor | None = None,
    steer: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Tokens (n, C) and cells (h*w, C), with the cells' positions, to tokens and cells."""
    t = 0 if target is None else target

    # `queries = point_embedding` is an alias, so T is in the positions of all that follows.
    queries = query_positions = tokens + t
    for number, block in enumerate(transformer.layers):
        if number:
            queries = queries + t
            q = queries + query_positions
            queries = queries + attend(block.self_attn, q, q, queries)
        else:
            queries = attend(block.self_attn, queries, queries, queries)
        queries = norm(block.layer_norm1, queries)
        queries = queries + attend(
            block.cross_attn_token_to_image, queries + query_positions, keys + positions, keys, steer
        )
        queries = norm(block.layer_norm2, queries)
        queries = norm(block.layer_norm3, queries + feed_forward(block.mlp, queries))
        keys = norm(
            block.layer_norm4,
            keys + attend(block.cross_attn_image_to_token, keys + positions, queries + query_positions, queries),
        )
    final = transformer.final_attn_token_to_image
    queries = queries + attend(final, queries + query_positions + t, keys + positions, keys)  # 2 T in all, no steering
    queries = norm(transformer.layer_norm_final_attn, queries)
    return queries, keys


def published_decoder(
    network: SamModel,
    features: Tensor,
    points: Tensor,
    labels: Tensor,
    target: Tensor | None = None,
    steer: Callable[[Tensor], Tensor] | None = None,
    dense: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """All four masks (4, h, w) and their scores (4,) for one photo and one prompt."""
    decoder: Any = network.mask_decoder
    sparse, empty = network.prompt_encoder(
        input_points=points[None, None], input_labels=labels[None, None], input_boxes=None, input_masks=None
    )
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, sparse[0, 0]])
    keys = (features + (empty if dense is None else dense))[0].flatten(1).T
    positions = network.get_image_wide_positional_embeddings()[0].flatten(1).T
    queries, keys = published_transformer(decoder.transformer, tokens, keys, positions, target, steer)

    image = keys.T.reshape(1, -1, *features.shape[-2:])
    up = decoder.upscale_conv1(image)[0]
    up = decoder.upscale_conv2(F.gelu(channel_norm(decoder.upscale_layer_norm, up))[None])[0]
    up = F.gelu(up)
    masks = [head(mlp, queries[1 + i]) @ up.flatten(1) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    return torch.stack(masks).reshape(4, *up.shape[-2:]), head(decoder.iou_prediction_head, queries[0])


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_prompt(seed: int = 0, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=generator) < 0.7).float()
    labels[0] = 1
    return torch.rand(count, 2, generator=generator) * 50, labels


@pytest.fixture(scope="module")
def plain() -> SamModel:
    """transformers' own, untouched."""
    return random_network()


@pytest.fixture(scope="module")
def sam() -> Sam:
    """The same weights with guidance installed."""
    return random_sam()


def decode(sam: Sam, guidance: Guidance | None, multimask: bool = True, **extra: Any) -> tuple[Tensor, Tensor]:
    points, labels = a_prompt()
    decoded = sam.decode(
        EncodedImage(random(9, 1, 32, 8, 8), FRAME),
        Prompts(points[None], labels[None], **extra),
        multimask=multimask,
        guidance=guidance,
    )
    return decoded.logits[0], decoded.scores[0]


class TestAttention:
    @pytest.mark.parametrize("where", ["before", "after"])
    def test_by_hand(self, where):
        similarity = random(4, 1, 1, 1, 9)
        query, key, value = random(1, 2, 4, 3, 5), random(2, 2, 4, 9, 5), random(3, 2, 4, 9, 5)
        out, weights = guided_attention(nn.Module(), query, key, value, Guidance(similarity, where), 0.3)
        assert out.shape == (2, 3, 4, 5)
        for batch in range(2):
            for head_number in range(4):
                for token in range(3):
                    logits = key[batch, head_number] @ query[batch, head_number, token] * 0.3
                    bias = similarity.flatten()
                    expected = (logits + bias) if where == "before" else (logits.softmax(0) + bias)
                    expected = expected.softmax(0)
                    torch.testing.assert_close(weights[batch, head_number, token], expected)
                    torch.testing.assert_close(
                        out[batch, token, head_number], expected @ value[batch, head_number], atol=1e-5, rtol=1e-5
                    )

    def test_without_bias_is_plain_attention(self):
        query, key, value = random(1, 2, 4, 3, 5), random(2, 2, 4, 9, 5), random(3, 2, 4, 9, 5)
        out, _ = guided_attention(nn.Module(), query, key, value, None, 0.3)
        expected = ((query @ key.transpose(-2, -1) * 0.3).softmax(-1) @ value).transpose(1, 2)
        torch.testing.assert_close(out, expected)

    def test_a_constant_similarity_changes_nothing_before_the_softmax(self, sam):
        steered = decode(sam, Guidance(torch.full((1, 1, 1, 64), 3.0), "before"))
        torch.testing.assert_close(steered, decode(sam, None), atol=1e-4, rtol=1e-4)


class TestAgainstThePublishedFormula:
    @pytest.mark.parametrize("multimask", [True, False])
    @pytest.mark.parametrize("form", ["plain", "semantic", "after", "before", "semantic after", "semantic before"])
    def test_decoder(self, plain, sam, form, multimask):
        target = random(5, 32) if "semantic" in form else None
        similarity = random(6, 1, 1, 1, 64).sigmoid()
        steer, where = None, "after"
        if "after" in form:
            steer = lambda logits: (logits.softmax(-1) + similarity[0]).softmax(-1)  # noqa: E731
        if "before" in form:
            steer, where = (lambda logits: (logits + similarity[0]).softmax(-1)), "before"
        guidance = Guidance(None if steer is None else similarity, where, target) if form != "plain" else None
        logits, scores = decode(sam, guidance, multimask)
        points, labels = a_prompt()
        masks, ious = published_decoder(plain, random(9, 1, 32, 8, 8), points, labels, target, steer)
        taken = slice(1, 4) if multimask else slice(0, 1)
        torch.testing.assert_close(logits, masks[taken], atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(scores, ious[taken], atol=2e-4, rtol=1e-3)

    def test_every_part_matters(self, sam):
        """So that the test above could not pass by ignoring one."""
        attention, target = random(6, 1, 1, 1, 64).sigmoid() * 4, random(5, 32)
        forms = [
            None,
            Guidance(attention),
            Guidance(attention, "before"),
            Guidance(None, "after", target),
            Guidance(attention, "after", target),
        ]
        made = [decode(sam, form)[0] for form in forms]
        for i, one in enumerate(made):
            for other in made[i + 1 :]:
                assert float((one - other).abs().max()) > 1e-3

    def test_the_semantic_prompt_also_steers_the_final_attention(self, plain, sam):
        """transformers' own `target_embedding` leaves it out."""
        points, labels = a_prompt()
        target = random(5, 32)
        with torch.no_grad():
            theirs = plain(
                image_embeddings=random(9, 1, 32, 8, 8),
                input_points=points[None, None],
                input_labels=labels[None, None],
                target_embedding=target[None, None, None],
            ).pred_masks[0, 0]
        ours, _ = decode(sam, Guidance(None, "after", target))
        assert float((theirs - ours).abs().max()) > 1e-3


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("prompt", ["points", "box", "both", "mask", "mask alone"])
@pytest.mark.parametrize("multimask", [True, False])
def test_without_guidance_it_is_transformers_own_model(implementation, prompt, multimask):
    theirs = SamModel._from_config(sam_config(), attn_implementation=implementation).eval()
    theirs.load_state_dict(random_network().state_dict())
    assert theirs.mask_decoder.config._attn_implementation == implementation
    sam = random_sam()
    features = random(9, 1, 32, 8, 8)
    points, labels = a_prompt()
    box = torch.tensor([3.0, 4.0, 40.0, 44.0])
    mask = random(3, 1, 1, 32, 32) if "mask" in prompt else None
    use_points, use_box = prompt in {"points", "both", "mask"}, prompt in {"box", "both"}
    with torch.no_grad():
        expected = theirs(
            image_embeddings=features,
            input_points=points[None, None] if use_points else None,
            input_labels=labels[None, None].long() if use_points else None,
            input_boxes=box[None, None] if use_box else None,
            input_masks=mask,
            multimask_output=multimask,
        )
    decoded = sam.decode(
        EncodedImage(features, FRAME),
        Prompts(
            points[None] if use_points else None,
            labels[None] if use_points else None,
            box[None] if use_box else None,
            mask,
        ),
        multimask=multimask,
    )
    torch.testing.assert_close(decoded.logits, expected.pred_masks[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(decoded.scores, expected.iou_scores[0], atol=1e-5, rtol=1e-4)


class TestInstall:
    def test_twice_is_once(self, sam):
        before = decode(sam, Guidance(None, "after", random(5, 32)))
        install(sam.network.mask_decoder)
        transformer = sam.network.mask_decoder.transformer
        assert len(transformer.final_attn_token_to_image._forward_pre_hooks) == 1
        assert [len(block._forward_pre_hooks) for block in transformer.layers] == [0, 1]
        torch.testing.assert_close(decode(sam, Guidance(None, "after", random(5, 32))), before)

    def test_leaves_other_models_alone(self):
        other = random_network()
        random_sam()
        assert other.mask_decoder.config._attn_implementation != "persam_guided"
        assert not other.mask_decoder.transformer.final_attn_token_to_image._forward_pre_hooks

    def test_guidance_ends_with_its_pass(self, sam):
        before = decode(sam, None)
        decode(sam, Guidance(random(6, 1, 1, 1, 64), "after", random(5, 32)))
        torch.testing.assert_close(decode(sam, None), before, atol=0, rtol=0)

    def test_also_after_an_error(self, sam):
        before = decode(sam, None)

        def fail() -> None:
            with guided(Guidance(None, "after", random(5, 32))):
                raise RuntimeError("out of memory")

        with pytest.raises(RuntimeError, match="out of memory"):
            fail()
        torch.testing.assert_close(decode(sam, None), before, atol=0, rtol=0)

    def test_does_not_change_its_tensors(self, sam):
        guidance = Guidance(random(6, 1, 1, 1, 64), "after", random(5, 32))
        copies = guidance.attention.clone(), guidance.semantic.clone()
        decode(sam, guidance)
        torch.testing.assert_close((guidance.attention, guidance.semantic), copies, atol=0, rtol=0)

    def test_a_copy_of_the_network_is_guided_too(self, sam):
        guidance = Guidance(random(6, 1, 1, 1, 64), "after", random(5, 32))
        twin = Sam(copy.deepcopy(sam.network), name="twin", image_size=64, device=sam.device)
        torch.testing.assert_close(decode(twin, guidance), decode(sam, guidance), atol=0, rtol=0)


@pytest.mark.parametrize("where", ["before", "after"])
def test_gradients_reach_features_guidance_and_network(where):
    """They are those of the published formula, which autograd derives on its own."""
    sam, plain = random_sam(), random_network()
    points, labels = a_prompt()
    grads = []
    for ours in (True, False):
        features, target, similarity = random(9, 1, 32, 8, 8), random(5, 32), random(6, 1, 1, 1, 64).sigmoid()
        inputs = [each.requires_grad_() for each in (features, target, similarity)]
        network = (sam.network if ours else plain).requires_grad_()
        if ours:
            guidance = Guidance(similarity, where, target)
            prompts = Prompts(points[None], labels[None])
            logits = sam.decode(EncodedImage(features, FRAME), prompts, multimask=True, guidance=guidance).logits[0]
        else:

            def steer(weights: Tensor, bias: Tensor = similarity) -> Tensor:
                return ((weights.softmax(-1) if where == "after" else weights) + bias[0]).softmax(-1)

            logits = published_decoder(network, features, points, labels, target, steer)[0][1:]
        logits.square().mean().backward()
        weight = network.mask_decoder.transformer.layers[0].self_attn.q_proj.weight
        grads.append([*(each.grad for each in inputs), weight.grad])
    for one, other in zip(*grads, strict=True):
        assert float(other.abs().max()) > 0
        torch.testing.assert_close(one, other, atol=1e-3 * float(other.abs().max()), rtol=1e-3)


def test_threads_do_not_mix_their_guidance(sam):
    wishes = [None, *(Guidance(None, "after", random(seed, 32) * 3) for seed in range(3))]
    expected = [decode(sam, wish)[0] for wish in wishes]
    barrier, wrong = threading.Barrier(len(wishes)), []

    def work(number: int) -> None:
        barrier.wait()
        made = [decode(sam, wishes[number])[0] for _ in range(25)]
        wrong.extend(number for logits in made if not torch.allclose(logits, expected[number], atol=1e-5))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(wishes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("steer", ["none", "shared", "own", "semantic"])
@pytest.mark.parametrize("multimask", [True, False])
def test_a_batch_of_prompts_gives_the_same_as_one_at_a_time(sam, with_mask, steer, multimask):
    count = 3
    prompts = [a_prompt(seed, count=2) for seed in range(count)]
    points, labels = torch.stack([p for p, _ in prompts]), torch.stack([n for _, n in prompts])
    boxes = torch.tensor([[3.0, 4, 40, 44], [10, 8, 60, 33], [0, 0, 20, 20]])
    masks = random(3, count, 1, 32, 32) if with_mask else None
    encoding = EncodedImage(random(9, 1, 32, 8, 8), FRAME)
    attention = random(6, count if steer == "own" else 1, 1, 1, 64).sigmoid()
    semantic = random(5, 32) if steer == "semantic" else None
    if steer == "none":
        guidance = None
    else:
        guidance = Guidance(None if steer == "semantic" else attention, "after", semantic)
    together = sam.decode(encoding, Prompts(points, labels, boxes, masks), multimask=multimask, guidance=guidance)
    assert together.logits.shape == (count, 3 if multimask else 1, 32, 32)
    assert together.scores.shape == (count, 3 if multimask else 1)
    for i in range(count):
        one = slice(i, i + 1)
        alone_guidance = guidance
        if steer == "own":
            alone_guidance = Guidance(attention[one], "after")
        alone = sam.decode(
            encoding,
            Prompts(points[one], labels[one], boxes[one], None if masks is None else masks[one]),
            multimask=multimask,
            guidance=alone_guidance,
        )
        torch.testing.assert_close(together.logits[one], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.scores[one], alone.scores, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prompt", ["points", "box", "mask", "all"])
@pytest.mark.parametrize("guided", [False, True])
def test_several_photos_at_once_each_with_its_prompt(sam, prompt, guided):
    count = 3
    features = random(9, count, 32, 8, 8)
    made = [a_prompt(seed, count=2) for seed in range(count)]
    every = Prompts(
        torch.stack([points for points, _ in made]),
        torch.stack([labels for _, labels in made]),
        torch.tensor([[3.0, 4, 40, 44], [10, 8, 60, 33], [0, 0, 20, 20]]),
        random(3, count, 1, 32, 32),
    )
    given = {"points": ("points", "labels"), "box": ("boxes",), "mask": ("logits",)}
    names = given.get(prompt, ("points", "labels", "boxes", "logits"))
    attention, semantic = random(6, count, 1, 1, 64), random(5, count, 1, 1, 32)

    def decode_items(items: slice) -> Any:
        return sam.decode(
            EncodedImage(features[items], FRAME),
            Prompts(**{name: getattr(every, name)[items] for name in names}),
            multimask=True,
            guidance=Guidance(attention[items], "before", semantic[items]) if guided else None,
        )

    together = decode_items(slice(None))
    assert together.logits.shape == (count, 3, 32, 32)
    for i in range(count):
        alone = decode_items(slice(i, i + 1))
        torch.testing.assert_close(together.logits[i : i + 1], alone.logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.scores[i : i + 1], alone.scores, atol=1e-5, rtol=1e-4)
    best = together.scores.argmax(1).tolist()
    assert all(torch.equal(together.best()[i, 0], together.logits[i, best[i]]) for i in range(count))


@pytest.mark.parametrize("where", ["before", "after"])
def test_where_it_is_added_may_be_left_open(where):
    """An exported decoder is told when it runs."""
    query, key, value = (torch.randn(1, 2, tokens, 8) for tokens in (3, 5, 5))
    similarity = torch.randn(1, 1, 1, 5)
    wanted, _ = guided_attention(nn.Module(), query, key, value, Guidance(similarity, where), 0.5)
    told = Guidance(similarity, torch.tensor([where == "after"]))
    torch.testing.assert_close(guided_attention(nn.Module(), query, key, value, told, 0.5)[0], wanted)
