"""What is written can be read again."""

from __future__ import annotations

import zipfile
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from refine.domains.graph.graphs.archive import read_npz
from refine.domains.graph.graphs.folder import read_folder
from refine.domains.graph.graphs.generators import generate
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.pictures.files import save_graphs

from ..made_up import labelled, same


def test_structure_comes_back(tmp_path: Path) -> None:
    graphs = generate("sbm", 10, "train")
    saved = save_graphs(graphs, tmp_path)
    assert saved.paths == [tmp_path / "graphs.npz", tmp_path / "graphs"] and not saved.invalid
    single = sorted((tmp_path / "graphs").iterdir())
    assert all(same(a, b) for a, b in zip(read_npz(tmp_path / "graphs.npz")[0], graphs, strict=True))
    for path, graph in zip(single, graphs, strict=True):
        assert set(nx.read_graphml(path, node_type=int).edges) == {(u, v) for u, v in graph.edges.T.tolist()}
    assert single[2].name == "0002.graphml"
    again = [g for split in ("train", "val", "test") for g in read_folder(str(tmp_path), split)]
    assert sorted(g.edges.numpy().tobytes() for g in again) == sorted(g.edges.numpy().tobytes() for g in graphs)


def test_kinds_come_back_from_the_archive_and_from_graphml(tmp_path: Path) -> None:
    graphs, names = [labelled(i) for i in range(4)], (["red", "green", "blue"], ["w", "x", "y", "z"])
    saved = save_graphs(graphs, tmp_path / "out", *names)
    back = read_folder(str(tmp_path / "out"), "train")
    assert (list(back.node_kinds), list(back.edge_kinds)) == names and len(saved.paths) == 2
    everything, _ = read_npz(tmp_path / "out" / "graphs.npz")
    assert all(same(a, b) for a, b in zip(everything, graphs, strict=True))
    (tmp_path / "out" / "graphs.npz").unlink()
    for split in ("train", "val", "test"):
        for graph in read_folder(str(tmp_path / "out"), split):
            known = [
                Graph.from_networkx(g.to_networkx(*names), node_kinds=["blue", "green", "red"], edge_kinds=names[1])
                for g in graphs
            ]
            assert any(same(graph, g) for g in known)


def test_kinds_without_names_come_back(tmp_path: Path) -> None:
    graphs = [labelled(i) for i in range(3)]
    save_graphs(graphs, tmp_path)
    assert all(same(a, b) for a, b in zip(read_npz(tmp_path / "graphs.npz")[0], graphs, strict=True))


def test_molecules_as_smiles_and_sdf_and_the_impossible_ones_listed(tmp_path: Path) -> None:
    Chem = pytest.importorskip("rdkit.Chem")
    from refine.domains.graph.graphs.smiles import pack_smiles

    smiles = ["CCO", "[NH4+]", "c1ccccc1C#N", "C", "[Na+].[Cl-]"]
    good = pack_smiles(list(enumerate(smiles)), "list")
    star = Graph.of(6, [(0, i) for i in range(1, 6)], [good.node_kinds.index("C")] * 6, [0] * 5)
    graphs = PackedGraphs.of([*good[:2], star, *good[2:]], good.node_kinds, good.edge_kinds)
    saved = save_graphs(graphs, tmp_path)
    assert list(saved.invalid) == [2] and "valence for atom # 0 C, 5" in saved.invalid[2]
    lines = (tmp_path / "molecules.smi").read_text().splitlines()
    expected = [Chem.MolToSmiles(Chem.MolFromSmiles(s)) for s in smiles]
    assert lines == [f"{s} {name}" for s, name in zip(expected, ["0000", "0001", "0003", "0004", "0005"], strict=True)]
    with Chem.SDMolSupplier(str(tmp_path / "molecules.sdf")) as supplier:
        mols = list(supplier)
    assert [Chem.MolToSmiles(mol) for mol in mols] == expected and [mol.GetProp("_Name") for mol in mols][2] == "0003"
    flat = mols[0].GetConformer().GetPositions()
    assert np.ptp(flat[:, 0]) > 1 and not flat[:, 2].any()
    first, second = (tmp_path / "invalid.txt").read_text().splitlines()
    assert first == "1 of 6 graphs are no possible molecules" and second.startswith("0002 Explicit valence")
    assert {p.name for p in saved.paths if p.parent == tmp_path} == {
        "graphs.npz",
        "graphs",
        "molecules.smi",
        "molecules.sdf",
        "invalid.txt",
    }
    assert not save_graphs(good, tmp_path).invalid and not (tmp_path / "invalid.txt").exists()
    assert same(read_npz(tmp_path / "graphs.npz")[0][2], good[2])


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_graphs(generate("tree", 5, "train"), tmp_path)
    before = (tmp_path / "graphs.npz").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "open", full)
    with pytest.raises(OSError, match="No space"):
        save_graphs(generate("tree", 10, "train"), tmp_path)
    assert (tmp_path / "graphs.npz").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
