"""Pictures for people: grids of graphs, strips and animations of how they are refined."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.mmd import Array
from refine.domains.graph.pictures.layout import layout
from refine.progress import track
from refine.storage.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.4  # inches of a panel
REACH = 1.2  # of a panel, where graphs are laid out in [-1, 1]
POINTS = SIDE * 72 / (2 * REACH)  # of one unit of a layout
DISC = 0.4  # radius of the disc with the area of all nodes together
SPREAD = 1.6  # by which coarse scales are drawn larger at most
LARGEST = 0.16  # radius of a node of a small graph
DPI = 110
MOST_STROKES = 4
EDGE = "#9aa3ad"
MARK, HALO = "#ffd24a", 3.0  # colour, and points around what is marked
PALETTE = ("#4c78c8", "#e8743b", "#3aa66f", "#b765c4", "#d4a72c", "#d1495b", "#46a9b8", "#8a6d5b", "#7f86c6", "#9aa43b")
ELEMENTS = {
    "C": "#4a4f57", "N": "#3f66d6", "O": "#e0403a", "F": "#58b03f", "S": "#d9b021", "Cl": "#2f9e44", "Br": "#9c3a21",
    "P": "#e58a1f", "I": "#7a3fa0", "B": "#e0a080", "H": "#b9c0c8", "Si": "#a08c5b", "Se": "#c98a2b",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A graph as it is drawn.

    Attributes:
        graph: n nodes.
        place: (n, 2) positions, in [-1, 1].
        colours: (n, 3) red, green and blue in [0, 1].
        radius: (n,) of the discs.
        names: of the kinds of nodes, to be written on them; empty for none.
    """

    graph: Graph
    place: Array
    colours: Array
    radius: Array
    names: Sequence[str] = ()


def plot_grid(
    graphs: Sequence[Graph],
    path: Path,
    columns: int = 6,
    node_kinds: Sequence[str] = (),
    captions: Sequence[str] = (),
    given: int = 0,
) -> Path:
    """Graphs side by side, each laid out by itself; under each a caption, where there are some.

    Kinds of nodes have a colour each, and their names written on them if they are given; the kind of an edge shows as
    its number of strokes. Without kinds, planar graphs are coloured smoothly, others by their communities. The first
    ``given`` nodes of each, and the edges between them, are marked.
    """
    columns = min(columns, len(graphs))
    figure, panels = _panels(-(-len(graphs) // columns), columns)
    for i, (ax, graph) in enumerate(zip(panels.flat, track(graphs, "drawing graphs"), strict=False)):
        scene = _scene(graph, node_kinds)
        if given:
            _mark(ax, scene, given)
        _draw(ax, scene)
        caption = textwrap.fill(", ".join([_caption(graph), *captions[i : i + 1]]), 44)  # what a panel has room for
        ax.set_title(caption, fontsize=7, color=EDGE, y=-0.02)
    return _save(figure, path)


def plot_strip(
    trails: Sequence[Sequence[Graph]],
    path: Path,
    parents: Sequence[Sequence[Tensor]],
    node_kinds: Sequence[str] = (),
) -> Path:
    """One row a sample, one column a scale, coarsest first: a node stands in the middle of those that come from it.

    Args:
        trails: the graphs of each sample's scales.
        path: of the picture.
        parents: ``parents[s][k][u]`` is the node of ``trails[s][k]`` that node u of ``trails[s][k + 1]`` came from.
        node_kinds: names of the kinds of nodes.
    """
    figure, panels = _panels(len(trails), max(len(trail) for trail in trails))
    for row, trail, ancestry in zip(panels, track(trails, "drawing refinements"), parents, strict=True):
        for ax, scene in zip(row[-len(trail) :], _scenes(trail, ancestry, node_kinds), strict=True):
            _draw(ax, scene)
            ax.set_title(_caption(scene.graph), fontsize=7, color=EDGE, y=-0.02)
    return _save(figure, path)


def plot_animation(
    trail: Sequence[Graph], path: Path, parents: Sequence[Tensor], node_kinds: Sequence[str] = (), frames: int = 8
) -> Path:
    """An endless GIF of one sample: nodes divide and move apart, in so many frames a scale."""
    from PIL import Image

    scenes = _scenes(trail, parents, node_kinds)
    pictures, milliseconds = [_picture(scenes[0])], [800]
    for before, after, parent in zip(scenes, scenes[1:], parents, strict=False):
        for t in np.linspace(0, 1, frames + 1)[1:]:
            pictures.append(_picture(_between(before, after, parent, float(t))))
            milliseconds.append(60 if t < 1 else 600)
    milliseconds[-1] = 3000
    keys = np.concatenate([np.asarray(picture) for picture in pictures[::frames]])
    palette = Image.fromarray(keys).quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    first, *rest = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    with atomic_write(path) as temporary:
        first.save(temporary, "gif", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    return path


def _caption(graph: Graph) -> str:
    n, m = graph.num_nodes, graph.num_edges
    return f"{n} node{'s' * (n != 1)}, {m} edge{'s' * (m != 1)}"


def _scene(graph: Graph, names: Sequence[str]) -> Scene:
    elements = [_element(name) in ELEMENTS for name in names]
    place = layout(graph, molecule=graph.node_label is not None and bool(elements) and all(elements))
    u, v = place[graph.edges.numpy()]
    edge = float(np.median(np.linalg.norm(u - v, axis=1))) if graph.num_edges else 1.0
    radius = min(LARGEST, DISC / np.sqrt(graph.num_nodes), 0.3 * edge)
    written = names if graph.node_label is not None else ()
    return Scene(graph, place, _colours(graph, names), np.full(graph.num_nodes, radius), written)


def _scenes(trail: Sequence[Graph], parents: Sequence[Tensor], names: Sequence[str]) -> list[Scene]:
    """The scales of one sample, where and in what colour the last one says; grey as long as kinds are open."""
    finest = _scene(trail[-1], names)
    scenes = [finest]
    sums: Array = np.hstack([finest.place, finest.colours, np.ones((finest.graph.num_nodes, 1))])
    for graph, parent in zip(reversed(trail[:-1]), reversed(parents), strict=True):
        finer, sums = sums, np.zeros((graph.num_nodes, sums.shape[1]))
        np.add.at(sums, parent.numpy(), finer)
        count, middle = sums[:, -1], finest.place.mean(0)
        place, colours = np.split(sums[:, :-1] / count[:, None], [2], axis=1)
        radius = finest.radius[0] * np.sqrt(count)  # the area of all discs stays
        room = (1 - radius.max()) / max(1e-9, float(abs(place - middle).max()))
        place = middle + (place - middle) * np.clip(room, 1, SPREAD)
        if finest.graph.node_label is not None and graph.node_label is None:
            colours = np.tile(_rgb(EDGE), (graph.num_nodes, 1))
        scenes.append(Scene(graph, place, colours, radius))
    return scenes[::-1]


def _between(before: Scene, after: Scene, parent: Tensor, t: float) -> Scene:
    """The finer graph on its way from where its nodes' parents are, t from 0 to 1."""
    ease = t * t * (3 - 2 * t)
    place, colours, radius = (
        (1 - ease) * getattr(before, key)[parent] + ease * getattr(after, key) for key in ("place", "colours", "radius")
    )
    return Scene(after.graph, place, colours, radius, after.names if t == 1 else ())


def _element(name: str) -> str:
    return name.rstrip("+-0123456789")


def _rgb(colour: str) -> Array:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(colour))


def _colours(graph: Graph, names: Sequence[str]) -> Array:
    """(n, 3) by kind, else by place in a planar graph, else by community."""
    import matplotlib
    import networkx as nx

    if graph.node_label is not None:
        known = {kind: ELEMENTS.get(_element(name)) for kind, name in enumerate(names)}
        return np.array([_rgb(known.get(k) or PALETTE[k % len(PALETTE)]) for k in graph.node_label.tolist()])
    g = graph.to_networkx()
    if nx.check_planarity(g)[0]:
        smooth = np.zeros(len(g))
        for part in nx.connected_components(g):
            smooth[sorted(part)] = _smooth(g.subgraph(part))
        return np.asarray(matplotlib.colormaps["turbo"](0.08 + 0.84 * smooth)[:, :3])
    colours = np.zeros((len(g), 3))
    for i, part in enumerate(sorted(nx.community.louvain_communities(g, resolution=0.7, seed=0), key=min)):
        colours[list(part)] = _rgb(PALETTE[i % len(PALETTE)])
    return colours


def _smooth(g: Any) -> Array:
    """Ranks, from 0 to 1, of the nodes in the slowest vibration of a connected graph."""
    import networkx as nx

    vectors = np.linalg.eigh(nx.laplacian_matrix(g, nodelist=sorted(g)).toarray().astype(float))[1]
    slowest = vectors[:, min(1, len(g) - 1)]
    ranks: Array = slowest.argsort().argsort().astype(float)
    return ranks / max(1, len(g) - 1)


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure((columns * SIDE, rows * SIDE), dpi=DPI)
    panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"wspace": 0, "hspace": 0})
    figure.subplots_adjust(0, 0, 1, 1)
    for ax in panels.flat:
        ax.set_axis_off()
        ax.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
    return figure, panels


def _draw(ax: Axes, scene: Scene) -> None:
    from matplotlib.collections import LineCollection

    ends = scene.place[scene.graph.edges.T.numpy()]
    label = scene.graph.edge_label
    kinds = np.zeros(len(ends), dtype=int) if label is None else label.numpy().clip(max=MOST_STROKES - 1)
    width = float(np.clip(9 / np.sqrt(len(scene.place)), 0.6, 1.8))
    for kind in np.unique(kinds).tolist():  # a wide line, a narrower white one on it, ...
        for j in range(kind, -1, -1):
            colour = EDGE if (kind - j) % 2 == 0 else "white"
            lines = LineCollection(ends[kinds == kind], linewidths=width * (2 * j + 1), colors=colour, zorder=1)
            ax.add_collection(lines)
    x, y = scene.place.T
    size = 2 * POINTS * scene.radius
    ax.scatter(
        x, y, size**2, scene.colours, edgecolors="white", linewidths=(0.06 * size.clip(4, 14)).tolist(), zorder=2
    )
    if scene.names and size.min() > 7:
        assert scene.graph.node_label is not None
        for node, kind in enumerate(scene.graph.node_label.tolist()):
            name, height = scene.names[kind], 0.62 * float(size[node])
            font: dict[str, Any] = {"fontsize": height * min(1, 1.4 / len(name)), "color": "white", "weight": "bold"}
            ax.text(x[node], y[node], name, ha="center", va="center_baseline", zorder=3, **font)


def _mark(ax: Axes, scene: Scene, given: int) -> None:
    """A halo around the first nodes and along the edges between them."""
    from matplotlib.collections import LineCollection

    edges = scene.graph.edges[:, (scene.graph.edges < given).all(0)]
    size = 2 * POINTS * scene.radius[:given] + 2 * HALO
    ax.add_collection(LineCollection(scene.place[edges.T.numpy()], linewidths=2 * HALO, colors=MARK, zorder=0.5))
    x, y = scene.place[:given].T
    ax.scatter(x, y, size**2, MARK, linewidths=0, zorder=0.5)


def _picture(scene: Scene) -> Any:
    """As a pillow image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure, panels = _panels(1, 1)
    _draw(panels[0, 0], scene)
    canvas: Any = FigureCanvasAgg(figure)
    with _letters():
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _letters() -> Any:
    """Small letters keep their shape."""
    import matplotlib

    return matplotlib.rc_context({"text.hinting": "none"})


def _save(figure: Figure, path: Path) -> Path:
    with atomic_write(path) as temporary, _letters():
        figure.savefig(temporary, format="png", dpi=DPI)
    return path
