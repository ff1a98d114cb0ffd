from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.pictures.drawings import _scenes, plot_animation, plot_grid, plot_strip
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import split

from ..made_up import ODD, delaunay, graph


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def refinement(g: Graph, seed: int = 0) -> tuple[list[Graph], list[torch.Tensor]]:
    pyramid = build_pyramid(Graphs.of([g]), [np.random.default_rng(seed)])
    trail = [scale.coarse.to_graphs()[0] for scale in pyramid.scales] + pyramid.finest.to_graphs()
    return trail, [split(scale.coarse, scale.codes)[1] for scale in pyramid.scales]


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
