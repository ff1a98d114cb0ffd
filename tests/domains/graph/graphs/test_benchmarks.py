"""The benchmark sets: their splits, and where they come from."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from refine.domains.graph.graphs.archive import read_npz, write_npz
from refine.domains.graph.graphs.benchmarks import ELSEWHERE, SHIPPED, hold_out, read_benchmark
from refine.domains.graph.graphs.generators import generate
from refine.errors import RefineError

SHARED = Path(os.environ.get("REFINE_DATA", "")) / "graphs"


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
