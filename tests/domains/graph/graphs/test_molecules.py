"""Molecules and their graphs say the same."""

from __future__ import annotations

import sys

import pytest
import torch

from refine.domains.graph.graphs.graphs import Graph
from refine.errors import RefineError

Chem = pytest.importorskip("rdkit.Chem")

from refine.domains.graph.graphs import molecules as m  # noqa: E402
from refine.domains.graph.graphs.smiles import SOURCES, pack_smiles  # noqa: E402

ATOMS = SOURCES["qm9"].atoms


def canonical(smiles: str) -> str:
    return str(Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False))


@pytest.mark.parametrize(
    "smiles",
    [
        "C",
        "c1ccccc1",
        "c1cc[nH]c1",
        "CC(=O)[O-].[Na+]",
        "C[N+](C)(C)C",
        "[O-][n+]1ccccc1",
        "[C-]#[O+]",
        "O=S(=O)(O)c1ccc2[nH]c(=O)sc2c1",
        "Cl(=O)(=O)(=O)O",
        "F[C@H](Cl)Br",
        "C/C=C/C",
        "[CH-]1C=CC=C1.[Fe+2]",
        "[nH+]1cc[nH]c1",
        "[H][H]",
        "[CH3:7][OH:8]",
        "C[Si](C)(C)C#N",
    ],
)
def test_a_molecule_comes_back_from_its_graph(smiles: str) -> None:
    graph = m.to_graph(smiles)
    names = m.read(smiles)[0]
    atoms = sorted(set(names), key=m.element_and_charge)
    expected = canonical(smiles.replace(":7", "").replace(":8", ""))
    assert m.to_smiles(graph, atoms) == expected
    p = torch.randperm(graph.num_nodes)
    assert m.to_smiles(graph.relabelled(p), atoms) == expected
    assert Chem.MolToSmiles(m.from_graph(graph, atoms)) == expected


def test_kinds_of_atoms_and_bonds() -> None:
    graph = m.to_graph("N#CC=[N+](C)[O-]", ATOMS)
    assert [ATOMS[i] for i in graph.node_label.tolist()] == ["N", "C", "C", "N+", "C", "O-"]
    assert graph.edges.T.tolist() == [[0, 1], [1, 2], [2, 3], [3, 4], [3, 5]]
    assert [m.BONDS[i] for i in graph.edge_label.tolist()] == ["triple", "single", "double", "single", "single"]
    benzene = m.to_graph("c1ccccc1", ["C"])
    assert sorted(benzene.edge_label.tolist()) == [0, 0, 0, 1, 1, 1]
    assert m.element_and_charge("Cl+3") == (17, 3) and m.element_and_charge("O-") == (8, -1)


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("C1CC", "'C1CC' is not SMILES"),
        ("junk", "'junk' is not SMILES"),
        ("", "'' has no atoms"),
        ("C" * 200_000, r"'C{100}\.\.\.' has 200000 characters; accepted: 2000 at most"),
        ("C(C)(C)(C)(C)C", "is no possible molecule .*valence for atom # 0 C, 5"),
        ("c1cccc1", "is no possible molecule .*kekulize"),
        ("*C", "has an unknown atom"),
        ("[CH2]C", "has radicals"),
        ("[2H]C", "radicals, isotopes"),
        ("[13CH4]", "radicals, isotopes"),
        ("[SH6]", "hydrogens"),
        ("N->[Fe]", "has bonds other than single, double, triple"),
        ("[Re]$[Re]", "has bonds other"),
        ("C[Rh]~C", "has bonds other"),
        ("CCS", r"the kind of an atom of 'CCS'='S' is not accepted; accepted: C-, C, N-"),
    ],
)
def test_what_a_graph_cannot_say_is_refused(smiles: str, words: str) -> None:
    with pytest.raises(RefineError, match=words):
        m.to_graph(smiles, ATOMS)


def test_graphs_that_chemistry_does_not_allow() -> None:
    star = Graph.of(6, [(0, i) for i in range(1, 6)], [1] * 6, [0] * 5)
    assert m.from_graph(star, ATOMS) is None and m.to_smiles(star, ATOMS) is None
    with pytest.raises(ValueError, match="Explicit valence for atom # 0 C, 5"):
        m.build(star, ATOMS)
    with pytest.raises(ValueError, match="'Xq' is no element"):
        m.build(Graph.of(1, [], [0], []), ["Xq"])
    assert m.to_smiles(Graph.of(2, [], [1, 6]), ATOMS) == "C.O"
    order = ("double", "single")
    assert m.to_smiles(Graph.of(2, [(0, 1)], [1, 1], [0]), ATOMS, order) == "C=C"


def test_kinds_that_are_those_of_molecules() -> None:
    assert m.are_molecules(("C", "N+", "Cl+3", "O-"), m.BONDS) and m.are_molecules(("C",), ("double",))
    for atoms, bonds in (((), m.BONDS), (("C",), ()), (("C", "red"), m.BONDS), (("C",), ("single", "strong"))):
        assert not m.are_molecules(atoms, bonds)


def test_lines_are_packed_and_the_bad_ones_named() -> None:
    lines = [(i, s) for i, s in enumerate(["CCO", "[NH4+]", "C#N", "BrBr"], 1)]
    packed = pack_smiles(lines, "list")
    assert packed.node_kinds == ("C", "N", "N+", "O", "Br") and packed.edge_kinds == m.BONDS
    smiles = [m.to_smiles(g, packed.node_kinds) for g in packed]
    assert smiles == ["CCO", "[NH4+]", "C#N", "BrBr"]
    bad = [*lines, (5, "C1"), (7, "*"), *((i, "C=") for i in range(8, 20))]
    with pytest.raises(RefineError, match=r"list has 14 lines that cannot be used: line 5: 'C1' .*; line 7: '\*' has"):
        pack_smiles(bad, "list")
    with pytest.raises(RefineError, match=r"2 lines .* line 2: the kind of an atom .*'N\+' is not .* line 4: .*'Br'"):
        pack_smiles(lines, "list", ["C", "N", "O"])


def test_without_rdkit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(RefineError, match=r"molecules need rdkit .*pip install 'refine-var\[molecules\]'"):
        m.chemistry.__wrapped__()
