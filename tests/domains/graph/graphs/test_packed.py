"""Many graphs in a few arrays: they are the graphs, and arrays that are none are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError

from ..made_up import MIXED, labelled, same


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
