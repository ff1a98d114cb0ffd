"""One graph, and the ways in from and out to networkx and torch-geometric."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from refine.domains.graph.graphs.kinds import Kinds
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import networkx as nx
    from torch_geometric.data import Data

UNDIRECTED = "only undirected graphs are accepted, or domain.undirected=true"


@dataclass(frozen=True)
class Graph:
    """An undirected simple graph on nodes 0 to n - 1.

    Attributes:
        num_nodes: n >= 1.
        edges: (2, E) int64, each edge once with its smaller node first, columns in lexicographic order.
        node_label: (n,) int64 kind of each node (an atom's element), or None.
        edge_label: (E,) int64 kind of each edge (a bond's order), or None.
        parent: (n,) int64 in a trail, the node of the scale before that each node came from; else None.
        label: () int64 class of the graph, or None.
        vector: (F,) numbers that describe the graph, in their own units, or None.
    """

    num_nodes: int
    edges: Tensor
    node_label: Tensor | None = None
    edge_label: Tensor | None = None
    parent: Tensor | None = None
    label: Tensor | None = None
    vector: Tensor | None = None

    @property
    def num_edges(self) -> int:
        """E."""
        return self.edges.shape[1]

    @classmethod
    def of(
        cls, num_nodes: int, edges: Any, node_label: Any = None, edge_label: Any = None, name: str = "the graph"
    ) -> Graph:
        """A graph from edges in any order and direction; an edge that is given in both directions counts once.

        Args:
            num_nodes: n.
            edges: (2, E) or a sequence of pairs.
            node_label: n integers, or None.
            edge_label: an integer for each given edge, or None.
            name: what to call it in an error.

        Raises:
            RefineError: no nodes, an end that is no node, a self-loop, or an edge whose two directions differ in kind.
        """
        require(num_nodes >= 1, f"{name} has no nodes; accepted: 1 or more")
        pairs = edges if isinstance(edges, Tensor) else torch.tensor(list(edges), dtype=torch.int64).reshape(-1, 2).T
        u, v = pairs.long().sort(dim=0).values if pairs.numel() else pairs.new_zeros(2, 0, dtype=torch.int64)
        inside = bool(((u >= 0) & (v < num_nodes)).all())
        require(inside, f"{name} has an edge to a node that is not there; its nodes are 0 to {num_nodes - 1}")
        loops = u[u == v]
        require(not len(loops), f"{name} has a self-loop at node {loops[:1].tolist()}; only simple graphs are accepted")
        keys, place = torch.unique(u * num_nodes + v, return_inverse=True)
        kinds = None
        if edge_label is not None:
            given = torch.as_tensor(edge_label, dtype=torch.int64)
            kinds = torch.empty(len(keys), dtype=torch.int64)
            kinds[place] = given
            same = torch.equal(kinds[place], given)
            require(same, f"{name} has an edge given twice with different kinds; multigraphs are not accepted")
        labels = None if node_label is None else torch.as_tensor(node_label, dtype=torch.int64)
        return cls(num_nodes, torch.stack([keys // num_nodes, keys % num_nodes]), labels, kinds)

    @classmethod
    def from_networkx(
        cls,
        g: nx.Graph,
        node_attribute: str | None = "label",
        edge_attribute: str | None = "label",
        node_kinds: Sequence[str] | Kinds | None = None,
        edge_kinds: Sequence[str] | Kinds | None = None,
        name: str = "the graph",
        undirected: bool = False,
        weights: str = "refuse",
    ) -> Graph:
        """A networkx graph; its nodes, whatever they are called, are numbered in the order in which it has them.

        Args:
            g: undirected, without parallel edges and self-loops. Other attributes than the two named are not read.
            node_attribute: attribute that holds the kind of a node; all nodes have it, or none. None: no kinds.
            edge_attribute: the same of edges.
            node_kinds: names of the kinds of nodes; a label is the place in there. None: the attribute is the label.
            edge_kinds: the same of edges.
            name: what to call it in an error.
            undirected: directed edges are accepted; two between the same nodes count once.
            weights: ``refuse`` edges that differ in ``weight``, or ``drop`` the weights.

        Raises:
            RefineError: directed, a multigraph, weighted (edges that differ in ``weight``), a self-loop, no nodes, or a
                kind that is missing, unknown or no label.
        """
        require(undirected or not g.is_directed(), f"{name} is directed; {UNDIRECTED} (g.to_undirected())")
        require(not g.is_multigraph(), f"{name} is a multigraph; only simple graphs are accepted (nx.Graph(g))")
        if weights == "refuse":
            check_weights((w for _, _, w in g.edges(data="weight")), name)
        place = {node: i for i, node in enumerate(g)}
        pairs = [(place[u], place[v]) for u, v in g.edges]
        of_nodes = [] if node_attribute is None else g.nodes(data=node_attribute)
        nodes = _labels(of_nodes, node_kinds, f"node {{}} of {name}")
        with_kind = () if edge_attribute is None else g.edges(data=edge_attribute)
        of_edges = (((u, v), kind) for u, v, kind in with_kind)
        return cls.of(len(place), pairs, nodes, _labels(of_edges, edge_kinds, f"edge {{}} of {name}"), name)

    @classmethod
    def from_data(cls, data: Data, name: str = "the data", undirected: bool = False, weights: str = "refuse") -> Graph:
        """Torch-geometric data with every edge in both directions, as that library has undirected graphs.

        ``x`` and ``edge_attr`` become labels; they hold one integer or a one-hot row for each node or edge.
        ``undirected`` and ``weights`` are those of :meth:`from_networkx`.

        Raises:
            RefineError: an edge in one direction only or more than once, a self-loop, an end that is no node, no nodes,
                or features that are no labels.
        """
        features = {"x": data.x, "edge_attr": data.edge_attr}
        labels = {key: as_labels(value) for key, value in features.items()}
        for key, value in features.items():
            lost = labels[key] is None and value is not None and value.numel() > 0
            require(not lost, f"{key} of {name} is neither one integer nor one-hot in each row; or have {key}=None")
        if "edge_weight" in data and weights == "refuse":
            check_weights(data.edge_weight.flatten().tolist(), name)
        index = torch.zeros(2, 0, dtype=torch.int64) if data.edge_index is None else data.edge_index
        graph = cls.of(data.num_nodes or 0, index, labels["x"], labels["edge_attr"], name)
        repeated = index.shape[1] - len(torch.unique(index[0].long() * graph.num_nodes + index[1]))
        require(not repeated, f"{name} has {repeated} edges more than once; multigraphs are not accepted")
        alone = 2 * graph.num_edges - index.shape[1]
        lost = f"{name} is directed: {alone} edges have no reverse; {UNDIRECTED} (torch_geometric.utils.to_undirected)"
        require(undirected or not alone, lost)
        return graph

    def to_networkx(self, node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()) -> nx.Graph:
        """As a networkx graph; kinds are the attribute ``label`` of nodes and edges, by name where names are given."""
        import networkx as nx

        g = nx.Graph()
        g.add_nodes_from(range(self.num_nodes))
        pairs = [(u, v) for u, v in self.edges.T.tolist()]
        g.add_edges_from(pairs)
        if self.node_label is not None:
            nx.set_node_attributes(g, dict(enumerate(_named(self.node_label, node_kinds))), "label")
        if self.edge_label is not None:
            nx.set_edge_attributes(g, dict(zip(pairs, _named(self.edge_label, edge_kinds), strict=True)), "label")
        return g

    def to_data(self) -> Data:
        """As torch-geometric data: ``edge_index`` (2, 2E) in both directions, kinds as ``x`` (n, 1) and ``edge_attr``
        (2E, 1)."""
        from torch_geometric.data import Data
        from torch_geometric.utils import to_undirected

        x = None if self.node_label is None else self.node_label[:, None]
        if self.edge_label is None:
            return Data(x=x, edge_index=to_undirected(self.edges, num_nodes=self.num_nodes), num_nodes=self.num_nodes)
        index, kind = to_undirected(self.edges, self.edge_label[:, None], self.num_nodes)
        return Data(x=x, edge_index=index, edge_attr=kind, num_nodes=self.num_nodes)

    def relabelled(self, p: Tensor) -> Graph:
        """The same graph with node u called ``p[u]``."""
        label = None if self.node_label is None else self.node_label[p.argsort()]
        return Graph.of(self.num_nodes, p[self.edges], label, self.edge_label)


def as_labels(features: Tensor | None) -> Tensor | None:
    """(n,) int64 labels of features that are one non-negative integer or a one-hot row for each item, else None."""
    if features is None or features.dim() not in (1, 2) or not features.numel():
        return None
    if features.dim() == 2 and features.shape[1] > 1:
        one_hot = ((features == 0) | (features == 1)).all() and (features.sum(1) == 1).all()
        return features.int().argmax(1) if one_hot else None
    label = features.flatten().long()
    return label if bool((label == features.flatten()).all()) and int(label.min()) >= 0 else None


def check_weights(weights: Iterable[Any], name: str) -> None:
    """Raise RefineError if edges differ in their weight, which no graph here has."""
    seen = {float(w) if isinstance(w, int | float) else str(w) for w in weights}
    message = f"{name} has edges of different weight, which would be lost; domain.weights=drop, or make them kinds"
    require(len(seen) < 2, message)


def _labels(given: Iterable[tuple[Hashable, Any]], kinds: Sequence[str] | Kinds | None, who: str) -> list[int] | None:
    """Labels of nodes or edges from (what it is called, its kind); None where no one has a kind."""
    items = list(given)
    without = [key for key, kind in items if kind is None]
    if len(without) == len(items):
        return None
    require(not without, f"{who.format(without[:1])} has no kind, but others have; accepted: all, or none")
    if kinds is not None:
        known = kinds if isinstance(kinds, Kinds) else Kinds(kinds, fixed=True)
        return [known.number(kind, who.format(repr(key))) for key, kind in items]
    for key, kind in items:
        if not isinstance(kind, int) or isinstance(kind, bool) or kind < 0:
            raise RefineError(
                f"the kind of {who.format(repr(key))} is {kind!r}; accepted: 0, 1, ..., or give the names"
            )
    return [int(kind) for _, kind in items]


def _named(label: Tensor, kinds: Sequence[str]) -> list[Any]:
    return [kinds[i] for i in label.tolist()] if kinds else label.tolist()
