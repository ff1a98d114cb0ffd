"""Packed graphs, their archive, the benchmark sets, and data by its options."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refine.domains.graph.graphs.archive import read_npz, write_npz
from refine.domains.graph.graphs.benchmarks import BENCHMARKS, ELSEWHERE, SHIPPED, hold_out, read_benchmark
from refine.domains.graph.graphs.data import DEFAULT, load_split, source_of
from refine.domains.graph.graphs.generators import generate
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError

from ..made_up import labelled, same

SHARED = Path(os.environ.get("REFINE_DATA", "")) / "graphs"
MIXED = [labelled(3), Graph.of(1, [], [2], []), labelled(4, 40), Graph.of(5, [], [0, 1, 0, 1, 0])]


@dataclass
class Options:
    data: str | None = None
    folder: str | None = None
    pyg: str | None = None
    generate: int = 0
    max_nodes: int | None = None


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that REFINE_DATA names."""
    monkeypatch.setenv("REFINE_DATA", str(tmp_path))
    (tmp_path / "graphs").mkdir()
    return tmp_path / "graphs"


def test_packed_graphs_are_the_graphs() -> None:
    packed = PackedGraphs.of(MIXED)
    last = replace(MIXED[3], edge_label=MIXED[1].edge_label)  # no edges, so no kinds of edges missing
    expected = [*MIXED[:3], last]
    assert len(packed) == 4 and all(same(a, b) for a, b in zip(packed, expected, strict=True))
    assert same(packed[-2], MIXED[2]) and packed.node_kinds == ("0", "1", "2") and packed.edges.dtype == np.int16
    with pytest.raises(IndexError):
        packed[4]
    for part, rows in (
        (packed[1:3], [1, 2]),
        (packed[::-2], [3, 1]),
        (packed.select([2, 2, 0]), [2, 2, 0]),
        (packed.select(np.array([True, False, False, True])), [0, 3]),
        (packed.select([]), []),
    ):
        assert len(part) == len(rows) and all(same(a, expected[i]) for a, i in zip(part, rows, strict=True))
    assert packed.sizes() == {1: 1, 5: 1, 12: 1, 40: 1}
    assert packed.structure()[0].node_label is None and packed.structure().edge_kinds == ()


def test_kinds_that_do_not_occur_can_go() -> None:
    graphs = [Graph.of(2, [(0, 1)], [1, 6], [3]), Graph.of(2, [(0, 1)], [6, 8], [3])]
    packed = PackedGraphs.of(graphs).compact()
    assert packed.node_kinds == ("1", "6", "8") and packed.edge_kinds == ("3",)
    assert [g.node_label.tolist() for g in packed] == [[0, 1], [1, 2]] and packed[1].edge_label.tolist() == [0]


def test_edges_are_put_in_order_with_their_kinds() -> None:
    packed = PackedGraphs.checked([3, 4], [2, 2], [[2, 1], [0, 1], [3, 0], [1, 0]], None, [7, 8, 9, 6])
    assert packed.edges.tolist() == [[0, 1], [1, 2], [0, 1], [0, 3]] and packed.edge_label.tolist() == [8, 7, 6, 9]
    large = PackedGraphs.checked([40_000], [1], [[39_999, 0]])
    assert large.edges.dtype == np.int32 and large[0].edges.tolist() == [[0], [39_999]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (([3, 0], [0, 0], []), "here: graph 1 has no nodes"),
        (([3], [1], [[0, 3]]), r"here: graph 0 has the edge \[0, 3\], but not these nodes"),
        (([3, 3], [0, 1], [[-1, 0]]), r"here: graph 1 has the edge \[-1, 0\], but not these nodes"),
        (([3, 3], [1, 1], [[0, 1], [2, 2]]), r"here: graph 1 has the edge \[2, 2\], a self-loop"),
        (([3, 3], [1, 2], [[0, 1], [0, 1], [1, 0]]), r"here: graph 1 has the edge \[1, 0\] twice; multigraphs"),
        (([3], [2], [[0, 1]]), r"edges has the shape \(1, 2\); num_edges says \(2, 2\)"),
        (([3], [-1], []), "num_edges is negative"),
        (([3], [0, 0], []), "not of one length"),
        (([3.5], [0], []), "num_nodes is float64; accepted: integers"),
        (([3], [0], [], [0, 1]), r"node_label has the shape \(2,\); expected \(3,\)"),
        (([1], [0], [], [2], None, ["a", "b"]), "node_label 2 has no name; accepted: 0 to 1"),
        (([1], [0], [], [-1]), "node_label -1 has no name"),
    ],
)
def test_arrays_that_are_no_graphs(arrays: Any, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        PackedGraphs.checked(*arrays, origin="here")


def test_kinds_of_some_graphs_only() -> None:
    with pytest.raises(RefineError, match=r"graph \[1\] has no kinds of nodes, others have"):
        PackedGraphs.of([labelled(0), Graph.of(2, [])])


def test_the_archive_gives_back_what_was_written(tmp_path: Path) -> None:
    for packed in (PackedGraphs.of(MIXED, ["C", "N+", "O"], list("abcd"), "some"), generate("sbm", 5, "train")):
        back, split = read_npz(write_npz(tmp_path / "new" / "a.npz", packed))
        assert split is None and all(same(a, b) for a, b in zip(packed, back, strict=True))
        assert (back.node_kinds, back.edge_kinds) == (packed.node_kinds, packed.edge_kinds)
    _, split = read_npz(write_npz(tmp_path / "a.npz", packed, np.array([2, 0, 1])))
    assert split.tolist() == [2, 0, 1]
    assert len(read_npz(write_npz(tmp_path / "none.npz", packed.select([])))[0]) == 0
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.npz", "a.npz", "none.npz"]


def damaged(path: Path, kind: str) -> None:
    good = dict(num_nodes=np.array([2]), num_edges=np.array([1]), edges=np.array([[0, 1]]))
    if kind == "pickle":
        np.savez(path, **good | {"edges": np.array([{"a": 1}], dtype=object)})
    elif kind == "missing":
        np.savez(path, num_nodes=good["num_nodes"])
    elif kind == "meta":
        np.savez(path, **good, meta=np.array("{not json"))
    elif kind == "kinds":
        np.savez(path, **good, node_label=np.array([0, 0]), meta=np.array(json.dumps({"node_kinds": [1]})))
    elif kind == "split":
        np.savez(path, **good, split=np.array([0, 1]))
    elif kind == "loop":
        np.savez(path, **good | {"edges": np.array([[1, 1]])})
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif kind == "truncated":
        np.savez(path, **good)
        path.write_bytes(path.read_bytes()[:-40])
    else:
        path.write_bytes(b"nothing of the kind")


@pytest.mark.parametrize("kind", ["pickle", "missing", "meta", "kinds", "split", "loop", "npy", "truncated", "foreign"])
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    damaged(tmp_path / "a.npz", kind)
    with pytest.raises(RefineError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("name", "counts", "nodes", "edges"),
    [
        ("planar", (128, 32, 40), (64, 64), 35567),
        ("sbm", (128, 32, 40), (44, 187), 100082),
        ("tree", (128, 32, 40), (64, 64), 12600),
        ("community_small", (64, 16, 20), (12, 20), 3701),
    ],
)
def test_sets_that_ship(bare: Path, name: str, counts: tuple[int, ...], nodes: tuple[int, int], edges: int) -> None:
    splits = [read_benchmark(name, s) for s in ("train", "val", "test")]
    assert tuple(len(s) for s in splits) == counts and sum(len(s.edges) for s in splits) == edges
    sizes = [n for s in splits for n in s.sizes()]
    assert (min(sizes), max(sizes)) == nodes and splits[0].origin == f"{name} (train)"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no graphs/ in REFINE_DATA")
@pytest.mark.parametrize("name", ["planar", "sbm", "tree", "community_small"])
def test_sets_that_ship_are_those_of_the_field(name: str) -> None:
    (ours, split), (theirs, expected) = (read_npz(folder / f"{name}.npz") for folder in (SHIPPED, SHARED))
    assert np.array_equal(split, expected) and np.array_equal(ours.edges, theirs.edges)
    assert np.array_equal(ours.num_nodes, theirs.num_nodes) and np.array_equal(ours.num_edges, theirs.num_edges)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no graphs/ in REFINE_DATA")
@pytest.mark.parametrize(
    ("name", "counts"), [("ego_small", (144, 16, 40)), ("enzymes", (423, 47, 117)), ("grid", (72, 8, 20))]
)
def test_sets_without_val_hold_some_of_train_out_and_leave_test_alone(name: str, counts: tuple[int, ...]) -> None:
    splits = [read_benchmark(name, s) for s in ("train", "val", "test")]
    assert tuple(len(s) for s in splits) == counts
    graphs, published = read_npz(SHARED / f"{name}.npz")
    assert np.array_equal(splits[2].edges, graphs.select(published == 2).edges)
    together = sorted(g.edges.numpy().tobytes() for s in splits[:2] for g in s)
    assert together == sorted(g.edges.numpy().tobytes() for g in graphs.select(published == 0))
    assert splits[0].node_label is None  # structure is what the tables compare


def test_what_is_held_out_is_drawn_once() -> None:
    rows = np.arange(50, 250)
    assert np.array_equal(hold_out(rows), hold_out(rows)) and len(hold_out(rows)) == 20
    assert set(hold_out(rows)) <= set(rows) and len(hold_out(np.arange(200_000))) == 10_000


@pytest.mark.parametrize("name", ELSEWHERE)
def test_sets_without_a_licence_say_how_they_are_had(bare: Path, name: str) -> None:
    with pytest.raises(RefineError, match=rf"domain.data={name} has no licence .*{name}.npz into graphs/ .*domain\."):
        read_benchmark(name, "train")
    graphs = generate("planar", 25, "train")
    write_npz(bare / f"{name}.npz", graphs, np.arange(len(graphs)) % 2 * 2)
    assert len(read_benchmark(name, "test")) == 8 and len(read_benchmark(name, "train")) == 8
    write_npz(bare / f"{name}.npz", graphs)
    with pytest.raises(RefineError, match=f"{name}.npz has no split"):
        read_benchmark(name, "train")


def test_refine_data_goes_before_what_ships(bare: Path) -> None:
    write_npz(bare / "tree.npz", generate("tree", 5, "train"), np.array([0, 1, 2]))
    assert len(read_benchmark("tree", "train")) == 1


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
