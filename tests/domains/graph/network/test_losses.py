"""What a training looks at and how it weighs it: scales of several pyramids, losses by scale, bits of whole graphs."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from graph_toys import generators, of, tiny_model, zoo

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.network.examples import COARSE, Scales
from refine.domains.graph.network.items import PyramidItems
from refine.domains.graph.network.losses import ScaleLosses
from refine.domains.graph.splitting.splits import split
from refine.errors import RefineError
from refine.settings.config import TrainConfig


@pytest.mark.parametrize("config", [{}, {"masses": True, "counts": True}])
def test_coarse_scales_are_made_anew(config: dict[str, Any]) -> None:
    graphs = [*zoo().values(), of(nx.gnp_random_graph(150, 0.05, seed=0))]
    once, again = (Scales.of(graphs, generators(len(graphs)), GraphModelConfig(**config), n) for n in (0, 2))
    first = len(once.owner)
    assert torch.equal(again.coarse.graph[: once.coarse.num_nodes], once.coarse.graph) and len(again.owner) > first
    after, last = again.goal[first:].T
    assert bool((after <= COARSE).all()) and last.tolist() == [graphs[i].num_nodes for i in again.owner[first:]]
    fine, _ = split(again.coarse, again.codes)
    assert torch.equal(fine.sizes, again.goal[:, 0])
    if again.coarse.mass is not None:
        total = torch.zeros(again.coarse.num, dtype=torch.int64).index_add_(0, again.coarse.graph, again.coarse.mass)
        assert torch.equal(total, again.goal[:, 1])
    # scales with as many still to come lie equally far from the finest: of the large graph, three from 150 to 32 nodes
    large = again.owner == len(graphs) - 1
    assert set(again.rest[first:][large[first:]].tolist()) < set(again.rest[:first][large[:first]].tolist())


def table(nats: list[list[float]], asked: list[list[float]]) -> ScaleLosses:
    return ScaleLosses(torch.tensor(nats), torch.tensor(asked), torch.zeros(len(nats[0])), 1)


def test_scales_weigh_as_the_balance_says() -> None:
    """By hand: scales of means 2 and 0.5, with 1 and 9 codes; no kinds."""
    losses = table([[2.0, 4.5], [0.0, 0.0]], [[1.0, 9.0], [0.0, 0.0]])
    assert float(losses.balanced(0.0)) == pytest.approx(6.5 / 10)
    assert float(losses.balanced(1.0)) == pytest.approx((2.0 + 0.5) / 2)
    assert float(losses.balanced(0.5)) == pytest.approx((1 * 2.0 + 3 * 0.5) / 4)
    assert float(losses.balanced(0.5, [3.0, 1.0])) == pytest.approx((3 * 2.0 + 0.5) / 4)
    with_kinds = table([[2.0, 4.5], [0.0, 8.0]], [[1.0, 9.0], [0.0, 2.0]])
    assert float(with_kinds.balanced(1.0)) == pytest.approx(1.25 + 4.0)
    with pytest.raises(RefineError, match="scale_weights"):
        losses.balanced(0.0, [1.0])


@pytest.mark.parametrize("config", [{}, {"masses": True}, {"masses": True, "counts": True, "label_rounds": 3}])
def test_bits_of_random_rounds_are_those_of_the_graph_on_average(config: dict[str, Any]) -> None:
    model, graph = tiny_model(**config), of(nx.path_graph(6))
    exact = torch.cat([model.log_prob([graph] * 50, seed).sum(1) for seed in range(4)]) / -np.log(2)
    items = PyramidItems([graph], 500, 0, model.config, model.sizes.scales)
    with torch.no_grad():
        batches = [items.collate([items[i] for i in range(j, j + 50)]) for j in range(0, 500, 50)]
        found = torch.stack([model.training_loss(batch, TrainConfig())[1]["bits"] for batch in batches])
    error = float(found.std() / 10**0.5 + exact.std() / 200**0.5)
    assert abs(float(found.mean() - exact.mean())) < 4 * error


def test_without_balance_the_loss_is_the_mean_over_answers() -> None:
    model = tiny_model(counts=True).train()
    items = model.training_items("train", 0)
    batch = items.collate([items[i] for i in range(3)])  # type: ignore[attr-defined]
    loss, _ = model.training_loss(batch, TrainConfig())
    parts = model.predictor.log_prob(batch["examples"])
    found = ScaleLosses.of(batch["examples"], parts, model.num_levels)
    assert float(loss) == pytest.approx(float(found.balanced(0.0)), rel=1e-5)
