"""SDF is read as it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from refine.domains.graph.graphs.folder import read_folder
from refine.domains.graph.graphs.formats.sdf import read_sdf
from refine.domains.graph.graphs.molecules import BONDS, to_smiles
from refine.domains.graph.graphs.smiles import pack_smiles
from refine.domains.graph.pictures.files import save_graphs
from refine.errors import RefineError

Chem = pytest.importorskip("rdkit.Chem")

SMILES = ["CCO", "c1ccccc1", "[NH4+]", "C[N+](=O)[O-]", "C#N", "[Cl-].[Na+]", "O"]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    graphs = pack_smiles(list(enumerate(SMILES, 1)), "here")
    save_graphs(graphs, tmp_path / "s")
    found, smiles = read_sdf(tmp_path / "s" / "molecules.sdf")
    assert smiles == SMILES and found.node_kinds == graphs.node_kinds and found.edge_kinds == BONDS
    assert [to_smiles(g, found.node_kinds) for g in found] == SMILES
    (tmp_path / "t").mkdir()
    (tmp_path / "s" / "molecules.sdf").rename(tmp_path / "t" / "a.SDF")
    assert sum(len(read_folder(str(tmp_path / "t"), split)) for split in ("train", "val", "test")) == len(SMILES)


def test_hydrogens_data_and_line_ends_of_others(tmp_path: Path) -> None:
    block = Chem.MolToMolBlock(Chem.AddHs(Chem.MolFromSmiles("CCO")))
    v3000 = Chem.MolToV3KMolBlock(Chem.MolFromSmiles("CC"))
    text = f"{block}> <gap>\n0.3\n\n$$$$\n{v3000}$$$$\n"
    (tmp_path / "a.sdf").write_bytes(text.replace("\n", "\r\n").encode())
    assert read_sdf(tmp_path / "a.sdf")[1] == ["CCO", "CC"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a.sdf has no molecules"),
        ("nothing\n", "a.sdf, record 1 is no molecule"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("C")) + "$$$$\nbroken\n$$$$\n", "a.sdf, record 2 is no molecule"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("C[CH2]")), r"a.sdf has 1 records that cannot be used: record 1: .*radicals"),
        (Chem.MolToMolBlock(Chem.MolFromSmiles("[13CH4]")), r"record 1: .*isotopes"),
        ("x" * 300_000, "a.sdf, record 1 has 300000 characters"),
    ],
)
def test_sdf_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.sdf").write_text(text)
    with pytest.raises(RefineError, match=words):
        read_sdf(tmp_path / "a.sdf")
