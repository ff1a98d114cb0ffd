"""What a domain of latents has to satisfy beside the rules of every domain (:mod:`refine.testing.check_model`).

Its codec, its levels and its symmetries are proven on a small model with random weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import chain, combinations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, default_collate

from refine.codes.quantizer import Quantizer
from refine.items import collate_of
from refine.models.refiner import Refiner
from refine.network.network import Network
from refine.scales.pyramid import Pyramid
from refine.scales.walk import walk
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig
from refine.testing.check_model import SPLITS, CheckError, check, in_words
from refine.types import Condition, Level

SMALL = ModelConfig(quantizer=QuantizerConfig(size=8), predictor=PredictorConfig(width=32, depth=2, heads=2))


def fit_quantizer(refiner: Refiner) -> None:
    """Start the quantizer from a few items."""
    items = some_items(refiner, "train", 16)
    refiner.tokenizer.codec.fit(items["x"])
    check_codec(refiner, items)
    with torch.no_grad():
        refiner.tokenizer.fit(refiner.tokenizer.codec.encode(items["x"]), items.get("base"), items.get("mask"))


def some_items(refiner: Refiner, split: str, batch: int) -> dict[str, Tensor]:
    """The first items of a split as a batch: ``x``, which the model codes, and the conditions under which it does."""
    dataset, coded = refiner.domain.dataset(split), refiner.tokenizer_items(split)
    size = min(batch, len(dataset), len(coded))  # type: ignore[arg-type]
    found: dict[str, Tensor] = collate_of(coded)([coded[i] for i in range(size)])
    check("x" in found, f"items of {split!r} have no 'x' but {sorted(found)}")
    _, condition = refiner.asked(Subset(dataset, range(size)), size)
    given = {f.name: getattr(condition, f.name) for f in fields(condition)}
    return found | {name: value for name, value in given.items() if value is not None}


def check_rows(refiner: Refiner, batch: int) -> None:
    """Items are dicts of tensors, ``x`` is floating point, and all have one shape."""
    for split in SPLITS:
        items = refiner.tokenizer_items(split)
        if collate_of(items) is not default_collate:
            continue
        rows = [items[i] for i in range(min(max(batch, 16), len(items)))]  # type: ignore[arg-type]
        for i, row in enumerate(rows):
            check(isinstance(row, dict), f"item {i} of {split!r} is a {type(row).__name__}, not a dict with 'x'")
            check("x" in row, f"items of {split!r} have no 'x' but {sorted(row)}")
            for name, value in row.items():
                plain = isinstance(value, Tensor | np.ndarray | np.generic | int | float)
                check(plain, f"{name} of item {i} of {split!r} is a {type(value).__name__}, not a tensor")
            x, shape = torch.as_tensor(row["x"]), tuple(torch.as_tensor(rows[0]["x"]).shape)
            good = x.is_floating_point()
            check(good, f"x of {split!r} is {x.dtype}, not floating point; convert it, to [-1, 1] say")
            check(
                tuple(x.shape) == shape,
                f"x of items 0 and {i} of {split!r} have the shapes {shape} and {tuple(x.shape)}; pad items to one "
                "shape, and announce ConditionSpec(mask=True) for what is padding",
            )


def check_items(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Items and conditions are what the domain announces."""
    spec = refiner.spec
    for split in ("train", "val", "test"):
        first = some_items(refiner, split, 1)["x"]
        check(first.is_floating_point(), f"x of {split!r} is {first.dtype}, not floating point")
    if spec.num_classes:
        check("label" in items, "condition announces classes, but items have no 'label'")
        low, high = int(items["label"].min()), int(items["label"].max())
        check(low >= 0 and high < spec.num_classes, f"labels {low}..{high} are outside [0, {spec.num_classes})")
    if spec.vector:
        shape = tuple(items["vector"].shape[1:]) if "vector" in items else None
        check(shape == (spec.vector,), f"condition announces vector of shape ({spec.vector},); items have {shape}")
    if spec.field:
        shape = tuple(items["field"].shape[1:]) if "field" in items else None
        good = shape is not None and len(shape) == 2 and shape[1] == spec.field
        check(good, f"condition announces field of shape (N, {spec.field}); items have {shape}")
        for k in range(refiner.num_levels):
            _check_field(refiner.tokenizer.pyramid, items["field"], k)


def _check_field(pyramid: Pyramid, field: Tensor, k: int) -> None:
    """Scale k sees a condition field at its own sites."""
    expected = (len(field), pyramid.num_sites(k), field.shape[-1])
    try:
        seen = tuple(pyramid.field(field, k).shape)
    except (RuntimeError, IndexError) as error:
        raise CheckError(f"a field of {field.shape[1]} sites cannot be seen at scale {k}: {error}") from error
    check(seen == expected, f"a field is seen at scale {k} as {seen}, not (B, N, F) = {expected}")


def check_codec(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Latents have the sites of the finest scale; decoding gives items' shape back."""
    codec, pyramid = refiner.tokenizer.codec, refiner.tokenizer.pyramid
    latent = codec.encode(items["x"])
    expected = (len(items["x"]), pyramid.num_sites(refiner.num_levels - 1), codec.channels)
    check(tuple(latent.shape) == expected, f"codec.encode gives {tuple(latent.shape)}, not (B, N, C) = {expected}")
    output = codec.decode(latent)
    check(output.shape == items["x"].shape, f"codec.decode gives {tuple(output.shape)}, not {tuple(items['x'].shape)}")


def check_levels(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Scales grow strictly, and every feature has the shape that :class:`refine.types.Level` documents."""
    pyramid, sites = refiner.tokenizer.pyramid, 0
    state = pyramid.start(len(items["x"]), items.get("base"))
    for k in range(pyramid.num_levels):
        level, n = pyramid.level(k, state), pyramid.num_sites(k)
        check(n > sites, f"scale {k} has {n} sites, scale {k - 1} has {sites}: they must grow strictly")
        sites = n
        check(level.num_sites == n, f"level {k} has {level.num_sites} positions; num_sites says {n}")
        if level.mask is not None:
            check(
                level.mask.dtype == torch.bool and level.mask.shape[1:] == (n,),
                f"mask of level {k} is not (B, {n}) bool",
            )
        if level.pair is not None:
            check(level.pair.shape[1:3] == (n, n), f"pair of level {k} is not (B, {n}, {n}, R)")
        if level.edges is not None:
            good = level.edges.dim() == 2 and len(level.edges) == 2 and bool((level.edges < n).all())
            check(good, f"edges of level {k} are not (2, E) with sites below {n}")
        zeros = torch.zeros(len(items["x"]), n, pyramid.channels)
        state = pyramid.refine(state, pyramid.context(state, k), zeros, k)


class _Exact(Quantizer):
    """A double that quantises nothing: codes count the residuals that were seen."""

    def __init__(self, num_scales: int, channels: int) -> None:
        super().__init__(num_scales, channels, [1] * num_scales, shared=False)
        self.seen: dict[int, Tensor] = {}

    def encode(self, x: Tensor, k: int) -> Tensor:
        self.seen[k] = x
        return torch.zeros(x.shape[:-1], dtype=torch.int64)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return self.seen[k]

    def fit(self, x: Tensor, k: int) -> None:
        pass


def check_reconstruction(refiner: Refiner, items: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Without quantisation the pyramid gives the latent back (eq. 9), relative to the latent's size."""
    pyramid = refiner.tokenizer.pyramid
    latent, base = refiner.tokenizer.codec.encode(items["x"]).detach(), items.get("base")
    exact, target = _Exact(pyramid.num_levels, pyramid.channels), pyramid.target(latent, base)
    *_, last = walk(
        pyramid,
        exact,
        pyramid.start(len(latent), base),
        lambda k, level, context, state: exact.encode(pyramid.residual(target, state, context, k), k),
    )
    error = float((pyramid.latent(last.state, last.k) - latent).abs().max() / latent.abs().max().clamp_min(1e-12))
    check(error < tolerance, f"the pyramid reconstructs its latent with relative error {error:.1e} > {tolerance:.0e}")


def permute_level(level: Level, p: Tensor) -> Level:
    """The same geometry with sites renumbered: new site i is old site ``p[i]``."""
    inverse = torch.argsort(p)
    return replace(
        level,
        pos=level.pos[:, p],
        mask=None if level.mask is None else level.mask[:, p],
        pair=None if level.pair is None else level.pair[:, p][:, :, p],
        edges=None if level.edges is None else inverse[level.edges],
    )


def equivariance_error(
    predictor: Network, context: Tensor, level: Level, permuted: Level, k: int, condition: Condition, p: Tensor
) -> float:
    """How far renumbering sites by ``p`` before or after the predictor differ, relative to the largest output."""
    with torch.no_grad():
        after = predictor([context], [level], [k], condition)[0][:, p]
        before = predictor([context[:, p]], [permuted], [k], condition)[0]
    return float((after - before).abs().max() / after.abs().max())


def check_set_structure(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Sites are a set: renumbering them together with their geometry renumbers the predictor's output."""
    for k, level, context, condition in _contexts(refiner, items):
        p = torch.randperm(level.num_sites)
        _check_equivariance(refiner, context, level, permute_level(level, p), k, condition, p, "renumbering sites")


def check_symmetry(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Each symmetry that the domain claims leaves its levels unchanged and permutes the predictor's output."""
    for symmetry in refiner.domain.symmetries():
        for k, level, context, condition in _contexts(refiner, items):
            p = symmetry.permutations[k]
            sites = torch.equal(p.sort().values, torch.arange(level.num_sites))
            check(sites, f"{symmetry.name}: permutations[{k}] is no permutation of {level.num_sites} sites")
            _check_equivariance(refiner, context, level, level, k, condition, p, symmetry.name)


def _contexts(refiner: Refiner, items: dict[str, Tensor]) -> list[tuple[int, Level, Tensor, Condition]]:
    condition = Condition.from_batch(items)
    codes = refiner.tokenizer.encode(items["x"], condition.base, condition.mask)
    steps = refiner.tokenizer.replay(codes, condition.base, condition.mask)
    plain = replace(condition, field=None)  # a field has sites of its own, which this test does not move
    return [(s.k, s.level, torch.randn_like(s.context), plain) for s in steps]


def _check_equivariance(
    refiner: Refiner, context: Tensor, level: Level, permuted: Level, k: int, condition: Condition, p: Tensor, what: str
) -> None:
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        predictor = refiner.predictor.to(dtype)
        here, there = (cast_level(v, dtype) for v in (level, permuted))
        moved = condition.map(partial(_cast, dtype))
        error = equivariance_error(predictor, context.to(dtype), here, there, k, moved, p)
        refiner.predictor.to(torch.float32)
        check(error < tolerance, f"{what}: relative equivariance error {error:.1e} at scale {k} in {dtype}")


def _cast(dtype: torch.dtype, t: Tensor) -> Tensor:
    return t.to(dtype) if t.is_floating_point() else t


def cast_level(level: Level, dtype: torch.dtype) -> Level:
    """The level's features as ``dtype``."""
    return replace(
        level,
        pos=level.pos.to(dtype),
        pair=None if level.pair is None else level.pair.to(dtype),
        edge_features=None if level.edge_features is None else level.edge_features.to(dtype),
    )


def check_likelihood(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Log-likelihoods are finite and at most zero, one for each scale."""
    condition = Condition.from_batch(items)
    codes = refiner.tokenizer.encode(items["x"], condition.base, condition.mask)
    nats = refiner.log_prob(codes, condition).nats
    check(nats.shape == (len(items["x"]), refiner.num_levels), f"log_prob has shape {tuple(nats.shape)}, not (B, K)")
    check(bool(torch.isfinite(nats).all()) and bool((nats <= 0).all()), "log_prob is not finite and at most zero")


def check_conditions(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Every combination of label, vector and field can be drawn for, and scored: guidance leaves some out."""
    whole = Condition.from_batch(items)
    given = [name for name in ("label", "vector", "field") if getattr(whole, name) is not None]
    for kept in chain.from_iterable(combinations(given, n) for n in range(len(given))):
        condition = replace(whole, **{name: None for name in given if name not in kept})
        what = f"a sample given {' and '.join(kept) or 'nothing'}"
        with in_words(what):
            samples = refiner.sample(len(items["x"]), condition, seed=1)
            nats = refiner.log_prob(samples.codes, condition).nats
        check(bool(torch.isfinite(samples.items).all()), f"{what} is not finite")
        check(bool(torch.isfinite(nats).all()), f"log_prob of {what} is not finite")


def check_decoding(refiner: Refiner, items: dict[str, Tensor]) -> None:
    """Samples look like items."""
    samples = refiner.sample(len(items["x"]), Condition.from_batch(items), seed=1)
    check(samples.items.shape == items["x"].shape, f"samples have shape {tuple(samples.items.shape)}")
    check(bool(torch.isfinite(samples.items).all()), "samples are not finite")


RULES: Sequence[Callable[[Refiner, dict[str, Tensor]], None]] = (
    check_items,
    check_codec,
    check_levels,
    check_reconstruction,
    check_set_structure,
    check_symmetry,
    check_likelihood,
    check_decoding,
    check_conditions,
)
