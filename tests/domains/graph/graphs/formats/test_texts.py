"""SMILES in tables and texts are molecules, and edges are edges."""

from __future__ import annotations

from pathlib import Path

import pytest

from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.formats.texts import read_edges_or_smiles
from refine.errors import RefineError

pytest.importorskip("rdkit")

THREE = ["CCO", "c1ccccc1", "CC(=O)O"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "SMILES,SPLIT\nCCO,train\nc1ccccc1,test\nCC(=O)O,valid\n"),
        ("a.csv", '"id";"smiles";"gap"\n"1";"CCO";"0,3"\n"2";"c1ccccc1";"0,4"\n"3";"CC(=O)O";"0,5"\n'),
        ("a.tsv", "name\tcanonical_smiles\nethanol\tCCO\nbenzene\tc1ccccc1\nacetic acid\tCC(=O)O\n"),
        ("a.csv", "CCO,0.3\nc1ccccc1,0.4\nCC(=O)O,0.5\n"),
        ("a.txt", "CCO\nc1ccccc1\nCC(=O)O\n"),
        ("a.txt", "CCO ethanol\nc1ccccc1 benzene\nCC(=O)O acid\n"),
        ("a.txt", "1 CCO\n2 c1ccccc1\n3 CC(=O)O\n"),
        ("a.txt", "smiles\nCCO\nc1ccccc1\nCC(=O)O\n"),
    ],
)
def test_columns_of_smiles(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    graphs, smiles, split = read_edges_or_smiles(tmp_path / name, Reading())
    assert smiles == THREE and graphs.num_nodes.tolist() == [3, 6, 4] and graphs.node_kinds == ("C", "O")
    assert (split is None) == ("SPLIT" not in text)
    if split is not None:
        assert split.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CCO\nCC(=O)O\nnonsense\n", "has 1 lines that cannot be used: line 3: 'nonsense' is not SMILES"),
        ("smiles,split\nCCO,dev\n", "line 2: split=.*'dev'.* is not accepted; accepted: train, val, test"),
        ("smiles,gap\n,3\n", "line 2: no SMILES"),
    ],
)
def test_smiles_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RefineError, match=words):
        read_edges_or_smiles(tmp_path / "a.csv", Reading())


@pytest.mark.parametrize("text", ["n0\nn1\nn2\n", "0\n1\n2\n", "Ada\nBob\nDan\n", "n0 n1\nn1 n2\n", "C1 N1\nN1 O1\n"])
def test_names_that_are_no_smiles(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    graphs, smiles, _ = read_edges_or_smiles(tmp_path / "a.txt", Reading())
    assert not smiles and graphs.num_nodes.tolist() == [3]
