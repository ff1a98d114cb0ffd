"""Frozen records that every part of refine speaks in.

Shape legend, used in names like ``x_BNC``: B batch, N (or N_k) sites of a scale, C latent channels, D network width,
V codes, P position features, R pair features, E edges, K scales.

Scales are indexed in the order of generation: ``k = 0`` is the coarsest, ``k = K - 1`` the finest. The paper (Hong &
Belkadi, arXiv 2510.02826) counts the other way; docstrings say so where they cite an equation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from refine.errors import RefineError, require

Codes = list[Tensor]
"""The codes of a batch: K tensors (B, N_k), int64, coarsest first; (B, N_k, C), real, where nothing is quantised."""


@dataclass(frozen=True)
class Level:
    """The geometry of one scale: all that a predictor may know about where sites are.

    The predictor treats sites as a set, so whatever symmetry these features have, its output has.
    A leading dimension of 1 broadcasts over the batch.

    Attributes:
        pos: (B|1, N, P) features of each site; P may be 0.
        mask: (B|1, N) bool, True where a site exists; None when all do.
        pair: (B|1, N, N, R) features of each (query, key) pair, added to attention as a learned bias.
        edges: (2, E) int64 rows (query, key); when given, attention runs along these edges only.
        edge_features: (E, R) features of each edge.
    """

    pos: Tensor
    mask: Tensor | None = None
    pair: Tensor | None = None
    edges: Tensor | None = None
    edge_features: Tensor | None = None

    @property
    def num_sites(self) -> int:
        """N, the number of sites."""
        return self.pos.shape[1]

    def twice(self) -> Level:
        """The geometry of the batch, and of the same batch again."""
        batched = {"pos": self.pos, "mask": self.mask, "pair": self.pair}
        many = {n: torch.cat([t, t]) for n, t in batched.items() if t is not None and len(t) > 1}
        return replace(self, **many) if many else self

    def first(self, items: int) -> Level:
        """The geometry of the first items of the batch."""
        batched = {"pos": self.pos, "mask": self.mask, "pair": self.pair}
        return replace(self, **{n: t[:items] for n, t in batched.items() if t is not None and len(t) > 1})


@dataclass(frozen=True)
class Known:
    """Codes of a scale that are known while the rest of it is predicted (:mod:`refine.drawing.rounds`).

    Attributes:
        values: (B, N, C) embeddings of codes; read where ``mask`` says so.
        mask: (B, N) bool.
    """

    values: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Step:
    """What one turn of the scale loop did (:func:`refine.scales.walk.walk`).

    Attributes:
        k: scale, 0 coarsest.
        level: its geometry.
        context: (B, N_k, C) what the coarser scales say at this scale, C(k) of eq. 18.
        codes: (B, N_k) int64 codes chosen at this scale.
        values: (B, N_k, C) embeddings of those codes, R-hat of eq. 19.
        state: the pyramid's state after adding them.
    """

    k: int
    level: Level
    context: Tensor
    codes: Tensor
    values: Tensor
    state: Any

    def first(self, items: int) -> Step:
        """The first items of the batch, but for the state, which is the pyramid's own."""
        context, codes, values = self.context[:items], self.codes[:items], self.values[:items]
        return replace(self, level=self.level.first(items), context=context, codes=codes, values=values)


@dataclass(frozen=True)
class ConditionSpec:
    """What a domain conditions on; zero means absent.

    Attributes:
        num_classes: labels are integers in [0, num_classes).
        vector: length of a real vector.
        field: channels of a field that lives on the finest scale of the same pyramid.
        size: whether items differ in their number of sites, so that it may be asked for (a model of latents has masks).
        base: whether a part of the latent is known beforehand.
        mask: whether items have only some of the sites of the finest scale.
    """

    num_classes: int = 0
    vector: int = 0
    field: int = 0
    size: bool = False
    base: bool = False
    mask: bool = False

    def only(self, condition: Condition) -> Condition:
        """What of a condition a model with this specification is conditioned on."""
        named = {"label": self.num_classes, "vector": self.vector, "field": self.field}
        named |= {"base": self.base, "size": self.size, "mask": self.mask}
        return replace(condition, **{name: None for name, wanted in named.items() if not wanted})

    def check(
        self,
        condition: Condition,
        num: int,
        sites: int | None = None,
        channels: int | None = None,
        field_sites: int | None = None,
        values: bool = True,
    ) -> None:
        """Make sure that ``condition`` is one for ``num`` items.

        Args:
            condition: what is given.
            num: B.
            sites: N_{K-1}, where items have sites of a finest scale.
            channels: C of latents, likewise.
            field_sites: N of a field, where that is known.
            values: also look at labels, sizes and masks, for which a GPU has to be waited for.

        Raises:
            RefineError: something that the model is not conditioned on, another number of items, another shape or type,
                or a label or size that is none. The message names it.
        """
        if not isinstance(condition, Condition):  # told only then: tensors take long to be written out
            raise RefineError(f"condition={condition!r:.60} is not accepted; accepted: refine.Condition")
        given = {f.name: value for f in fields(condition) if (value := getattr(condition, f.name)) is not None}
        wanted = {
            "label": (self.num_classes > 0, ()),
            "vector": (self.vector > 0, (self.vector,)),
            "field": (self.field > 0, (field_sites, self.field)),
            "base": (self.base, (sites, channels)),
            "size": (self.size, ()),
            "mask": (self.mask, (sites,)),
        }
        for name, value in given.items():
            announced, shape = wanted[name]
            require(announced, f"condition.{name} is not accepted: {_WORDS[name]}")
            if not isinstance(value, Tensor):
                raise RefineError(f"condition.{name}={value!r:.60} is not accepted; accepted: a tensor")
            require(
                value.dim() > 0 and len(value) == num,
                f"condition.{name} has {len(value) if value.dim() else 1} rows; expected one for each of num={num}",
            )
            found = tuple(value.shape[1:])
            fits = len(found) == len(shape) and all(n is None or n == m for n, m in zip(shape, found, strict=True))
            expected = ", ".join(["B", *("N" if n is None else str(n) for n in shape)])
            require(fits, f"condition.{name} has shape {tuple(value.shape)}; expected ({expected}) with B={num}")
            kind, word = _TYPES.get(name, (torch.float32, "floating point"))
            right = value.is_floating_point() if kind is torch.float32 else not value.is_floating_point()
            right = right and (kind is torch.bool) == (value.dtype is torch.bool)
            require(right, f"condition.{name} has type {value.dtype}; expected {word}")
        if not values:
            return
        if condition.label is not None:
            wrong = condition.label[(condition.label < 0) | (condition.label >= self.num_classes)].tolist()
            require(not wrong, f"label={wrong[:5]} is not accepted; accepted: 0 to {self.num_classes - 1}")
        if condition.size is not None:
            require(bool((condition.size > 0).all()), f"size={condition.size.tolist()[:5]}; accepted: 1 or more")
        if condition.mask is not None:
            empty = (~condition.mask.any(1)).nonzero().flatten().tolist()
            require(not empty, f"condition.mask of items {empty[:5]} has no sites; accepted: one or more")


_WORDS = {
    "label": "this model is not conditioned on classes",
    "vector": "this model is not conditioned on a vector",
    "field": "this model is not conditioned on a field",
    "base": "this model has no base; a domain announces one by ConditionSpec(base=True)",
    "size": "items of this model have one size",
    "mask": "items of this model have all sites; a domain announces masks by ConditionSpec(mask=True)",
}
_TYPES = {"label": (torch.int64, "whole numbers"), "size": (torch.int64, "whole numbers"), "mask": (torch.bool, "bool")}


@dataclass(frozen=True)
class Condition:
    """Condition values of a batch; None means "not given", which is the unconditional model.

    Attributes:
        label: (B,) int64.
        vector: (B, F).
        field: (B, N_{K-1}, F) on the finest scale.
        base: (B, N_{K-1}, C) latent that is known already (a mean forecast, a small image); only the rest is coded.
        size: (B,) int64 sites of each item (nodes of a graph), where the domain's items differ in it; None: as in
            training.
        mask: (B, N_{K-1}) bool, true where a site of the finest scale exists, for latents of items of varying size;
            other sites are neither coded nor predicted, counted nor drawn. None: all exist.
    """

    label: Tensor | None = None
    vector: Tensor | None = None
    field: Tensor | None = None
    base: Tensor | None = None
    size: Tensor | None = None
    mask: Tensor | None = None

    @classmethod
    def from_batch(cls, batch: dict[str, Tensor]) -> Condition:
        """Pick the condition entries out of a data batch."""
        return cls(**{f.name: batch.get(f.name) for f in fields(cls)})

    def map(self, fn: Any) -> Condition:
        """Apply ``fn`` to every tensor that is present."""
        present = {f.name: fn(v) for f in fields(self) if (v := getattr(self, f.name)) is not None}
        return replace(self, **present)

    def to(self, device: torch.device | str) -> Condition:
        """Move to ``device``."""
        return self.map(lambda t: t.to(device))

    def __getitem__(self, index: Any) -> Condition:
        return self.map(lambda t: t[index])

    @classmethod
    def join(cls, parts: Sequence[Condition]) -> Condition:
        """Batches as one."""
        names = [f.name for f in fields(cls) if getattr(parts[0], f.name) is not None]
        return cls(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})


@dataclass(frozen=True)
class Samples:
    """Drawn items.

    Attributes:
        items: decoded data in the domain's own units: (B, ...), or a list of B where items differ in shape.
        codes: the codes they were decoded from, a tensor (B, N_k) or a list of B for each scale.
        condition: what they were drawn for.
        trail: the items as they stand after every scale, K times like ``items``, or like the first of them (empty unless
            asked for); a model may put before these what it started from.
    """

    items: Any
    codes: list[Any]
    condition: Condition
    trail: list[Any]

    def __repr__(self) -> str:
        codes = ", ".join(map(_shape, self.codes))
        return f"Samples(items {_shape(self.items)}; codes {codes}; a trail of {len(self.trail)} scales)"

    def cpu(self) -> Samples:
        """The same in the memory of the CPU."""
        codes, trail = [_cpu(c) for c in self.codes], [_cpu(t) for t in self.trail]
        return Samples(_cpu(self.items), codes, self.condition.to("cpu"), trail)

    def with_trail_of(self, count: int) -> Samples:
        """The same, with the trail of the first ``count`` items alone."""
        if count >= len(self.items):
            return self
        return replace(self, trail=[_first(t, count) for t in self.trail] if count > 0 else [])

    @classmethod
    def join(cls, parts: Sequence[Samples]) -> Samples:
        """Batches as one; where items have trails of different length, shorter ones begin by standing still."""
        told = [p.trail for p in parts if p.trail]
        most = max(map(len, told), default=0)
        trails = [trail[:1] * (most - len(trail)) + trail for trail in told]
        return cls(
            _join([p.items for p in parts]),
            [_join(c) for c in zip(*(p.codes for p in parts), strict=True)],
            Condition.join([p.condition for p in parts]),
            [_join(t) for t in zip(*trails, strict=True)],
        )


def _cpu(x: Any) -> Any:
    """A tensor, what moves as one, or a list of such; records that do not move are on the CPU already."""
    if isinstance(x, list):
        return [_cpu(item) for item in x]
    return x.cpu() if hasattr(x, "cpu") else x


def _shape(x: Any) -> str:
    """What printing of a tensor is to say, or of a list of them."""
    return f"{len(x)} of their own" if isinstance(x, list) else f"{tuple(x.shape)}" if hasattr(x, "shape") else repr(x)


def _first(x: Any, count: int) -> Any:
    """The first of a batch; of a tensor a copy, which does not keep the others in memory."""
    return x[:count].clone() if isinstance(x, Tensor) else x[:count]


def _join(parts: Sequence[Any]) -> Any:
    """Tensors by their first dimension, lists end to end."""
    return [item for part in parts for item in part] if isinstance(parts[0], list) else torch.cat(list(parts))
