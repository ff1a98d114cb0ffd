"""Figures of generated graphs beside those of a perfect generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.mmd import SIGMAS, Array, descriptors, discrepancies
from refine.domains.graph.metrics.molecule_metrics import molecule_metrics
from refine.domains.graph.metrics.validity import valid_unique_novel

MOST = 1000  # graphs of a set that enter an MMD, whose cost grows with their square
TREE_NOTE = "no average: trees have no triangles, and their orbit counts are so alike that the ratio is noise"
TINY = 1e-8  # what the field adds to the discrepancy that a ratio is divided by


def graph_metrics(
    samples: Sequence[Graph],
    reference: Sequence[Graph],
    train: Sequence[Graph],
    kind: str,
    node_kinds: Sequence[str] = (),
    edge_kinds: Sequence[str] = (),
) -> dict[str, Any]:
    """All figures of drawn graphs as plain data that json takes.

    For each descriptor of :data:`~refine.domains.graph.metrics.mmd.SIGMAS`, as ``degree``: ``mmd_degree`` (biased, as
    published) and ``mmd_degree_unbiased`` between samples and reference, ``floor_degree`` and
    ``floor_degree_unbiased`` between train and reference, and ``ratio_degree``, biased MMD over biased floor;
    ``ratio_average`` is the mean of the ratios. The biased MMD falls with the number of samples: a perfect generator
    has ratios about 1 with as many samples as there are training graphs, and larger ones with fewer. Trees have no
    ratios of clustering and orbits and no average, as ``ratio_note`` says. All of these need two graphs of each set; else
    ``mmd_missing`` or ``floor_missing`` says which set has one.

    Where graphs carry kinds, ``tv_node_kinds`` and ``tv_edge_kinds`` are total variations between the shares of the
    kinds, with their ``floor_...``. Then follow V.U.N.
    (:func:`~refine.domains.graph.metrics.validity.valid_unique_novel`) or, for molecules,
    :func:`~refine.domains.graph.metrics.molecule_metrics.molecule_metrics`.

    Args:
        samples: drawn graphs, one or more.
        reference: those of the test split, one or more.
        train: those of the training split, one or more.
        kind: ``planar``, ``tree``, ``sbm``, ``molecule``, or anything else, for which nothing is valid or invalid.
        node_kinds: names of the kinds of nodes; needed for molecules.
        edge_kinds: names of the kinds of edges; needed for molecules.
    """
    sets = {"samples": samples, "reference": reference, "train": train}
    out: dict[str, Any] = {f"num_{name}": len(graphs) for name, graphs in sets.items()}
    out |= _discrepancies(sets, kind) | _kinds(sets)
    if kind == "molecule":
        return out | molecule_metrics(samples, reference, train, node_kinds, edge_kinds)
    return out | valid_unique_novel(samples, train, reference, kind)


def _discrepancies(sets: dict[str, Sequence[Graph]], kind: str) -> dict[str, Any]:
    alone = [name for name, graphs in sets.items() if len(graphs) < 2]
    need = f"needs 2 graphs or more of each set; 1 is there of: {', '.join(alone)}"
    if "samples" in alone or "reference" in alone:
        return {"mmd_missing": f"a discrepancy {need}"}
    found = {
        name: descriptors([g.to_networkx() for g in _some(graphs)], f"descriptors of the {name}")
        for name, graphs in sets.items()
        if name not in alone
    }
    ours = discrepancies(found["samples"], found["reference"])
    out: dict[str, Any] = {}
    for name in SIGMAS:
        out |= {f"mmd_{name}": ours[name].biased, f"mmd_{name}_unbiased": ours[name].unbiased}
    if alone:
        return out | {"floor_missing": f"a floor {need}"}
    floor = discrepancies(found["train"], found["reference"])
    for name in SIGMAS:
        out |= {f"floor_{name}": floor[name].biased, f"floor_{name}_unbiased": floor[name].unbiased}
    names = [name for name in SIGMAS if kind != "tree" or name not in ("clustering", "orbit")]
    ratios = {f"ratio_{name}": ours[name].biased / (floor[name].biased + TINY) for name in names}
    if kind == "tree":
        return out | ratios | {"ratio_note": TREE_NOTE}
    return out | ratios | {"ratio_average": float(np.mean(list(ratios.values())))}


def _some(graphs: Sequence[Graph]) -> list[Graph]:
    """All graphs in their order, or :data:`MOST` drawn at random."""
    if len(graphs) <= MOST:
        return list(graphs)
    return [graphs[i] for i in np.random.default_rng(0).permutation(len(graphs))[:MOST].tolist()]


def _kinds(sets: dict[str, Sequence[Graph]]) -> dict[str, float]:
    """Total variation between the shares of node and edge kinds, where all sets have them."""
    out: dict[str, float] = {}
    for field, name in (("node_label", "node_kinds"), ("edge_label", "edge_kinds")):
        labels = [[getattr(graph, field) for graph in _some(graphs)] for graphs in sets.values()]
        if any(label is None for part in labels for label in part):
            continue
        together = [torch.cat(part) for part in labels]
        most = max(int(part.max(initial=-1)) for part in (t.numpy() for t in together)) + 1
        x, real, train = (_shares(part.numpy(), most) for part in together)
        out |= {f"tv_{name}": float(abs(x - real).sum() / 2), f"floor_{name}": float(abs(train - real).sum() / 2)}
    return out


def _shares(labels: Any, count: int) -> Array:
    shares: Array = np.bincount(labels, minlength=count) / max(1, len(labels))
    return shares
