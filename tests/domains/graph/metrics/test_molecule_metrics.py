from __future__ import annotations

import pytest

from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.metrics import graph_metrics

pytest.importorskip("rdkit")

from refine.domains.graph.graphs.molecules import BONDS, to_graph
from refine.domains.graph.metrics.molecule_metrics import chemnet_distances, molecule_metrics

ATOMS = ["C", "N", "O", "N+", "O-"]


def molecules(*smiles: str) -> list[Graph]:
    return [to_graph(text, ATOMS) for text in smiles]


def star(bonds: int) -> Graph:
    """A carbon bound to so many others."""
    return Graph.of(bonds + 1, [(0, i + 1) for i in range(bonds)], [0] * (bonds + 1), [0] * bonds)


def test_each_share_has_the_denominator_of_published_tables() -> None:
    samples = [*molecules("CCO", "OCC", "CCN", "c1ccccc1", "CCC.O", "CC#N"), star(5), star(6)]
    found = molecule_metrics(samples, molecules("CO"), molecules("NCC", "C=O"), ATOMS, BONDS)
    assert found["valid"] == 6 / 8
    assert found["valid_connected"] == 5 / 8
    assert found["unique"] == 5 / 6  # CCO twice
    assert found["novel"] == 4 / 5  # CCN is a training molecule
    assert found["vun"] == 4 / 8
    assert found["fcd_missing"] == "fewer than 2 molecules that chemistry allows"


def test_the_largest_fragment_stands_for_a_molecule() -> None:
    found = molecule_metrics(molecules("CCC.O", "CCC", "CCC.CCCC"), molecules("CO"), molecules("CCCC"), ATOMS, BONDS)
    assert (found["valid"], found["valid_connected"]) == (1, 1 / 3)
    assert (found["unique"], found["novel"]) == (2 / 3, 1 / 2)


def test_nothing_valid() -> None:
    found = molecule_metrics([star(5), star(7)], molecules("CO"), molecules("CO"), ATOMS, BONDS)
    assert {found[key] for key in ("valid", "valid_connected", "unique", "novel", "vun")} == {0.0}


def test_graph_metrics_of_molecules() -> None:
    train, test = molecules("CCO", "CCN", "CC=O", "CCC"), molecules("CCC=O", "CNC")
    found = graph_metrics(molecules("CCO", "C#CC"), test, train, "molecule", ATOMS, BONDS)
    assert (found["valid"], found["novel"], found["vun"]) == (1.0, 0.5, 0.5)
    assert {"mmd_degree", "ratio_average", "tv_node_kinds", "floor_edge_kinds"} <= found.keys()


def test_chemnet_distance() -> None:
    """Nearer to molecules of the same sort, zero to themselves, and the same as the package's own."""
    fcd = pytest.importorskip("fcd")
    alkanes, longer = ["C" * n for n in range(2, 8)], ["C" * n for n in range(8, 14)]
    aromatic = ["c1ccccc1", "Cc1ccccc1", "c1ccncc1", "Oc1ccccc1", "Nc1ccccc1", "c1ccoc1"]
    found = chemnet_distances(aromatic, longer, alkanes)
    assert found["fcd"] > 1.5 * found["floor_fcd"] > 0
    assert found["fcd"] == pytest.approx(fcd.get_fcd(aromatic, longer), rel=1e-3)
    assert chemnet_distances(longer, longer, alkanes)["fcd"] == pytest.approx(0, abs=1e-2)
