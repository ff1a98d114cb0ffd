"""Graphs with a given part: it is kept to the edge, whatever the model, the part and the size."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import generators, of, tiny_model, zoo

from refine.cli import main
from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.graphs.folder import read_graph
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.model import GraphModel
from refine.domains.graph.splitting.sizes import SizeLaw
from refine.domains.graph.splitting.skeleton import Skeleton
from refine.errors import RefineError
from refine.types import Condition

CPU = torch.device("cpu")
PARTS = {name: zoo()[name] for name in ("one node", "no edges", "star", "cycle", "complete", "pieces", "tree")}


@pytest.fixture(scope="module")
def models() -> dict[str, GraphModel]:
    kinds = {"plain": {}, "rounds": {"head": "rounds"}, "counts": {"counts": True}, "blocks": {"pairing": "blocks"}}
    return {name: tiny_model(**config) for name, config in kinds.items()} | {"kinds": tiny_model((3, 2))}  # type: ignore[arg-type]


def part_of(graph: Graph, n: int) -> Graph:
    """The graph on the first n nodes."""
    inside = (graph.edges < n).all(0)
    node, edge = graph.node_label, graph.edge_label
    return Graph(n, graph.edges[:, inside], None if node is None else node[:n], None if edge is None else edge[inside])


def same(a: Graph, b: Graph) -> bool:
    pairs = ((a.edges, b.edges), (a.node_label, b.node_label), (a.edge_label, b.edge_label))
    return all(x is y is None or (x is not None and y is not None and torch.equal(x, y)) for x, y in pairs)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", ["plain", "rounds", "counts", "blocks", "kinds"])
def test_what_is_given_is_kept(models: dict[str, GraphModel], name: str, part: str) -> None:
    given, model = PARTS[part], models[name]
    if name == "kinds":
        g = torch.Generator().manual_seed(1)
        nodes, edges = (
            torch.randint(3, (given.num_nodes,), generator=g),
            torch.randint(2, (given.num_edges,), generator=g),
        )
        given = Graph(given.num_nodes, given.edges, nodes, edges)
    n = given.num_nodes
    for connected in (False, True):
        model.info["connected"] = connected
        size = torch.tensor([n, n + 1, 2 * n + 3])
        drawn = model.sample(3, Condition(size=size), seed=2, given=given).items
        assert [x.num_nodes for x in drawn] == size.tolist()
        assert all(same(part_of(x, n), given) for x in drawn)
        assert same(drawn[0], given)
    alone = model.sample(1, Condition(size=size[2:]), seed=2, first=2, given=given).items[0]
    assert same(alone, drawn[2])


def test_guidance_and_conditions_hold_for_parts_too() -> None:
    from refine.domains.graph.config import GraphConfig, GraphModelConfig
    from refine.domains.graph.domain import GraphDomain
    from refine.settings.config import SamplerConfig

    model = GraphModel(GraphDomain(GraphConfig(vector=["density"])), GraphModelConfig(width=16, depth=1)).eval()
    condition = Condition(vector=torch.full((2, 1), 0.3))
    for graph in model.sample(2, condition, sampler=SamplerConfig(guidance=2.0), given=PARTS["cycle"]).items:
        assert same(part_of(graph, 11), PARTS["cycle"]) and 12 <= graph.num_nodes <= 20  # sizes are those of training


def test_of_one_node_the_law_is_that_of_the_model(models: dict[str, GraphModel]) -> None:
    """One node decides nothing, so graphs around it are those that are drawn without."""
    from scipy.stats import chi2_contingency

    model, num = models["plain"], 3000
    before = dict(model.info)
    model.info |= {"sizes": SizeLaw([(4, 1)], [(2, 1, 1), (4, 2, 1)], 2).to_info(), "connected": False}
    plain = [g.num_edges for g in model.sample(num, seed=5).items]
    around = [g.num_edges for g in model.sample(num, seed=6, given=of(nx.empty_graph(1))).items]
    model.info.clear()
    model.info.update(before)
    table = np.array([np.bincount(x, minlength=7) for x in (plain, around)])
    assert chi2_contingency(table[:, table.sum(0) > 10]).pvalue > 1e-3


@pytest.mark.parametrize("part", [*PARTS, "dense"])
def test_scales_have_room_for_the_skeleton(part: str) -> None:
    given = zoo()[part]
    skeleton, rng = Skeleton(given, generators(2), CPU), np.random.default_rng(0)
    own = [[int(s.coarse.sizes[i]) for s in skeleton.scales] + [given.num_nodes] for i in range(2)]
    for n in range(given.num_nodes, given.num_nodes + 60, 7):
        wanted = [n]
        while wanted[0] > 1:
            wanted.insert(0, int(rng.integers((wanted[0] + 1) // 2, wanted[0])))
        for i in range(2):
            sizes = skeleton.schedule(i, wanted)
            assert sizes[0] == 1 and sizes[-1] == n and len(sizes) > len(skeleton.scales)
            padded = [1] * (len(sizes) - len(own[i])) + own[i]
            for (a, b), (c, d) in zip(pairwise(sizes), pairwise(padded), strict=True):
                assert a < b <= 2 * a and d - c <= b - a and c <= a


def test_what_cannot_be_completed_is_refused(models: dict[str, GraphModel]) -> None:
    star = PARTS["star"]
    with pytest.raises(RefineError, match="size=12 is not accepted; accepted: 13 to"):
        models["plain"].sample(1, Condition(size=torch.tensor([12])), given=star)
    with pytest.raises(RefineError, match="the given graph has no kinds of nodes"):
        models["kinds"].sample(1, given=star)
    with pytest.raises(RefineError, match="model without masses"):
        tiny_model(masses=True).sample(1, given=star)


def test_the_command_writes_graphs_around_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # without runs, so the model is the one that ships
    part = tmp_path / "part.csv"
    part.write_text("source,target\n0,1\n1,2\n2,3\n3,0\n0,2\n")
    with pytest.raises(SystemExit, match="0"):
        main(f"inpaint domain=graph graph={part} num=3 size=[9,12] out={tmp_path / 'out'}".split())
    graphs, _ = read_npz(tmp_path / "out" / "graphs.npz")
    assert graphs.num_nodes.tolist() == [9, 12, 9] and (tmp_path / "out" / "graphs.png").is_file()
    assert all(part_of(g, 4).edges.T.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]] for g in graphs)


def test_what_the_command_cannot_use_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part, two = tmp_path / "part.csv", tmp_path / "two.smi"
    part.write_text("source,target\n0,1\n")
    two.write_text("CC\nCCC\n")
    for options, message in (
        ("", "needs graph=FILE"),
        (f"graph={tmp_path / 'none.csv'}", "none.csv is not there"),
        (f"graph={tmp_path}", "is no file of graphs"),
        (f"graph={two}", "has 2 graphs; accepted: 1"),
        (f"graph={part} keep_scales=1", "inpaint.keep_scales is not accepted"),
        (f"graph={part} label=1", "not conditioned on classes"),
        (f"graph={part} vector=1", "not conditioned on a vector"),
        (f"graph={part} size=1", "size=1 is not accepted"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(f"inpaint domain=graph {options} out={tmp_path / 'out'}".split())
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_parts_of_molecules_are_read_with_the_kinds_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "ring.smi").write_text("C1CC1O\n")
    graph = read_graph(tmp_path / "ring.smi", Reading(), ["N", "O", "C"], ["single", "double", "triple"])
    assert sorted(graph.node_label.tolist()) == [1, 2, 2, 2] and graph.edge_label.tolist() == [0] * 4  # type: ignore[union-attr]
    with pytest.raises(RefineError, match="'O' is not accepted"):
        read_graph(tmp_path / "ring.smi", Reading(), ["N", "C"], ["single"])


def test_runs_from_before_graphs_were_completed_are_read() -> None:
    """Their ``config.yaml`` has the key ``inpaint.item``, which graphs do not have."""
    from refine.settings.compose import compose, from_values

    values = compose(["domain=graph"]).plain()
    values["inpaint"] = {"keep_scales": 0, "label": None, "num": 4, "batch_size": 64, "out": None, "item": "test:0"}
    assert from_values(values, saved=True).inpaint.num == 4
