"""What a batch of questions says of each scale: losses whose scales are weighed, and bits of whole graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refine.domains.graph.network.examples import Examples
from refine.models.teacher import scale_weights


@dataclass(frozen=True)
class ScaleLosses:
    """Sums by scale, of node tokens and answers of stars (row 0) and of kinds (row 1).

    Attributes:
        nats: (2, K) negative log-likelihood of what was asked.
        asked: (2, K) how many codes that were.
        bits: (K,) of all codes of the graphs, estimated without bias: each round that was looked at stands for all.
        pyramids: how many graphs were looked at.
    """

    nats: Tensor
    asked: Tensor
    bits: Tensor
    pyramids: int

    @classmethod
    def of(cls, x: Examples, nats: tuple[Tensor, Tensor, Tensor], num_levels: int) -> ScaleLosses:
        """Of questions and their nats, as the predictor gives them, for K = ``num_levels``."""
        assert x.scale is not None and x.rounds is not None
        tokens, answers, kinds = nats
        _, star, label = x.owners
        token, first = torch.arange(len(tokens), device=star.device), x.view.graph[x.nodes]
        zeros = tokens.new_zeros(num_levels)
        sums, counts, bits = [], [], zeros
        for parts in ([(tokens, token), (answers, star)], [(kinds, label)]):
            loss, count = zeros, zeros
            for values, owner in parts:
                loss = loss.index_add(0, x.scale[owner], -values)
            for owner in [first, star] if len(parts) > 1 else [label]:
                count = count.index_add(0, x.scale[owner], torch.ones_like(owner, dtype=zeros.dtype))
            sums.append(loss)
            counts.append(count)
        for values, owner in ((tokens, token), (answers, star)):
            bits = bits.index_add(0, x.scale[owner], -(values * x.rounds[owner]).detach())
        if len(kinds):  # a round's mean over what is not known stands for every code
            share = x.rounds[label] / torch.bincount(label, minlength=len(x.rounds))[label]
            bits = bits.index_add(0, x.scale[label], -(kinds * share).detach())
        return cls(torch.stack(sums), torch.stack(counts), bits / math.log(2), x.pyramids)

    def balanced(self, balance: float, weights: Sequence[float] | None = None) -> Tensor:
        """The mean over scales of the mean nats of a code, where a scale with n codes weighs n^(1 - balance), or as
        ``weights`` say; that of kinds is added to that of the others."""
        loss = self.nats.new_zeros(())
        given = None if weights is None else self.nats.new_tensor(scale_weights(weights, self.nats.shape[1]))
        for nats, asked in zip(self.nats, self.asked, strict=True):
            there = asked > 0
            share = (asked ** (1 - balance) if given is None else given) * there
            if bool(share.sum() > 0):
                loss = loss + (share / share.sum() * nats / asked.clamp_min(1)).sum()
        return loss

    def figures(self) -> dict[str, Tensor]:
        """Nats of a code by scale, and bits of a graph, in all and by scale."""
        nats, asked = self.nats.sum(0), self.asked.sum(0)
        by_scale = {f"nll_{k}": nats[k] / asked[k] for k in asked.nonzero()[:, 0].tolist()}
        bits = self.bits / max(1, self.pyramids)
        return by_scale | {"bits": bits.sum()} | {f"bits_{k}": b for k, b in enumerate(bits)}
