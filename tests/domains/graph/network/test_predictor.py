"""Relabelling nodes permutes what the predictor says, leaves likelihoods as they are, and samples have the same law.

Each test runs on a double with positional encodings too, which must fail it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import generators, of, tiny_predictor
from scipy.stats import chi2_contingency
from torch import Tensor

from refine.codes.laws import ScaleSampler
from refine.domains.graph.network.examples import examples
from refine.domains.graph.network.network import View
from refine.domains.graph.network.predictor import GraphPredictor
from refine.domains.graph.network.sampling import ScaleDraw
from refine.domains.graph.network.view import NOW, partial
from refine.domains.graph.splitting.colour import colour
from refine.domains.graph.splitting.pairing import Scale, build_pyramid, renumber
from refine.domains.graph.splitting.sparse import Graphs, at
from refine.domains.graph.splitting.splits import Splits, split
from refine.noise import Noise


class Positioned(GraphPredictor):
    """The broken double: it knows how nodes are numbered."""

    def states(self, view: View, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        place = torch.arange(len(view.graph), dtype=view.node.dtype)[:, None]
        sizes = torch.bincount(view.graph, minlength=view.num)
        local = place - (sizes.cumsum(0) - sizes)[view.graph][:, None]
        h, e = super().states(view, told)
        return h + 5 * torch.sin(local + torch.arange(h.shape[1])), e


def relabel(scale: Scale, p: Tensor) -> Scale:
    """The same codes over coarse nodes renumbered: node u is called ``p[u]``."""
    order = p.argsort()
    coarse = renumber(scale.coarse, order)
    low, high = order[coarse.edges]
    flipped = low > high
    place, _ = scale.coarse.edge_ids(torch.minimum(low, high), torch.maximum(low, high))
    pattern = scale.codes.pattern[place]
    swapped = (pattern & 0b1001) | (pattern & 0b0010) << 1 | (pattern & 0b0100) >> 1  # child a of u, b of v: exchanged
    codes = Splits(scale.codes.token[order], torch.where(flipped, swapped, pattern), light=at(scale.codes.light, order))
    return Scale(coarse, codes)


def scored(
    predictor: GraphPredictor, scale: Scale, turn: int, numbers: Tensor, colours: Tensor, names: Tensor
) -> tuple[Tensor, dict[tuple[int, ...], Tensor], float]:
    """Token logits by node, star logits by question, and nats, in one order for all numberings: ``names`` (N,) say what
    the nodes are called in all of them and ``numbers`` (N, N, 2) decide orders by name."""
    coarse, codes = scale.coarse, scale.codes
    goal = (coarse.sizes + (codes.token > 0).sum())[:, None].expand(-1, 2)
    asked: list[tuple[int, ...]] = []

    def order(owner: Tensor) -> Tensor:
        state = partial(coarse, codes, colours, torch.tensor([turn]))
        centre, other = state.parent[state.stars.centre], state.parent[state.stars.other]
        first = torch.full((coarse.num_nodes,), len(state.parent)).scatter_reduce(
            0, state.parent, torch.arange(len(state.parent)), "amin"
        )
        child = state.stars.other - first[other]
        asked.extend(zip(names[centre].tolist(), names[other].tolist(), child.tolist(), strict=True))
        return numbers[names[centre], names[other], child]

    x = examples(coarse, codes, goal, colours, torch.tensor([turn]), order)
    h, e = predictor.states(x.view)
    logits = {}
    if len(x.codes):
        head = predictor.star
        questions = head.questions(h, e, x.centre, x.other, x.edge)
        apart = x.view.node_kind[x.centre, 0] == NOW + 1
        table = head(questions, apart, x.codes, head.biases(e, tuple(x.pairs), x.seats), x.seats)  # type: ignore[arg-type]
        logits = dict(zip(asked, table, strict=True))
    if predictor.token is not None:
        tokens = predictor.token(h[x.nodes])
    elif turn >= 0:
        tokens = h[:0]
    else:
        assert x.asked is not None and predictor.masses is not None
        heavy = torch.full_like(x.asked.mass, 9)
        tokens = torch.cat([predictor.masses.split(h[x.nodes]), predictor.masses.lights(h[x.nodes], heavy)], 1)
    return tokens, logits, float(sum(part.sum() for part in predictor.log_prob(x)))


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Features are computed in it, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def largest_difference(predictor: GraphPredictor, dtype: torch.dtype) -> float:
    """Over all rounds of all scales of a graph, relative to the largest logit."""
    with default_dtype(dtype), torch.no_grad():
        return _largest_difference(predictor.to(dtype))


def _largest_difference(predictor: GraphPredictor) -> float:
    graph = of(nx.random_regular_graph(3, 16, seed=3))
    worst, generator = 0.0, torch.Generator().manual_seed(5)
    masses = predictor.masses is not None
    for scale in build_pyramid(Graphs.of([graph]), generators(1), masses=masses).scales:
        n = scale.coarse.num_nodes
        numbers = torch.rand(n, n, 2, generator=generator)
        uniform = torch.rand(n, generator=generator)
        p = torch.randperm(n, generator=generator)
        order = p.argsort()
        other = relabel(scale, p)
        colours = colour(scale.coarse, scale.codes.token > 0, uniform)
        moved = colour(other.coarse, other.codes.token > 0, uniform[order])
        assert torch.equal(moved, colours[order])
        for turn in range(-1, int(colours.max()) + 1):
            here = scored(predictor, scale, turn, numbers, colours, torch.arange(n))
            there = scored(predictor, other, turn, numbers, moved, order)
            assert here[1].keys() == there[1].keys()
            pairs = [(here[0][order], there[0])] if turn < 0 else [(here[1][q], there[1][q]) for q in here[1]]
            pairs.append((torch.tensor(here[2]), torch.tensor(there[2])))
            for mine, yours in pairs:
                worst = max(worst, float(((mine - yours).abs() / mine.abs().max().clamp_min(1)).max()))
    return worst


@pytest.mark.parametrize("masses", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_relabelling_permutes_logits_and_leaves_the_likelihood(
    dtype: torch.dtype, tolerance: float, masses: bool
) -> None:
    assert largest_difference(tiny_predictor(GraphPredictor, masses=masses), dtype) < tolerance


def test_positional_encodings_are_found_out() -> None:
    assert largest_difference(tiny_predictor(Positioned), torch.float64) > 1e-3


def drawn(predictor: GraphPredictor, count: int, shuffled: bool) -> np.ndarray[Any, Any]:
    """A number for the shape of each of ``count`` tiny graphs: its edges, its highest degree, and how unequal its two
    first nodes share those that came of them. Before every scale nodes are renumbered at random, or not."""
    noise = Noise(int(shuffled), range(count))
    graphs, generator = Graphs.single_nodes(count), torch.Generator().manual_seed(0)
    first = torch.zeros(count, dtype=torch.int64)
    if predictor.masses is not None:
        graphs = replace(graphs, mass=torch.full((count,), 8))
    for k, size in enumerate((2, 3, 5, 8) if predictor.masses is None else (8,) * 7):
        if shuffled:
            key = graphs.graph + torch.rand(graphs.num_nodes, generator=generator, dtype=torch.float64)
            order = key.argsort()
            graphs, first = renumber(graphs, order), first[order]
        codes = ScaleDraw(predictor, noise, k, ScaleSampler())(graphs, torch.full((count, 2), size))
        graphs, parent = split(graphs, codes)
        first = first[parent] if k else torch.arange(2 * count) % 2  # a node of mass above 1 splits where it is alone
    edges = torch.bincount(graphs.graph[graphs.edges[0]], minlength=count)
    hubs = torch.zeros(count, dtype=torch.int64).scatter_reduce(0, graphs.graph, graphs.degree, "amax")
    share = torch.bincount(graphs.graph[first == 0], minlength=count)
    table: np.ndarray[Any, Any] = ((edges * 10 + hubs) * 10 + torch.minimum(share, 8 - share)).numpy()
    return table


def p_value(predictor: GraphPredictor, count: int) -> float:
    """That both ways of drawing have one law."""
    with torch.inference_mode():
        here, there = (drawn(predictor, count, shuffled) for shuffled in (False, True))
    kinds = [k for k in np.union1d(here, there) if (here == k).sum() + (there == k).sum() >= 10]
    table = [[(x == k).sum() for k in kinds] for x in (here, there)]
    return float(chi2_contingency(table).pvalue)


@pytest.mark.parametrize("masses", [False, True])
def test_the_law_of_samples_does_not_depend_on_how_nodes_are_numbered(masses: bool) -> None:
    assert p_value(tiny_predictor(GraphPredictor, masses=masses), 2000) > 1e-3


def test_the_law_of_samples_of_positional_encodings_does() -> None:
    assert p_value(tiny_predictor(Positioned), 2000) < 1e-6
