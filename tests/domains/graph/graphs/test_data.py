"""Data by its options."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import pytest

from refine.domains.graph.graphs.benchmarks import BENCHMARKS
from refine.domains.graph.graphs.data import DEFAULT, load_split, source_of
from refine.errors import RefineError

from ..made_up import same


@dataclass
class Options:
    data: str | None = None
    folder: str | None = None
    pyg: str | None = None
    generate: int = 0
    max_nodes: int | None = None
    node_attribute: str | None = "label"
    edge_attribute: str | None = "label"
    undirected: bool = False
    weights: str = "refuse"
    label: str | None = None
    vector: list[str] | None = None


def test_data_by_options(bare: Path, tmp_path: Path) -> None:
    assert source_of(Options()) == DEFAULT and source_of(Options(folder="x")) == "folder"
    assert source_of(Options(pyg="QM9")) == "pyg"
    assert len(load_split(Options(data="planar"), "val")) == 32 and len(load_split(Options(), "test")) == 20
    new = load_split(Options(data="planar", generate=25), "val")
    assert len(new) == 4 and new.origin == "planar (val), 25 generated"
    assert set(BENCHMARKS) >= {"planar", "sbm", "tree", "community_small", "ego_small", "enzymes", "grid"}


def test_graphs_that_are_too_large_are_left_out_and_counted(bare: Path) -> None:
    with pytest.warns(UserWarning, match=r"max_nodes=14 leaves out 13 of the 16 graphs of community_small \(val\)"):
        graphs = load_split(Options(data="community_small", max_nodes=14), "val")
    assert len(graphs) == 3 and max(graphs.sizes()) == 14
    with pytest.raises(RefineError, match=r"max_nodes=11 leaves no graph of community_small \(val\); they have 14"):
        load_split(Options(data="community_small", max_nodes=11), "val")
    assert len(load_split(Options(data="community_small", max_nodes=20), "val")) == 16


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(data="planer"), r"domain.data='planer' is not accepted; .*Did you mean 'planar'"),
        (Options(data="folder"), r"needs domain.folder=PATH"),
        (Options(data="pyg"), r"needs domain.pyg=NAME, like TUDataset:ENZYMES"),
        (Options(data="sbm", folder="x"), r"domain.folder='x' is read only with domain.data=folder, not sbm"),
        (Options(folder="x", pyg="QM9"), r"domain.pyg='QM9' is read only with domain.data=pyg, not folder"),
        (Options(data="qm9", generate=10), r"domain.generate='qm9' is not accepted; accepted: planar"),
        (Options(generate=-1), r"domain.generate=-1 is not accepted"),
        (Options(max_nodes=0), r"domain.max_nodes=0 is not accepted"),
    ],
)
def test_options_that_do_not_fit(options: Options, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        source_of(options)


def test_splits_that_are_none() -> None:
    with pytest.raises(RefineError, match=r"split='dev' is not accepted; accepted: train, val, test"):
        load_split(Options(), "dev")


def test_copies_are_the_same(bare: Path) -> None:
    graphs = load_split(Options(data="sbm"), "test")
    assert all(same(a, b) for a, b in zip(copy.deepcopy(graphs), graphs, strict=True))
