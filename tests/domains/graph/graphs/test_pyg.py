"""Data sets of torch-geometric by name, on raw files that are there already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refine.domains.graph.graphs.pyg import read_pyg
from refine.errors import RefineError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to download."""
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path))
    for key in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(key, "http://127.0.0.1:9")
    return tmp_path


def write_tu(cache: Path, name: str, num: int, attributes: bool = False) -> None:
    """``num`` cycles of 3 to 6 nodes in the format of the TU collection; labels of nodes are 1 and 3, of edges 5."""
    raw = cache / "pyg" / "TUDataset" / name / "raw"
    raw.mkdir(parents=True)
    edges, owner, start = [], [], 1
    for g in range(num):
        n = 3 + g % 4
        for i in range(n):
            u, v = start + i, start + (i + 1) % n
            edges += [(u, v), (v, u)]
        owner += [g + 1] * n
        start += n
    text = {
        "A": [f"{u}, {v}" for u, v in edges],
        "graph_indicator": owner,
        "graph_labels": [1] * num,
        "node_labels": [1 if i % 2 else 3 for i in range(len(owner))],
        "edge_labels": [5] * len(edges),
    }
    if attributes:
        text["edge_attributes"] = [0.1 * i for i in range(len(edges))]
        del text["edge_labels"]
    for key, lines in text.items():
        (raw / f"{name}_{key}.txt").write_text("".join(f"{line}\n" for line in lines))


def test_a_tu_dataset(cache: Path) -> None:
    write_tu(cache, "RINGS", 40)
    splits = [read_pyg("TUDataset:RINGS", s) for s in ("train", "val", "test")]
    assert sum(len(s) for s in splits) == 40 and all(len(s) for s in splits)
    sizes = np.concatenate([s.num_nodes for s in splits])
    assert sorted(sizes) == sorted(3 + g % 4 for g in range(40))
    graph = splits[0][0]
    assert graph.num_edges == graph.num_nodes and set(graph.node_label.tolist()) == {0, 1}
    assert splits[0].node_kinds == ("0", "2") and len(splits[0].edge_kinds) == 1  # what occurs
    assert splits[1].origin == "TUDataset:RINGS (val)"
    again = read_pyg("TUDataset:RINGS", "train")
    assert np.array_equal(again.edges, splits[0].edges)


def test_features_that_are_no_kinds_are_left_out_and_said(cache: Path) -> None:
    write_tu(cache, "LENGTHS", 20, attributes=True)
    with pytest.warns(UserWarning, match=r"'TUDataset:LENGTHS': edge_attr is no kind and is left out"):
        graphs = read_pyg("TUDataset:LENGTHS", "train")
    assert graphs.edge_label is None and graphs.node_kinds == ("0", "2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TUDataSet:ENZYMES", r"domain.pyg='TUDataSet' is not accepted; .*Did you mean 'TUDataset'"),
        ("InMemoryDataset", r"domain.pyg='InMemoryDataset' is not accepted"),
        ("os", r"domain.pyg='os' is not accepted"),
        ("TUDataset", r"domain.pyg='TUDataset' is not accepted; accepted: TUDataset:NAME"),
        ("QM9:full", r"domain.pyg='QM9:full' is not accepted; accepted: QM9"),
        ("TUDataset:../../etc", r"the name '../../etc' is not accepted; accepted: letters"),
        ("ShapeNet:x", r"is not accepted; accepted: ShapeNet"),
        ("AirfRANS", r"domain.pyg='AirfRANS' needs task, which has no place in a name"),
        ("TUDataset:ENZYMES", r"domain.pyg='TUDataset:ENZYMES' cannot be had"),
        ("ZINC", r"domain.pyg='ZINC' cannot be had"),
        ("KarateClub", r"domain.pyg='KarateClub' has 1 graph, none of them for val"),
    ],
)
def test_names_that_cannot_be_used(cache: Path, text: str, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        read_pyg(text, "val")
