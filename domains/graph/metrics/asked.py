"""Whether drawn graphs have the numbers that they were asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import Array
from refine.domains.graph.graphs.properties import PROPERTIES, compute


def asked_errors(
    samples: Sequence[Graph],
    asked: Array,
    names: Sequence[str],
    node_kinds: Sequence[str] = (),
    edge_kinds: Sequence[str] = (),
) -> dict[str, float]:
    """Mean absolute errors of what can be computed of drawn graphs, in the units of the data.

    ``error_density`` is the mean of abs(drawn - asked); ``chance_density`` that of every drawn graph with what every
    other was asked for, which is what a model that ignores its conditions has. Molecules that are none have no
    properties and do not count; where there is none that counts, there are no figures.

    Args:
        samples: drawn graphs.
        asked: (G, F) what they were asked for.
        names: of the F numbers; those that cannot be computed are passed over.
        node_kinds: names of the kinds of nodes.
        edge_kinds: names of the kinds of edges.
    """
    out: dict[str, float] = {}
    for i, name in enumerate(names):
        if name not in PROPERTIES:
            continue
        drawn = compute(name, samples, node_kinds, edge_kinds)
        there = np.isfinite(drawn)
        if there.any():
            found, wanted = drawn[there], asked[there, i].astype(np.float64)
            out[f"error_{name}"] = float(abs(found - wanted).mean())
            out[f"chance_{name}"] = float(np.mean([abs(found - w).mean() for w in wanted]))
    return out
