"""Everything that can happen when a small graph grows, code by code."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.sampling import ScaleScore
from refine.domains.graph.network.view import partial
from refine.domains.graph.splitting.counts import most_counts
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import LINKED, ONE, UNLINKED, Splits, split, unknown
from refine.noise import Noise


def all_codes(coarse: Graphs, size: int | None = None) -> Iterator[Splits]:
    """Every way in which one coarse graph can become one with ``size`` nodes, or any one with masses, children told
    apart."""
    for token in itertools.product((ONE, LINKED, UNLINKED), repeat=coarse.num_nodes):
        new = sum(t > 0 for t in token)
        if new != size - coarse.num_nodes if size is not None else new == 0:
            continue
        for light in all_lights(coarse, token):
            full = unknown(coarse, torch.tensor(token))
            options = [[b for b in range(1, 16) if b & ~int(most) == 0] for most in full.pattern]
            for pattern in itertools.product(*options):
                yield Splits(full.token, torch.tensor(pattern, dtype=torch.int64), light=light)


def all_lights(coarse: Graphs, token: tuple[int, ...]) -> Iterator[torch.Tensor | None]:
    """Every way to share masses out."""
    if coarse.mass is None:
        yield None
        return
    shares = [range(1, m // 2 + 1) if t else [0] for m, t in zip(coarse.mass.tolist(), token, strict=True)]
    yield from map(torch.tensor, itertools.product(*shares))


def all_counts(coarse: Graphs) -> Iterator[Graphs]:
    """Every way to count edges inside nodes and along edges."""
    nodes, edges = most_counts(coarse)
    for bins in itertools.product(*(range(int(m) + 1) for m in torch.cat([nodes, edges]))):
        inside, count = torch.tensor(bins, dtype=torch.int64).split([len(nodes), len(edges)])
        yield replace(coarse, inside=inside, count=count)


def all_paths(sizes: tuple[int, ...]) -> list[list[Splits]]:
    """Every sequence of codes along a schedule of sizes."""
    paths: list[tuple[Graphs, list[Splits]]] = [(Graphs.single_nodes(1), [])]
    for size in sizes[1:]:
        paths = [(split(g, c)[0], [*codes, c]) for g, codes in paths for c in all_codes(g, size)]
    return [codes for _, codes in paths]


def all_mass_paths(start: Graphs) -> list[list[Splits]]:
    """Every sequence of codes from one node to a graph whose masses are all 1; shorter ones wait first."""
    waiting: list[tuple[Graphs, list[Splits]]] = [(start, [])]
    done = []
    while waiting:
        coarse, codes = waiting.pop()
        assert coarse.mass is not None
        if bool((coarse.mass == 1).all()):
            done.append(codes)
            continue
        for counted in [coarse] if coarse.count is None else all_counts(coarse):
            for c in all_codes(counted):
                told = replace(c, count=counted.count, inside=counted.inside)
                waiting.append((split(counted, told)[0], [*codes, told]))
    none = torch.zeros(1, dtype=torch.int64)
    wait = Splits(none, none[:0], None if start.count is None else none[:0], start.inside, none)
    most = max(map(len, done))
    return [[wait] * (most - len(codes)) + codes for codes in done]


def all_states(start: Graphs) -> list[Graphs]:
    """Every graph on the way from one node to masses that are all 1, not counting those, in one numbering each."""
    waiting, found = [start], {}
    while waiting:
        coarse = waiting.pop()
        assert coarse.mass is not None
        name = min(map(named(coarse), itertools.permutations(range(coarse.num_nodes))))
        if name not in found and bool((coarse.mass > 1).any()):
            found[name] = coarse
            waiting += [split(coarse, codes)[0] for codes in all_codes(coarse)]
    return list(found.values())


def named(graphs: Graphs) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """What one graph with masses looks like, by how its nodes are called."""
    assert graphs.mass is not None
    masses, edges = graphs.mass.tolist(), graphs.edges.T.tolist()

    def name(order: tuple[int, ...]) -> tuple[int, ...]:
        moved = sorted(tuple(sorted((order[u], order[v]))) for u, v in edges)
        return (*(masses[order.index(i)] for i in range(len(order))), *itertools.chain(*moved))

    return name


def side_by_side(paths: list[list[Splits]]) -> list[Splits]:
    return [Splits.side_by_side(scale) for scale in zip(*paths, strict=True)]


def log_names(model: GraphModel, paths: list[list[Splits]], noise: Noise, start: Graphs | None = None) -> torch.Tensor:
    """(paths,) log of how many of them are one event: the children of a node are told apart by their masses, else by
    the first answer of its star that is not "both", which may name either. Paths begin with one node each, or with the
    graphs ``start``."""
    doubled = torch.zeros(len(paths), dtype=torch.int64)
    scales, masses = side_by_side(paths), model.config.masses
    idle = [sum(c.token.tolist() == [ONE] for c in codes) for codes in paths]
    graphs = start or Graphs.single_nodes(len(paths))
    if masses and start is None:
        last = [len(codes[-1].token) + int((codes[-1].token > 0).sum()) for codes in paths]
        graphs = replace(graphs, mass=torch.tensor(last))
    for k, codes in enumerate(scales):
        key = [max(0, 1 + k - i) for i in idle] if masses else len(scales) - k
        rounds = ScaleScore(model.predictor, noise, key).colours(graphs, codes.token)
        for turn in range(rounds.num):
            state = partial(graphs, codes, rounds.index, torch.full((graphs.num,), turn))
            named = state.stars.answers(codes) != 3
            if state.told is not None:
                named &= ~state.told
            doubled += torch.bincount(state.current.graph[state.stars.centre[named].unique()], minlength=len(paths))
        graphs, _ = split(graphs, codes)
    return doubled * math.log(2.0)
