"""The graph domain from the command line, as a user would: train, sample, evaluate, inspect; and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch

import refine
from refine.cli import main
from refine.domains.graph import Graph, GraphConfig, GraphDomain
from refine.domains.graph.graphs.archive import read_npz
from refine.errors import RefineError
from refine.testing import check_domain

SMALL = ["model.width=16", "model.depth=1", "train.predictor.steps=6", "train.val_every=3", "train.val_items=8"]


def refine_command(*arguments: str) -> None:
    """Run the command line; it must succeed."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command line, which must refuse its arguments; what it says."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def run(once: Any) -> Path:
    """A short training on the embedded graphs."""
    words = ["train", "domain=graph", *SMALL, "sample.num=3"]
    folder: Path = once("graph-run", lambda folder: refine_command(*words, "--run", str(folder)))
    return folder


def test_training_leaves_a_checkpoint_and_pictures(run: Path) -> None:
    model = refine.Model.from_pretrained(run)
    assert model.info["sizes"]["scales"] >= 4
    for name in ("graphs.png", "refinement.png", "curves.png"):
        assert (run / "pictures" / name).stat().st_size > 1000
    assert {json.loads(line)["stage"] for line in (run / "metrics.jsonl").read_text().splitlines()} == {"predictor"}


def test_samples_have_the_nodes_that_were_asked_for_and_can_be_read_back(run: Path, tmp_path: Path) -> None:
    refine_command("sample", f"run={run}", "--num", "4", "size=[9,14]", "--gif", "--out", str(tmp_path / "s"))
    graphs = [nx.read_graphml(p) for p in sorted((tmp_path / "s" / "graphs").glob("*.graphml"))]
    assert [g.number_of_nodes() for g in graphs] == [9, 14, 9, 14]
    assert (tmp_path / "s" / "refinement.gif").stat().st_size > 1000
    again = GraphDomain(GraphConfig(folder=str(tmp_path / "s" / "graphs")))
    sizes = [g.num_nodes for split in ("train", "val", "test") for g in again.dataset(split)]
    assert sorted(sizes) == [9, 9, 14, 14]
    packed, _ = read_npz(tmp_path / "s" / "graphs.npz")
    assert [g.num_edges for g in packed] == [g.number_of_edges() for g in graphs]


def test_pictures_can_be_left_out(run: Path, tmp_path: Path) -> None:
    given = ["sample", f"run={run}", "num=2", "size=6", "--gif", "--out", str(tmp_path / "s")]
    refine_command(*given, "pictures=false")
    assert {p.name for p in (tmp_path / "s").iterdir()} == {"graphs.npz", "graphs"}


@pytest.mark.parametrize("size", ["20001", "[9,20001]"])
def test_a_size_has_one_bound(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "sample", "domain=graph", f"size={size}", "out=" + str(tmp_path / "s"))
    assert "sample.size=" in said and "accepted: whole numbers from 1 to 20,000, or " in said
    assert not (tmp_path / "s").exists()


def test_evaluation_writes_every_figure(run: Path) -> None:
    refine_command("evaluate", f"run={run}", "evaluate.samples=12", "evaluate.items=6")
    figures = json.loads((run / "evaluate-test.json").read_text())
    for name in ("degree", "clustering", "orbit", "spectral", "wavelet"):
        for part in (f"mmd_{name}", f"mmd_{name}_unbiased", f"floor_{name}", f"ratio_{name}"):
            assert isinstance(figures[part], float)
    assert 0 <= figures["unique"] <= 1 and 0 <= figures["novel"] <= 1
    assert figures["bits_per_graph"] == pytest.approx(sum(figures["bits_by_scale"]))


def test_the_checker_of_domains_accepts_it() -> None:
    assert "sampling" in check_domain(GraphDomain(GraphConfig()))


def test_the_starter_draws_planar_graphs_of_64_nodes() -> None:
    domain = GraphDomain(GraphConfig())
    folder = domain.starter()
    assert folder is not None
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 4 * 2**20
    model = refine.Model.from_pretrained(folder)
    graphs = model.sample(16, seed=1, sampler=refine.SamplerConfig(min_p=0.1)).items
    assert {g.num_nodes for g in graphs} == {64}
    assert all(nx.is_connected(g.to_networkx()) for g in graphs)
    assert sum(nx.check_planarity(g.to_networkx())[0] for g in graphs) >= 13


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["data=cubes"], ["domain.data", "cubes", "planar"]),
        (["data=folder"], ["domain.folder"]),
        (["folder=/nowhere/at/all"], ["/nowhere/at/all"]),
        (["model.head=tail"], ["model.head", "tail", "star"]),
        (["model.width=30", "model.heads=4"], ["model.width", "30"]),
        (["model.quantizer.kind=vq"], ["model.quantizer"]),
        (["generate=-3"], ["generate", "-3"]),
        (["sampler.min_p=2"], ["min_p", "2"]),
        (["weights=keep"], ["domain.weights", "keep", "drop"]),
    ],
)
def test_wrong_options_are_named(
    options: list[str], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = refused(capsys, "train", "domain=graph", *SMALL, *options, "--run", str(tmp_path / "r"))
    assert all(word in done for word in words), done
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("size", ["0", "-4", "many", "[3,0]", "1000000000", "9" * 30])
def test_wrong_sizes_are_named(run: Path, size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = refused(capsys, "sample", f"run={run}", f"size={size}", "--out", str(tmp_path / "s"))
    assert "size" in done and not (tmp_path / "s").exists()


def test_a_graph_far_larger_than_in_training_is_drawn_exactly() -> None:
    folder = GraphDomain(GraphConfig()).starter()
    assert folder is not None
    model = refine.Model.from_pretrained(folder)
    (graph,) = model.sample(1, refine.Condition(size=torch.tensor([200])), seed=0).items
    assert isinstance(graph, Graph) and graph.num_nodes == 200 and nx.is_connected(graph.to_networkx())


def test_options_of_reading_reach_the_files(tmp_path: Path) -> None:
    for split, n in (("train", 5), ("val", 4), ("test", 3)):
        g = nx.DiGraph((u, (u + 1) % n, {"weight": u, "label": "x"}) for u in range(n))
        nx.set_node_attributes(g, {u: f"Person {u}" for u in g}, "label")
        nx.write_graphml(g, tmp_path / f"{split}.graphml")
    read = {"undirected": True, "weights": "drop", "node_attribute": None}
    domain = GraphDomain(GraphConfig(folder=str(tmp_path), **read))
    assert domain.labels == ([], ["x"])
    assert [domain.dataset(s)[0].num_edges for s in ("train", "val", "test")] == [5, 4, 3]
    for key in read:
        other = {k: v for k, v in read.items() if k != key}
        if key == "node_attribute":
            assert len(GraphDomain(GraphConfig(folder=str(tmp_path), **other)).labels[0]) == 5
        else:
            with pytest.raises(RefineError, match=f"domain.{key}"):
                GraphDomain(GraphConfig(folder=str(tmp_path), **other))


def test_a_run_on_three_graphs_is_evaluated(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split, n in (("train", 5), ("val", 6), ("test", 7)):
        nx.write_edgelist(nx.cycle_graph(n), data / f"{split}.edgelist")
    here = f"{tmp_path / 'r'}"
    refine_command(
        "train", "domain=graph", f"folder={data}", *SMALL, "train.predictor.steps=1", "sample.num=1", "--run", here
    )
    refine_command("evaluate", f"run={here}", "evaluate.samples=3")
    figures = json.loads((tmp_path / "r" / "evaluate-test.json").read_text())
    assert {"bits_per_graph", "unique", "novel", "mmd_missing"} <= set(figures)
