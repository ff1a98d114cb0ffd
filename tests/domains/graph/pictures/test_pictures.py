from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.pictures.drawings import _scenes, plot_animation, plot_grid, plot_strip
from refine.domains.graph.pictures.layout import _crosses, layout
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import split

from ..metrics.test_validity import graph


def delaunay(n: int, seed: int) -> nx.Graph:
    from scipy.spatial import Delaunay

    triangles = Delaunay(np.random.default_rng(seed).uniform(size=(n, 2))).simplices
    return nx.Graph([(int(t[i]), int(t[i - 1])) for t in triangles for i in range(3)])


ODD = {
    "one node": nx.empty_graph(1),
    "one edge": nx.path_graph(2),
    "no edges": nx.empty_graph(7),
    "parts": nx.disjoint_union_all([nx.cycle_graph(9), nx.star_graph(5), nx.path_graph(2), nx.empty_graph(3)]),
    "complete": nx.complete_graph(12),
    "large": nx.gnp_random_graph(120, 0.1, seed=0),
    "large tree": nx.random_labeled_tree(400, seed=0),
}
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


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def refinement(g: Graph, seed: int = 0) -> tuple[list[Graph], list[torch.Tensor]]:
    pyramid = build_pyramid(Graphs.of([g]), [np.random.default_rng(seed)])
    trail = [scale.coarse.to_graphs()[0] for scale in pyramid.scales] + pyramid.finest.to_graphs()
    return trail, [split(scale.coarse, scale.codes)[1] for scale in pyramid.scales]


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


def test_grid_shows_every_graph(tmp_path: Path) -> None:
    graphs = [graph(g) for g in ODD.values()]
    picture = pixels(plot_grid(graphs, tmp_path / "graphs.png", columns=3))
    rows, side = 3, picture.shape[1] // 3
    assert picture.shape[0] == rows * side
    for i in range(9):
        panel = picture[i // 3 * side :, i % 3 * side :][:side, :side]
        assert (panel.min() < 200) == (i < len(graphs))  # the last two are empty


def test_kinds_have_colours_and_names(tmp_path: Path) -> None:
    """An oxygen is red, a nitrogen blue; a double bond leaves white between its strokes."""
    plain = Graph.of(2, [(0, 1)], [0, 1], [0])
    double = Graph.of(2, [(0, 1)], [0, 1], [1])
    one, two = (
        pixels(plot_grid([g], tmp_path / "molecule.png", node_kinds=["O", "N+"])).astype(float) for g in (plain, double)
    )
    red, green, blue = np.moveaxis(one, -1, 0)
    assert ((red > 200) & (green < 90) & (blue < 90)).sum() > 100
    assert ((blue > 200) & (red < 90)).sum() > 100
    column = one.shape[1] // 2
    strokes = [int((np.diff((picture[:, column].sum(-1) < 600).astype(int)) == 1).sum()) for picture in (one, two)]
    assert strokes[1] == strokes[0] + 1


def test_strip_draws_a_node_amid_those_it_becomes(tmp_path: Path) -> None:
    trail, parents = refinement(graph(delaunay(20, 1)))
    scenes = _scenes(trail, parents, ())
    assert [scene.graph for scene in scenes] == trail
    np.testing.assert_allclose(scenes[0].place[0], scenes[-1].place.mean(0), atol=1e-9)
    np.testing.assert_allclose(scenes[0].colours[0], scenes[-1].colours.mean(0), atol=1e-9)
    areas = [(scene.radius**2).sum() for scene in scenes]
    np.testing.assert_allclose(areas, areas[0])
    short, its_parents = refinement(graph(nx.path_graph(5)))
    picture = pixels(plot_strip([trail, short], tmp_path / "strip.png", [parents, its_parents]))
    side = picture.shape[0] // 2
    assert picture.shape[1] == len(trail) * side
    empty = len(trail) - len(short)  # columns before the coarsest graph of the shorter one
    assert picture[side:, : empty * side].min() == 255 and picture[:side].min() < 200


def test_animation_begins_with_one_node_and_ends_with_the_graph(tmp_path: Path) -> None:
    trail, parents = refinement(graph(delaunay(20, 1)))
    path = plot_animation(trail, tmp_path / "refinement.gif", parents, frames=3)
    with Image.open(path) as image:
        assert image.n_frames == 1 + 3 * len(parents)
        shown = []
        for frame in (0, image.n_frames - 1):
            image.seek(frame)
            shown.append(np.asarray(image.convert("RGB")).astype(int))
    assert (shown[0] != shown[1]).any(-1).mean() > 0.02


def test_a_picture_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = plot_grid([graph(nx.path_graph(3))], tmp_path / "graphs.png")
    before = path.read_bytes()
    with pytest.raises(IndexError):
        plot_grid([Graph.of(2, [(0, 1)], [0, 5])], path, node_kinds=["O", "N"])
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
