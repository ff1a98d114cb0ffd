"""The star head: one answer for each unordered pair of children, scored as it is sampled."""

from __future__ import annotations

import itertools

import torch
from graph_toys import generators, zoo
from toy import stir

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.network.examples import Scales
from refine.domains.graph.network.laws import StarLaws
from refine.domains.graph.network.star import OTHER, SAME, Seats, StarHead, along_links, relative
from refine.domains.graph.network.view import partial, star_pairs, view_partial
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import split, unknown
from refine.drawing.rounds import Rounds


def seats_of(lengths: list[int]) -> Seats:
    star = torch.repeat_interleave(torch.tensor(lengths))
    return Seats.of(star, torch.cat([torch.arange(n) for n in lengths]))


def test_swapping_the_children_does_not_change_the_codes_and_every_pair_has_one_name() -> None:
    for n in range(1, 5):
        rows = torch.tensor(list(itertools.product((1, 2, 3), repeat=n)))
        seats = seats_of([n] * len(rows))
        codes, none = relative(rows.flatten(), seats), torch.zeros(rows.numel(), dtype=torch.bool)
        possible = StarLaws(seats, none, none).along(seats, codes)[:, OTHER]
        swapped = torch.tensor([0, 2, 1, 3])[rows]
        again = relative(swapped.flatten(), seats)
        assert torch.equal(codes, again)
        names = {tuple(c) for c in codes.view(-1, n).tolist()}
        unordered = {min(tuple(r), tuple(s)) for r, s in zip(rows.tolist(), swapped.tolist(), strict=True)}
        assert len(names) == len(unordered)
        assert not bool(((codes == OTHER) & ~possible).any())
        earlier = [(SAME in row[:i]) for row in codes.view(-1, n).tolist() for i in range(n)]
        assert possible.tolist() == earlier


def test_scoring_at_once_equals_asking_one_by_one_and_looks_at_earlier_answers_only() -> None:
    torch.manual_seed(0)
    head = stir(StarHead(8, 16, 2), 0.5).double()
    lengths = [5, 1, 7, 2]
    seats, total = seats_of(lengths), sum(lengths)
    questions = torch.randn(total, 16, dtype=torch.float64)
    codes, apart = torch.randint(0, 3, (total,)), seats.star % 2 == 0
    pairs = (torch.tensor([0, 1, 6]), torch.tensor([1, 4, 9]), torch.tensor([0, 1, 2]))
    biases = head.biases(torch.randn(3, 8, dtype=torch.float64), pairs, seats)
    assert isinstance(head, StarHead)
    at_once = head(questions, apart, codes, biases, seats)
    reader = head.reader(questions, apart, biases, seats)
    for rank in range(max(lengths)):
        here = (seats.rank == rank).nonzero()[:, 0]
        torch.testing.assert_close(reader.ask(rank, here), at_once[here])
        reader.tell(rank, here, codes[here])
    changed = codes.clone()
    changed[2] = (codes[2] + 1) % 3
    difference = (head(questions, apart, changed, biases, seats) - at_once).abs().sum(1) > 1e-9
    assert difference.tolist() == [i in (3, 4) for i in range(total)]


def test_a_walk_along_links_asks_next_about_a_linked_neighbour() -> None:
    ring, path = 8, 5
    centre = torch.tensor([3] * ring + [9] * path)
    i = torch.tensor([*range(ring), *range(ring, ring + path - 1)])
    j = torch.tensor([*[(k + 1) % ring for k in range(ring)], *range(ring + 1, ring + path)])
    starts = set()
    for seed in range(20):
        uniform = torch.rand(ring + path, generator=torch.Generator().manual_seed(seed))
        index = along_links(centre, (i, j), uniform).index
        assert sorted(index[:ring].tolist()) == list(range(ring)) and sorted(index[ring:].tolist()) == list(range(path))
        near = {k: set() for k in range(ring + path)}
        for a, b in zip(i.tolist(), j.tolist(), strict=True):
            near[a].add(b), near[b].add(a)
        for k in range(ring + path):
            first = int(index[k]) == 0
            assert first or any(index[n] < index[k] for n in near[k])
        starts.add(int(index[:ring].argmin()))
    assert len(starts) > 4
    unlinked = along_links(centre, (i[:0], j[:0]), torch.rand(ring + path))
    assert sorted(unlinked.index[:ring].tolist()) == list(range(ring))


def test_answers_put_back_round_by_round_rebuild_the_codes() -> None:
    """Replaying the truth: colour by colour, from nothing but the node tokens, the exact graph comes out."""
    graphs = [g for g in zoo().values() if g.num_nodes > 1]
    for scale in build_pyramid(Graphs.of(graphs), generators(len(graphs))).scales:
        coarse, truth = scale.coarse, scale.codes
        rounds = Rounds(_colours(coarse, truth.token > 0))
        codes = unknown(coarse, truth.token)
        for turn in range(rounds.num):
            turns = torch.full((coarse.num,), turn)
            state = partial(coarse, codes, rounds.index, turns)
            told = partial(coarse, truth, rounds.index, turns)
            assert torch.equal(state.current.edges, told.current.edges)
            codes = state.stars.put(codes, told.stars.answers(truth))
            third = star_pairs(state, view_partial(state, coarse.sizes[:, None].expand(-1, 2)))[2]
            assert not bool(torch.isin(third, state.stars.edge).any())
        assert torch.equal(codes.pattern, truth.pattern)
        assert torch.equal(split(coarse, codes)[0].edges, split(coarse, truth)[0].edges)


def _colours(graphs: Graphs, splits: torch.Tensor) -> torch.Tensor:
    from refine.domains.graph.splitting.colour import colour

    return colour(graphs, splits, torch.rand(graphs.num_nodes, generator=torch.Generator().manual_seed(1)))


def test_scales_carry_the_sizes_between_which_they_grow() -> None:
    graphs = list(zoo().values())
    scales = Scales.of(graphs, generators(len(graphs)), GraphModelConfig())
    after, last = scales.goal.T
    assert bool((after > scales.coarse.sizes).all()) and bool((after <= last).all())
    largest = torch.zeros(len(graphs), dtype=torch.int64).scatter_reduce(0, scales.owner, after, "amax")
    assert largest.clamp_min(1).tolist() == [g.num_nodes for g in graphs]
