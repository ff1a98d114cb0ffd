"""Whether a graph could come from the stochastic block model of the benchmark: the field's check, with graph_tool.

A program of its own, so that it can run under whatever interpreter has graph_tool, which no pip package brings and
which takes the process down when its numpy is another: it needs numpy, scipy and graph_tool only. It reads lines of
JSON ``{"num_nodes": n, "edges": [[u, v], ...]}`` and answers each with ``true`` or ``false``.
"""

from __future__ import annotations

import json
import sys

import numpy as np

P_INTRA, P_INTER = 0.3, 0.005  # edge probabilities inside a block and between two
BLOCKS = (2, 5)
BLOCK_NODES = (20, 40)
SWEEPS = 100
P_VALUE = 0.9  # the mean over pairs of blocks has to be above
EPSILON = 1e-6


def is_sbm(num_nodes: int, edges: list[list[int]]) -> bool:
    """The check of SPECTRE (arXiv 2204.01613) with the 100 sweeps of DiGress's ``sbm_acc``.

    Blocks are those of the minimum description length, improved by merge-split sweeps at zero temperature. Their number
    and sizes must be in range, and the edge counts must agree with the probabilities by a Wald test. In the code that
    made the published figures the counts between blocks are a ``numpy.matrix``, so that their squares and products are
    products of matrices there, not of entries; kept, for without it real test graphs and GruM's fall from 85 % to 78 %
    and 43 % (two blocks with no edge between them would always fail).
    """
    import graph_tool
    from graph_tool.inference import contiguous_map, minimize_blockmodel_dl
    from scipy.special import chdtrc

    graph_tool.seed_rng(0)
    graph = graph_tool.Graph()  # directed, each edge both ways, as the field has it
    graph.add_vertex(num_nodes)
    graph.add_edge_list([pair for u, v in edges for pair in ((u, v), (v, u))])
    state = minimize_blockmodel_dl(graph)
    for _ in range(SWEEPS):
        state.multiflip_mcmc_sweep(beta=np.inf, niter=10)
    state = state.copy(b=contiguous_map(state.get_blocks()))
    blocks = state.get_nonempty_B()
    if not BLOCKS[0] <= blocks <= BLOCKS[1]:
        return False
    nodes = np.asarray(state.get_nr().a[:blocks], dtype=float)
    if nodes.min() < BLOCK_NODES[0] or nodes.max() > BLOCK_NODES[1]:
        return False
    links = np.asarray(state.get_matrix().todense(), dtype=float)[:blocks, :blocks]
    inside = np.diag(links) / (nodes * (nodes - 1) + EPSILON)
    between = (links - np.diag(np.diag(links))) / (np.outer(nodes, nodes) + EPSILON)
    away = between - P_INTER
    wald = away @ away / (between @ (1 - between) + EPSILON)
    np.fill_diagonal(wald, (inside - P_INTRA) ** 2 / (inside * (1 - inside) + EPSILON))
    return bool(chdtrc(1, abs(wald)).mean() > P_VALUE)


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(is_sbm(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
