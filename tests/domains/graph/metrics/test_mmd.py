from __future__ import annotations

import json

import networkx as nx
import numpy as np
import pytest

from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.metrics.mmd import SIGMAS, descriptors, discrepancies, discrepancy

from ..made_up import graphs_folder
from ..plain_mmd import GOLDEN, describe, orbits_by_enumeration

PRINTED = {  # the figures of the study behind this domain, from the official code; train, samples of DiGress, of GruM
    "planar train": (".000194", ".03102", ".000541", ".00382", ".00121"),
    "planar digress": (".000622", ".05633", ".009802", ".00621", ".00238"),
    "planar grum": (".000479", ".03526", ".000899", ".00615", ".00168"),
    "sbm train": (".000849", ".03317", ".02548", ".00274", ".000720"),
    "sbm digress": (".002297", ".05053", ".05677", ".00517", ".005706"),
    "sbm grum": (".000680", ".04917", ".04476", ".00504", ".003994"),
}
GRAPHS = {
    "one node": nx.empty_graph(1),
    "no edges": nx.empty_graph(5),
    "one edge": nx.path_graph(2),
    "two parts and a loner": nx.disjoint_union_all([nx.complete_graph(4), nx.path_graph(3), nx.empty_graph(1)]),
    "star": nx.star_graph(6),
    "cycle": nx.cycle_graph(7),
    "bipartite": nx.complete_bipartite_graph(3, 4),
    "diamond and paw": nx.Graph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4), (4, 5), (5, 3), (5, 6)]),
    "random": nx.gnp_random_graph(11, 0.4, seed=1),
}


def stored(name: str, split: int) -> list[nx.Graph]:
    packed, splits = read_npz(graphs_folder() / f"{name}.npz")
    assert splits is not None
    return [g.to_networkx() for g in packed.select(splits == split)]


@pytest.mark.parametrize("kind", ["planar", "sbm", "tree"])
def test_discrepancies_are_those_of_the_official_code(kind: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    test = descriptors(stored(kind, 2))
    sets = {"train": stored(kind, 0)}
    if kind != "tree":
        sets |= {who: stored(f"generated_{who}_{kind}", 3) for who in ("digress", "grum")}
    for who, graphs in sets.items():
        found = discrepancies(descriptors(graphs), test)
        for name, (biased, unbiased) in golden[f"{kind} {who}"].items():
            assert found[name].biased == pytest.approx(biased, rel=1e-6, abs=1e-14)
            assert found[name].unbiased == pytest.approx(unbiased, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("row", PRINTED)
def test_golden_figures_round_to_the_printed_ones(row: str) -> None:
    golden = json.loads(GOLDEN.read_text())[row]
    for name, printed in zip(SIGMAS, PRINTED[row], strict=True):
        digits = len(printed) - 1
        assert f"{golden[name][0]:.{digits}f}".lstrip("0") == printed


@pytest.mark.parametrize("name", GRAPHS)
def test_descriptors_of_odd_graphs(name: str) -> None:
    expected = describe(nx.to_numpy_array(GRAPHS[name]), orbits_by_enumeration)
    found = descriptors([GRAPHS[name]])
    expected["degree"] = expected["degree"][: found["degree"].shape[1]]
    for key, values in expected.items():
        np.testing.assert_allclose(found[key][0], values, atol=1e-6)  # the field divides by sum + 1e-6


def test_the_bipartite_eigenvalue_always_counts() -> None:
    graphs = [nx.complete_bipartite_graph(a, b) for a in range(1, 6) for b in range(1, 6)]
    last = descriptors(graphs)["spectral"][:, -1]
    np.testing.assert_allclose(last, [1 / len(g) for g in graphs], atol=1e-6)


def test_descriptors_do_not_see_the_order_of_nodes() -> None:
    g = nx.gnp_random_graph(30, 0.15, seed=5)
    p = np.random.default_rng(0).permutation(30).tolist()
    found = descriptors([g, nx.relabel_nodes(g, dict(enumerate(p)))])
    for values in found.values():
        np.testing.assert_allclose(values[0], values[1], atol=1e-12)


def test_unbiased_is_zero_on_average_and_biased_is_not() -> None:
    rng = np.random.default_rng(0)
    drawn = [discrepancy(*rng.dirichlet(np.ones(5), (2, 10)), sigma=0.3) for _ in range(400)]
    biased, unbiased = np.array(drawn).T
    assert abs(unbiased.mean()) < 4 * unbiased.std() / 20
    assert biased.min() > 0 and biased.mean() > 20 * abs(unbiased.mean())


def test_equal_sets_and_vectors_of_different_lengths() -> None:
    x = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    assert discrepancy(x, x, 1.0).biased == pytest.approx(0, abs=1e-15)
    assert discrepancy(x, np.pad(x, ((0, 0), (0, 3))), 1.0).biased == pytest.approx(0, abs=1e-15)
    assert discrepancy(x, np.pad(x, ((0, 0), (3, 0))), 1.0).biased > 0.1


def test_spectral_histogram_is_polygraphs_below_two() -> None:
    from polygraph.utils.descriptors import EigenvalueHistogram

    graphs = [nx.gnp_random_graph(20, 0.25, seed=s) for s in range(6)]
    np.testing.assert_allclose(descriptors(graphs)["spectral"], EigenvalueHistogram()(graphs), atol=1e-6)
