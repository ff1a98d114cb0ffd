"""Nodes that know their mass: nothing is lost, probabilities of everything sum to one, samples have their sizes."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from enumerated_graphs import all_codes, all_mass_paths, all_states, log_names, side_by_side
from graph_toys import generators, tiny_model, zoo

from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.labels import Labels
from refine.domains.graph.network.masses import Masses, MassHead, draw_some, some_log_prob
from refine.domains.graph.network.sampling import ScaleScore
from refine.domains.graph.splitting.counts import bin_inside
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits, split
from refine.noise import Noise
from refine.settings.config import TrainConfig
from refine.types import Condition

ZOO = [g for g in zoo().values() if g.num_nodes < 34]


@pytest.fixture(scope="module", params=["star", "rounds"])
def model(request: pytest.FixtureRequest) -> GraphModel:
    return tiny_model(masses=True, head=request.param)


@pytest.fixture(scope="module")
def counting() -> GraphModel:
    return tiny_model(masses=True, counts=True, label_rounds=2)


def total(model: GraphModel, n: int) -> tuple[float, int]:
    """The sum of the probabilities of all that can become of a node of mass ``n``, and how many graphs that is."""
    paths = all_mass_paths(model._start(torch.tensor([n])))
    noise = Noise(0, [7] * len(paths))
    codes = side_by_side(paths)
    nats = model.code_log_prob(codes, Labels(None, None), noise).sum(1) - log_names(model, paths, noise)
    graphs = model._start(torch.full((len(paths),), n))
    for scale in codes:
        graphs, _ = split(graphs, scale)
    found = {tuple(g.edges.flatten().tolist()): g for g in graphs.to_graphs()}
    return float(nats.detach().double().exp().sum()), len(shapes(found.values()))


def shapes(graphs) -> set[str]:  # type: ignore[no-untyped-def]
    return {nx.weisfeiler_lehman_graph_hash(g.to_networkx()) for g in graphs}


@pytest.mark.parametrize("n", [2, 3, 4])
def test_probabilities_of_everything_that_can_happen_sum_to_one(model: GraphModel, n: int) -> None:
    found, graphs = total(model, n)
    assert found == pytest.approx(1.0, abs=1e-4)
    assert graphs == {2: 2, 3: 4, 4: 11}[n]  # every graph of that size can be reached


def test_so_do_those_of_every_scale_up_to_five_nodes() -> None:
    model = tiny_model(masses=True)
    states = all_states(model._start(torch.tensor([5])))
    assert len(states) > 10
    for coarse in states:
        codes = list(all_codes(coarse))
        noise, table = Noise(0, [3] * len(codes)), Splits.side_by_side(codes)
        graphs = Graphs.side_by_side([coarse] * len(codes))
        last = torch.full((len(codes),), 5)
        after = torch.bincount(split(graphs, table)[0].graph, minlength=len(codes))
        nats = ScaleScore(model.predictor, noise, 1)(graphs, torch.stack([after, last], 1), table)
        nats = nats - log_names(model, [[c] for c in codes], noise, graphs)
        assert float(nats.detach().double().exp().sum()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3])
def test_with_counts_they_do_too(counting: GraphModel, n: int) -> None:
    assert total(counting, n)[0] == pytest.approx(1.0, abs=1e-4)


def test_taking_apart_loses_nothing_and_masses_are_those_of_the_finest_graph() -> None:
    pyramid = build_pyramid(Graphs.of(ZOO), generators(len(ZOO)), counts=True, masses=True)
    fine, below = pyramid.finest, torch.arange(pyramid.finest.num_nodes)
    for scale in reversed(pyramid.scales):
        coarse, codes = scale.coarse, scale.codes
        built, parent = split(coarse, codes)
        assert coarse.mass is not None and codes.light is not None and codes.inside is not None
        assert built.num_nodes == int(below.max()) + 1
        below = parent[below]  # the node of this scale that each finest node lies in
        assert torch.equal(coarse.mass, torch.bincount(below))
        inner = below[fine.edges[0]] == below[fine.edges[1]]
        inside = torch.bincount(below[fine.edges[0][inner]], minlength=coarse.num_nodes)
        assert torch.equal(codes.inside, bin_inside(inside))
        assert bool((2 * codes.light <= coarse.mass).all()) and bool(((codes.light > 0) == (codes.token > 0)).all())
    graphs = Graphs.single_nodes(len(ZOO))
    for scale in pyramid.scales:
        graphs, _ = split(graphs, scale.codes)
    assert torch.equal(graphs.edges, fine.edges)


def test_some_are_chosen_as_often_as_the_law_says() -> None:
    """Three that can be, one that cannot, beside a graph in which only one can; against all subsets."""
    logits, inf = torch.tensor([0.3, -1.0, -torch.inf, -2.0, -3.0, -torch.inf]), -torch.inf
    graph, draws = torch.tensor([0, 0, 0, 0, 1, 1]), 20000
    sets = [torch.tensor([a, b, False, c, True, False]) for a in (0, 1) for b in (0, 1) for c in (0, 1) if a + b + c]
    p = torch.stack([some_log_prob(logits, s.bool(), graph, 2).exp() for s in sets])
    assert float(p[:, 0].sum()) == pytest.approx(1.0, abs=1e-5) and torch.allclose(p[:, 1], torch.ones(7), atol=1e-5)
    many = graph.repeat(draws) + 2 * torch.arange(draws).repeat_interleave(6)
    uniform = torch.rand(6 * draws, generator=torch.Generator().manual_seed(0))
    drawn = draw_some(logits.sigmoid().repeat(draws), many, 2 * draws, uniform).view(draws, 6)
    often = torch.tensor([float((drawn == s.bool()).all(1).float().mean()) for s in sets])
    assert torch.allclose(often, p[:, 0], atol=0.015)
    assert float(some_log_prob(torch.full((2,), inf), torch.zeros(2).bool(), torch.zeros(2).long(), 1)) == 0.0


def test_what_is_unlikely_still_happens_where_something_must() -> None:
    logits, one = torch.full((3,), -200.0), torch.tensor([True, False, False])
    assert float(some_log_prob(logits, one, torch.zeros(3).long(), 1).exp()) == pytest.approx(1 / 3, rel=1e-4)
    drawn = draw_some(torch.full((3,), 1e-9), torch.zeros(3).long(), 1, torch.full((3,), 0.999))
    assert int(drawn.sum()) == 1


def test_shares_of_a_mass_are_a_law() -> None:
    torch.manual_seed(0)
    head, mass = MassHead(8), torch.tensor([2, 3, 4, 7, 64, 19_999])
    p = head.lights(torch.randn(len(mass), 8), mass).softmax(1)
    assert torch.allclose(p.sum(1), torch.ones(len(mass)), atol=1e-5)
    assert (p > 0).sum(1).tolist() == (mass // 2).tolist()


def test_links_follow_from_what_lies_inside() -> None:
    asked = Masses(torch.tensor([2, 2, 3, 3]), torch.zeros(4).long(), 1, torch.tensor([0, 1, 0, 1]))
    light = torch.tensor([1, 1, 1, 0])
    must, never = asked.links(light, torch.tensor([False] * 4))
    assert must.tolist() == [False, True, False, False] and never.tolist() == [True, False, True, False]
    assert asked.links(light, torch.tensor([True] * 4))[1].tolist() == [False] * 4


def test_two_linked_nodes_of_mass_1_come_from_the_last_scale() -> None:
    """Two graphs: in the first a node of mass 3 leaves one of mass 2, in the second all become 1."""
    mass, light = torch.tensor([2, 3, 2, 2]), torch.tensor([1, 1, 1, 1])
    asked = Masses(mass, torch.tensor([0, 0, 1, 1]), 2, maximum=True)
    must, never = asked.links(light, torch.tensor([False] * 4))
    assert never.tolist() == [True, False, False, False] and not must.any()


@pytest.mark.parametrize("counts", [False, True])
def test_samples_have_their_sizes_alone_and_in_a_batch(counts: bool, counting: GraphModel) -> None:
    model = counting if counts else tiny_model(masses=True)
    sizes = torch.tensor([1, 2, 3, 12, 13, 40])
    items = model.sample(6, Condition(size=sizes), seed=3, trail=True)
    assert [g.num_nodes for g in items.items] == sizes.tolist()
    for i in (0, 3, 5):
        alone = model.sample(1, Condition(size=sizes[i : i + 1]), seed=3, first=i).items[0]
        assert torch.equal(alone.edges, items.items[i].edges)
    assert all(len(scale) == 6 for scale in items.trail)


@pytest.mark.parametrize("config", [{}, {"counts": True}, {"counts": True, "pairing": "blocks", "coarse_pyramids": 3}])
def test_odd_graphs_train_and_are_scored(config: dict[str, object]) -> None:
    model = tiny_model(masses=True, balance=0.5, **config)
    nats = model.log_prob([g for g in ZOO if g.num_nodes < 15])
    assert bool(nats.isfinite().all()) and bool((nats <= 1e-5).all())
    items = model.training_items("train", 0)
    loss, figures = model.train().training_loss(items.collate([items[i] for i in range(4)]), TrainConfig())  # type: ignore[attr-defined]
    loss.backward()
    assert bool(loss.isfinite()) and figures["nll"].isfinite()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in model.parameters())
