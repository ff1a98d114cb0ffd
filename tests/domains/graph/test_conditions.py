"""Labels and vectors of whole graphs: where they come from, what the model makes of them, and what is refused."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from enumerated_graphs import all_paths, log_names, side_by_side
from graph_toys import of
from toy import stir

from refine.cli import main
from refine.domains.graph.config import GraphConfig, GraphModelConfig
from refine.domains.graph.domain import GraphDomain
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.asked import asked_errors
from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.labels import Labels
from refine.domains.graph.splitting.sizes import SizeLaw
from refine.errors import RefineError
from refine.models.model import Model
from refine.noise import Noise
from refine.settings.config import SamplerConfig, TrainConfig
from refine.types import Condition

BOTH = {"label": "shape", "vector": ["density"]}


def write_shapes(folder: Path, num: int = 12) -> Path:
    """Cycles and stars of 5 and 6 nodes; their file says which."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(num):
        n = 5 + i % 2
        for name, g in (("cycle", nx.cycle_graph(n)), ("star", nx.star_graph(n - 1))):
            g.graph["shape"] = name
            nx.write_graphml(g, folder / f"{name}{i}.graphml")
    return folder


@pytest.fixture(scope="module")
def shapes(once: Callable[..., Path]) -> Path:
    return once("graph-shapes", write_shapes)


def conditional(folder: Path, told: dict[str, object] | None = None, seed: int = 0, **config: object) -> GraphModel:
    """A model with random weights."""
    domain = GraphDomain(GraphConfig(folder=str(folder), **(BOTH if told is None else told)))  # type: ignore[arg-type]
    torch.manual_seed(seed)
    model = GraphModel(domain, GraphModelConfig(**{"width": 16, "depth": 2, **config}))  # type: ignore[arg-type]
    stir(model, 0.4, seed)
    return model.eval()


@pytest.fixture(scope="module", params=["star", "rounds"])
def model(request: pytest.FixtureRequest, shapes: Path) -> GraphModel:
    return conditional(shapes, head=request.param)


@pytest.fixture(scope="module")
def trained(once: Callable[..., Path], shapes: Path) -> Path:
    """A run that knows cycles from stars."""

    def train(folder: Path) -> None:
        model = conditional(shapes, star_depth=1)
        items, settings = model.training_items("train", 0), TrainConfig()
        optimizer = torch.optim.Adam(model.train().parameters(), 0.01)
        for step in range(60):
            torch.manual_seed(step)
            batch = items.collate([items[i] for i in range(16 * step, 16 * step + 16)])  # type: ignore[attr-defined]
            optimizer.zero_grad()
            model.training_loss(batch, settings)[0].backward()
            optimizer.step()
        model.eval().save_pretrained(folder)

    return once("graph-shapes-run", train)


def asked(num: int, label: int | None = None, density: float | None = None) -> Condition:
    return Condition(
        label=None if label is None else torch.full((num,), label),
        vector=None if density is None else torch.full((num, 1), density),
    )


def is_star(graph: Graph) -> bool:
    degree = torch.bincount(graph.edges.flatten(), minlength=graph.num_nodes)
    return graph.num_edges == graph.num_nodes - 1 == int(degree.max())


def is_cycle(graph: Graph) -> bool:
    return nx.is_connected(g := graph.to_networkx()) and all(d == 2 for _, d in g.degree)


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [asked(1, 1), asked(1, 0, 0.4), asked(1)], ids=["label", "both", "none"])
@pytest.mark.parametrize("sizes", [(1, 2, 3), (1, 2, 4)])
def test_whatever_is_asked_probabilities_sum_to_one(
    model: GraphModel, sizes: tuple[int, ...], condition: Condition
) -> None:
    paths = all_paths(sizes)
    noise, codes = Noise(0, [7] * len(paths)), side_by_side(paths)
    many = condition[torch.zeros(len(paths), dtype=torch.int64)]
    nats = model.code_log_prob(codes, Labels(None, None), noise, many).sum(1) - log_names(model, paths, noise)
    assert float(nats.double().exp().sum()) == pytest.approx(1.0, abs=1e-4)
    other = model.code_log_prob(codes, Labels(None, None), noise, asked(len(paths), 0, 0.9)).sum(1)
    assert not torch.allclose(other, nats + log_names(model, paths, noise), atol=1e-3)  # it is heard


def test_guidance_mixes_the_odds_of_every_choice(model: GraphModel) -> None:
    """Of two nodes only the edge is drawn: p ~ p(label)^g p()^(1 - g)."""
    before = dict(model.info)
    model.info["sizes"] = SizeLaw([(2, 1)], [(2, 1, 1)], 1).to_info()
    graphs = [of(nx.empty_graph(2)), of(nx.path_graph(2))]
    (no, yes), (no_plain, yes_plain) = (
        model.log_prob(graphs, condition=c).sum(1).tolist() for c in (asked(2, 1), asked(2))
    )
    num, g = 1500, 2.5
    size = torch.full((num,), 2)
    condition = Condition(label=torch.ones_like(size), size=size)
    drawn = [x.num_edges for x in model.sample(num, condition, seed=1, sampler=SamplerConfig(guidance=g)).items]
    plain = [x.num_edges for x in model.sample(num, condition, seed=1).items]
    model.info.clear()
    model.info.update(before)
    odds = g * (yes - no) + (1 - g) * (yes_plain - no_plain)
    for found, expected in ((drawn, odds), (plain, yes - no)):
        p = 1 / (1 + math.exp(-expected))
        assert abs(sum(found) / num - p) < 4 * (p * (1 - p) / num) ** 0.5 + 1e-9


@pytest.mark.parametrize("config", [{}, {"head": "rounds"}, {"masses": True}, {"masses": True, "counts": True}])
def test_guidance_of_one_is_none_and_samples_are_their_own(shapes: Path, config: dict[str, object]) -> None:
    model = conditional(shapes, **config)
    condition = Condition(label=torch.tensor([0, 1, 0, 1]), vector=torch.tensor([[0.3], [0.4], [0.5], [0.6]]))
    plain = model.sample(4, condition, seed=3).items
    one = model.sample(4, condition, seed=3, sampler=SamplerConfig(guidance=1.0)).items
    assert all(torch.equal(a.edges, b.edges) for a, b in zip(plain, one, strict=True))
    sampler = SamplerConfig(guidance=3.0, guided=["label"])
    guided = model.sample(4, condition, seed=3, sampler=sampler).items
    alone = model.sample(1, condition[2:3], seed=3, first=2, sampler=sampler).items[0]
    assert torch.equal(alone.edges, guided[2].edges)
    assert any(
        not torch.equal(a.edges, b.edges) for a, b in zip(plain, guided, strict=True) if len(a.edges) == len(b.edges)
    )


def test_classes_are_learned_and_drawn(trained: Path) -> None:
    model = GraphModel.from_pretrained(trained)
    assert model.domain.class_names() == ["cycle", "star"]
    cycles, stars = (model.sample(40, asked(40, label), seed=1).items for label in (0, 1))
    assert sum(map(is_cycle, cycles)) > 25 and sum(map(is_star, stars)) > 25
    assert not any(map(is_star, cycles)) or sum(map(is_star, cycles)) < 4
    nats = [model.log_prob([of(nx.star_graph(4))], condition=asked(1, label)).sum() for label in (0, 1)]
    assert nats[1] > nats[0] + 1
    carried = Graph(5, of(nx.star_graph(4)).edges, label=torch.tensor(1), vector=torch.tensor([0.4]))
    same = model.log_prob([carried]), model.log_prob([carried], condition=asked(1, 1, 0.4))
    assert torch.equal(*same)


def test_sizes_are_those_of_graphs_like_what_is_asked(trained: Path) -> None:
    """A cycle of 5 has the density 0.5, one of 6 has 0.4; stars have 0.4 and 0.333."""
    model = GraphModel.from_pretrained(trained)
    for label, density, size in ((0, 0.5, 5), (0, 0.4, 6), (1, 0.4, 5), (1, 1 / 3, 6)):
        assert {g.num_nodes for g in model.sample(9, asked(9, label, density), seed=2).items} == {size}
    assert {g.num_nodes for g in model.sample(30, asked(30, 1), seed=2).items} == {5, 6}


def test_vectors_are_in_the_units_of_the_data(shapes: Path) -> None:
    """Standardised by the training split, whatever the units are."""
    model = conditional(shapes)
    train = model.domain.dataset("train").vector
    assert train is not None
    seen = model.standard(Condition(vector=torch.from_numpy(train))).vector
    assert seen is not None
    assert float(seen.mean()) == pytest.approx(0, abs=1e-5) and float(seen.std(correction=0)) == pytest.approx(
        1, rel=1e-4
    )
    again = GraphModel.from_pretrained(saved(model, shapes.parent / "graph-units"))
    assert again.standard == model.standard


def saved(model: Model, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def test_conditions_are_left_out_in_training_only(shapes: Path) -> None:
    model = conditional(shapes, condition_dropout=1.0)
    items = model.training_items("train", 0)
    batch = items.collate([items[i] for i in range(8)])  # type: ignore[attr-defined]
    other = {**batch, "label": 1 - batch["label"], "vector": batch["vector"] + 1}
    losses = [float(model.train(on).training_loss(b, TrainConfig())[0]) for on in (True, False) for b in (batch, other)]
    assert losses[0] == losses[1] and losses[2] != losses[3]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition(label=torch.tensor([2, 0])), "label=.2. is not accepted; accepted: 0 to 1"),
        (Condition(vector=torch.zeros(2, 3)), "condition.vector has shape"),
        (Condition(base=torch.zeros(2, 3, 1)), "condition.base is not accepted"),
    ],
)
def test_conditions_that_are_none_are_refused(model: GraphModel, condition: Condition, message: str) -> None:
    for ask in (lambda: model.sample(2, condition), lambda: model.log_prob([of(nx.path_graph(3))] * 2, 0, condition)):
        with pytest.raises(RefineError, match=message):
            ask()


def test_a_model_without_conditions_refuses_them() -> None:
    domain = GraphDomain(GraphConfig())
    model = GraphModel(domain, GraphModelConfig(width=16, depth=1))
    for condition, name in ((asked(2, 0), "classes"), (asked(2, None, 0.1), "a vector")):
        with pytest.raises(RefineError, match=f"not conditioned on {name}"):
            model.sample(2, condition)
    with pytest.raises(RefineError, match=r"sample.vector=0.1 is not accepted: this model is not conditioned"):
        domain.ask(2, vector=0.1)


# -- commands ----------------------------------------------------------------------------------------------------------


def test_what_is_asked_on_the_command_line(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    with pytest.raises(SystemExit, match="0"):
        main(f"sample domain=graph run={trained} num=4 label=[star,cycle] vector=[0.4,0.5] out={out}".split())
    rows = list(csv.reader((out / "asked.csv").open()))
    assert rows == [["graph", "label", "density"], ["0", "star", "0.4"], ["1", "cycle", "0.5"],
                    ["2", "star", "0.4"], ["3", "cycle", "0.5"]]  # fmt: skip
    assert (out / "graphs.png").is_file()


@pytest.mark.parametrize("vector", [[[0.1, 0.2]], [], [[]], "a", True, [1e40], [[0.1], 0.2]])
def test_vectors_that_are_none_are_refused(model: GraphModel, vector: object) -> None:
    with pytest.raises(RefineError, match=r"sample.vector=.* is not accepted"):
        model.domain.ask(2, vector=vector)


def test_evaluation_asks_for_what_held_out_graphs_have(trained: Path) -> None:
    model = GraphModel.from_pretrained(trained)
    items = model.domain.dataset("test")
    num, condition = model.asked(items, 1000)
    assert num == len(items) and condition.label is not None and condition.vector is not None
    assert condition.label.tolist() == items.label.tolist()
    figures = asked_errors([of(nx.cycle_graph(5)), of(nx.path_graph(3))], np.array([[0.4], [0.5]]), ["density"])
    assert figures["error_density"] == pytest.approx((0.1 + 1 / 6) / 2)  # 0.5 and 2/3 are drawn
    assert figures["chance_density"] == pytest.approx((0.1 + 0 + (2 / 3 - 0.4) + (2 / 3 - 0.5)) / 4)
