"""Nodes that know their mass: which of them split, and how they share it out among their children.

A node of mass 1 is a node of the finest graph and never splits. Of the others of a graph one at least does, since the
forward process always finds a pair:

    p(S) = prod_{i in S} p_i prod_{i not in S} (1 - p_i) / (1 - prod_i (1 - p_i)),

and the graph is finished when all masses are 1. The mass of the lighter child of a node of mass m, 1 to m // 2, has a
law of its own. Both are exact, so no number of nodes has to be given but the last one, which is the first mass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.laws import ScaleSampler
from refine.domains.graph.network.network import mlp
from refine.domains.graph.splitting.counts import bin_counts, bin_inside

BINS = 16  # of masses by powers of two
SHARE_FEATURES = 4
MASS_FEATURES = 8 + SHARE_FEATURES


def share_features(mass: Tensor, light: Tensor) -> Tensor:
    """(N, SHARE_FEATURES) of masses that are shared out: ``light`` (N,), 0 where they are not."""
    shared = light > 0
    rest = torch.where(shared, mass - light, 1)
    logs = torch.stack([light.clamp_min(1), rest], 1).to(torch.get_default_dtype()).log2() / 8
    flags = torch.stack([shared, shared & (2 * light == mass)], 1).to(logs.dtype)
    return torch.cat([logs * shared[:, None], flags], 1)


def mass_features(mass: Tensor, light: Tensor, graph: Tensor, num: int) -> Tensor:
    """(N, MASS_FEATURES) of nodes of mass (N,) in ``num`` graphs, and how they are about to be shared."""
    most = torch.zeros(num, dtype=mass.dtype, device=mass.device).scatter_reduce(0, graph, mass, "amax")[graph]
    logs = torch.stack([mass, most], 1).to(torch.get_default_dtype()).log2() / 8
    flags = torch.stack([mass == 1, mass == 2, mass == 3, mass == 4, mass % 2 == 0, most <= 2], 1).to(logs.dtype)
    return torch.cat([logs, flags, share_features(mass, light)], 1)


def some_log_prob(logits: Tensor, chosen: Tensor, graph: Tensor, num: int) -> Tensor:
    """(num,) nats of who is ``chosen`` (n,) bool in each graph, given that somebody is: 0 where nobody can be.

    Args:
        logits: (n,) of being chosen; -inf where that cannot be.
        chosen: those that are.
        graph: (n,) whose each is.
        num: graphs.
    """
    can = logits > -torch.inf
    bounded = torch.where(can, logits, 0.0).clamp(-60, 60)
    yes, no = F.logsigmoid(bounded), F.logsigmoid(-bounded)
    total = logits.new_zeros(num)
    nats = total.index_add(0, graph, torch.where(can, torch.where(chosen, yes, no), 0.0))
    nobody = total.index_add(0, graph, torch.where(can, no, 0.0))
    there = torch.zeros(num, dtype=torch.bool, device=graph.device)
    there[graph[can]] = True
    somebody = torch.log(-torch.expm1(torch.where(there, nobody, -1.0)))
    return torch.where(there, nats - somebody, 0.0)


def draw_some(p: Tensor, graph: Tensor, num: int, uniform: Tensor) -> Tensor:
    """(n,) bool: drawn with :func:`some_log_prob`'s law, node after node, all graphs side by side.

    Args:
        p: (n,) probabilities of being chosen; 0 where that cannot be.
        graph: (n,) whose each is, ascending.
        num: graphs.
        uniform: (n,) in [0, 1).
    """
    can, p = p > 0, p.double()
    no = torch.where(can, torch.log1p(-p.clamp_max(1 - 1e-12)), 0.0)
    total = no.new_zeros(num).index_add_(0, graph, no)
    ahead = no.cumsum(0) - no  # of all graphs before, and of this one before the node
    start = total.cumsum(0) - total
    rest = total[graph] - (ahead - start[graph])  # log of nobody from here on
    first = can & (uniform < p / -torch.expm1(rest.clamp_max(-1e-300)))
    place = torch.arange(len(p), device=p.device)
    none = torch.full((num,), len(p), device=p.device)
    last = torch.full((num,), -1, device=p.device).scatter_reduce(0, graph[can], place[can], "amax")
    begin = none.scatter_reduce(0, graph[first], place[first], "amin")
    begin = torch.where(begin < len(p), begin, last)[graph]  # where rounding hid the one that must be
    return can & ((place == begin) | ((place > begin) & (uniform < p)))


@dataclass(frozen=True)
class Masses:
    """Nodes that are asked how they split.

    Attributes:
        mass: (n,) of each.
        graph: (n,) ascending, whose each is, of
        num: graphs.
        inside: (n,) bins of the edges inside of each, or None.
        maximum: pairs were as many as there can be.
    """

    mass: Tensor
    graph: Tensor
    num: int
    inside: Tensor | None = None
    maximum: bool = False

    def links(self, light: Tensor, sure: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) bool of nodes that are linked inside if they split, and of those that are not.

        Nothing inside is no link, and one edge inside of two nodes is one. Where pairs were as many as there can be,
        two linked nodes of mass 1 were not both left over, so no coarse graph has such: they come from the last scale.

        Args:
            light: (n,) masses of lighter children, 0 where there is one child.
            sure: (n,) bool, those that are linked for other reasons, which go before.
        """
        must, never = sure, torch.zeros_like(sure)
        if self.maximum:
            heavier = torch.where(light > 0, self.mass - light, self.mass)
            goes_on = torch.zeros(self.num, dtype=torch.bool, device=light.device)
            goes_on[self.graph[heavier > 1]] = True
            never = goes_on[self.graph] & (self.mass == 2)
        if self.inside is not None:
            never = torch.where(self.mass == 2, never & (self.inside == 0), never) | (self.inside == 0)
            must = must | ((self.mass == 2) & (self.inside > 0))
        return must, never & ~sure


class MassHead(nn.Module):
    """Laws of how nodes split, from their states (n, D)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.split = nn.Linear(width, 1)
        self.light = nn.Linear(width, 2 * BINS)  # by how far from halves, and by how light
        self.linked = mlp(width + SHARE_FEATURES, width, 1)

    def splits(self, h: Tensor, asked: Masses) -> Tensor:
        """(n,) logits of splitting, -inf for mass 1."""
        logits: Tensor = self.split(h)[:, 0]
        return logits.masked_fill(asked.mass == 1, -torch.inf)

    def lights(self, h: Tensor, mass: Tensor) -> Tensor:
        """(n, most // 2) logits of the lighter child's mass less one; -inf beyond half of ``mass`` (n,)."""
        half = mass // 2
        light = torch.arange(1, int(half.max()) + 1, device=mass.device).expand(len(mass), -1)
        missing = (half[:, None] - light).clamp_min(0)
        by_half = bin_inside(missing, BINS)
        width = torch.where(by_half > 0, 1 << (by_half - 1).clamp_min(0), 1)
        table = self.light(h)
        logits = table.gather(1, by_half) + table.gather(1, BINS + bin_counts(light, BINS)) - width.to(h.dtype).log()
        out: Tensor = logits.masked_fill(light > half[:, None], -torch.inf)
        return out

    def links(self, h: Tensor, mass: Tensor, light: Tensor) -> Tensor:
        """(n,) logits of children being linked, given their masses."""
        out: Tensor = self.linked(torch.cat([h, share_features(mass, light).to(h.dtype)], 1))
        return out[:, 0]

    def log_prob(self, h: Tensor, asked: Masses, token: Tensor, light: Tensor, sure: Tensor) -> Tensor:
        """(num,) nats of tokens and masses of lighter children; ``sure`` (n,) are linked if they split."""
        two = token > 0
        nats = some_log_prob(self.splits(h, asked), two, asked.graph, asked.num)
        open_ = (two & (asked.mass > 3)).nonzero()[:, 0]
        if len(open_):
            table = self.lights(h[open_], asked.mass[open_]).log_softmax(1)
            nats = nats.index_add(0, asked.graph[open_], table.gather(1, light[open_, None] - 1)[:, 0])
        must, never = asked.links(light, sure)
        linked = self.links(h[two], asked.mass[two], light[two])
        linked = torch.where(must[two], torch.inf, torch.where(never[two], -torch.inf, linked))
        return nats.index_add(0, asked.graph[two], F.logsigmoid(torch.where(token[two] == 1, linked, -linked)))

    def draw(
        self, h: Tensor, asked: Masses, sampler: ScaleSampler, choice: Tensor, share: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(n,) bool, which nodes split, and (n,) masses of lighter children, 0 where they do not; by ``choice`` and
        ``share`` (n,) in [0, 1)."""
        logits = self.splits(h, asked)
        can = asked.mass > 1
        pairs = torch.stack([torch.zeros_like(logits), torch.where(can, logits, 0.0)], 1)
        p = sampler.probabilities(pairs)[:, 1].clamp_min(1e-9) * can
        two = draw_some(p, asked.graph, asked.num, choice)
        light = two.long()
        open_ = (two & (asked.mass > 3)).nonzero()[:, 0]
        if len(open_):
            light[open_] += sampler.draw(self.lights(h[open_], asked.mass[open_]), share[open_])
        return two, light

    def draw_links(
        self, linked: Tensor, asked: Masses, light: Tensor, sure: Tensor, sampler: ScaleSampler, uniform: Tensor
    ) -> Tensor:
        """(n,) bool: children are linked, where there are two; ``linked`` (n,) are the logits of it."""
        must, never = asked.links(light, sure)
        pairs = torch.stack([torch.zeros_like(linked), linked], 1)
        pairs[:, 0] = pairs[:, 0].masked_fill(must, -torch.inf)
        pairs[:, 1] = pairs[:, 1].masked_fill(never, -torch.inf)
        return sampler.draw(pairs, uniform) == 1
