"""Samples of a graph model beside those of others and of a perfect generator, by the field's figures, on one split.

    python benchmarks/graph_quality.py runs/planar --samples 40 128 --seeds 0 1 2
    python benchmarks/graph_quality.py runs/planar --split val --min-p 0 0.02 0,0,0,0.02,0.05,0.05  # for tuning

Rows: the model, for every number of samples and each seed; the official samples of DiGress and GruM where REFINE_DATA
has them; and as many new graphs by the recipe of the set, which is what a perfect generator would draw (the floor).
Writes ``results/graph_quality_NAME.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table

import refine
from refine.domains.graph import Graph, GraphDomain
from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.graphs.generators import RECIPES, generate
from refine.domains.graph.metrics.metrics import graph_metrics
from refine.storage.runs import load_run_config

SHOWN = ("vun", "valid", "unique", "novel", "ratio_average", "valid_of_samples", "fcd")
PARTS = tuple(f"ratio_{part}" for part in ("degree", "clustering", "orbit", "spectral", "wavelet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", help="of the json; by default the run's")
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, nargs="+", default=[128])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--min-p", type=by_scale, nargs="+", help="numbers, or lists by scale as 0,0,0.1; else the run's"
    )
    parser.add_argument("--batch", type=int, default=40)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = refine.Model.from_pretrained(arguments.run)
    domain, sampler = model.domain, load_run_config(arguments.run).sampler
    assert isinstance(domain, GraphDomain)
    rows: list[dict[str, Any]] = []
    for min_p in arguments.min_p or [sampler.min_p]:
        sampler.min_p = min_p
        for count in arguments.samples:
            for seed in arguments.seeds:
                start = time.process_time()
                drawn = model.sample_many(count, seed=seed, sampler=sampler, batch_size=arguments.batch).items
                spent = (time.process_time() - start) / count
                row = {"who": "refine", "min_p": min_p, "samples": count, "seed": seed, "cpu_s_per_graph": spent}
                rows.append(row | score(drawn, domain, arguments.split))
    rows += [{"who": who} | score(graphs, domain, arguments.split) for who, graphs in others(domain, arguments.samples)]
    name = arguments.name or arguments.run.name
    path = RESULTS / f"graph_quality_{name}{'' if arguments.split == 'test' else '_' + arguments.split}.json"
    facts = {"split": arguments.split, "training": model.info.get("predictor"), "machine": machine()}
    path.write_text(json.dumps(facts | {"rows": rows}, indent=2) + "\n")
    show(rows)


def by_scale(text: str) -> float | list[float]:
    """A number, or several with commas."""
    numbers = [float(part) for part in text.split(",")]
    return numbers if len(numbers) > 1 else numbers[0]


def score(graphs: Sequence[Graph], domain: GraphDomain, split: str) -> dict[str, Any]:
    """All figures against a split."""
    figures = graph_metrics(graphs, domain.dataset(split), domain.dataset("train"), domain.kind, *domain.labels)
    return {"samples": len(graphs)} | figures


def others(domain: GraphDomain, counts: Sequence[int]) -> list[tuple[str, Sequence[Graph]]]:
    """Official samples of other models, and new graphs of the recipe."""
    found: list[tuple[str, Sequence[Graph]]] = []
    for who in ("digress", "grum"):
        path = Path(os.environ.get("REFINE_DATA", "")) / "graphs" / f"generated_{who}_{domain.config.data}.npz"
        if path.is_file():
            found.append((who, read_npz(path)[0]))
    if domain.config.data in RECIPES:
        fresh = generate(str(domain.config.data), 6 * max(counts), "train")  # 64 % of them, more than three draws
        found += [("floor", fresh[draw * n : (draw + 1) * n]) for n in counts for draw in range(3)]
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """A line for each row, and the mean over seeds of what refine drew."""
    names = [n for n in (*SHOWN, *PARTS, "cpu_s_per_graph") if any(n in row for row in rows)]
    table = Table("who", "min-p", "samples", "seed", *names)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["who"], str(row.get("min_p", "")), row["samples"]), []).append(row)
        table.add_row(
            *(str(row.get(n, "")) for n in ("who", "min_p", "samples", "seed")), *(_figure(row, n) for n in names)
        )
    for (who, min_p, count), several in groups.items():
        if len(several) > 1:
            means = {n: statistics.mean(r[n] for r in several) for n in names if n in several[0]}
            table.add_row(who, min_p, str(count), "mean", *(_figure(means, n) for n in names))
    Console(width=220).print(table)


def _figure(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.3f}" if isinstance(row.get(name), float) else "-"


if __name__ == "__main__":
    main()
