"""What a researcher may change or look into: every hook says what the model itself says."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ragged import registered
from torch import Tensor, nn
from toy import RoundingQuantizer, TinyConfig, TinyDomain, items_of, stir, tiny_refiner

from models.test_refiner import LONG, PYRAMIDS, QUANTIZERS, all_sequences, both, build, label, place, pyramids
from refine.codes.head import CategoricalHead
from refine.codes.laws import Law, ScaleSampler
from refine.drawing.draw import Draw
from refine.errors import RefineError
from refine.models.codec import Codec
from refine.models.encoding import EncodedItems
from refine.models.refiner import Refiner
from refine.network.network import Network
from refine.network.predictor import Predictor
from refine.scales.laplacian import LaplacianPyramid
from refine.scales.masked import Masked
from refine.scales.pyramid import Pyramid, take
from refine.scales.resample import GridResampler
from refine.scales.residual import ResidualPyramid
from refine.scales.walk import walk
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig, SamplerConfig
from refine.types import Codes, Condition, Step


def same(a: Codes, b: Codes) -> bool:
    return len(a) == len(b) and all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


# -- samplers ----------------------------------------------------------------------------------------------------------


class Divided(ScaleSampler):
    """A logits processor: what temperature 0.5 does."""

    def law(self, logits: Tensor) -> Law:
        return super().law(2 * logits)


class Forbids(ScaleSampler):
    """Code 0 is never drawn."""

    def law(self, logits: Tensor) -> Law:
        return super().law(logits.index_fill(-1, torch.tensor([0]), -torch.inf))


@both
def test_a_list_of_samplers_is_what_the_configuration_means(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    given = label(1, 6)
    config = SamplerConfig(temperature=[0.5, 0.7, 1, 2], top_p=0.9, guidance=[1, 2, 1, 3])
    listed = [ScaleSampler(t, top_p=0.9, guidance=g) for t, g in zip([0.5, 0.7, 1, 2], [1, 2, 1, 3], strict=True)]
    assert same(refiner.sample(6, given, sampler=config).codes, refiner.sample(6, given, sampler=listed).codes)
    cold = refiner.sample(6, given, sampler=SamplerConfig(temperature=0.5))
    assert same(cold.codes, refiner.sample(6, given, sampler=[Divided()] * 4).codes)
    assert not same(cold.codes, refiner.sample(6, given).codes)
    some = refiner.sample(6, given, sampler=[ScaleSampler(), Forbids(), ScaleSampler(), Forbids()])
    assert [bool((c == 0).any()) for c in some.codes][1::2] == [False, False]
    assert any((c == 0).any() for c in refiner.sample(6, given).codes[1::2])
    codes = refiner.sample(6, given).codes
    drawn = refiner.inpaint(codes, torch.zeros(1, 25) > 0, given, sampler=[Forbids()] * 4)
    assert not any((c == 0).any() for c in drawn.codes)
    whole = refiner.sample_many(6, given, 0, listed, batch_size=4)  # type: ignore[arg-type]
    assert same(whole.codes, refiner.sample(6, given, sampler=listed).codes)


# -- a scale at a time -------------------------------------------------------------------------------------------------


@pyramids
@pytest.mark.parametrize("rounds", [1, [1, 2, 3, 2]], ids=["one round", "rounds"])
@torch.no_grad()
def test_predicting_scale_by_scale_gives_the_logits(pyramid: str, rounds: Any) -> None:
    model = ModelConfig(PYRAMIDS[pyramid], QUANTIZERS["vq"], PredictorConfig(16, 2, 2, rounds=rounds))
    refiner = tiny_refiner(model, classes=3, field=1, shapes=LONG)
    x, given = items_of(refiner, 4)
    codes = refiner.tokenizer.encode(x)
    forced = refiner.logits(codes, given)
    state = refiner.pyramid.start(4)
    for k, wanted in enumerate(forced):
        level, context = refiner.pyramid.level(k, state), refiner.pyramid.context(state, k)
        if refiner.predictor.rounds[k] == 1:
            torch.testing.assert_close(refiner.predict(k, level, context, given), wanted, rtol=0, atol=1e-5)
        else:  # the sites of the first round see no other
            order = refiner.order(k, level, _noise(4)).now(0)
            first = refiner.predict(k, level, context, given)
            torch.testing.assert_close(first[order], wanted[order], rtol=0, atol=1e-5)
            assert (first - wanted)[~order].abs().max() > 1e-3
        state = refiner.pyramid.refine(state, context, refiner.quantizer.embed(codes[k], k), k)


def _noise(count: int) -> Any:
    from refine.noise import Noise

    return Noise(0, range(count))


@torch.no_grad()
def test_predicting_scale_by_scale_in_prefix_mode_needs_the_coarser_ones() -> None:
    refiner = build("prefix", shapes=LONG)
    x, given = items_of(refiner, 4)
    codes = refiner.tokenizer.encode(x)
    cache = refiner.predictor.new_cache(4, 1 + 4 + 12 + 25)
    for step, wanted in zip(refiner.tokenizer.replay(codes), refiner.logits(codes, given), strict=True):
        if step.k:
            with pytest.raises(RefineError, match="attention=prefix needs the cache of coarser scales"):
                refiner.predict(step.k, step.level, step.context, given)
        found = refiner.predict(step.k, step.level, step.context, given, cache=cache)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@both
@torch.no_grad()
def test_hidden_states_through_the_head_are_the_logits(attention: str) -> None:
    refiner = build(attention, shapes=LONG, field=1)
    x, given = items_of(refiner, 4)
    codes = refiner.tokenizer.encode(x)
    drop = torch.tensor([True, False, False, True])
    for which in (None, drop):
        hidden, logits = refiner.hidden(codes, given, which), refiner.logits(codes, given, which)
        assert [h.shape for h in hidden] == [(4, n, 16) for n in (1, 4, 12, 25)]
        for k, (h, wanted) in enumerate(zip(hidden, logits, strict=True)):
            assert torch.equal(refiner.head(h, k), wanted)
    nothing = [refiner.hidden(codes), refiner.hidden(codes, Condition())]
    assert same(*nothing)


def test_the_loss_of_each_scale_has_gradients_and_a_weight() -> None:
    refiner = build(shapes=LONG)
    x, given = items_of(refiner, 5)
    codes = refiner.tokenizer.encode(x)
    weights = [0.5, 0.0, 2.0, 1.0]
    loss, by_scale = refiner.loss(codes, given, weights=weights)
    torch.testing.assert_close(loss, (by_scale * torch.tensor(weights)).sum() / 3.5)
    leaf = refiner.head.linears[0].weight
    heads = [refiner.head.linears[k].weight for k in range(4)]
    gradients = [torch.autograd.grad(a, w, retain_graph=True)[0] for a, w in zip(by_scale, heads, strict=True)]
    assert all(g.abs().sum() > 0 for g in gradients)
    (whole,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    torch.testing.assert_close(whole, 0.5 / 3.5 * gradients[0])
    assert torch.autograd.grad(loss, refiner.head.linears[1].weight)[0].abs().sum() == 0
    plain, _ = refiner.loss(codes, given)
    by_sites, _ = refiner.loss(codes, given, weights=[1, 4, 12, 25])
    torch.testing.assert_close(plain, by_sites)
    budget, _ = refiner.loss(codes, given, 25, weights=[1, 4, 12, 25])
    torch.testing.assert_close(plain, budget)
    for bad in ([1, 1, 1], [0, 0, 0, 0], [1, -1, 1, 1], [], [1, 1, 1, torch.nan], [1, 1, 1, torch.inf]):
        with pytest.raises(RefineError, match=r"train\.scale_weights=.*accepted: 4 numbers of 0 or more, not all 0"):
            refiner.loss(codes, given, weights=bad)


# -- drawing -----------------------------------------------------------------------------------------------------------


class Recording(Draw):
    """Writes down the laws that codes are drawn from."""

    laws: list[Tensor]

    def law(self, *args: Any) -> Any:
        found = super().law(*args)
        type(self).laws.append(found.p)
        return found


class Contrary(Draw):
    """Draws with the uniforms' complements; and scale 2 is all zeros."""

    def __call__(self, k: int, level: Any, context: Tensor, state: Any) -> Tensor:
        codes = super().__call__(k, level, context, state)
        return torch.zeros_like(codes) if k == 2 else codes


@both
def test_another_draw_decides(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    plain, other = refiner.sample(5, label(1, 5)), refiner.sample(5, label(1, 5), draw=Contrary)
    assert same(plain.codes[:2], other.codes[:2])
    assert (other.codes[2] == 0).all() and not torch.equal(plain.codes[2], other.codes[2])
    torch.testing.assert_close(other.items, refiner.tokenizer.decode(other.codes))
    kept = refiner.inpaint(plain.codes, torch.ones(1, 25) > 0, label(1, 5), draw=Contrary)
    assert same(kept.codes, plain.codes)  # what is given stays, whatever draws the rest


@both
def test_drawing_stops_where_it_is_told_to(attention: str) -> None:
    refiner, calls = build(attention, shapes=LONG), list[int]()
    whole = refiner.sample(5, label(1, 5), seed=2, trail=True)
    refiner.predictor.register_forward_hook(lambda *_: calls.append(1))
    for k in range(1, 5):
        calls.clear()
        part = refiner.sample(5, label(1, 5), seed=2, stop=k)
        assert len(calls) == k and same(part.codes, whole.codes[:k])
        assert torch.equal(part.items, whole.trail[k - 1])
        asked = list[int]()

        def enough(step: Step, k: int = k, asked: list[int] = asked) -> bool:
            asked.append(step.k)
            return step.k + 1 == k

        by_function = refiner.sample(5, label(1, 5), seed=2, stop=enough, trail=True)
        assert same(by_function.codes, part.codes) and asked == list(range(k))
        assert len(by_function.trail) == k and torch.equal(by_function.items, part.items)
    for bad in (0, -1, 5):
        with pytest.raises(RefineError, match=rf"stop={bad} is not accepted; accepted: 1 to 4 scales"):
            refiner.sample(5, label(1, 5), stop=bad)


def test_a_callback_sees_every_scale() -> None:
    refiner, seen = build(shapes=LONG), list[Step]()
    samples = refiner.sample(3, label(1, 3), callback=seen.append)
    assert [s.k for s in seen] == [0, 1, 2, 3] and same([s.codes for s in seen], samples.codes)
    assert torch.equal(refiner.tokenizer.decode_state(seen[-1]), samples.items)
    seen.clear()
    refiner.inpaint(samples.codes, torch.ones(1, 25) > 0, label(1, 3), callback=seen.append, stop=2)
    assert [s.k for s in seen] == [0, 1]


@pytest.mark.parametrize("seed", [torch.Generator(), np.random.default_rng(0), 1.0, "7", None, True])
def test_seeds_are_numbers(seed: Any) -> None:
    refiner = build()
    with pytest.raises(RefineError, match=r"seed=.* is not accepted; accepted: a whole number"):
        refiner.sample(2, seed=seed)
    with pytest.raises(RefineError, match=r"seed=.* is not accepted; accepted: a whole number"):
        refiner.inpaint(refiner.sample(2).codes, torch.ones(1, 2) > 0, seed=seed)


def test_seeds_of_numpy_are_numbers_too() -> None:
    refiner = build()
    assert same(refiner.sample(2, seed=np.int64(3)).codes, refiner.sample(2, seed=3).codes)  # type: ignore[arg-type]


# -- states ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("based", [False, True], ids=["no base", "base"])
@pytest.mark.parametrize("kind", ["closed", "open", "projected", "residual"])
def test_walking_on_after_taking_is_walking_what_was_taken(kind: str, based: bool) -> None:
    grid = GridResampler([1, 2, 4], up="nearest")
    pyramid = ResidualPyramid(grid, 2, 1) if kind == "residual" else LaplacianPyramid(grid, 2, kind)
    index = torch.tensor([3, 0, 3, 1])
    base = torch.randn(5, 16, 2) if based else None
    values = [torch.randn(5, n, 2) for n in (1, 4, 16)]

    def on(state: Any, k: int, rows: Tensor) -> Any:
        return pyramid.refine(state, pyramid.context(state, k), values[k][rows], k)

    for moment in range(4):  # before the first scale, and after each
        state, rows = pyramid.start(5, base), torch.arange(5)
        for k in range(3):
            if k == moment:
                state, rows = pyramid.take(state, index), index
            state = on(state, k, rows)
        if moment == 3:
            state = pyramid.take(state, index)
        other = pyramid.start(4, None if base is None else base[index])
        for k in range(3):
            other = on(other, k, index)
        assert torch.equal(pyramid.latent(state, 2), pyramid.latent(other, 2))


def test_states_are_taken_apart_or_refused() -> None:
    index, x = torch.tensor([1, 1]), torch.arange(6.0).view(3, 2)
    found = take((x, [x, None], {}.get("a")), index)
    assert type(found) is tuple and torch.equal(found[0], x[index]) and torch.equal(found[1][0], x[index])
    for bad in ({"a": x}, 3, (x, object())):
        with pytest.raises(RefineError, match=r"a state of \w+ cannot be taken apart.*take\(\)"):
            take(bad, index)


def beam(refiner: Refiner, condition: Condition, width: int) -> tuple[Codes, Tensor]:
    """The most probable sequences (1 item) that a search of this width over the codes of whole scales finds."""
    pyramid, state, codes = refiner.pyramid, refiner.pyramid.start(1), list[Tensor]()
    score = torch.zeros(1)
    for k in range(refiner.num_levels):
        rows = len(score)
        given = condition[torch.zeros(rows, dtype=torch.int64)]
        level, context = pyramid.level(k, state), pyramid.context(state, k)
        nats = refiner.predict(k, level, context, given).log_softmax(-1)
        sites, size = nats.shape[1:]
        table = torch.tensor(list(itertools.product(range(size), repeat=sites)))  # (M, N)
        every = nats[:, None].expand(-1, len(table), -1, -1).gather(-1, table.expand(rows, -1, -1)[..., None])
        total = score[:, None] + every[..., 0].sum(-1)
        score, best = total.flatten().topk(min(width, total.numel()))
        parent, chosen = best // len(table), table[best % len(table)]
        state, codes = pyramid.take(state, parent), [*(c[parent] for c in codes), chosen]
        values = refiner.quantizer.embed(chosen, k)
        state = pyramid.refine(state, pyramid.context(state, k), values, k)
    return codes, score


@pyramids
@torch.no_grad()
def test_a_beam_over_scales_scores_as_log_prob(pyramid: str) -> None:
    refiner = build(pyramid=pyramid)
    codes, score = beam(refiner, label(1, 1), 6)
    torch.testing.assert_close(score, refiner.log_prob(codes, label(1, 6)).total)
    assert torch.equal(score, score.sort(descending=True).values)
    everything = all_sequences(refiner)
    law = refiner.log_prob(everything, label(1, len(everything[0]))).total
    wide, best = beam(refiner, label(1, 1), 1000)
    torch.testing.assert_close(best, law.sort(descending=True).values)
    assert sorted(place(wide, everything).tolist()) == list(range(27))


def test_a_masked_walk_can_be_taken_too() -> None:
    pyramid, mask = (
        LaplacianPyramid(GridResampler([1, 2]), 2),
        torch.tensor([[True, False, True, True]] * 2 + [[True] * 4]),
    )
    values = [torch.randn(3, n, 2) for n in (1, 4)]
    index = torch.tensor([2, 0])
    whole, part = Masked(pyramid, mask), Masked(pyramid, mask[index])
    state = whole.refine(pyramid.start(3), whole.context(pyramid.start(3), 0), values[0], 0)
    taken = pyramid.take(state, index)
    one = part.refine(taken, part.context(taken, 1), values[1][index], 1)
    both = whole.refine(state, whole.context(state, 1), values[1], 1)
    assert torch.equal(pyramid.latent(one, 1), pyramid.latent(both, 1)[index])


# -- heads -------------------------------------------------------------------------------------------------------------


class Curved(CategoricalHead):
    """Not linear, and says so."""

    linear = False

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        return 3 * super().forward(hidden, k).tanh()


@both
@pytest.mark.parametrize("curved", [False, True], ids=["linear", "curved"])
@torch.no_grad()
def test_guidance_mixes_logits_whatever_the_head(attention: str, curved: bool) -> None:
    refiner, g = build(attention, shapes=LONG), [1.0, 2.0, 0.5, 4.0]
    if curved:
        head = Curved(16, refiner.quantizer.sizes, False)
        head.load_state_dict(refiner.head.state_dict())
        refiner.head = head
    sampler, laws = SamplerConfig(guidance=g), list[list[Tensor]]()
    for linear in (False, not curved):
        refiner.head.linear = linear
        Recording.laws = []
        samples = refiner.sample(4, label(1, 4), sampler=sampler, draw=Recording)
        laws.append(Recording.laws)
        given, none = refiner.logits(samples.codes, label(1, 4)), refiner.logits(samples.codes, Condition())
        for k, law in enumerate(laws[-1]):
            wanted = (g[k] * given[k] + (1 - g[k]) * none[k]).softmax(-1)
            torch.testing.assert_close(law[..., 0, :], wanted, rtol=1e-4, atol=1e-5)
    if curved:  # and one that does not say so draws otherwise
        refiner.head.linear, Recording.laws = True, []
        refiner.sample(4, label(1, 4), sampler=sampler, draw=Recording)
        assert (Recording.laws[1] - laws[0][1]).abs().max() > 1e-3


# -- tokenizers --------------------------------------------------------------------------------------------------------


class NormCodec(Codec):
    """Latents of a variance of about one, by running statistics."""

    channels = 2

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.back = nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def encode(self, x: Tensor) -> Tensor:
        return self.norm(x.mT).mT  # type: ignore[no-any-return]

    def decode(self, latent: Tensor) -> Tensor:
        return self.back(latent.mT).mT  # type: ignore[no-any-return]


class NormDomain(TinyDomain):
    def codec(self) -> Codec:
        return NormCodec()


def test_encoding_decoding_and_fitting_are_the_same_in_training() -> None:
    torch.manual_seed(0)
    refiner = Refiner(NormDomain(TinyConfig(shapes=[[1, 1], [2, 2]])), ModelConfig(quantizer=QuantizerConfig(size=4)))
    x = 3 + 2 * refiner.domain.dataset("train").tensors["x"]
    tokenizer = refiner.tokenizer
    for _ in range(3):
        tokenizer.train()(x)  # statistics on their way
    before = {n: t.clone() for n, t in tokenizer.codec.state_dict().items()}
    with torch.no_grad():
        latent = tokenizer.codec.eval().encode(x)
    torch.manual_seed(1)
    tokenizer.eval().fit(latent)
    fitted = [b.detach().clone() for b in tokenizer.quantizer.codebooks]  # type: ignore[union-attr]
    codes, items = tokenizer.encode(x), tokenizer.decode(tokenizer.encode(x))
    tokenizer.train()
    torch.manual_seed(1)
    tokenizer.fit(latent)
    assert all(torch.equal(a, b) for a, b in zip(fitted, tokenizer.quantizer.codebooks, strict=True))  # type: ignore[arg-type]
    assert same(tokenizer.encode(x), codes) and same(tokenizer.encode(x[:5]), [c[:5] for c in codes])
    assert torch.equal(tokenizer.decode(codes), items)
    assert tokenizer.training and tokenizer.codec.norm.training  # type: ignore[union-attr]
    assert all(torch.equal(t, before[n]) for n, t in tokenizer.codec.state_dict().items())
    assert not torch.equal(tokenizer.codec.encode(x), latent)  # type: ignore[operator]  # as a layer it does differ


# -- files -------------------------------------------------------------------------------------------------------------


class OtherPredictor(Predictor):
    """Another network of the same weights."""


class OtherHead(CategoricalHead):
    """Another head of the same weights."""


def swap(refiner: Refiner, part: str) -> None:
    grid, tokenizer = refiner.domain.resampler(), refiner.tokenizer
    if part == "quantizer":
        tokenizer.quantizer = RoundingQuantizer(2, 2)
    elif part == "pyramid":
        tokenizer.pyramid = ResidualPyramid(grid, 2, 0)
    elif part == "predictor":
        level = grid.level(0)
        refiner.predictor = OtherPredictor(refiner.config.predictor, [1, 2], 2, refiner.spec, level)
    elif part == "head":
        refiner.head = OtherHead(16, [3, 3], False)
    else:
        tokenizer.codec = NormCodec()


@pytest.mark.parametrize(
    ("part", "found", "made", "advice"),
    [
        ("quantizer", "RoundingQuantizer", "VQ", r"model\.quantizer\.kind"),
        ("pyramid", "ResidualPyramid", "LaplacianPyramid", r"model\.pyramid\.kind"),
        ("predictor", "OtherPredictor", "Predictor", r"model\.predictor\.kind"),
        ("head", "OtherHead", "CategoricalHead", r"quantizer's head\(\)"),
        ("codec", "NormCodec", "IdentityCodec", r"domain's codec\(\)"),
    ],
)
def test_a_part_that_was_put_in_by_hand_is_not_saved(
    part: str, found: str, made: str, advice: str, tmp_path: Path
) -> None:
    refiner = build()
    swap(refiner, part)
    with pytest.raises(
        RefineError, match=rf"the model's {part} is a {found}, its configuration names a {made}.*{advice}"
    ):
        refiner.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_part_of_the_same_class_that_was_made_otherwise_is_not_saved(tmp_path: Path) -> None:
    refiner = build()
    tokenizer = refiner.tokenizer
    tokenizer.pyramid = LaplacianPyramid(refiner.domain.resampler(), 2, loop="open")
    with pytest.raises(RefineError, match=r"a LaplacianPyramid\(loop='open'\).*a LaplacianPyramid\(loop='closed'\)"):
        refiner.save_pretrained(tmp_path / "model")
    tokenizer.pyramid = LaplacianPyramid(refiner.domain.resampler(), 2, loop="closed")
    refiner.save_pretrained(tmp_path / "model")


@dataclass
class SignOptions:
    """Of :class:`Signs`."""

    reach: float = 1.0


class Signs(RoundingQuantizer):
    """Two values for each of two channels."""

    Options = SignOptions

    def __init__(self, num_scales: int, channels: int, options: SignOptions) -> None:
        super().__init__(num_scales, channels)
        self.sizes, self.reach = [4] * num_scales, options.reach

    def encode(self, x: Tensor, k: int) -> Tensor:
        return (x > 0).long() @ torch.tensor([1, 2])

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return self.reach * (torch.stack([codes % 2, codes // 2], -1) * 2.0 - 1)


class Crossed(ResidualPyramid):
    """Channels change places on the way up."""

    def refine(self, state: Tensor, context: Tensor, values: Tensor, k: int) -> Tensor:
        return super().refine(state, context, values.flip(-1), k)

    @classmethod
    def build(cls, options: Any, resampler: Any, channels: int) -> Pyramid:
        return cls(resampler, channels, 0)


@dataclass
class MlpOptions:
    """Of :class:`Mlp`."""

    width: int = 8


class Mlp(Network):
    """The smallest network that there is: sites say nothing to one another."""

    Options = MlpOptions

    def __init__(self, options: MlpOptions, sites: Any, channels: int, spec: Any, level: Any) -> None:
        super().__init__()
        self.width, self.rounds = options.width, [1] * len(sites)
        self.into, self.label = nn.Linear(channels, options.width), nn.Embedding(spec.num_classes + 1, options.width)

    def forward(self, contexts: Any, levels: Any, scales: Any, condition: Any, fields: Any = None, drop: Any = None, cache: Any = None, known: Any = None) -> list[Tensor]:  # noqa: E501  # fmt: skip
        if isinstance(condition, Condition):
            condition = self.conditioned(condition, len(contexts[0]), drop)
        none = torch.full((len(contexts[0]),), self.label.num_embeddings - 1)
        found = none if condition.condition.label is None else condition.condition.label
        found = found if condition.drop is None else torch.where(condition.drop[:, 0], none, found)
        return [(self.into(c) + self.label(found)[:, None]).tanh() for c in contexts]


PARTS = {"signs": Signs, "crossed": Crossed, "mlp": Mlp}


def of_parts(**options: Any) -> Refiner:
    model = ModelConfig(
        PyramidConfig(kind="crossed"),
        QuantizerConfig(kind="signs", options={"reach": 0.5}),
        PredictorConfig(kind="mlp", options={"width": 12}),
    )
    torch.manual_seed(0)
    refiner = Refiner(TinyDomain(TinyConfig(classes=3, **options)), model).eval()
    refiner.tokenizer.quantizer.fitted.fill_(True)
    stir(refiner.predictor), stir(refiner.head)
    return refiner


def test_parts_that_the_configuration_names_are_saved_and_loaded(tmp_path: Path) -> None:
    with registered(tiny=TinyDomain, **PARTS):
        refiner = of_parts()
        refiner.save_pretrained(tmp_path / "model")
        again = Refiner.from_pretrained(tmp_path / "model")
        kinds = [type(part) for part in (again.quantizer, again.pyramid, again.predictor)]
        assert kinds == [Signs, Crossed, Mlp] and again.quantizer.reach == 0.5 and again.predictor.width == 12
        x, given = items_of(refiner, 6)
        codes = refiner.tokenizer.encode(x)
        assert same(again.tokenizer.encode(x), codes)
        guided = SamplerConfig(guidance=2.0)
        one, other = again.sample(6, given, sampler=guided), refiner.sample(6, given, sampler=guided)
        assert torch.equal(one.items, other.items)
        assert not same(one.codes, again.sample(6, given).codes)
        everything = all_sequences(refiner)
        law = refiner.log_prob(everything, label(1, len(everything[0]))).total
        assert law.double().exp().sum().item() == pytest.approx(1, abs=1e-5)
    for name in ("signs", "crossed", "mlp"):
        rest = {n: cls for n, cls in PARTS.items() if n != name}
        with (
            registered(tiny=TinyDomain, **rest),
            pytest.raises(RefineError, match=rf"kind='{name}' is not accepted; acc"),
        ):
            Refiner.from_pretrained(tmp_path / "model")


def test_sections_may_be_dicts(tmp_path: Path) -> None:
    predictor: Any = {"width": 16, "depth": 2, "heads": 2}
    config = ModelConfig(predictor=predictor, quantizer={"size": 3})  # type: ignore[arg-type]
    one = tiny_refiner(config, classes=3)
    other = tiny_refiner(
        ModelConfig(predictor=PredictorConfig(**predictor), quantizer=QuantizerConfig(size=3)), classes=3
    )
    assert one.config == other.config and isinstance(one.config.predictor, PredictorConfig)
    assert torch.equal(one.sample(3).items, other.sample(3).items)
    with registered(tiny=TinyDomain):
        one.save_pretrained(tmp_path / "model")
        assert Refiner.from_pretrained(tmp_path / "model").config == other.config
    with pytest.raises(RefineError, match=r"model\.predictor\.widht"):
        tiny_refiner(ModelConfig(predictor={"widht": 16}))  # type: ignore[arg-type]
    with pytest.raises(RefineError, match=r"model\.quantizer\.stages='many' is not accepted; accepted: whole numbers"):
        tiny_refiner(ModelConfig(quantizer={"stages": "many"}))  # type: ignore[arg-type]


@pytest.fixture
def hub() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A hub that has nothing, and remembers what it was asked for."""
    asked: list[tuple[str, str | None]] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


LOAD = """
import refine
try:
    refine.Refiner.from_pretrained("owner/name", revision="v1.2", token="hf_secret")
except refine.RefineError as error:
    print(error)
"""


def test_revision_and_token_reach_the_hub(hub: tuple[str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    address, asked = hub
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("'owner/name' is neither a folder here nor a repository of the hub"), done.stderr
    assert ("/api/models/owner/name/revision/v1.2", "Bearer hf_secret") in asked


def test_encoded_items_leave_the_codec_as_it_is() -> None:
    refiner = Refiner(NormDomain(TinyConfig(shapes=[[1, 1], [2, 2]])), ModelConfig(quantizer=QuantizerConfig(size=4)))
    refiner.tokenizer.quantizer.fitted.fill_(True)
    items = refiner.train().training_items("train", 0)
    assert isinstance(items, EncodedItems)
    before = {n: t.clone() for n, t in refiner.tokenizer.codec.state_dict().items()}
    items.collate([items[i] for i in range(8)])
    assert all(torch.equal(t, before[n]) for n, t in refiner.tokenizer.codec.state_dict().items())


def test_a_walk_by_hand_is_a_replay() -> None:
    refiner = build(shapes=LONG)
    codes = refiner.tokenizer.encode(items_of(refiner, 3)[0])
    steps = list(walk(refiner.pyramid, refiner.quantizer, refiner.pyramid.start(3), lambda k, *_: codes[k]))
    assert torch.equal(refiner.tokenizer.decode_state(steps[-1]), refiner.tokenizer.decode(codes))
