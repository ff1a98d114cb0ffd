"""Numbers that describe a whole graph and that can be computed from it: what ``domain.vector=[density]`` asks for.

| name | what it is |
|---|---|
| ``nodes``, ``edges`` | how many |
| ``density`` | edges by pairs of nodes, 0 of a single node |
| ``degree`` | mean degree |
| ``clustering`` | mean local clustering coefficient, 0 of nodes with fewer than two neighbours |
| ``triangles`` | how many |
| ``weight`` | of a molecule: its average molecular weight in g/mol, with hydrogens |
| ``logp`` | its octanol-water partition coefficient by Crippen's contributions (Wildman and Crippen 1999) |
| ``qed`` | its quantitative estimate of drug-likeness (Bickerton et al. 2012) |
| ``rings`` | how many rings it has (the smallest set of smallest rings) |

Those of molecules need rdkit, and graphs whose kinds are atoms and bonds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.molecules import are_molecules, from_graph
from refine.domains.graph.graphs.packed import Array
from refine.errors import require
from refine.progress import track


def triangles_of(graph: Graph) -> tuple[Array, Array]:
    """(n,) triangles that each node is part of, and (n,) its degree."""
    from scipy.sparse import coo_array

    u, v = graph.edges.numpy()
    n = graph.num_nodes
    ends = (np.concatenate([u, v]), np.concatenate([v, u]))
    links = coo_array((np.ones(2 * len(u)), ends), shape=(n, n)).tocsr()
    return np.asarray(((links @ links) * links).sum(axis=1)).ravel() / 2, np.bincount(
        graph.edges.flatten(), minlength=n
    )


def density(graph: Graph) -> float:
    """Edges by pairs of nodes."""
    pairs = graph.num_nodes * (graph.num_nodes - 1) / 2
    return graph.num_edges / pairs if pairs else 0.0


def clustering(graph: Graph) -> float:
    """Mean local clustering coefficient."""
    closed, degree = triangles_of(graph)
    pairs = degree * (degree - 1) / 2
    return float(np.divide(closed, pairs, out=np.zeros(len(pairs)), where=pairs > 0).mean())


OF_GRAPHS: dict[str, Callable[[Graph], float]] = {
    "nodes": lambda graph: float(graph.num_nodes),
    "edges": lambda graph: float(graph.num_edges),
    "density": density,
    "degree": lambda graph: 2 * graph.num_edges / graph.num_nodes,
    "clustering": clustering,
    "triangles": lambda graph: float(triangles_of(graph)[0].sum() / 3),
}


def _computed(name: str) -> Callable[[Any], float]:
    """One of rdkit's, by ``module.function``; rdkit is imported when it is asked for."""
    module, _, function = name.rpartition(".")
    return lambda mol: float(getattr(import_module(f"rdkit.Chem.{module}"), function)(mol))


OF_MOLECULES: dict[str, Callable[[Any], float]] = {
    "weight": _computed("Descriptors.MolWt"),
    "logp": _computed("Crippen.MolLogP"),
    "qed": _computed("QED.qed"),
    "rings": _computed("rdMolDescriptors.CalcNumRings"),
}
PROPERTIES = (*OF_GRAPHS, *OF_MOLECULES)


def compute(
    name: str, graphs: Sequence[Graph], node_kinds: Sequence[str] = (), edge_kinds: Sequence[str] = ()
) -> Array:
    """(G,) float64 of one of :data:`PROPERTIES`; NaN of a graph that is no possible molecule, where it takes one.

    Args:
        name: of the property.
        graphs: any.
        node_kinds: names of the kinds of nodes; atoms where the property is of molecules.
        edge_kinds: names of the kinds of edges; bonds there.

    Raises:
        RefineError: a property of molecules, and graphs that are none.
    """
    if name in OF_GRAPHS:
        return np.array([OF_GRAPHS[name](graph) for graph in graphs])
    molecules = are_molecules(node_kinds, edge_kinds)
    require(
        molecules, f"{name!r} is a property of molecules, and these graphs are none; of graphs: {', '.join(OF_GRAPHS)}"
    )
    values = []
    for graph in track(graphs, f"Computing {name}"):
        mol = from_graph(graph, node_kinds, edge_kinds)
        values.append(torch.nan if mol is None else OF_MOLECULES[name](mol))
    return np.array(values)
