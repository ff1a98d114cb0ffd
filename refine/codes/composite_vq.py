"""Several codes for a site: in stages, each for what those before leave, and for groups of channels apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refine.codes.head import FactorisedHead, Head
from refine.codes.packing import pack_digits, unpack_digits
from refine.codes.quantizer import Quantizer, usage
from refine.codes.vq import VQ
from refine.errors import require
from refine.settings.config import QuantizerConfig


class CompositeVQ(Quantizer):
    """The sum of the values of P = groups x stages codebooks; a code counts their P indices as digits.

    Codes of a later stage say what the earlier ones of the same group leave (residual quantisation, arXiv 2107.03312);
    codes of different groups say nothing of one another. Given the hidden state of a site its P indices are drawn
    independently (:class:`refine.codes.head.FactorisedHead`), so V^P codes cost P V outputs.

    Args:
        num_scales: K.
        channels: C.
        sizes: V_k, codes of each codebook, by scale.
        stages: codebooks of each group.
        groups: channels of each group, every channel once.
        options: of each :class:`refine.codes.vq.VQ`.

    Raises:
        RefineError: groups that are no partition of the channels, or too many codes to count.
    """

    def __init__(
        self,
        num_scales: int,
        channels: int,
        sizes: Sequence[int],
        stages: int,
        groups: Sequence[Sequence[int]],
        **options: Any,
    ) -> None:
        whole = sorted(c for group in groups for c in group) == list(range(channels)) and all(map(len, groups))
        require(
            whole,
            f"model.quantizer.groups={list(map(list, groups))} is not accepted; accepted: lists that hold each of "
            f"the channels 0 to {channels - 1} once",
        )
        require(stages >= 1, f"model.quantizer.stages={stages} is not accepted; accepted: 1 or more")
        self.num_parts, self.parts_of = stages * len(groups), list(sizes)
        most = max(sizes) ** self.num_parts
        require(
            most <= 2**62, f"model.quantizer: {self.num_parts} codebooks of {max(sizes)} are {most} codes; too many"
        )
        super().__init__(num_scales, channels, [v**self.num_parts for v in sizes], bool(options.get("shared", False)))
        self.groups = [list(group) for group in groups for _ in range(stages)]
        self.stages = stages
        self.books: Any = nn.ModuleList(VQ(num_scales, len(g), sizes, **options) for g in self.groups)

    @classmethod
    def build(cls, options: QuantizerConfig, num_scales: int, channels: int) -> Quantizer:
        """Of one codebook a site, a plain :class:`refine.codes.vq.VQ`."""
        listed = isinstance(options.size, Sequence) and not isinstance(options.size, str)
        sizes = list(options.size) if listed else [options.size] * num_scales
        whole = all(isinstance(v, int) for v in sizes)
        require(
            whole, f"model.quantizer.size={options.size!r} is not accepted; accepted: a whole number, or one by scale"
        )
        given = {n: getattr(options, n) for n in ("shared", "update", "decay", "cosine", "revive")}
        if options.stages == 1 and options.groups is None:
            return VQ(num_scales, channels, sizes, **given)
        return cls(num_scales, channels, sizes, options.stages, options.groups or [range(channels)], **given)

    def head(self, width: int) -> Head:
        return FactorisedHead(width, self.parts_of, self.num_parts, self.shared)

    def _indices(self, x: Tensor, k: int, learn: str = "") -> Tensor:
        """(..., P) of residuals (..., C); ``learn`` names what each codebook does with those that it gets."""
        indices: list[Tensor] = []
        rest = x.detach()
        for part, (group, book) in enumerate(zip(self.groups, self.books, strict=True)):
            rest = x.detach()[..., group] if part % self.stages == 0 else rest
            if learn == "fit":
                book.fit(rest, k)
            index = book.encode(rest, k)
            if learn == "observe":
                book.observe(rest, index, k)
            rest = rest - book.embed(index, k).detach()
            indices.append(index)
        return torch.stack(indices, -1)

    def encode(self, x: Tensor, k: int) -> Tensor:
        return pack_digits(self._indices(x, k), self.parts_of[k])

    def embed(self, codes: Tensor, k: int) -> Tensor:
        indices = unpack_digits(codes, self.parts_of[k], self.num_parts)
        return self._sum([book.embed(i, k) for book, i in zip(self.books, indices.unbind(-1), strict=True)])

    def expected(self, probabilities: Tensor, k: int) -> Tensor:
        parts = probabilities.split(1, -2)
        return self._sum([book.expected(p, k) for book, p in zip(self.books, parts, strict=True)])

    def _sum(self, values: Sequence[Tensor]) -> Tensor:
        """(..., C) of the values of each part, those of its group's channels."""
        sums = [torch.stack(list(values[i : i + self.stages])).sum(0) for i in range(0, self.num_parts, self.stages)]
        order = [channel for group in self.groups[:: self.stages] for channel in group]
        back = torch.tensor(order, device=sums[0].device).argsort()
        return torch.cat(sums, -1)[..., back]

    def fit(self, x: Tensor, k: int) -> None:
        self._indices(x, k, "fit")

    def observe(self, x: Tensor, codes: Tensor, k: int) -> None:
        self._indices(x, k, "observe")

    def update(self) -> None:
        for book in self.books:
            book.update()

    def usage(self, codes: Tensor, k: int) -> tuple[float, float]:
        """Of the codebook that is used least: share of its codes, and their perplexity."""
        indices = unpack_digits(codes, self.parts_of[k], self.num_parts)
        return min(usage(index, self.parts_of[k]) for index in indices.unbind(-1))
