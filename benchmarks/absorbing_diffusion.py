"""The matched control of the planar results: discrete diffusion with the same network, data and training time.

    python benchmarks/absorbing_diffusion.py RUN --minutes 60 [--transition absorbing|marginal]
        [--steps 50] [--samples 128] [--seeds 3] [--min-p 0]

Trains in the folder RUN for that many minutes of process CPU time on one thread, on the 128 official planar training
graphs (a killed run goes on from its checkpoint, written every minute), then draws samples and adds rows to
``results/absorbing_diffusion.json``. A finished training is not repeated: call again for other numbers of steps.

The network is the :class:`~refine.domains.graph.network.network.GraphNetwork` of ``configs/experiment/planar.yaml``
(width, depth, triangle channels), its edges are all pairs of nodes, and each pair is "no edge", "edge" or, while it is
unknown, "masked". Invariants (walks, degree, common neighbours) are those of our predictor, of the graph of known
edges, for all pairs; triangles have at least two known edges, so that the update also tells a masked pair of its common
neighbours, at a cost that stays linear in wedges. Optimiser, schedule and moving average are those of the engine.

* ``absorbing`` masks every pair with probability t (linear). The bound of this process weighs the cross-entropy of the
  masked pairs by 1/t. If their number is drawn uniformly instead, the mean over them is the same bound (ARDM, arXiv
  2110.02037) with less variance: this is what is trained on. Sampling reveals each masked pair with probability 1/i in
  step i of T, ..., 1.
* ``marginal`` is DiGress's (arXiv 2209.14734): pairs are redrawn from the share of edges in the training set, by its
  cosine schedule; trained on the plain cross-entropy of all pairs, sampled from the posterior averaged over x_0.
  It is nearest to DiGress; ``absorbing`` is the fairer opponent (masks tell what is noise, as rounds do in ours).

Bits per graph are the bound on test graphs (absorbing only) less log2 n!, for graphs up to isomorphism as ours are.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.laws import ScaleSampler
from refine.domains.graph.graphs.benchmarks import read_benchmark
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.metrics import graph_metrics
from refine.domains.graph.network.network import GRAPH_FEATURES, REACH, GraphNetwork, View
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.engine import ema

WIDTH, DEPTH, TRIANGLE = 64, 6, 16  # configs/experiment/planar.yaml
BATCH, LR, DECAY, WARMUP = 8, 2e-3, 0.01, 0.02  # half its batch, as steps are far dearer; warm-up is a share
MASKED = 2


class PairNetwork(nn.Module):
    """Log-odds of "edge" for all pairs of nodes of graphs of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.network = GraphNetwork(WIDTH, DEPTH, TRIANGLE, [], [3])
        self.edge = nn.Linear(WIDTH, 1)

    def forward(self, x_BP: Tensor, noise_B: Tensor, n: int) -> Tensor:
        """(B, P) from pairs in the order of ``torch.triu_indices``; ``noise_B`` in [0, 1] says how noisy they are."""
        _, e = self.network(view_pairs(x_BP, noise_B, n))
        odds: Tensor = self.edge(e).view(x_BP.shape)
        return odds


def view_pairs(x_BP: Tensor, noise_B: Tensor, n: int) -> View:
    """All pairs as edges of one view, with the invariants of :mod:`refine.domains.graph.network.view`."""
    batch, (u, v) = len(x_BP), torch.triu_indices(n, n, 1)
    known = torch.zeros(batch, n, n)
    known[:, u, v] = known[:, v, u] = (x_BP == 1).float()
    degree = known.sum(-1)
    scale = degree.clamp_min(1).rsqrt()
    walk = power = scale[:, :, None] * known * scale[:, None]
    nodes, edges = [], [n * walk[:, u, v]]
    for _ in range(2 * REACH - 1):
        power = power @ walk
        nodes.append(n * power.diagonal(dim1=1, dim2=2))
        edges.append(n * power[:, u, v])
    nodes.append(degree)
    edges.append((known @ known)[:, u, v])
    size = torch.stack([torch.full((batch,), math.log2(n)), known.sum((1, 2)).log1p(), 8 * noise_B], 1) / 8
    offset = n * torch.arange(batch)[:, None]
    return View(
        graph=torch.arange(batch).repeat_interleave(n),
        edges=torch.stack([(u + offset).flatten(), (v + offset).flatten()]),
        triangles=known_triangles(known.bool(), u, v),
        node=torch.stack(nodes, -1).flatten(0, 1).log1p(),
        edge=torch.stack(edges, -1).flatten(0, 1).log1p(),
        node_kind=torch.zeros(batch * n, 0, dtype=torch.int64),
        edge_kind=x_BP.reshape(-1, 1),
        size=F.pad(size, (0, GRAPH_FEATURES - size.shape[1])),
        num=batch,
    )


def known_triangles(known: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """(3, T): places among all pairs of the sides of triangles with two or three known edges, each triangle once."""
    n, count = known.shape[1], len(u)
    place = torch.zeros(n, n, dtype=torch.int64)
    place[u, v] = place[v, u] = torch.arange(count)
    b, centre, end = known.nonzero().T
    row = b * n + centre
    later = torch.bincount(row, minlength=known.shape[0] * n).cumsum(0)[row] - 1 - torch.arange(len(row))
    first = torch.repeat_interleave(later)
    second = first + 1 + torch.arange(len(first)) - (later.cumsum(0) - later)[first]
    b, w, one, two = b[first], centre[first], end[first], end[second]
    once = (w < one) | ~known[b, one, two]  # of three wedges of known edges, that at the first node
    sides: Tensor = torch.stack([place[w, one], place[w, two], place[one, two]]) + b * count
    return sides[:, once]


class Absorbing:
    """Masks; ``noise`` is the share of masked pairs."""

    def corrupt(self, x_BP: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy pairs, their noise (B,), and weights (B, P) of the cross-entropy, which sum to one for each graph."""
        batch, count = x_BP.shape
        spread = (torch.arange(batch) + torch.rand(batch, generator=rng)) / batch  # one in each part: less variance
        masked_B = (spread * count).long() + 1
        rank = torch.rand(batch, count, generator=rng).argsort(1).argsort(1)
        masked = rank < masked_B[:, None]
        return x_BP.masked_fill(masked, MASKED), masked_B / count, masked / masked_B[:, None]

    def begin(self, shape: tuple[int, int], rng: torch.Generator) -> Tensor:
        return torch.full(shape, MASKED)

    def noise(self, x_BP: Tensor, t: float) -> Tensor:
        return (x_BP == MASKED).float().mean(1)

    def step(self, x_BP: Tensor, odds: Tensor, i: int, steps: int, min_p: float, rng: torch.Generator) -> Tensor:
        """From time i / steps to (i - 1) / steps."""
        uniform, when = torch.rand(2, *x_BP.shape, generator=rng)
        logits = torch.stack([torch.zeros_like(odds), odds], -1)
        drawn = ScaleSampler(min_p=min_p).draw(logits, uniform)
        return torch.where((x_BP == MASKED) & (when * i < 1), drawn, x_BP)


class Marginal:
    """Redraws from the share of edges; ``noise`` is the share of pairs that were redrawn."""

    def __init__(self, density: float) -> None:
        self.share = torch.tensor([1 - density, density])

    @staticmethod
    def kept(t: float | Tensor) -> Tensor:
        """The share of pairs that are as they were, at time t: DiGress's cosine."""
        return torch.cos(math.pi / 2 * (torch.as_tensor(t) + 0.008) / 1.008) ** 2

    def corrupt(self, x_BP: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        batch, count = x_BP.shape
        kept = self.kept((torch.arange(batch) + torch.rand(batch, generator=rng)) / batch)
        redrawn = torch.rand(batch, count, generator=rng) >= kept[:, None]
        return torch.where(redrawn, self.begin((batch, count), rng), x_BP), 1 - kept, torch.full_like(x_BP, 1.0 / count)

    def begin(self, shape: tuple[int, int], rng: torch.Generator) -> Tensor:
        return (torch.rand(shape, generator=rng) < self.share[1]).long()

    def noise(self, x_BP: Tensor, t: float) -> Tensor:
        return (1 - self.kept(t)).expand(len(x_BP))

    def step(self, x_BP: Tensor, odds: Tensor, i: int, steps: int, min_p: float, rng: torch.Generator) -> Tensor:
        before, now = self.kept((i - 1) / steps), self.kept(i / steps)
        ratio = now / before
        eye = torch.eye(2)
        to_now = ratio * eye + (1 - ratio) * self.share  # [x_s, x_t]
        to_before = before * eye + (1 - before) * self.share  # [x_0, x_s]
        joint = to_before[:, :, None] * to_now  # [x_0, x_s, x_t]
        posterior = (joint / joint.sum(1, keepdim=True))[:, 1]  # p(x_s = 1 | x_0, x_t)
        p = torch.sigmoid(odds)
        p_edge = (1 - p) * posterior[0][x_BP] + p * posterior[1][x_BP]
        return (torch.rand(x_BP.shape, generator=rng) < p_edge).long()


def pairs_of(graphs: list[Graph]) -> Tensor:
    """(B, P) 0 or 1, of graphs of one size."""
    n = graphs[0].num_nodes
    table = torch.zeros(len(graphs), n, n, dtype=torch.int64)
    for row, g in zip(table, graphs, strict=True):
        row[tuple(g.edges)] = 1
    return table[:, *torch.triu_indices(n, n, 1)]


def train(path: Path, x_GP: Tensor, n: int, process: Absorbing | Marginal, minutes: float) -> dict[str, Any]:
    """The state of a finished training, from its checkpoint where there is one."""
    torch.manual_seed(0)
    net, average, rng = PairNetwork(), PairNetwork(), torch.Generator().manual_seed(0)
    average.load_state_dict(net.state_dict())
    groups = [[p for p in net.parameters() if (p.dim() >= 2) == matrix] for matrix in (True, False)]
    decays = [{"params": g, "weight_decay": d} for g, d in zip(groups, (DECAY, 0.0), strict=True)]
    optimizer = torch.optim.AdamW(decays, lr=LR, betas=(0.9, 0.99))
    state: dict[str, Any] = {"seconds": 0.0, "step": 0, "log": []}
    if path.exists():
        state = SafetensorsIO().load_checkpoint(path)
        for part, key in ((net, "net"), (average, "average"), (optimizer, "optimizer")):
            part.load_state_dict(state[key])
        rng.set_state(state["rng"])
    start, last, losses = time.process_time() - state["seconds"], time.monotonic(), []
    while (seconds := time.process_time() - start) < 60 * minutes:
        done = seconds / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1, done / WARMUP) * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        x = x_GP[torch.randint(len(x_GP), (BATCH,), generator=rng)]
        seen, noise, weight = process.corrupt(x, rng)
        loss = (cross_entropy(net(seen, noise, n), x) * weight).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        state["step"] += 1
        with torch.no_grad():
            for a, p in zip(average.parameters(), net.parameters(), strict=True):
                a.copy_(ema(0.999, 0, a, p, state["step"]))
        losses.append(loss.item())
        if time.monotonic() - last > 60 or time.process_time() - start >= 60 * minutes:
            state["log"].append([state["step"], round(seconds), sum(losses) / len(losses)])
            print("step {}, {} CPU s, nats a pair {:.5f}".format(*state["log"][-1]), flush=True)
            state |= {"net": net.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"rng": rng.get_state(), "seconds": time.process_time() - start}
            SafetensorsIO().save_checkpoint(state, path)
            last, losses = time.monotonic(), []
    return state


@torch.no_grad()
def bits(net: PairNetwork, x_GP: Tensor, n: int, process: Absorbing, draws: int = 16) -> float:
    """Bits per graph of the bound, up to isomorphism; the numbers of masked pairs are spread over the draws."""
    rng, nats = torch.Generator().manual_seed(0), 0.0
    for x in x_GP[:, None].expand(-1, draws, -1):
        seen, noise, weight = process.corrupt(x, rng)
        nats += float((cross_entropy(net(seen, noise, n), x) * weight).sum(1).mean()) * x.shape[1] / len(x_GP)
    return (nats - math.lgamma(n + 1)) / math.log(2)


def cross_entropy(odds: Tensor, x_BP: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(odds, x_BP.float(), reduction="none")


@torch.no_grad()
def sample(
    net: PairNetwork, process: Absorbing | Marginal, n: int, num: int, steps: int, min_p: float, seed: int
) -> tuple[list[Graph], float]:
    """Graphs, and the CPU seconds that each took."""
    rng, graphs, start = torch.Generator().manual_seed(seed), [], time.process_time()
    u, v = torch.triu_indices(n, n, 1)
    for first in range(0, num, 32):
        x = process.begin((min(32, num - first), len(u)), rng)
        for i in range(steps, 0, -1):
            x = process.step(x, net(x, process.noise(x, i / steps), n), i, steps, min_p, rng)
        graphs += [Graph(n, torch.stack([u, v])[:, row == 1]) for row in x]
    return graphs, (time.process_time() - start) / num


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--transition", choices=["absorbing", "marginal"], default="absorbing")
    parser.add_argument("--steps", type=int, nargs="*", default=[50])
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--min-p", type=float, default=0.0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train_set, test = (list(read_benchmark("planar", split)) for split in ("train", "test"))
    n, x_GP = train_set[0].num_nodes, pairs_of(train_set)
    process = Marginal(float(x_GP.float().mean())) if args.transition == "marginal" else Absorbing()
    state = train(args.run / f"{args.transition}.safetensors", x_GP, n, process, args.minutes)
    net = PairNetwork()
    net.load_state_dict(state["average"])
    training: dict[str, Any] = {
        "transition": args.transition,
        "cpu_minutes": state["seconds"] / 60,
        "optimizer_steps": state["step"],
    }
    if isinstance(process, Absorbing):
        training["test_bits_per_graph"] = bits(net, pairs_of(test), n, process)
    out = RESULTS / "absorbing_diffusion.json"
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.exists() else []
    for steps in args.steps:
        for seed in range(args.seeds):
            graphs, seconds = sample(net, process, n, args.samples, steps, args.min_p, seed)
            row = training | {"steps": steps, "min_p": args.min_p, "seed": seed, "samples": len(graphs)}
            row |= {"cpu_seconds_per_graph": seconds, "edges": sum(g.num_edges for g in graphs) / len(graphs)}
            rows.append(row | graph_metrics(graphs, test, train_set, "planar"))
            out.write_text(json.dumps({"rows": rows, "machine": machine()}, indent=2) + "\n")
    shown = ["transition", "cpu_minutes", "steps", "min_p", "samples", "seed", "vun", "ratio_average"]
    shown.append("cpu_seconds_per_graph")
    table = Table(*shown, title="planar, discrete diffusion")
    for row in rows:
        table.add_row(*(f"{row[c]:.4g}" if isinstance(row[c], float) else str(row[c]) for c in shown))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
