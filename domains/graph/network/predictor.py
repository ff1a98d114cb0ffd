"""The network and its heads: what one round of a scale is scored and drawn with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.network.examples import Examples
from refine.domains.graph.network.laws import must_link
from refine.domains.graph.network.masses import MASS_FEATURES, MassHead
from refine.domains.graph.network.network import GraphNetwork, View, mlp
from refine.domains.graph.network.star import StarHead
from refine.domains.graph.network.subset import subset_log_prob
from refine.domains.graph.network.view import EDGE_KINDS, NODE_KINDS, NOW
from refine.domains.graph.splitting.counts import kinds, num_bins
from refine.errors import not_accepted, require
from refine.network.conditions import ConditionEmbedding
from refine.types import Condition, ConditionSpec


class GraphPredictor(nn.Module):
    """Predicts node tokens, the answers of stars, and kinds, from a :class:`View`.

    Args:
        config: its sizes.
        node_labels: kinds of nodes, 0 where a set has none.
        edge_labels: kinds of edges.
        spec: what graphs are conditioned on: classes and a vector.

    Attributes:
        connected: no graph falls apart: a node without neighbours never splits into two that are not linked.
        maximum: pairs are as many as there can be.
    """

    def __init__(
        self, config: GraphModelConfig, node_labels: int = 0, edge_labels: int = 0, spec: ConditionSpec | None = None
    ) -> None:
        super().__init__()
        width, self.counts = config.width, config.counts
        self.connected, self.maximum = False, config.pairing == "cardinality"
        hidden = int(width * config.mlp_ratio) > 0
        require(hidden, f"model.mlp_ratio={config.mlp_ratio} is not accepted: of width {width} nothing is left")
        nodes, edges = ([n + 2] if n else [] for n in (node_labels, edge_labels))
        if config.counts:
            require(not (nodes or edges), "model.counts=true needs graphs without kinds of nodes and edges")
            edge_labels = num_bins(config.masses)
            edges = [kinds(edge_labels)]
            if config.masses:
                nodes, node_labels = edges, edge_labels
        tables, known = ([NODE_KINDS, *nodes], [EDGE_KINDS, *edges]), MASS_FEATURES if config.masses else 0
        sizes = width, config.depth, config.triangle
        spec = spec or ConditionSpec()
        told = spec.num_classes > 0 or spec.vector > 0
        self.network = GraphNetwork(*sizes, *tables, config.mlp_ratio, config.dropout, known, told)
        self.token = None if config.masses else nn.Linear(width, 3)
        self.masses = MassHead(width) if config.masses else None
        if config.head not in ("star", "rounds"):
            raise not_accepted("model.head", config.head, ("star", "rounds"))
        self.star = StarHead(width, width, config.star_depth, config.heads) if config.head == "star" else None
        self.answer = mlp(3 * width, width, 3) if config.head == "rounds" else None
        self.node_label = nn.Linear(width, node_labels) if node_labels else None
        self.edge_label = nn.Linear(width, edge_labels) if edge_labels else None
        self.condition = ConditionEmbedding(spec, width) if told else None
        self.mixed = mlp(width, width, width) if told else None

    def told(self, condition: Condition, num: int, drop: Tensor | None = None) -> Tensor | None:
        """(num, D) what the network is told of labels and vectors; None of a model without. Training draws what is
        withheld, ``drop`` (num, 3) by kind."""
        if self.condition is None or self.mixed is None:
            return None
        out: Tensor = self.mixed(F.silu(self.condition(condition, num, drop)))
        return out

    def log_prob(self, x: Examples, told: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Nats of the truth: (B_0,) of all node tokens of each graph that is asked for them, (T,) of each answer, and
        (L,) of each kind; ``told`` (B, D) are the conditions of the batch."""
        h, e = self.states(x.view, told)
        tokens = self.token_log_prob(x, h[x.nodes])
        return tokens, self.star_log_prob(x, h, e), self.label_log_prob(x, h, e)

    def token_log_prob(self, x: Examples, h: Tensor) -> Tensor:
        """Which nodes split, given how many do or what they weigh, and which of the pairs are linked."""
        if not len(x.nodes):
            return h.new_zeros(0)
        graph, two, edges = x.view.graph[x.nodes], x.tokens > 0, x.view.edges
        # graphs that are asked come first
        sure = must_link(edges[:, edges[0] < len(two)], two, self.connected, self.maximum)
        if self.masses is not None:
            assert x.asked is not None and x.light is not None
            return self.masses.log_prob(h, x.asked, x.tokens, x.light, sure)
        assert self.token is not None
        split, linked = split_logits(self.token(h))
        table, row, column = padded(split, graph)
        chosen = torch.zeros_like(table, dtype=torch.bool)
        chosen[row, column] = two
        nats = subset_log_prob(table, chosen)
        linked = torch.where(sure, torch.inf, linked)
        pair = F.logsigmoid(torch.where(x.tokens == 1, linked, -linked))
        return nats.index_add(0, graph[two], pair[two])

    def star_log_prob(self, x: Examples, h: Tensor, e: Tensor) -> Tensor:
        """Each answer, given those before it in its star."""
        if not len(x.codes):
            return h.new_zeros(0)
        if self.star is None:
            logits = self.answers(h, e, x.centre, x.other, x.edge)
            return -F.cross_entropy(close(logits, x.possible), x.codes, reduction="none")
        questions = self.star.questions(h, e, x.centre, x.other, x.edge)
        biases = self.star.biases(e, (x.pairs[0], x.pairs[1], x.pairs[2]), x.seats)
        apart = x.view.node_kind[x.centre, 0] == NOW + 1
        logits = self.star(questions, apart, x.codes, biases, x.seats)
        return -F.cross_entropy(close(logits, x.possible), x.codes, reduction="none")

    def answers(self, h: Tensor, e: Tensor, centre: Tensor, other: Tensor, edge: Tensor) -> Tensor:
        """(T, 3) logits of answers with ``head="rounds"``, given those that the view shows."""
        assert self.answer is not None
        out: Tensor = self.answer(torch.cat([e[edge], h[centre], h[other]], 1))
        return out

    def label_log_prob(self, x: Examples, h: Tensor, e: Tensor) -> Tensor:
        """Each kind, given those that are known."""
        parts = []
        for head, states, places in zip((self.node_label, self.edge_label), (h, e), x.labelled, strict=True):
            asked = places >= 0
            if head is not None:
                logits = head(states[places[asked]])
                if x.most is not None:
                    logits = at_most(logits, x.most[asked])
                parts.append(-F.cross_entropy(logits, x.label[asked], reduction="none"))
        return torch.cat(parts) if parts else h.new_zeros(0)

    def states(self, view: View, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, D) of nodes and (E, D) of edges, given the conditions (B, D) of the batch."""
        h, e = self.network(view, told)
        return h, e


def split_logits(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 3) logits of one child, two linked, two not linked: log odds of splitting, and of being linked if so."""
    one, linked, unlinked = logits.unbind(1)
    return torch.logaddexp(linked, unlinked) - one, linked - unlinked


def close(logits: Tensor, possible: Tensor) -> Tensor:
    """(T, 3) logits without answers that are not ``possible``."""
    return logits.masked_fill(~possible, -torch.inf)


def at_most(logits: Tensor, most: Tensor) -> Tensor:
    """(L, V) logits without kinds above ``most`` (L,)."""
    return logits.masked_fill(torch.arange(logits.shape[1], device=most.device) > most[:, None], -torch.inf)


def padded(values: Tensor, graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(n,) values of nodes as (graphs, most), -inf where there is none; and the row and the column of each."""
    if not len(values):
        return values.new_zeros(0, 0), graph, graph
    sizes = torch.bincount(graph)
    column = torch.arange(len(graph), device=graph.device) - (sizes.cumsum(0) - sizes)[graph]
    table = values.new_full((len(sizes), int(sizes.max())), -torch.inf)
    return table.index_put((graph, column), values), graph, column
