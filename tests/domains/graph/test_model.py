"""The model of graphs: probabilities sum to one, samples are their own, sizes are exact."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import networkx as nx
import pytest
import torch
from enumerated_graphs import all_paths, log_names, side_by_side
from graph_toys import generators, of, tiny_model
from processes import die, killed

from refine.cli import main
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.labels import Labels
from refine.domains.graph.splitting.counts import BINS, bin_counts
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sizes import SizeLaw
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import split
from refine.errors import RefineError
from refine.noise import Noise
from refine.settings.config import SamplerConfig, TrainConfig
from refine.types import Condition


@pytest.fixture(scope="module", params=["star", "rounds"])
def model(request: pytest.FixtureRequest) -> GraphModel:
    return tiny_model(head=request.param)


@pytest.fixture(scope="module")
def counting() -> GraphModel:
    """A model whose coarse edges tell how many edges they stand for."""
    return tiny_model(counts=True, label_rounds=2)


@pytest.mark.parametrize("sizes", [(1, 2), (1, 2, 3), (1, 2, 4), (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 4, 5)])
def test_probabilities_of_everything_that_can_happen_sum_to_one(model: GraphModel, sizes: tuple[int, ...]) -> None:
    """On all graphs with these sizes, over (graph, pyramid), for the order of rounds that one noise decides."""
    paths = all_paths(sizes)
    noise = Noise(0, [7] * len(paths))
    nats = model.code_log_prob(side_by_side(paths), Labels(None, None), noise).sum(1) - log_names(model, paths, noise)
    assert float(nats.double().exp().sum()) == pytest.approx(1.0, abs=1e-4)
    if (n := sizes[-1]) > 4:
        return
    graphs = Graphs.single_nodes(len(paths))
    for scale in side_by_side(paths):
        graphs, _ = split(graphs, scale)
    found = {tuple(g.edges.flatten().tolist()): g for g in graphs.to_graphs()}  # many paths lead to one graph
    every = {nx.weisfeiler_lehman_graph_hash(g.to_networkx()) for g in found.values()}
    assert len(every) == {1: 1, 2: 2, 3: 4, 4: 11}[n]  # every graph of that size can be reached


def test_with_counts_probabilities_sum_to_one_too(counting: GraphModel) -> None:
    """Each path, with every way to count the edges of its coarse graphs."""
    paths = []
    for path in all_paths((1, 2, 3)):
        edges = [0, split(Graphs.single_nodes(1), path[0])[0].edges.shape[1]]
        for bins in itertools.product(range(BINS), repeat=sum(edges)):
            counts = torch.tensor(bins, dtype=torch.int64).split(edges)
            paths.append([replace(codes, count=c) for codes, c in zip(path, counts, strict=True)])
    noise = Noise(0, [3] * len(paths))
    nats = counting.code_log_prob(side_by_side(paths), Labels(None, None), noise).sum(1)
    nats = nats - log_names(counting, paths, noise)
    assert float(nats.double().exp().sum()) == pytest.approx(1.0, abs=1e-4)


def test_counts_are_those_of_the_finest_graph_and_are_seen(counting: GraphModel) -> None:
    graphs = [of(nx.gnp_random_graph(24, 0.5, seed=seed)) for seed in range(4)]
    pyramid = build_pyramid(Graphs.of(graphs), generators(4), counts=True)
    fine = pyramid.finest
    above = torch.arange(fine.num_nodes)
    for k in range(len(pyramid.scales) - 1, -1, -1):
        scale = pyramid.scales[k]
        above = split(scale.coarse, scale.codes)[1][above]  # of each finest node
        low, high = above[fine.edges].sort(dim=0).values
        place, across = scale.coarse.edge_ids(low, high)
        number = torch.bincount(place[across & (low != high)], minlength=scale.coarse.edges.shape[1])
        assert scale.codes.count is not None and torch.equal(scale.codes.count, bin_counts(number))
    items = counting.training_items("train", 0)
    batch = items.collate([items[i] for i in range(4)])  # type: ignore[attr-defined]
    loss, figures = counting.training_loss(batch, TrainConfig())
    assert bool(loss.isfinite()) and "kinds" in figures
    many = counting.sample(5, seed=3).items
    assert same(many[2], counting.sample(1, seed=3, first=2).items[0])


def test_samples_follow_the_probabilities_that_scoring_gives(model: GraphModel) -> None:
    from scipy.stats import chisquare

    sizes, draws = (1, 2, 3), 6000
    paths = all_paths(sizes)
    law = SizeLaw([(3, 1)], [(2, 1, 1), (3, 2, 1)], 2)
    model.info["sizes"], before = law.to_info(), model.info.get("sizes")
    expected: dict[int, float] = {}
    for seed in range(4):
        noise = Noise(seed, [0] * len(paths))
        nats = model.code_log_prob(side_by_side(paths), Labels(None, None), noise).sum(1)
        nats = nats - log_names(model, paths, noise)
        for path, p in zip(paths, nats.exp().tolist(), strict=True):
            graphs = Graphs.single_nodes(1)
            for codes in path:
                graphs, _ = split(graphs, codes)
            edges = graphs.edges.shape[1]
            expected[edges] = expected.get(edges, 0.0) + p / 4
    drawn = [g.num_edges for g in model.sample(draws, seed=5).items]
    if before is None:
        del model.info["sizes"]
    else:
        model.info["sizes"] = before
    counts = [drawn.count(k) for k in sorted(expected)]
    assert sum(expected.values()) == pytest.approx(1.0, abs=1e-4)
    assert chisquare(counts, [expected[k] / sum(expected.values()) * draws for k in sorted(expected)]).pvalue > 1e-3


def same(a: Graph, b: Graph) -> bool:
    kinds = all(
        (x is None) == (y is None) and (x is None or y is None or torch.equal(x, y))
        for x, y in ((a.node_label, b.node_label), (a.edge_label, b.edge_label))
    )
    return a.num_nodes == b.num_nodes and torch.equal(a.edges, b.edges) and kinds


@pytest.mark.parametrize("labels", [(0, 0), (3, 2), (2, 0), (0, 2)])
def test_a_sample_is_the_same_alone_and_in_a_batch(labels: tuple[int, int]) -> None:
    model = tiny_model(labels)
    many = model.sample(7, seed=3).items
    for i in (0, 4):
        assert same(many[i], model.sample(1, seed=3, first=i).items[0])
    assert all((g.node_label is not None) == (labels[0] > 0) for g in many)
    assert all(g.edge_label is None or len(g.edge_label) == g.num_edges for g in many)
    assert not all(same(a, b) for a, b in zip(many, model.sample(7, seed=4).items, strict=True))


def test_sizes_are_exact_on_request_also_outside_of_training(model: GraphModel) -> None:
    wanted = torch.tensor([1, 2, 3, 12, 13, 20, 57, 150])
    items = model.sample(len(wanted), Condition(size=wanted), seed=1).items
    assert [g.num_nodes for g in items] == wanted.tolist()
    drawn = model.sample(60, seed=2).items
    known = {n for n, _ in model.sizes.sizes}
    assert {g.num_nodes for g in drawn} <= known
    for bad in ([0, 3], [-1, 2], [3, 10**9], [20_001, 1]):
        with pytest.raises(RefineError, match="size"):
            model.sample(2, Condition(size=torch.tensor(bad)))


def test_every_trail_grows_from_one_node_to_the_sample(model: GraphModel) -> None:
    samples = model.sample(5, seed=0, trail=True)
    for i, item in enumerate(samples.items):
        sizes = [scale[i].num_nodes for scale in samples.trail]
        assert sizes == sorted(sizes) and sizes[-1] == item.num_nodes
        assert all(b <= 2 * a for a, b in itertools.pairwise(sizes))
        assert same(samples.trail[-1][i], item)
        for coarse, fine in itertools.pairwise(scale[i] for scale in samples.trail):
            assert fine.parent is not None and len(fine.parent) == fine.num_nodes
            assert fine.parent.unique().tolist() == list(range(coarse.num_nodes))
            above = {tuple(sorted(e)) for e in fine.parent[fine.edges].T.tolist() if e[0] != e[1]}
            assert above == {tuple(e) for e in coarse.edges.T.tolist()}


def test_greedy_and_min_p_reach_the_sampler(model: GraphModel) -> None:
    free = model.sample(6, seed=0).items
    narrow = model.sample(6, seed=0, sampler=SamplerConfig(min_p=0.9)).items
    assert not all(same(a, b) for a, b in zip(free, narrow, strict=True))
    with pytest.raises(RefineError, match="min_p"):
        model.sample(2, sampler=SamplerConfig(min_p=[0.1, 0.2]))


def test_odd_graphs_train_and_are_scored(model: GraphModel) -> None:
    graphs = [of(nx.empty_graph(1)), of(nx.empty_graph(4)), of(nx.star_graph(9)), of(nx.path_graph(2))]
    nats = model.log_prob(graphs)
    assert nats.shape[0] == 4 and bool((nats <= 1e-6).all()) and bool(nats.isfinite().all())
    assert float(nats[0].sum()) == 0.0  # one node is certain, given that it is one
    deep = model.log_prob([of(nx.path_graph(70))])
    assert deep.shape[1] == nats.shape[1] == model.num_levels and bool(deep.isfinite().all())


def test_killed_training_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """The same weights, bit by bit, with and without SIGKILL half-way."""
    steps = ["train.predictor.steps=12", "train.save_every=4", "train.val_every=6", "train.val_items=8"]
    small = ["model.width=16", "model.depth=1", "num=2", "strip=0", "trainer.accelerator=cpu"]
    scales = ["model.masses=true", "model.counts=true", "model.coarse_pyramids=2", "model.balance=0.5"]
    words = ["train", "domain=graph", "data=community_small", *steps, *small, *scales]
    whole, again = tmp_path / "whole", tmp_path / "again"
    command(*words, f"run={whole}")
    killed(train_and_die, 9, *words, f"run={again}")
    assert (again / "resume" / "predictor.safetensors").exists()
    assert (again / "model.safetensors").read_bytes() != (whole / "model.safetensors").read_bytes()
    command("train", f"run={again}")
    assert (whole / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (whole / "pictures" / "graphs.png").exists()


def command(*words: str) -> None:
    """The command line, which must succeed."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0


def train_and_die(step: int, *words: str) -> None:
    """The command, killed before the batch of a step."""
    from refine.learning.modules import StageModule

    before = StageModule.on_train_batch_start

    def dies(self: StageModule, *args: object) -> None:
        if self.global_step == step:
            die()
        before(self, *args)

    StageModule.on_train_batch_start = dies  # type: ignore[method-assign]
    command(*words)
