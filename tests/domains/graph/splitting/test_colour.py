"""Colour classes are proper, few, and follow the nodes."""

from __future__ import annotations

import torch
from graph_toys import zoo

from refine.domains.graph.splitting.colour import colour
from refine.domains.graph.splitting.sparse import Graphs

GRAPHS = list(zoo().values())


def test_colours_are_proper_few_and_follow_the_nodes() -> None:
    batch = Graphs.of(GRAPHS)
    uniform = torch.rand(batch.num_nodes, generator=torch.Generator().manual_seed(0))
    splits = torch.rand(batch.num_nodes, generator=torch.Generator().manual_seed(1)) < 0.8
    colours = colour(batch, splits, uniform)
    assert torch.equal(colours >= 0, splits)
    u, v = batch.edges
    both = splits[u] & splits[v]
    assert bool((colours[u] != colours[v])[both].all())
    for number, graph in enumerate(GRAPHS):
        assert int(colours[batch.graph == number].max()) <= max(dict(graph.to_networkx().degree()).values())
    graph = GRAPHS[-2]
    p = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(2))
    numbers, some = torch.rand(graph.num_nodes), torch.rand(graph.num_nodes) < 0.7
    here = colour(Graphs.of([graph]), some, numbers)
    there = colour(Graphs.of([graph.relabelled(p)]), some[p.argsort()], numbers[p.argsort()])
    assert torch.equal(there[p], here)
