"""Layouts: every node apart, and planar graphs without crossings."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from refine.domains.graph.pictures.layout import _crosses, layout

from ..made_up import ODD, delaunay, graph

PLANAR = {
    "delaunay": delaunay(64, 0),
    "more of them": delaunay(90, 3),
    "grid": nx.grid_2d_graph(6, 8),
    "large grid": nx.grid_2d_graph(18, 20),
    "barbell": nx.barbell_graph(4, 3),
    "nested triangles": nx.cartesian_product(nx.cycle_graph(3), nx.path_graph(6)),
    "hub": nx.wheel_graph(15),
    "dodecahedron": nx.dodecahedral_graph(),
}


@pytest.mark.parametrize("name", ODD | PLANAR)
def test_layout_puts_every_node_apart_inside_the_square(name: str) -> None:
    g = graph((ODD | PLANAR)[name])
    place = layout(g)
    assert place.shape == (g.num_nodes, 2) and abs(place).max() <= 1 + 1e-9
    distances = np.linalg.norm(place[:, None] - place, axis=-1) + 9 * np.eye(g.num_nodes)
    assert distances.min() > 1e-3
    assert np.array_equal(place, layout(g))


@pytest.mark.parametrize("name", PLANAR)
def test_planar_graphs_are_drawn_without_crossings(name: str) -> None:
    g = graph(PLANAR[name])
    assert not _crosses(layout(g), g.edges.T.numpy())


def test_crossings_are_seen() -> None:
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    assert _crosses(square, np.array([[0, 2], [1, 3]]))
    assert not _crosses(square, np.array([[0, 1], [1, 2], [2, 3], [3, 0]]))
    assert not _crosses(square, np.array([[0, 2], [0, 3]]))
