"""Many graphs in a few arrays: a million molecules in memory, shared by worker processes, written as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from refine.domains.graph.graphs.graphs import Graph
from refine.errors import RefineError, require

Array = np.ndarray[Any, Any]
MOST_NODES = 2**24  # of one graph
MOST_KINDS = 10_000  # of nodes or of edges that have numbers for names


@dataclass(frozen=True, eq=False)
class PackedGraphs(Sequence[Graph]):
    """Graphs one after the other; item g is a :class:`Graph`, a slice is again packed.

    Attributes:
        num_nodes: (G,) int32.
        num_edges: (G,) int32.
        edges: (sum of num_edges, 2), int16 or int32: local numbers of nodes, the smaller first, in lexicographic order.
        node_label: (sum of num_nodes,) integers, or None.
        edge_label: (sum of num_edges,) integers, or None.
        node_kinds: what the node labels 0, 1, ... stand for.
        edge_kinds: what the edge labels 0, 1, ... stand for.
        origin: what the graphs are, for reports.
        label: (G,) int64 class of each, or None.
        classes: what these labels stand for.
        vector: (G, F) float32 numbers that describe each, or None.
        columns: (G,) what files say of each, numbers or texts, by name; read only where they are asked for.
    """

    num_nodes: Array
    num_edges: Array
    edges: Array
    node_label: Array | None = None
    edge_label: Array | None = None
    node_kinds: tuple[str, ...] = ()
    edge_kinds: tuple[str, ...] = ()
    origin: str = ""
    label: Array | None = None
    classes: tuple[str, ...] = ()
    vector: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)

    @property
    def all_connected(self) -> bool:
        """Whether no graph is in several pieces."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ends = self.edges + np.repeat(self.node_start[:-1], self.num_edges)[:, None]
        links = coo_array(
            (np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=[self.node_start[-1]] * 2
        )
        return bool(connected_components(links, directed=False, return_labels=False) == len(self))

    @cached_property
    def node_start(self) -> Array:
        """(G + 1,) where the nodes of each graph begin, and where the last ones end."""
        return _starts(self.num_nodes)

    @cached_property
    def edge_start(self) -> Array:
        """(G + 1,) where the edges of each graph begin, and where the last ones end."""
        return _starts(self.num_edges)

    def __len__(self) -> int:
        return len(self.num_nodes)

    @overload
    def __getitem__(self, index: int) -> Graph: ...
    @overload
    def __getitem__(self, index: slice) -> PackedGraphs: ...
    def __getitem__(self, index: int | slice) -> Graph | PackedGraphs:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        g = range(len(self))[index]
        nodes = slice(self.node_start[g], self.node_start[g + 1])
        edges = slice(self.edge_start[g], self.edge_start[g + 1])
        pairs = torch.from_numpy(self.edges[edges].T.astype(np.int64))
        labels = [
            None if label is None else torch.from_numpy(label[part].astype(np.int64))
            for label, part in ((self.node_label, nodes), (self.edge_label, edges))
        ]
        label, vector = (None if x is None else torch.from_numpy(x[g : g + 1])[0] for x in (self.label, self.vector))
        return Graph(int(self.num_nodes[g]), pairs, labels[0], labels[1], label=label, vector=vector)

    def __iter__(self) -> Iterator[Graph]:
        return (self[g] for g in range(len(self)))

    def select(self, rows: Array | Sequence[int]) -> PackedGraphs:
        """The graphs of these numbers, or those where a mask is True."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        edges = _ragged(self.edge_start, rows)
        return replace(
            self,
            num_nodes=self.num_nodes[rows],
            num_edges=self.num_edges[rows],
            edges=self.edges[edges],
            node_label=None if self.node_label is None else self.node_label[_ragged(self.node_start, rows)],
            edge_label=None if self.edge_label is None else self.edge_label[edges],
            label=None if self.label is None else self.label[rows],
            vector=None if self.vector is None else self.vector[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
        )

    @staticmethod
    def collate(rows: Sequence[Graph]) -> dict[str, Tensor]:
        """What is told of graphs as a batch: ``label`` (B,) and ``vector`` (B, F), where they have them."""
        told = {name: [getattr(graph, name) for graph in rows] for name in ("label", "vector")}
        return {name: torch.stack(values) for name, values in told.items() if all(v is not None for v in values)}

    def sizes(self) -> dict[int, int]:
        """How many graphs have how many nodes, by ascending number of nodes."""
        return dict(sorted(Counter(self.num_nodes.tolist()).items()))

    def structure(self) -> PackedGraphs:
        """The same without kinds of nodes and edges."""
        return replace(self, node_label=None, edge_label=None, node_kinds=(), edge_kinds=())

    def compact(self) -> PackedGraphs:
        """The same with only the kinds that occur, in the order in which they stand."""
        out = self
        for label_key, kinds_key in (("node_label", "node_kinds"), ("edge_label", "edge_kinds")):
            if (label := getattr(self, label_key)) is not None:
                used, place = np.unique(label, return_inverse=True)
                kinds = tuple(getattr(self, kinds_key)[i] for i in used)
                out = replace(out, **{label_key: _narrow(place), kinds_key: kinds})  # type: ignore[arg-type]
        return out

    @classmethod
    def of(
        cls,
        graphs: Iterable[Graph],
        node_kinds: Sequence[str] | None = None,
        edge_kinds: Sequence[str] | None = None,
        origin: str = "",
    ) -> PackedGraphs:
        """Pack graphs. Kinds without names are called by their numbers.

        Raises:
            RefineError: some have kinds and some have none, or a label has no name.
        """
        items = list(graphs)
        nodes, edges = [g.num_nodes for g in items], [g.num_edges for g in items]
        node_label = _column([g.node_label for g in items], nodes, "node")
        edge_label = _column([g.edge_label for g in items], edges, "edge")
        pairs = torch.cat([torch.zeros(0, 2, dtype=torch.int64), *(g.edges.T for g in items)]).numpy()
        return cls.checked(nodes, edges, pairs, node_label, edge_label, node_kinds, edge_kinds, origin)

    @classmethod
    def checked(
        cls,
        num_nodes: Any,
        num_edges: Any,
        edges: Any,
        node_label: Any = None,
        edge_label: Any = None,
        node_kinds: Sequence[str] | None = None,
        edge_kinds: Sequence[str] | None = None,
        origin: str = "",
    ) -> PackedGraphs:
        """Graphs from arrays of any integers, the edges of a graph in any order and direction.

        Raises:
            RefineError: shapes that do not fit, an empty graph, an end that is no node, a self-loop, an edge that is
                there twice, or a label without a name; the message begins with ``origin`` and names the graph.
        """
        where = origin or "the graphs"
        n, m = _integers(num_nodes, "num_nodes", where), _integers(num_edges, "num_edges", where)
        require(n.ndim == m.ndim == 1 and len(n) == len(m), f"{where}: num_nodes and num_edges are not of one length")
        empty = _first(n < 1)
        require(empty is None, f"{where}: graph {empty} has no nodes; accepted: 1 or more")
        large = _first(n > MOST_NODES)
        require(large is None, f"{where}: graph {large} has {n.max(initial=0)} nodes; accepted: {MOST_NODES} at most")
        require(
            int(n.sum()) < 2**38, f"{where}: {n.sum()} nodes are too many; accepted: 2^38 at most"
        )  # keys are int64
        require(bool((m >= 0).all()), f"{where}: num_edges is negative")
        pairs = _integers(edges, "edges", where)
        pairs = pairs if pairs.size else pairs.reshape(0, 2)
        shape = (int(m.sum(dtype=np.float64)), 2)  # integers would begin again after 2^63
        require(pairs.shape == shape, f"{where}: edges has the shape {pairs.shape}; num_edges says {shape}")
        node_label, node_kinds = _label(node_label, node_kinds, int(n.sum()), "node_label", where)
        edge_label, edge_kinds = _label(edge_label, edge_kinds, int(m.sum()), "edge_label", where)
        pairs, order = _sorted_edges(n, m, pairs, where)
        edge_label = edge_label if edge_label is None or order is None else edge_label[order]
        return cls(
            n.astype(np.int32), m.astype(np.int32), pairs, node_label, edge_label, node_kinds, edge_kinds, origin
        )


def _sorted_edges(n: Array, m: Array, pairs: Array, where: str) -> tuple[Array, Array | None]:
    """Edges in the order of :class:`PackedGraphs`, and the order that does it (None: they had it already)."""
    graph = np.repeat(np.arange(len(n), dtype=np.int32), m)
    low, high = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])

    def refuse(edge: int | None, what: str) -> None:
        if edge is not None:
            raise RefineError(f"{where}: graph {graph[edge]} has the edge {pairs[edge].tolist()}{what}")

    refuse(_first((low < 0) | (high >= n[graph])), ", but not these nodes")
    refuse(_first(low == high), ", a self-loop; only simple graphs are accepted")
    keys = (_starts(n)[graph] + low) * int(n.max(initial=1)) + high
    order = None if bool((np.diff(keys) > 0).all()) else np.argsort(keys, kind="stable")
    if order is not None:
        again = _first(np.diff(keys[order]) == 0)
        refuse(None if again is None else int(order[again + 1]), " twice; multigraphs are not accepted")
        low, high = low[order], high[order]
    return np.stack([low, high], axis=1).astype(np.int16 if n.max(initial=0) < 2**15 else np.int32), order


def _first(wrong: Array) -> int | None:
    """The place of the first True."""
    return int(wrong.argmax()) if wrong.any() else None


def _starts(count: Array) -> Array:
    return np.concatenate([[0], np.cumsum(count, dtype=np.int64)])


def _ragged(start: Array, rows: Array) -> Array:
    """Places of all elements of some of the groups that begin at ``start``."""
    count = start[rows + 1] - start[rows]
    before = np.cumsum(count) - count
    return np.repeat(start[rows] - before, count) + np.arange(count.sum())


def _integers(values: Any, name: str, where: str) -> Array:
    array = np.asarray(values)
    require(array.size == 0 or array.dtype.kind in "iu", f"{where}: {name} is {array.dtype}; accepted: integers")
    if array.dtype == np.uint64:  # which becomes a float beside other integers
        require(int(array.max(initial=0)) < 2**63, f"{where}: {name} has {array.max()}; accepted: less than 2^63")
        return array.astype(np.int64)
    return array if array.size else array.astype(np.int64)  # an empty list makes an array of floats


def _column(parts: list[Tensor | None], counts: list[int], what: str) -> Array | None:
    """The labels of all graphs; a graph without any edges may lack those of edges."""
    missing = [i for i, (part, count) in enumerate(zip(parts, counts, strict=True)) if part is None and count]
    some = any(part is not None for part in parts)
    require(not (some and missing), f"graph {missing[:1]} has no kinds of {what}s, others have; accepted: all, or none")
    return np.concatenate([part.numpy() for part in parts if part is not None]) if some else None


def _narrow(label: Array) -> Array:
    return label.astype(np.int8 if label.max(initial=0) < 2**7 else np.int32)


def _label(
    label: Any, kinds: Sequence[str] | None, items: int, name: str, where: str
) -> tuple[Array | None, tuple[str, ...]]:
    if label is None:
        return None, ()
    array = _integers(label, name, where)
    require(array.shape == (items,), f"{where}: {name} has the shape {array.shape}; expected ({items},)")
    known = min(int(array.max(initial=-1)) + 1, MOST_KINDS) if kinds is None else len(kinds)
    wrong = array[(array < 0) | (array >= known)][:1].tolist()
    if wrong:
        raise RefineError(f"{where}: {name} {wrong[0]} has no name; accepted: 0 to {known - 1}")
    names = tuple(str(i) for i in range(known)) if kinds is None else tuple(kinds)
    return _narrow(array), names
