"""What drawing graphs costs: CPU seconds and network passes by number of nodes, one thread.

    python benchmarks/graph_sampling.py [RUN] [--nodes 64 128 256 512 1024] [--repeats 3]

RUN is a training run on graphs; without it, the starter is measured. A batch has 40 graphs of 64 nodes, and fewer of
larger ones, so that all batches have about as many nodes. Seconds are CPU time of the process, the least over repeats;
a line fitted to their logarithms says with which power of the edges that were drawn the cost of one graph grows. Graphs
larger than in training are drawn all the same: their cost is measured, not their quality.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table

import refine
from refine.domains.graph.model import GraphModel

BATCH_NODES = 40 * 64


def measure(model: GraphModel, nodes: int, batch: int, sampler: refine.SamplerConfig, repeats: int) -> dict[str, Any]:
    """One row: each repeat draws other graphs."""
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    size = refine.Condition(size=torch.full((batch,), nodes))
    hook = model.predictor.network.register_forward_hook(count)
    seconds, edges = [], []
    for repeat in range(repeats):
        start = time.process_time()
        graphs = model.sample(batch, size, first=repeat * batch, sampler=sampler).items
        seconds.append((time.process_time() - start) / batch)
        edges.append(sum(g.num_edges for g in graphs) / batch)
    hook.remove()
    row = {"nodes": nodes, "batch": batch, "edges": float(np.mean(edges)), "passes_per_batch": passes / repeats}
    row |= {"cpu_seconds_per_graph": min(seconds), "cpu_seconds_median": float(np.median(seconds))}
    return row | {"cpu_ms_per_edge": 1000 * min(seconds) / row["edges"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", default=None)
    parser.add_argument("--nodes", type=int, nargs="+", default=[64, 128, 256, 512, 1024])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = GraphModel.from_pretrained(args.run or refine.starter("graph"))
    assert isinstance(model, GraphModel)
    sampler = refine.SamplerConfig(min_p=0.05)  # configs/experiment/planar.yaml
    model.sample(2, sampler=sampler)  # libraries load now
    rows = [measure(model, n, max(1, BATCH_NODES // n), sampler, args.repeats) for n in args.nodes]
    out: dict[str, Any] = {
        "model": Path(args.run).name if args.run else "starter",
        "repeats": args.repeats,
        "rows": rows,
    }
    if len(rows) > 1:
        x, y = (np.log([row[name] for row in rows]) for name in ("edges", "cpu_seconds_per_graph"))
        out["exponent_of_edges"] = float(np.polyfit(x, y, 1)[0])
    table = Table(
        *rows[0], title=f"cost grows with edges to the power {out.get('exponent_of_edges', float('nan')):.2f}"
    )
    for row in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)
    (RESULTS / "graph_sampling.json").write_text(json.dumps(out | {"machine": machine()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
