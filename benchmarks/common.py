"""What every benchmark here does: time callables in turn, print a table, write json with the machine beside it."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, threads and versions."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), "unknown")
    return {
        "processor": model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def compare(cases: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each case: minimum, median and maximum over ``repeats`` rounds, the cases in turn within a round."""
    for case in cases.values():
        case()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            times[name].append(time.perf_counter() - start)
    return {n: {"min": min(t), "median": statistics.median(t), "max": max(t)} for n, t in times.items()}


def report(name: str, seconds: dict[str, dict[str, float]], baseline: str, extra: dict[str, Any]) -> None:
    """Print the table and write ``results/NAME.json``; ratios are of medians, baseline / case."""
    table = Table("case", "min s", "median s", "max s", f"times faster than {baseline}", title=name)
    ratios = {n: seconds[baseline]["median"] / s["median"] for n, s in seconds.items()}
    for n, s in seconds.items():
        table.add_row(n, *(f"{s[c]:.4f}" for c in ("min", "median", "max")), f"{ratios[n]:.2f}")
    Console(width=140).print(table)
    RESULTS.mkdir(exist_ok=True)
    figures = {"seconds": seconds, f"speedup_over_{baseline}": ratios, **extra, "machine": machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")
