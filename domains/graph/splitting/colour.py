"""Which nodes split together: colour classes, so that no two of a round are neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from refine.domains.graph.splitting.sparse import Graphs


def colour(graphs: Graphs, splits: Tensor, uniform: Tensor) -> Tensor:
    """(N,) colours from 0, -1 for nodes that do not split: greedy in a random order that favours high degrees.

    Jones and Plassmann's parallel greedy colouring: in each turn, every node that comes before all its uncoloured
    neighbours takes the least colour that none of its neighbours has. A function of the graph and of one uniform number
    a node, not of how nodes are numbered.

    Args:
        graphs: N nodes in all.
        splits: (N,) bool, the nodes to colour.
        uniform: (N,) in [0, 1).
    """
    u, v = graphs.edges[:, splits[graphs.edges].all(0)]
    u, v = torch.cat([u, v]), torch.cat([v, u])
    n, device = graphs.num_nodes, splits.device
    priority = graphs.degree + 2 * uniform.double()
    colours = torch.full((n,), -1, device=device)
    waiting = splits.clone()
    most = int(torch.bincount(u, minlength=n).max()) + 1 if n else 1
    taken = torch.zeros(n, most + 1, dtype=torch.bool, device=device)
    while bool(waiting.any()):
        rival = torch.zeros(n, dtype=torch.bool, device=device)
        both = waiting[u] & waiting[v]
        a, b = u[both], v[both]
        later = (priority[a] < priority[b]) | ((priority[a] == priority[b]) & (a < b))  # equal ones: measure zero
        rival[a[later]] = True
        now = waiting & ~rival
        colours[now] = (~taken[now]).int().argmax(1)
        to = now[u] & ~now[v]
        taken[v[to], colours[u[to]]] = True
        waiting &= ~now
    return colours
