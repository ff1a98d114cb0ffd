"""Items of several lengths: nothing that is learned, scored or drawn depends on what stands in the padding."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ragged import SMALL, RaggedConfig, RaggedDomain, ragged_refiner, registered, some
from scipy.stats import chisquare
from torch import Tensor
from toy import stir

from refine.codes.quantizer import usage
from refine.errors import RefineError
from refine.learning import train as training
from refine.models.encoding import EncodedItems
from refine.models.refiner import Refiner
from refine.noise import Noise
from refine.scales.masked import Masked
from refine.settings.compose import compose
from refine.settings.config import ModelConfig, PyramidConfig, QuantizerConfig, SamplerConfig
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics
from refine.types import Codes, Condition, ConditionSpec

PYRAMIDS = {
    "closed": PyramidConfig(),
    "open": PyramidConfig(loop="open"),
    "projected": PyramidConfig(loop="projected"),
    "residual": PyramidConfig("residual", phi=0),
}
QUANTIZERS = {
    "vq": QuantizerConfig(size=5),
    "two stages": QuantizerConfig(size=3, stages=2),
    "fsq": QuantizerConfig(kind="fsq", levels=[3, 2]),
    "bits": QuantizerConfig(kind="bitwise"),
    "none": QuantizerConfig(kind="none"),
}
pyramids = pytest.mark.parametrize("pyramid", PYRAMIDS)
quantizers = pytest.mark.parametrize("quantizer", QUANTIZERS)


def build(pyramid: str = "closed", quantizer: str = "vq", rounds: Any = 1, **options: Any) -> Refiner:
    """A model of every kind of condition at once."""
    model = ModelConfig(PYRAMIDS[pyramid], QUANTIZERS[quantizer], replace(SMALL, rounds=rounds))
    return ragged_refiner(model, **{"up": "nearest", "classes": 2, "field": 1, "base": True, **options})


def masks_of(refiner: Refiner, condition: Condition) -> list[Tensor]:
    assert condition.mask is not None
    return Masked(refiner.pyramid, condition.mask).masks


def soiled(refiner: Refiner, x: Tensor, condition: Condition, junk: float) -> tuple[Tensor, Condition]:
    """The same items with other padding, also of base and field."""
    outside = ~condition.mask[..., None]  # type: ignore[index]
    given = {n: getattr(condition, n).masked_fill(outside, junk) for n in ("base", "field")}
    return x.masked_fill(outside, junk), replace(condition, **given)


def same(a: Codes, b: Codes) -> bool:
    return all(torch.equal(one, other) for one, other in zip(a, b, strict=True))


@pyramids
@quantizers
def test_nothing_depends_on_the_padding(pyramid: str, quantizer: str) -> None:
    refiner = build(pyramid, quantizer)
    x, given = some(refiner, 12)
    other, dirty = soiled(refiner, x, given, torch.nan)
    masks, tokenizer = masks_of(refiner, given), refiner.tokenizer
    codes = tokenizer.encode(x, given.base, given.mask)
    assert same(codes, tokenizer.encode(other, dirty.base, dirty.mask))
    assert all((c[~m] == 0).all() for c, m in zip(codes, masks, strict=True))
    junk_codes = [torch.where(_like(m, c), c, torch.ones_like(c)) for c, m in zip(codes, masks, strict=True)]
    assert not same(codes, junk_codes)
    items = tokenizer.decode(codes, given.base, given.mask)
    assert torch.equal(items, tokenizer.decode(junk_codes, dirty.base, dirty.mask))
    assert (items[~given.mask] == 0).all()  # type: ignore[index]
    nats = refiner.log_prob(codes, given).nats
    assert nats.std() > 0.1 and nats.isfinite().all()
    assert torch.equal(nats, refiner.log_prob(junk_codes, dirty).nats)
    clean, loss = refiner.loss(codes, given), refiner.loss(junk_codes, dirty)
    assert torch.equal(clean[0], loss[0]) and torch.equal(clean[1], loss[1])
    drawn, again = refiner.sample(12, given, seed=3), refiner.sample(12, dirty, seed=3)
    assert same(drawn.codes, again.codes) and torch.equal(drawn.items, again.items)
    assert all((c[~m] == 0).all() for c, m in zip(drawn.codes, masks, strict=True))
    keep = torch.arange(8)[None] < 3
    kept, still = refiner.inpaint(codes, keep, given, seed=4), refiner.inpaint(junk_codes, keep, dirty, seed=4)
    assert same(kept.codes, still.codes) and torch.equal(kept.items, still.items)
    if quantizer != "none":
        assert torch.equal(refiner.accuracy(codes, given), refiner.accuracy(junk_codes, dirty))
        score = refiner.accuracy(codes, given)
        assert ((score >= 0) & (score <= 1)).all()


def _like(mask: Tensor, codes: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (codes.dim() - 2))


def test_what_exists_does_matter() -> None:
    """The mask itself, and every kind of condition inside of it."""
    refiner = build()
    x, given = some(refiner, 12)
    codes = refiner.tokenizer.encode(x, given.base, given.mask)
    nats = refiner.log_prob(codes, given).nats
    assert given.mask is not None and given.field is not None and given.base is not None and given.label is not None
    for changed in (
        replace(given, mask=torch.ones_like(given.mask)),
        replace(given, field=given.field + 1),
        replace(given, base=given.base + 1),
        replace(given, label=1 - given.label),
    ):
        assert (refiner.log_prob(codes, changed).nats - nats).abs().max() > 0.01


@pytest.mark.parametrize("rounds", [1, [1, 2]], ids=["one round", "rounds"])
@pyramids
def test_probabilities_of_all_sequences_sum_to_one(pyramid: str, rounds: Any) -> None:
    """Whichever sites exist: over the codes of these."""
    refiner = build(pyramid, "vq", rounds, shapes=[[1], [2]])
    for mask in ([True, False], [False, True], [True, True]):
        table = torch.tensor(list(itertools.product(range(5), repeat=1 + sum(mask))))
        fine = torch.zeros(len(table), 2, dtype=torch.int64)
        fine[:, torch.tensor(mask)] = table[:, 1:]
        condition = Condition(
            label=torch.ones(len(table), dtype=torch.int64), mask=torch.tensor(mask).expand(len(table), 2)
        )
        found = refiner.log_prob([table[:, :1], fine], condition)
        # one and the same order for all, or their sum would be that of many laws
        same_order = refiner.site_log_prob([table[:, :1], fine], condition, noise=Noise(0, [7] * len(table)))
        nats = torch.cat(same_order, 1).sum(1) if rounds != 1 else found.total
        assert nats.detach().double().exp().sum().item() == pytest.approx(1, abs=1e-5)
        assert nats.std() > 0.15


@pytest.mark.parametrize("rounds", [1, [1, 2]], ids=["one round", "rounds"])
def test_samples_follow_the_law_they_are_scored_by(rounds: Any) -> None:
    refiner, draws = build("closed", "bits", rounds, shapes=[[1], [2]]), 4000
    stir(refiner.head, 0.2)
    mask = torch.tensor([False, True])
    drawn = refiner.sample(draws, Condition(label=torch.ones(draws).long(), mask=mask.expand(draws, 2)))
    assert (drawn.codes[1][:, 0] == 0).all()
    table = torch.tensor(list(itertools.product(range(4), repeat=2)))
    codes = [table[:, :1], torch.stack([torch.zeros(16, dtype=torch.int64), table[:, 1]], 1)]
    law = refiner.log_prob(codes, Condition(label=torch.ones(16).long(), mask=mask.expand(16, 2))).total.double().exp()
    found = torch.bincount(4 * drawn.codes[0][:, 0] + drawn.codes[1][:, 1], minlength=16)
    assert (law * draws > 2).all()
    assert chisquare(found.numpy(), (law / law.sum() * draws).numpy()).pvalue > 1e-3
    other = refiner.log_prob(codes, Condition(label=torch.zeros(16).long(), mask=mask.expand(16, 2))).total
    assert chisquare(found.numpy(), (other.double().softmax(0) * draws).numpy()).pvalue < 1e-6  # it has teeth


@quantizers
@pytest.mark.parametrize("shapes", [[[4]], [[1], [4]]], ids=["one scale", "two scales"])
@pytest.mark.parametrize("pyramid", ["closed", "open", "residual"])
def test_a_masked_item_is_a_shorter_one(pyramid: str, quantizer: str, shapes: Any) -> None:
    """Of codes that are given: their likelihood and their items are those of a grid without the other sites."""
    short = [*shapes[:-1], [3]]
    long, other = (build(pyramid, quantizer, shapes=s, base=False) for s in (shapes, short))
    other.load_state_dict(long.state_dict())
    x, given = some(long, 16)
    mask = torch.arange(4).expand(16, 4) < 3
    given = replace(given, mask=mask)
    codes = long.tokenizer.encode(x, mask=mask)
    assert given.field is not None
    part = Condition(label=given.label)
    whole = Condition(label=given.label, mask=mask)
    cut = [*codes[:-1], codes[-1][:, :3]]
    torch.testing.assert_close(long.log_prob(codes, whole).nats, other.log_prob(cut, part).nats)
    scored = long.log_prob(codes, whole)
    per_site = (-scored.nats / torch.log(torch.tensor(2.0))) / 3  # bits, shared among the sites that exist
    torch.testing.assert_close(scored.bits_per_dim, per_site * 4 / long.dimensions)
    torch.testing.assert_close(long.tokenizer.decode(codes, mask=mask)[:, :3], other.tokenizer.decode(cut))
    if shapes == [[4]]:  # encoding too: coarse sites of the longer grid would be means over more
        assert same([c[:, :3] for c in codes], other.tokenizer.encode(x[:, :3]))
        torch.testing.assert_close(
            long.log_prob(codes, given).nats, other.log_prob(cut, replace(part, field=given.field[:, :3])).nats
        )


@pytest.mark.parametrize("rounds", [1, [1, 2, 2, 3]], ids=["one round", "rounds"])
def test_a_masked_sample_is_the_same_in_any_company(rounds: Any) -> None:
    refiner = build(rounds=rounds)
    _, given = some(refiner, 9)
    sampler = SamplerConfig(guidance=2.0, guided=["label"], top_p=0.9)
    together = refiner.sample(9, given, seed=5, first=10, sampler=sampler)
    alone = refiner.sample(1, given[4:5], seed=5, first=14, sampler=sampler)
    for a, b in zip(together.codes, alone.codes, strict=True):
        assert torch.equal(a[4:5], b)
    torch.testing.assert_close(together.items[4:5], alone.items)
    free = refiner.sample(9, given, seed=5, first=10)
    assert not same(together.codes, free.codes)


@torch.no_grad()
def test_guided_logits_of_masked_items_are_the_mixture() -> None:
    refiner, g, seen = build(), 2.5, list[Tensor]()
    _, given = some(refiner, 6)
    handle = refiner.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    samples = refiner.sample(6, given, sampler=SamplerConfig(guidance=g, guided=["label"]))
    handle.remove()
    full, none = refiner.logits(samples.codes, given), refiner.logits(samples.codes, replace(given, label=None))
    for k, mask in enumerate(masks_of(refiner, given)):
        wanted = g * full[k] + (1 - g) * none[k]
        torch.testing.assert_close(seen[k][mask], wanted[mask], rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_mean_over_sites_that_exist() -> None:
    refiner = build()
    x, given = some(refiner, 7)
    codes, masks = refiner.tokenizer.encode(x, given.base, given.mask), masks_of(refiner, given)
    nats = refiner.site_log_prob(codes, given)
    assert all((n[~m] == 0).all() for n, m in zip(nats, masks, strict=True))
    loss, by_scale = refiner.loss(codes, given)
    torch.testing.assert_close(loss, -torch.cat([n[m] for n, m in zip(nats, masks, strict=True)]).mean())
    torch.testing.assert_close(by_scale, torch.stack([-n[m].mean() for n, m in zip(nats, masks, strict=True)]))
    torch.testing.assert_close(refiner.log_prob(codes, given).total, torch.cat(nats, 1).sum(1))


def test_a_mask_of_all_sites_is_none() -> None:
    refiner = build()
    x, given = some(refiner, 6)
    free, full = replace(given, mask=None), replace(given, mask=torch.ones(6, 8, dtype=torch.bool))
    codes = refiner.tokenizer.encode(x, given.base)
    assert same(codes, refiner.tokenizer.encode(x, given.base, full.mask))
    torch.testing.assert_close(refiner.log_prob(codes, free).nats, refiner.log_prob(codes, full).nats)
    assert same(refiner.sample(6, free).codes, refiner.sample(6, full).codes)


def test_masks_that_are_none_are_refused() -> None:
    refiner = build()
    x, given = some(refiner, 3)
    codes = refiner.tokenizer.encode(x, given.base, given.mask)
    assert given.mask is not None
    nothing = given.mask.clone()
    nothing[1] = False
    for call in (
        lambda c: refiner.sample(3, c),
        lambda c: refiner.log_prob(codes, c),
        lambda c: refiner.inpaint(codes, torch.ones(1, 8, dtype=torch.bool), c),
    ):
        with pytest.raises(RefineError, match=r"condition\.mask of items \[1\] has no sites"):
            call(replace(given, mask=nothing))
        with pytest.raises(RefineError, match=r"condition\.mask has shape \(3, 7\); expected \(B, 8\)"):
            call(replace(given, mask=given.mask[:, 1:]))
        with pytest.raises(RefineError, match=r"condition\.mask has type torch\.float32; expected bool"):
            call(replace(given, mask=given.mask.float()))


def test_what_takes_no_masks_says_so_before_anything_is_trained() -> None:
    prefix = ModelConfig(predictor=replace(SMALL, attention="prefix"))
    with pytest.raises(RefineError, match=r"attention=prefix needs items with all sites; accepted here: markov"):
        Refiner(RaggedDomain(RaggedConfig()), prefix)

    class Sized(RaggedDomain):
        @property
        def condition(self) -> ConditionSpec:
            return ConditionSpec(size=True)

    with pytest.raises(RefineError, match=r"size=True.*masks"):
        Refiner(Sized(RaggedConfig()), ModelConfig())


# -- training and evaluation -------------------------------------------------------------------------------------------

TINY = [
    *("domain=ragged", "domain.items=48", "domain.channels=1", "domain.classes=2", "model.quantizer.size=4"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "model.quantizer.revive=0.2"),
    *("train.tokenizer.steps=8", "train.tokenizer.batch_size=8", "train.tokenizer.warmup=2", "train.fit_after=4"),
    *("train.predictor.steps=4", "train.predictor.batch_size=8", "train.predictor.warmup=2", "trainer.accelerator=cpu"),
    *("train.val_items=16", "train.val_every=8", "train.save_every=8", "train.log_every=2", "train.predictor.ema=0"),
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "draw_pictures", lambda *_: None)


def test_padding_teaches_nothing(tmp_path: Path) -> None:
    """Not the codebooks at their start, nor by their running means, nor the predictor; figures are the same as well."""
    options = [*TINY, "model.quantizer.stages=2"]
    with registered(ragged=RaggedDomain):
        runs = [
            training.train(compose([*options, f"domain.padding={padding}", f"run={tmp_path / str(padding)}"]))
            for padding in (0.0, 40.0)
        ]
        (_, clean), (_, dirty) = map(load_checkpoint, runs)
        assert [n for n in clean if not torch.equal(clean[n], dirty[n])] == []
        figures = [
            [{k: v for k, v in r.items() if "reconstruction" not in k} for r in read_metrics(run)] for run in runs
        ]
        assert figures[0] == figures[1]
        model = Refiner.from_pretrained(runs[0])
        scores = []
        for padding in (0.0, 40.0):
            items = RaggedDomain(replace(model.domain.config, padding=padding)).dataset("test")
            num, condition = model.asked(items, 20)
            assert condition.mask is not None and condition.label is not None
            scores.append(model.score(items, model.sample_many(num, condition), 16))
        assert scores[0] == scores[1]


def test_usage_counts_sites_that_exist(tmp_path: Path) -> None:
    with registered(ragged=RaggedDomain):
        run = training.train(compose([*TINY, "stage=tokenizer", f"run={tmp_path / 'run'}"]))
        model = Refiner.from_pretrained(run)
        val = model.domain.dataset("val").tensors
        index = torch.linspace(0, 47, 16).long()
        x, mask = val["x"][index], val["mask"][index]
        codes = model.tokenizer.encode(x, mask=mask)
        (last,) = [r for r in read_metrics(run) if "usage_0" in r]
        score = model.score(model.domain.dataset("val"), model.sample(4, Condition(mask=mask[:4])), 16)
        every = model.tokenizer.encode(val["x"], mask=val["mask"])
        for k, masks in enumerate(Masked(model.pyramid, mask).masks):
            share, perplexity = usage(codes[k][masks], 4)
            assert (last[f"usage_{k}"], last[f"perplexity_{k}"]) == pytest.approx((share, perplexity), rel=1e-5)
            if k:  # with the padding, code 0 would be more frequent than it is
                assert abs(usage(codes[k], 4)[1] - perplexity) > 0.01
            exist = Masked(model.pyramid, val["mask"]).masks[k]
            assert score["perplexity_by_scale"][k] == pytest.approx(usage(every[k][exist], 4)[1])


def test_encoded_items_hold_the_codes_of_masked_ones() -> None:
    refiner = build()
    batch = refiner.training_items("train", 0)
    assert isinstance(batch, EncodedItems)
    rows = batch.collate([batch[i] for i in range(5)])
    x, given = some(refiner, 5)
    codes = refiner.tokenizer.encode(x, given.base, given.mask)
    assert all(torch.equal(rows[f"codes_{k}"].long(), c) for k, c in enumerate(codes))
    assert torch.equal(rows["mask"], given.mask)  # type: ignore[arg-type]


class KeepsAMaskForItself(RaggedDomain):
    """Items have a mask, for the domain's own purposes: it announces none."""

    name = "private"

    @property
    def condition(self) -> ConditionSpec:
        return ConditionSpec()


def test_a_mask_that_is_not_announced_is_none(tmp_path: Path) -> None:
    """In both stages, as in evaluation."""
    options = ["domain=private", *TINY[1:3], *TINY[4:], f"run={tmp_path / 'run'}"]
    with registered(private=KeepsAMaskForItself):
        model = Refiner.from_pretrained(training.train(compose(options)))
        items = model.training_items("train", 0)
        rows = items.collate([items[i] for i in range(8)])  # type: ignore[attr-defined]
        free = model.tokenizer.encode(model.domain.dataset("train").tensors["x"][:8])
        assert all(torch.equal(rows[f"codes_{k}"].long(), c) for k, c in enumerate(free))
        loss, _ = model.training_loss(rows, compose(options).train)
        torch.testing.assert_close(loss, model.loss(free)[0])
        torch.testing.assert_close(model.log_prob(free).total.sum(), -loss * sum(c.numel() for c in free))
