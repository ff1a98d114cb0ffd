"""New graphs by the recipes with which the benchmark sets were made.

Graph i of a set depends on i alone, whatever is drawn beside it, and so does the split it is in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.errors import not_accepted, require

Rng = np.random.Generator
Drawn = tuple[int, Array]  # nodes, and edges (E, 2)
PLANAR_NODES = TREE_NODES = 64
PATTERN = np.array(["train", "train", "train", "val", "test"] * 4 + ["train"] * 4 + ["test"])  # 64, 16, 20 % of 25


def planar(rng: Rng) -> Drawn:
    """SPECTRE: the Delaunay triangulation of 64 points, uniform in the unit square."""
    from scipy.spatial import Delaunay

    corners = Delaunay(rng.random((PLANAR_NODES, 2))).simplices
    return PLANAR_NODES, np.unique(np.sort(corners[:, [0, 1, 1, 2, 0, 2]].reshape(-1, 2), axis=1), axis=0)


def sbm(rng: Rng) -> Drawn:
    """SPECTRE: 2 to 5 blocks of 20 to 40 nodes each, edges with probability 0.3 inside and 0.005 between them.

    As there, the few that are not connected are kept.
    """
    sizes = rng.integers(20, 40, size=rng.integers(2, 5, endpoint=True), endpoint=True)
    block = np.repeat(np.arange(len(sizes)), sizes)
    probability = np.where(block[:, None] == block, 0.3, 0.005)
    return len(block), np.argwhere(np.triu(rng.random(probability.shape) < probability, k=1))


def tree(rng: Rng) -> Drawn:
    """HSpectre: uniform among the labelled trees on 64 nodes, drawn as a Pruefer sequence."""
    import networkx as nx

    return TREE_NODES, np.array(nx.from_prufer_sequence(rng.integers(TREE_NODES, size=TREE_NODES - 2).tolist()).edges)


def community_small(rng: Rng) -> Drawn:
    """SPECTRE, GDSS and before them Niu et al. (arXiv 2003.00638): two communities of 6 to 10 nodes and a few links.

    As in their code the communities are G(n, 0.7) of the fixed seeds 0 and 1, so that only the number of nodes and the
    links differ: every pair across with probability 0.1 / n, and one link where none was drawn.
    """
    import networkx as nx

    size = int(rng.integers(12, 20, endpoint=True)) // 2
    inside = nx.disjoint_union(*(nx.gnp_random_graph(size, 0.7, seed=seed) for seed in (0, 1)))
    links = np.argwhere(rng.random((size, size)) < 0.1 / size)
    links = links if len(links) else np.zeros((1, 2), dtype=np.int64)
    return 2 * size, np.concatenate([np.array(inside.edges), links + np.array([0, size])])


def grid(rng: Rng) -> Drawn:
    """GraphRNN and GDSS: grids whose sides are 10 to 19 nodes each; of more than a few, many are the same."""
    rows, columns = rng.integers(10, 20, size=2)
    number = np.arange(rows * columns).reshape(rows, columns)
    right = np.stack([number[:, :-1], number[:, 1:]], axis=-1).reshape(-1, 2)
    down = np.stack([number[:-1], number[1:]], axis=-1).reshape(-1, 2)
    return number.size, np.concatenate([right, down])


RECIPES: dict[str, Callable[[Rng], Drawn]] = {
    "planar": planar,
    "sbm": sbm,
    "tree": tree,
    "community_small": community_small,
    "grid": grid,
}


def generate(name: str, num: int, split: str) -> PackedGraphs:
    """The graphs of one split out of ``num``: 64 % are train, 16 % val, 20 % test.

    Raises:
        RefineError: the set has no recipe, or there are too few for three splits.
    """
    if name not in RECIPES:
        raise not_accepted("domain.data with domain.generate", name, RECIPES)
    require(num >= 5, f"domain.generate={num} is too few for three splits; accepted: 5 or more, or 0 for the official")
    rows = np.flatnonzero(np.resize(PATTERN, num) == split)
    seed = list(RECIPES).index(name)
    drawn = [RECIPES[name](np.random.default_rng([seed, row])) for row in rows]
    return PackedGraphs.checked(
        [nodes for nodes, _ in drawn],
        [len(edges) for _, edges in drawn],
        np.concatenate([edges for _, edges in drawn]),
        origin=f"{name} ({split}), {num} generated",
    )
