"""The field's discrepancies of graphs once more, in plain numpy from dense adjacency matrices, for comparison.

Run as a program with REFINE_DATA set it writes ``tests/golden/graph_mmd.json``.
"""

from __future__ import annotations

import json
import os
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GOLDEN = Path(__file__).parents[2] / "golden" / "graph_mmd.json"
SIGMAS = {"degree": 1.0, "clustering": 0.1, "orbit": 30.0, "spectral": 1.0, "wavelet": 1.0}
ORBITS = {
    (1, 1): {1: 0},
    (1, 1, 2): {1: 1, 2: 2},
    (2, 2, 2): {2: 3},
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}
"""Degrees in a connected induced subgraph -> degree of a node -> its orbit."""


def orbits_by_enumeration(a: Array) -> Array:
    """(15,) orbit counts, mean over nodes, from all subsets of 2 to 4 nodes."""
    count = np.zeros(15)
    for size in (2, 3, 4):
        for nodes in combinations(range(len(a)), size):
            degrees = a[np.ix_(nodes, nodes)].sum(0).astype(int).tolist()
            for degree in degrees:
                orbit = ORBITS.get(tuple(sorted(degrees)), {}).get(degree)
                if orbit is not None:
                    count[orbit] += 1
    return count / len(a)


def orbits_by_orca(a: Array) -> Array:
    import orca

    return np.asarray(orca.orca_nodes(np.argwhere(np.triu(a)), len(a)), dtype=float).mean(0)


def describe(a: Array, orbits: Any = orbits_by_orca) -> dict[str, Array]:
    from pygsp.filters import Abspline

    degree = a.sum(0)
    pairs = degree * (degree - 1)
    clustering = np.divide(np.diag(a @ a @ a), pairs, out=np.zeros(len(a)), where=pairs > 0)
    scale = np.divide(1, np.sqrt(degree), out=np.zeros(len(a)), where=degree > 0)
    values, vectors = np.linalg.eigh(np.diag((degree > 0) * 1.0) - scale[:, None] * a * scale)
    values = np.minimum(values, 2)
    spectral = np.histogram(values, 200, (-1e-5, 2))[0]
    filters = Abspline(SimpleNamespace(lmax=2), 12)
    bound = filters.evaluate(np.arange(0, 2, 0.01)).max()
    operators = [vectors @ np.diag(response) @ vectors.T for response in filters.evaluate(values)]
    wavelet = [np.histogram((operator**2).sum(1), 100, (0, bound))[0] for operator in operators]
    return {
        "degree": normalised(np.bincount(degree.astype(int), minlength=200)),
        "clustering": normalised(np.histogram(clustering, 100, (0, 1))[0]),
        "orbit": orbits(a),
        "spectral": normalised(spectral / spectral.sum()),
        "wavelet": normalised(np.concatenate(wavelet)),
    }


def normalised(counts: Array) -> Array:
    return counts / (counts.sum() + 1e-6)


def mmd(x: Array, y: Array, sigma: float) -> tuple[float, float]:
    def kernel(a: Array, b: Array) -> Array:
        return np.exp(-((np.abs(a[:, None] - b[None]).sum(-1) / 2) ** 2) / (2 * sigma**2))

    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    n, m = len(x), len(y)
    biased = xx.mean() + yy.mean() - 2 * xy.mean()
    unbiased = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean()
    return float(biased), float(unbiased)


def matrices(path: Path, split: int) -> list[Array]:
    out = []
    with np.load(path) as z:
        ends = np.cumsum(z["num_edges"])
        for n, pairs, s in zip(z["num_nodes"], np.split(z["edges"], ends[:-1]), z["split"], strict=True):
            if s == split:
                a = np.zeros((n, n))
                a[pairs[:, 0], pairs[:, 1]] = a[pairs[:, 1], pairs[:, 0]] = 1
                out.append(a)
    return out


def main() -> None:
    folder = Path(os.environ["REFINE_DATA"]) / "graphs"
    origin = "written by tests/domains/graph/plain_mmd.py (plain numpy; orbits by orca-graphlets, filters by pygsp)"
    out: dict[str, Any] = {"origin": origin}
    for kind in ("planar", "sbm", "tree"):
        sets = {name: matrices(folder / f"{kind}.npz", split) for name, split in (("test", 2), ("train", 0))}
        for method in ("digress", "grum"):
            path = folder / f"generated_{method}_{kind}.npz"
            if path.exists():
                sets[method] = matrices(path, 3)
        described = {name: [describe(a) for a in graphs] for name, graphs in sets.items()}
        for name in [name for name in sets if name != "test"]:
            out[f"{kind} {name}"] = {
                key: mmd(*(np.stack([d[key] for d in described[who]]) for who in (name, "test")), sigma)
                for key, sigma in SIGMAS.items()
            }
    GOLDEN.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
