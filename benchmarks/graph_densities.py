"""Whether a model of stochastic block models splits blocks well: densities of one scale, drawn against true.

    python benchmarks/graph_densities.py RUN [RUN ...] [--graphs 16] [--draws 4] [--told]

New graphs of the published recipe, whose blocks are known, are taken apart as the model does it. Every scale is then
drawn given the true coarse graph. Coarse nodes that lie in one block are pure, and so are all that become of them;
the rows are by scale the shares of pairs of such finer nodes that are linked, within a block and between blocks, and
how much of the graph lies in nodes that are not pure. Samples are drawn from the model's law as it is, without
truncation. Where a model draws counts, these say anew which nodes belong together, so the blocks of a good draw need
not be the true ones; with ``--told`` true counts are given too. Writes ``results/graph_densities.json``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

from refine.codes.laws import ScaleSampler
from refine.domains.graph import Graph
from refine.domains.graph.model import GraphModel
from refine.domains.graph.network.sampling import ScaleDraw
from refine.domains.graph.splitting.backward import Splitting
from refine.domains.graph.splitting.pairing import build_pyramid
from refine.domains.graph.splitting.sparse import Graphs
from refine.domains.graph.splitting.splits import Splits, split
from refine.noise import Noise


def recipe(seed: int) -> tuple[Graph, Tensor]:
    """A graph of 2 to 5 blocks of 20 to 40 nodes, linked with .3 inside, .005 outside, and each node's block."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 41, size=int(rng.integers(2, 6))).tolist()
    p = np.full((len(sizes), len(sizes)), 0.005) + 0.295 * np.eye(len(sizes))
    graph = nx.stochastic_block_model(sizes, p, seed=seed)
    return Graph.of(len(graph), list(graph.edges)), torch.repeat_interleave(torch.tensor(sizes))


def purity(block: Tensor, above: Tensor) -> Tensor:
    """The block of each coarse node, -1 where there are several; ``above`` is the coarse node of each finest one."""
    n = int(above.max()) + 1
    low = torch.full((n,), 1000).scatter_reduce(0, above, block, "amin")
    high = torch.full((n,), -1).scatter_reduce(0, above, block, "amax")
    return torch.where(low == high, low, -1)


def densities(coarse: Graphs, codes: Splits, block: Tensor) -> list[float]:
    """Linked pairs and pairs of children of pure nodes: both within a block, both between blocks."""
    fine, parent = split(coarse, codes)
    own = block[parent]
    pure, owner = own >= 0, fine.graph
    linked = fine.edges[:, pure[fine.edges].all(0)]
    same = own[linked[0]] == own[linked[1]]
    out = [float(same.sum()), 0.0, float((~same).sum()), 0.0]
    for g in range(fine.num):
        here = own[pure & (owner == g)]
        sizes = torch.bincount(here, minlength=1)
        within = float((sizes * (sizes - 1) // 2).sum())
        out[1] += within
        out[3] += len(here) * (len(here) - 1) / 2 - within
    return out


class Told(ScaleDraw):
    """Does not draw counts: those of ``codes`` are given."""

    codes: Splits

    def counted(self, coarse: Graphs, grows: Tensor) -> Graphs:
        return replace(coarse, count=self.codes.count, inside=self.codes.inside)


@torch.inference_mode()
def measure(model: GraphModel, graphs: int, draws: int, told: bool = False) -> list[dict[str, Any]]:
    """A row for every scale, coarsest first."""
    made, blocks = zip(*(recipe(seed) for seed in range(graphs)), strict=True)
    config = model.config
    rngs = [np.random.default_rng([7, i]) for i in range(graphs)]
    options = config.counts, config.masses, config.pairing == "blocks"
    pyramid = build_pyramid(Graphs.of(made), rngs, *options)
    block = torch.cat(blocks)[pyramid.order]
    codes = [scale.codes for scale in pyramid.scales]
    goals, rows = Splitting.along(codes, graphs, torch.device("cpu")).sizes, []
    above, table = torch.arange(len(block)), []
    for scale in reversed(pyramid.scales):
        above = split(scale.coarse, scale.codes)[1][above]
        table.append(purity(block, above))
        mixed = float((table[-1][above] < 0).float().mean())
        rows.append({"coarse": scale.coarse.num_nodes / graphs, "mixed": mixed})
    for k, (scale, row, own) in enumerate(zip(pyramid.scales, rows[::-1], table[::-1], strict=True)):
        grows = goals[:, k + 1] > goals[:, k]
        part, nodes, edges = scale.coarse.take(grows)
        goal, drawn = goals[grows][:, [k + 1, -1]], torch.zeros(4)
        key = k + 1 if config.masses else len(codes) - k
        for draw in range(draws):
            kind, noise = Told if told else ScaleDraw, Noise(draw, range(part.num))
            chosen = kind(model._informed, noise, key, ScaleSampler(), config.label_rounds)
            chosen.codes = scale.codes[nodes, edges]  # type: ignore[union-attr]
            drawn += torch.tensor(densities(part, chosen(part, goal), own[nodes]))
        true = torch.tensor(densities(part, scale.codes[nodes, edges], own[nodes]))
        for name, x in (("drawn", drawn), ("true", true)):
            row |= {f"within_{name}": float(x[0] / x[1]), f"between_{name}": float(x[2] / x[3])}
    return rows[::-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--graphs", type=int, default=16)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--told", action="store_true", help="true counts are given, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    out = {}
    for run in arguments.runs:
        model = GraphModel.from_pretrained(run)
        out[run.name] = rows = measure(model, arguments.graphs, arguments.draws, arguments.told)
        shown = Table(*rows[-1], title=run.name)
        for row in rows:
            shown.add_row(*(f"{v:.4f}" for v in row.values()))
        Console(width=140).print(shown)
    (RESULTS / "graph_densities.json").write_text(json.dumps({"runs": out, "machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
