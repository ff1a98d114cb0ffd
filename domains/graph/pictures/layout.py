"""Where to draw the nodes of a graph so that people see what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.mmd import Array

if TYPE_CHECKING:
    import networkx as nx

MANY = {True: 300, False: 100}  # nodes of planar graphs, of others: more are not laid out by all their distances
ROUNDS = 150  # of descent in a drawing without crossings
STEPS = [0.5**i for i in range(12)]  # tried in each, largest first
CORNER = 0.3  # weight of a corner of the outline against that of a triangle
LONGEST = 0.7  # mean edge in [-1, 1]
GAP = 0.6  # between components; one of n nodes is about sqrt(n) wide


def layout(graph: Graph, molecule: bool = False) -> Array:
    """(n, 2) positions in [-1, 1], the same every time.

    Connected graphs are drawn by distances (Kamada-Kawai), trees beginning with their centre in the middle. Planar
    graphs whose edges would cross, or that are large, are drawn without crossings instead, other large ones by springs.
    Components stand side by side.

    Args:
        molecule: draw as chemists do, where rdkit is installed.
    """
    import networkx as nx

    g = graph.to_networkx()
    place = _chemical(graph) if molecule else None
    if place is None:
        parts = [sorted(part) for part in sorted(nx.connected_components(g), key=len, reverse=True)]
        place = np.zeros((graph.num_nodes, 2))
        for part in parts:
            place[part] = _connected(nx.convert_node_labels_to_integers(g.subgraph(part), ordering="sorted"))
        _put_side_by_side(place, parts)
    low, high = place.min(0), place.max(0)
    u, v = graph.edges.numpy()
    long = float(np.linalg.norm(place[u] - place[v], axis=1).mean()) if len(u) else 1.0
    scale = min(2 / max(1e-9, float((high - low).max())), LONGEST / max(1e-9, long))
    centred: Array = (place - (low + high) / 2) * scale
    return centred


def _chemical(graph: Graph) -> Array | None:
    """Flat coordinates with the usual angles, for any atoms; None without rdkit."""
    try:
        from rdkit import Chem
        from rdkit.Chem.rdDepictor import Compute2DCoords
    except ImportError:
        return None
    mol = Chem.RWMol()
    for _ in range(graph.num_nodes):
        mol.AddAtom(Chem.Atom(0))
    kinds = [0] * graph.num_edges if graph.edge_label is None else graph.edge_label.clamp(max=2).tolist()
    for (u, v), kind in zip(graph.edges.T.tolist(), kinds, strict=True):
        mol.AddBond(u, v, Chem.BondType.values[kind + 1])
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    Compute2DCoords(mol)
    place: Array = np.asarray(mol.GetConformer().GetPositions())[:, :2]
    return place


def _put_side_by_side(place: Array, parts: list[list[int]]) -> None:
    """Turn components upright, scale them by their size, and put them into rows, largest first."""
    x = y = height = width = 0.0
    for part in parts:
        shape = place[part] - place[part].mean(0)
        if len(part) > 2:  # the longest side across
            shape = shape @ np.linalg.svd(shape, full_matrices=False)[2].T
        shape *= np.sqrt(len(part)) / max(1e-9, float(np.ptp(shape, axis=0).max()))
        size = np.ptp(shape, axis=0) + GAP
        width = width or max(float(size[0]), float(np.sqrt(len(place))))
        if x > 0 and x + size[0] > width:
            x, y, height = 0.0, y - height, 0.0
        place[part] = shape - [shape[:, 0].min(), shape[:, 1].max()] + [x, y]
        x, height = x + float(size[0]), max(height, float(size[1]))


def _connected(g: nx.Graph) -> Array:
    """Positions of a connected graph's nodes 0 to n - 1, at any place and scale."""
    import networkx as nx

    if nx.is_tree(g):
        rings = _rings(g)
        return _by_distances(g, dict(enumerate(rings))) if len(g) <= MANY[True] else rings
    planar, embedding = nx.check_planarity(g)
    near = _by_distances(g) if len(g) <= MANY[planar] else None
    if near is not None and not (planar and _crosses(near, np.array(g.edges))):
        return near
    drawn = _without_crossings(g, embedding) if planar else near
    return _array(nx.spring_layout(g, seed=0, iterations=200)) if drawn is None else drawn


def _by_distances(g: nx.Graph, start: dict[int, Any] | None = None) -> Array:
    import networkx as nx

    return _array(nx.kamada_kawai_layout(g, pos=start))


def _array(positions: dict[int, Any]) -> Array:
    return np.array([positions[node] for node in range(len(positions))])


def _rings(tree: nx.Graph) -> Array:
    """The centre in the middle, its neighbours on a ring, theirs on the next; a branch is as wide as it has leaves."""
    import networkx as nx

    root = nx.center(tree)[0]
    below = nx.bfs_tree(tree, root)
    leaves: dict[int, int] = {}
    for node in reversed(list(below)):
        leaves[node] = sum(leaves[child] for child in below[node]) or 1
    depth = nx.single_source_shortest_path_length(tree, root)
    begin, place = {root: 0}, np.zeros((len(tree), 2))
    for node in below:
        angle = 2 * np.pi * (begin[node] + leaves[node] / 2) / leaves[root]
        place[node] = depth[node] * np.array([np.cos(angle), np.sin(angle)])
        at = begin[node]
        for child in below[node]:
            begin[child], at = at, at + leaves[child]
    return place


def _crosses(place: Array, edges: Array) -> bool:
    """Whether two of the edges (E, 2) without a common end cross."""
    a, b = place[edges[:, 0]], place[edges[:, 1]]
    of_a, of_b = (_twice_area(a[:, None], b[:, None], end[None]) for end in (a, b))  # sides of edge i, ends of edge j
    between = of_a * of_b < 0
    apart = (edges[:, None, :, None] != edges[None, :, None, :]).all((2, 3))
    return bool((between & between.T & apart).any())


def _twice_area(a: Any, b: Any, c: Any) -> Any:
    """Of triangles a, b, c with coordinates last; positive if counter-clockwise."""
    p, q = b - a, c - a
    return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]


def _without_crossings(g: nx.Graph, embedding: nx.PlanarEmbedding) -> Array | None:
    """A drawing with straight edges of about one length that do not cross; None where it would degenerate.

    From Tutte's drawing of the triangulated graph, sum_e |e|^3 / 3 - sum_t log area(t) descends over edges e and
    triangles t. No triangle can turn inside out, nor, being counted as one, can a corner of the outline: it stays
    convex, so that no two triangles overlap.
    """
    from networkx.algorithms.planar_drawing import triangulate_embedding

    full, outline = triangulate_embedding(embedding, fully_triangulate=False)
    seen: set[tuple[int, int]] = set()
    full.traverse_face(outline[0], outline[1], seen)  # the outside; the other faces are triangles, clockwise
    triangles = [full.traverse_face(u, v, seen)[::-1] for u, v in full.edges if (u, v) not in seen]
    corners = np.stack([np.roll(outline, -shift) for shift in range(3)], axis=1).tolist()
    turns = torch.tensor(triangles + corners)
    weights = torch.tensor([1.0] * len(triangles) + [CORNER] * len(corners), dtype=torch.float64)
    u, v = torch.tensor(list(g.edges)).T
    s, t = torch.tensor(list(full.edges)).T  # both ways

    def energy(x: Tensor) -> Tensor:
        areas: Tensor = _twice_area(*x[turns].unbind(1))
        springs = (x[u] - x[v]).norm(dim=1).pow(3).sum() / 3
        return springs - (weights * areas.log()).sum() if areas.min() > 0 else torch.tensor(torch.inf)

    x = torch.from_numpy(2.5 * _tutte(full, outline)).requires_grad_()
    now = energy(x)
    if not now.isfinite():
        return None
    for _ in range(ROUNDS):
        (slope,) = torch.autograd.grad(now, x)
        with torch.no_grad():  # nodes close together move by little
            room = torch.full((len(x), 1), torch.inf, dtype=x.dtype)
            room = room.scatter_reduce(0, s[:, None], (x[s] - x[t]).norm(dim=1, keepdim=True), "amin")
            way = -slope * room**2 / (1 + slope.norm(dim=1, keepdim=True) * room)
        trials = ((x + step * way).detach().requires_grad_() for step in STEPS)
        better = next(((y, e) for y in trials if (e := energy(y)) < now), None)
        if better is None:
            break
        x, now = better
    place: Array = x.detach().numpy()
    return place


def _tutte(full: nx.PlanarEmbedding, outline: Any) -> Array:
    """The outline as a regular polygon, counter-clockwise, and every other node at the mean of its neighbours."""
    import networkx as nx

    angles = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    place = np.zeros((len(full), 2))
    place[outline] = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner = np.setdiff1d(np.arange(len(full)), outline)
    matrix = nx.laplacian_matrix(nx.Graph(full.edges), nodelist=range(len(full))).toarray()
    place[inner] = np.linalg.solve(matrix[np.ix_(inner, inner)], -matrix[np.ix_(inner, outline)] @ place[outline])
    return place
