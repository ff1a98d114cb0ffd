"""Classes and numbers of whole graphs, from every kind of file, and computed."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from graph_toys import of, zoo

from refine.domains.graph.config import GraphConfig
from refine.domains.graph.domain import GraphDomain
from refine.domains.graph.graphs.properties import OF_GRAPHS, compute
from refine.errors import RefineError

from .test_pyg import cache, write_tu  # noqa: F401


def paths(folder: Path, **attributes: list[object]) -> None:
    """Paths of 2, 3, ... nodes with attributes of the graph, as GraphML."""
    for i in range(len(next(iter(attributes.values())))):
        g = nx.path_graph(2 + i)
        g.graph |= {name: values[i] for name, values in attributes.items() if values[i] is not None}
        nx.write_graphml(g, folder / f"{i}.graphml")


def everything(**options: object) -> dict[int, tuple[str, list[float]]]:
    """Class and vector of the graphs of all splits, by their size."""
    domain = GraphDomain(GraphConfig(**options))  # type: ignore[arg-type]
    out = {}
    for split in ("train", "val", "test"):
        for g in domain.dataset(split):
            name = "" if g.label is None else domain.class_names()[int(g.label)]
            out[g.num_nodes] = name, [] if g.vector is None else g.vector.tolist()
    return out


def test_attributes_of_graphs(tmp_path: Path) -> None:
    paths(tmp_path, kind=["b", "a", "b", "a"] * 4, energy=[0.5 * i for i in range(16)])
    found = everything(folder=str(tmp_path), label="kind", vector=["energy", "nodes"])
    assert found == {2 + i: ("ba"[i % 2], [0.5 * i, 2 + i]) for i in range(16)}


def test_classes_that_are_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    paths(tmp_path, kind=[10, 9, 10, 9] * 4)
    domain = GraphDomain(GraphConfig(folder=str(tmp_path), label="kind"))
    assert domain.class_names() == ["9", "10"] and domain.condition.num_classes == 2
    assert domain.ask(2, 10).label.tolist() == [1, 1]  # type: ignore[union-attr]


def test_arrays_of_an_archive(tmp_path: Path) -> None:
    nodes = np.arange(2, 14)
    edges = np.concatenate([np.stack([np.arange(n - 1), np.arange(1, n)], 1) for n in nodes])
    given = {"num_nodes": nodes, "num_edges": nodes - 1, "edges": edges}
    np.savez(tmp_path / "a.npz", **given, label=nodes % 2, mass=nodes / 4, bad=np.zeros((12, 2)))
    found = everything(folder=str(tmp_path), label="label", vector=["mass"])
    assert found == {int(n): (str(n % 2), [n / 4]) for n in nodes}
    with pytest.raises(RefineError, match=r"a.npz: 'bad' is not one number or text for each graph"):
        everything(folder=str(tmp_path), vector=["bad"])


def test_columns_beside_smiles(tmp_path: Path) -> None:
    rows = [f"{'C' * n},{n / 2},{'odd' if n % 2 else 'even'}" for n in range(2, 14)]
    (tmp_path / "a.csv").write_text("\n".join(["smiles,logS,Kind", *rows]))
    found = everything(folder=str(tmp_path), label="Kind", vector=["logS", "weight"])
    assert {n: (kind, v[0]) for n, (kind, v) in found.items()} == {
        n: ("odd" if n % 2 else "even", n / 2) for n in range(2, 14)
    }
    assert found[2][1][1] == pytest.approx(30.07, abs=0.01)  # ethane, g/mol


def test_items_of_an_sdf_file(tmp_path: Path) -> None:
    from rdkit import Chem

    with Chem.SDWriter(str(tmp_path / "a.sdf")) as writer:
        for n in range(2, 14):
            mol = Chem.MolFromSmiles("C" * n)
            mol.SetProp("bp", str(10 * n))
            writer.write(mol)
    found = everything(folder=str(tmp_path), vector=["bp"])
    assert {n: v for n, (_, v) in found.items()} == {n: [10 * n] for n in range(2, 14)}


def test_targets_of_torch_geometric(cache: Path) -> None:  # noqa: F811
    write_tu(cache, "TOLD", 40)
    found = everything(pyg="TUDataset:TOLD", label="y", vector=["edges"])
    assert found == {n: ("0", [n]) for n in range(3, 7)}
    with pytest.raises(RefineError, match=r"says no 'y1' of its graphs .*; it has 'y'; computed are nodes, "):
        everything(pyg="TUDataset:TOLD", vector=["y1"])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1, 2, None, 4], {"label": "kind"}, r"says no 'kind' of its graphs"),
        ([1, 2, 3, 4], {"vector": ["weight"]}, "'weight' is a property of molecules, and these graphs are none"),
        ([1, 2, 3, "x"], {"vector": ["kind"]}, "'kind' is 'x'; accepted: a number"),
        ([1, 2, 3, 1.5], {"label": "kind"}, "is of the class 1.5; accepted: a text or a whole number"),
        ([1, 2, 3, 7], {"label": "kind", "classes": ["1", "2", "3"]}, "the class of .*'7' is not accepted"),
        ([1, 2, 3, 4], {"vector": ["kind", "kind"]}, "has a name twice"),
    ],
)
def test_what_is_no_class_or_number_is_refused(
    tmp_path: Path, values: list[object], options: dict[str, object], message: str
) -> None:
    paths(tmp_path, kind=values)
    with pytest.raises(RefineError, match=message):
        everything(folder=str(tmp_path), **options)


def test_sets_without_columns_have_computed_ones_only() -> None:
    with pytest.raises(RefineError, match=r"says no 'energy' of its graphs .*computed are nodes, edges, density"):
        GraphDomain(GraphConfig(vector=["energy"])).dataset("train")
    vector = GraphDomain(GraphConfig(vector=["density"])).dataset("train").vector
    assert vector is not None and vector.shape == (64, 1)


@pytest.mark.parametrize("name", OF_GRAPHS)
def test_properties_are_those_of_networkx(name: str) -> None:
    graphs = list(zoo().values())
    nets = [g.to_networkx() for g in graphs]
    expected = {
        "nodes": [len(g) for g in nets],
        "edges": [g.number_of_edges() for g in nets],
        "density": [nx.density(g) for g in nets],
        "degree": [float(np.mean([d for _, d in g.degree])) for g in nets],
        "clustering": [nx.average_clustering(g) for g in nets],
        "triangles": [sum(nx.triangles(g).values()) / 3 for g in nets],
    }
    assert compute(name, graphs) == pytest.approx(expected[name])


def test_properties_of_molecules() -> None:
    from rdkit import Chem
    from rdkit.Chem import Crippen, Descriptors

    from refine.domains.graph.graphs.molecules import to_graph

    smiles = ["c1ccccc1O", "CC(=O)N", "C1CC2CCC1C2"]
    graphs = [to_graph(s, ["C", "N", "O"]) for s in smiles]
    mols = [Chem.MolFromSmiles(s) for s in smiles]
    kinds = ["C", "N", "O"], ["single", "double", "triple"]
    assert compute("weight", graphs, *kinds) == pytest.approx([Descriptors.MolWt(m) for m in mols])
    assert compute("logp", graphs, *kinds) == pytest.approx([Crippen.MolLogP(m) for m in mols])
    assert compute("rings", graphs, *kinds).tolist() == [1, 0, 2]
    assert (compute("qed", graphs, *kinds) > 0.2).all()
    impossible = of(nx.star_graph(6))
    broken = type(impossible)(
        7, impossible.edges, graphs[0].node_label[:1].repeat(7), graphs[0].edge_label[:1].repeat(6)
    )
    assert np.isnan(compute("weight", [broken], *kinds)).all()
