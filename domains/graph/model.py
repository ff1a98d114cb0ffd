"""The model of graphs: a lossless pyramid of pairs, and a predictor of its codes, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.codes.laws import ScaleSampler
from refine.domains.graph.config import MOST_NODES, GraphModelConfig
from refine.domains.graph.graphs.data import GraphData
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.network.examples import Examples, Scales, ordered_labels
from refine.domains.graph.network.guided import Told
from refine.domains.graph.network.items import PyramidItems
from refine.domains.graph.network.labels import GivenLabels, Labels
from refine.domains.graph.network.losses import ScaleLosses
from refine.domains.graph.network.predictor import GraphPredictor
from refine.domains.graph.network.sampling import SIZES, ScaleDraw, ScaleScore
from refine.domains.graph.splitting.backward import Sharing, Splitting, descend
from refine.domains.graph.splitting.conditions import Standard, told_of, withheld
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sizes import SizeLaw
from refine.domains.graph.splitting.skeleton import Kept, Skeleton
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits
from refine.drawing.sampler import build_sampler
from refine.errors import require
from refine.items import Items, spread
from refine.models.inference import inference
from refine.models.model import Model
from refine.noise import Noise
from refine.scales.walk import walk
from refine.settings.config import SamplerConfig, TrainConfig
from refine.types import Condition, Samples

COUNTED = 1000  # graphs whose pyramids say how sizes shrink
EPOCHS = 2**20  # training items, of which each is a graph with a pyramid of its own


class GraphModel(Model):
    """Generates graphs by splitting nodes, coarse to fine."""

    domain: GraphData
    config: GraphModelConfig

    def __init__(self, domain: GraphData, config: GraphModelConfig) -> None:
        super().__init__(domain, config)
        good = config.width > 0 and config.heads > 0 and config.width % config.heads == 0
        require(good, f"model.width={config.width} must be a multiple of model.heads={config.heads}")
        self.predictor = GraphPredictor(config, *domain.label_counts, domain.condition)

    # -- sizes -------------------------------------------------------------------------------------------------------

    @property
    def sizes(self) -> SizeLaw:
        """How large graphs are, and how they grow; counted on the training set once, then part of the checkpoint."""
        if "sizes" not in self.info:
            graphs = self.domain.dataset("train")
            chosen = np.linspace(0, len(graphs) - 1, min(COUNTED, len(graphs))).astype(int)
            schedules = []
            for start in range(0, len(chosen), 64):
                part = chosen[start : start + 64]
                rngs = [np.random.default_rng([0, int(i)]) for i in part]
                scales = Scales.of([graphs[i] for i in part], rngs, replace(self.config, counts=False, masses=False))
                table: list[list[int]] = [[] for _ in part]
                order = zip(scales.owner.tolist(), scales.coarse.sizes.tolist(), strict=True)
                for owner, size in order:
                    table[owner].append(size)
                schedules += [[*t, graphs[i].num_nodes] for t, i in zip(table, part, strict=True)]
            self.info["sizes"] = SizeLaw.count(schedules).to_info()
        return SizeLaw.from_info(self.info["sizes"])

    @property
    def num_levels(self) -> int:
        """Scales of the deepest training pyramid, and one for kinds where there are some."""
        return self.sizes.scales + any(self.domain.label_counts)

    @property
    def _informed(self) -> GraphPredictor:
        """The predictor, which is told whether graphs of this model may fall apart."""
        self.predictor.connected = bool(self.info.get("connected", False))  # unknown of older checkpoints
        return self.predictor

    # -- conditions --------------------------------------------------------------------------------------------------

    @property
    def conditional(self) -> bool:
        """Whether graphs have labels or vectors."""
        return self.predictor.condition is not None

    @property
    def standard(self) -> Standard:
        """What labels and vectors were like; counted on the training set once, then part of the checkpoint."""
        if "conditions" not in self.info:
            self.info["conditions"] = Standard.of(self.domain.dataset("train")).to_info()
        return Standard.from_info(self.info["conditions"])

    def told(self, condition: Condition, num: int, drop: Tensor | None = None) -> Tensor | None:
        """(num, D) what the network is told; None of a model without conditions. ``drop`` (num, 3): of whom not."""
        if not self.conditional:
            return None
        return self.predictor.told(self.standard(condition.to(self.device)), num, drop)

    def _guided(self, condition: Condition, num: int, settings: Sequence[ScaleSampler]) -> Told:
        """What passes are told, and what they are not where guidance asks for that."""
        about = {name for s in settings if s.guidance != 1 for name in s.guided}
        about = {name for name in about if getattr(condition, name) is not None}
        without = self.told(withheld(condition, about), num) if about else None
        return Told(self.told(condition, num), without)

    # -- training ----------------------------------------------------------------------------------------------------

    def training_items(self, split: str, seed: int) -> Items:
        graphs = self.domain.dataset(split)
        assert self.sizes  # counted now, before anything is published
        assert not self.conditional or self.standard
        if "connected" not in self.info:
            self.info["connected"] = self.domain.dataset("train").all_connected
        times = max(1, EPOCHS // len(graphs)) if split == "train" else 8
        again = self.config.coarse_pyramids - 1 if split == "train" else 0
        return PyramidItems(graphs, times, seed, self.config, self.sizes.scales, again)

    def training_loss(self, batch: dict[str, Any], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        x: Examples = batch["examples"]
        told, predictor = None, self._informed
        if predictor.condition is not None:
            drop = predictor.condition.withheld(x.pyramids, self.config.condition_dropout) if self.training else None
            told = self.told(Condition.from_batch(batch), x.pyramids, drop)
        tokens, answers, kinds = predictor.log_prob(x, told)
        loss = -(tokens.sum() + answers.sum()) / max(1, len(x.nodes) + len(answers))
        figures = {"nll": loss, "tokens": -tokens.sum() / max(1, len(x.nodes)), "stars": -answers.mean()}
        if len(kinds):
            loss = loss - kinds.mean()
            figures |= {"nll": loss, "kinds": -kinds.mean()}
        balance, weights = self.config.balance, settings.scale_weights
        if not self.training or balance or weights is not None:
            table = ScaleLosses.of(x, (tokens, answers, kinds), max(1, self.num_levels))
            if self.training:
                loss = table.balanced(balance, weights)
            else:
                figures |= table.figures()
        return loss, {name: value.detach() for name, value in figures.items()}

    # -- likelihood --------------------------------------------------------------------------------------------------

    @inference
    def log_prob(self, graphs: Sequence[Graph], seed: int = 0, condition: Condition | None = None) -> Tensor:
        """(B, K) nats of the codes of each graph by scale, exact for one random pyramid and order of rounds.

        Their sum is log p(pyramid | sizes), a lower bound on the log-probability of the graph (up to isomorphism) given
        its sizes; the mean over seeds is the usual variational bound without the entropy of the pyramids. Where there
        are labels and vectors it is given ``condition``; None: given those that the graphs carry, if all do.
        """
        rngs = [np.random.default_rng([seed, i]) for i in range(len(graphs))]
        config = self.config
        pyramid = build_pyramid(Graphs.of(graphs), rngs, config.counts, config.masses, config.pairing == "blocks")
        labels = Labels(*ordered_labels(graphs, pyramid)).to(self.device)
        codes = [s.codes.to(self.device) for s in pyramid.scales]
        condition = self.domain.condition.only(told_of(graphs)) if condition is None else condition
        self.domain.condition.check(condition, len(graphs))
        return self.code_log_prob(codes, labels, Noise(seed, range(len(graphs))), condition)

    def code_log_prob(
        self, codes: Sequence[Splits], labels: Labels, noise: Noise, condition: Condition | None = None
    ) -> Tensor:
        """(B, K) nats of given codes, scale by scale; rounds come in the order that ``noise`` decides."""
        batch = len(noise.index)
        told, rounds = Told(self.told(condition or Condition(), batch)), self.config.label_rounds
        nats: list[Tensor] = []
        splitting = Splitting.along(codes, batch, self.device)
        idle = (splitting.sizes == 1).sum(1) - 1  # scales in which a graph waits for deeper ones

        def choose(k: int, level: Graphs, goal: Tensor, state: Graphs) -> Splits:
            key = [max(0, 1 + k - i) for i in idle.tolist()] if self.config.masses else len(codes) - k
            nats.append(ScaleScore(self._informed, noise, key, rounds, told)(level, goal, codes[k]))
            return codes[k]

        graphs = self._start(splitting.sizes[:, -1])
        for step in walk(splitting, splitting, graphs, choose):
            graphs = step.state
        most = self.sizes.scales
        if len(nats) < most:
            nats = [torch.zeros(batch, device=self.device)] * (most - len(nats)) + nats
        else:  # deeper than in training: the first scales count as one
            nats = [torch.stack(nats[: len(nats) - most + 1]).sum(0), *nats[len(nats) - most + 1 :]]
        if any(self.domain.label_counts):
            score = ScaleScore(self._informed, noise, 0, rounds, told)
            nats.append(score.labels(graphs, labels))
        return torch.stack(nats, 1)

    def _start(self, last: Tensor) -> Graphs:
        """One node for each graph, which is to have ``last`` (B,) of them."""
        graphs = Graphs.single_nodes(len(last), self.device)
        if self.conditional:
            graphs = replace(graphs, item=graphs.graph)
        if self.config.counts:
            graphs = replace(graphs, count=graphs.edges[0])
        if not self.config.masses:
            return graphs
        nothing = torch.full_like(last, -1) if self.config.counts else None
        return replace(graphs, mass=last, inside=nothing)

    # -- sampling ----------------------------------------------------------------------------------------------------

    @inference
    def sample(
        self,
        num: int,
        condition: Condition | None = None,
        seed: int = 0,
        first: int = 0,
        sampler: SamplerConfig | None = None,
        trail: bool = False,
        given: Graph | None = None,
    ) -> Samples:
        """Draw graphs; ``condition.size`` says how many nodes each has, else sizes are drawn as in training, of graphs
        that are like what labels and vectors ask for. Vectors are in the units of the data.

        The items are :class:`Graph`. The trail has one node each, then the graphs as they stood after every scale,
        with the parents of their nodes; the last are the items.

        With ``given``, that graph is a part of all of them: its nodes are their first ones, in its order, with its
        kinds, and there are no other edges between these than its own. The rest is drawn by the model's steps, each of
        them given what the part decides in it; so this is not the model's own law of graphs that have such a part
        (docs/graph.md). Then there is no trail.

        Raises:
            RefineError: what is asked for is not accepted, or a part that is larger than a graph, of other kinds, or
                given to a model with masses.
        """
        require(num > 0, f"num={num} is not accepted; accepted: 1 or more")
        condition = condition or Condition()
        self.domain.condition.check(condition, num)
        noise, sampler = Noise(seed, range(first, first + num)), sampler or SamplerConfig()
        only = f"sampler.strategies={list(sampler.strategies)} is not accepted: strategies draw latents, not graphs"
        require(not sampler.strategies, f"{only}; accepted here: []")
        law, settings = self.sizes, build_sampler(sampler, self.num_levels)
        uniforms = noise.uniform(0, (64,), stream=SIZES).tolist()
        last = self._sizes_for(condition, [u[0] for u in uniforms])
        skeleton = None if given is None else self._skeleton(given, noise)
        if given is not None and condition.size is None:
            last = [max(n, given.num_nodes) for n in last]
        told = self._guided(condition, num, settings)
        least = 1 if given is None else given.num_nodes
        wrong = next((n for n in last if not least <= n <= MOST_NODES), None)
        require(wrong is None, f"size={wrong} is not accepted; accepted: {least} to {MOST_NODES} nodes")
        masses, rounds = self.config.masses, self.config.label_rounds
        if masses:
            splitting: Splitting = Sharing(last, self.device)
        else:
            schedules = [law.schedule(n, u[1:]) for n, u in zip(last, uniforms, strict=True)]
            if skeleton is not None:
                schedules = [skeleton.schedule(i, sizes) for i, sizes in enumerate(schedules)]
            splitting = Splitting.to(schedules, self.device)
        depth = splitting.num_levels
        tokens, bearer = list[Tensor](), torch.arange(num, device=self.device)

        def choose(k: int, level: Graphs, goal: Tensor, state: Graphs) -> Splits:
            nonlocal bearer
            # the last is the finest, as in training; of masses nobody knows how many scales they will take
            place = min(k, law.scales - 1) if masses else max(0, law.scales - depth + k)
            key = k + 1 if masses else depth - k
            kept = None if skeleton is None else Kept(bearer, skeleton.scale(k, depth))
            codes = ScaleDraw(self._informed, noise, key, settings[place], rounds, told, kept)(level, goal)
            bearer = bearer if kept is None else kept.after(codes.token)
            tokens.append(codes.token)
            return codes

        graphs = self._start(torch.tensor(last, device=self.device))
        stages = [(graphs, torch.arange(num, device=self.device))]
        for step in walk(splitting, splitting, graphs, choose):
            graphs = step.state
            stages.append((graphs, torch.repeat_interleave(1 + (tokens.pop() > 0))))
            if masses and bool((graphs.mass == 1).all()):
                break
        stages = stages[:1] * max(0, law.scales + 1 - len(stages)) + stages
        labels = Labels(None, None)
        if any(self.domain.label_counts):
            known = None if skeleton is None else GivenLabels.of(graphs, skeleton.node(bearer), skeleton.given)
            labels = ScaleDraw(self._informed, noise, 0, settings[-1], rounds, told).labels(graphs, given=known)
        items = labels.put(graphs)
        if skeleton is not None:
            return Samples(skeleton.first(items, bearer), [], condition, [])
        trails = [descend(*stage) for stage in stages] if trail else []
        if trail and labels != Labels(None, None):
            trails.append([replace(item, parent=torch.arange(item.num_nodes)) for item in items])
        return Samples(items, [], condition, trails)

    def _skeleton(self, given: Graph, noise: Noise) -> Skeleton:
        """A part of each sample, taken apart."""
        require(not self.config.masses, "a given part needs a model without masses (model.masses=false)")
        found = given.node_label is not None, given.edge_label is not None or not given.num_edges
        for what, count, there in zip(("nodes", "edges"), self.domain.label_counts, found, strict=True):
            require(there or not count, f"the given graph has no kinds of {what}, and graphs of this model have some")
        node, edge = given.node_label, given.edge_label
        edge = torch.zeros(0, dtype=torch.int64) if edge is None else edge
        nodes, edges = self.domain.label_counts  # kinds that the model does not have are left out
        given = replace(given, node_label=node if nodes else None, edge_label=edge if edges else None)
        rngs = [np.random.default_rng([noise.seed, int(i), 1]) for i in noise.index]
        return Skeleton(given, rngs, self.device, self.config.pairing == "blocks")

    def _sizes_for(self, condition: Condition, uniforms: Sequence[float]) -> list[int]:
        """Nodes of each sample: what is asked for, or drawn."""
        if condition.size is not None:
            return [int(n) for n in condition.size]
        if condition.label is None and condition.vector is None:
            return [self.sizes.draw(u) for u in uniforms]
        return [self.standard.draw_size(condition, i, u) for i, u in enumerate(uniforms)]

    def asked(self, items: Items, num: int) -> tuple[int, Condition]:
        """Of a model with labels or vectors one sample for those of each of up to ``num`` items."""
        if not self.conditional:
            return super().asked(items, num)
        some = spread(items, num)
        asked = [told_of([some[i]]) for i in range(len(some))]  # type: ignore[arg-type]
        return len(asked), self.domain.condition.only(Condition.join(asked))

    def score(self, items: Items, samples: Samples, batch_size: int) -> dict[str, Any]:
        """Bounds on the likelihood of held-out graphs."""
        graphs = [items[i] for i in range(len(items))]  # type: ignore[arg-type]
        parts = [self.log_prob(graphs[i : i + batch_size]) for i in range(0, len(graphs), batch_size)]
        nats, edges = torch.cat(parts).cpu().double(), sum(g.num_edges for g in graphs)
        bits = -nats / torch.log(torch.tensor(2.0))
        return {
            "items": len(graphs),
            "bits_per_graph": float(bits.sum(1).mean()),
            "bits_per_edge": float(bits.sum() / max(1, edges)),
            "bits_by_scale": bits.mean(0).tolist(),
        }
