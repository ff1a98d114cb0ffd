"""QM9, MOSES and files of SMILES: where they come from, how they are split, what is kept."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import lzma
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from refine.domains.graph.graphs import smiles as module
from refine.domains.graph.graphs.molecules import BONDS, to_smiles
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.graphs.smiles import SOURCES, read_molecules, read_smiles
from refine.errors import RefineError
from refine.storage.downloads import cache_dir

Chem = pytest.importorskip("rdkit.Chem")
SHARED = Path(os.environ.get("REFINE_DATA", "")) / "graphs"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that REFINE_DATA names, an empty cache, and no way to download."""
    monkeypatch.setenv("REFINE_DATA", str(tmp_path))
    monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    (tmp_path / "graphs").mkdir()
    return tmp_path / "graphs"


def written(graphs: PackedGraphs) -> list[str | None]:
    return [to_smiles(g, graphs.node_kinds) for g in graphs]


def write_qm9(folder: Path, rows: list[tuple[str, int]]) -> None:
    with gzip.open(folder / "qm9.csv.gz", "wt", newline="") as file:
        table = csv.writer(file)
        table.writerows([["index", "smiles", "split_digress"], *([i, s, k] for i, (s, k) in enumerate(rows))])


def write_moses(folder: Path, part: str, smiles: list[str]) -> None:
    (folder / f"moses_{part}.smi.xz").write_bytes(lzma.compress("\n".join(smiles).encode()))


def test_qm9_by_the_split_of_its_file(bare: Path) -> None:
    write_qm9(bare, [("CCO", 0), ("C#N", 2), ("O", 1), ("NC=O", 0)])
    assert written(read_molecules("qm9", "train")) == ["CCO", "NC=O"]
    graphs = read_molecules("qm9", "test")
    assert written(graphs) == ["C#N"] and graphs.node_kinds == SOURCES["qm9"].atoms and graphs.edge_kinds == BONDS
    assert graphs.origin == "qm9 (test)"


def test_what_was_parsed_is_kept_for_as_long_as_the_file_is_the_same(bare: Path) -> None:
    write_qm9(bare, [("CCO", 0), ("O", 1)])
    first = read_molecules("qm9", "train")
    (kept,) = (cache_dir() / "graph").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert written(read_molecules("qm9", "val")) == ["O"] and kept.stat().st_mtime_ns == stamp
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(read_molecules("qm9", "train").edges, first.edges) and kept.stat().st_mtime_ns != stamp
    write_qm9(bare, [("CCCC", 0), ("O", 1)])
    assert written(read_molecules("qm9", "train")) == ["CCCC"]
    assert len(list((cache_dir() / "graph").iterdir())) == 2


def test_moses_holds_a_validation_set_out_of_train(bare: Path) -> None:
    chains = sorted("C" * n for n in range(1, 41))
    write_moses(bare, "train", chains)
    write_moses(bare, "test", ["CO", "CS"])
    write_moses(bare, "test_scaffolds", ["CBr"])
    train, val = (written(read_molecules("moses", s)) for s in ("train", "val"))
    assert len(train) == 36 and len(val) == 4 and sorted([*train, *val]) == chains
    assert written(read_molecules("moses", "test")) == ["CO", "CS"]
    assert written(read_molecules("moses", "test_scaffolds")) == ["CBr"]
    assert read_molecules("moses", "test_scaffolds").node_kinds == read_molecules("moses", "train").node_kinds
    for name in ("moses", "qm9"):
        with pytest.raises(RefineError, match=rf"split of {name}='dev' is not accepted"):
            read_molecules(name, "dev")


def test_unknown_atoms_and_bad_smiles_are_named_by_line(bare: Path) -> None:
    write_qm9(bare, [("CCO", 0), ("CCS", 1), ("C1CC", 0)])
    with pytest.raises(
        RefineError, match=r"qm9 \(qm9\) has 2 lines .* line 2: .*'S' is not .* line 3: .C1CC. is not S"
    ):
        read_molecules("qm9", "train")


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"a,b\n1,2\n", mtime=0), gzip.compress(b"x" * 99, mtime=0)[:-12]]
)
def test_a_damaged_file_is_named(bare: Path, content: bytes) -> None:
    (bare / "qm9.csv.gz").write_bytes(content)
    with pytest.raises(RefineError, match=r"qm9.csv.gz cannot be read .* expected the molecules of qm9"):
        read_molecules("qm9", "train")


@pytest.mark.parametrize(("name", "file"), [("qm9", "qm9.csv.gz"), ("moses", "moses_train.smi.xz, moses_test.smi.xz")])
def test_what_cannot_be_downloaded_says_where_to_put_it(bare: Path, name: str, file: str) -> None:
    with pytest.raises(RefineError, match=rf"whl cannot be downloaded .*; or put {file}.* REFINE_DATA"):
        read_molecules(name, "train")


def put_wheel(name: str, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive laid out as the published wheel, in the cache and with its checksum expected."""
    source = SOURCES[name]
    path = cache_dir() / "graph" / source.wheel.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in members.items():
            wheel.writestr(member, content)
    changed = replace(source, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setitem(module.SOURCES, name, changed)


def test_qm9_out_of_the_wheel_has_the_split_that_digress_draws(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {}
    for part, rows in ((1, [(1, "C"), (2, "N"), (3, "O")]), (2, [(4, "C#C")]), (3, [(5, "C#N"), (133885, "CO")])):
        text = io.StringIO()
        table = csv.writer(text)
        table.writerows([["XYZ_file", "Index", "SMILES"], *([f"{i:06d}.xyz", i, s] for i, s in rows)])
        parts[f"qm9pack/data/qm9_part{part}.csv"] = text.getvalue().encode()
    put_wheel("qm9", parts, monkeypatch)
    splits = {s: written(read_molecules("qm9", s)) for s in ("train", "val", "test")}
    assert splits == {"train": ["C", "N", "C#C", "C#N"], "val": ["CO"], "test": ["O"]}


def test_moses_out_of_the_wheel_is_the_same_as_out_of_the_file(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chains = ["C" * n for n in range(40, 0, -1)]
    text = "SMILES\n" + "\n".join(chains) + "\n"
    put_wheel("moses", {"moses/dataset/data/train.csv.gz": gzip.compress(text.encode())}, monkeypatch)
    from_wheel = written(read_molecules("moses", "val"))
    write_moses(bare, "train", sorted(chains))
    assert written(read_molecules("moses", "val")) == from_wheel and len(from_wheel) == 4
    with pytest.raises(RefineError, match="expected the molecules of moses"):
        (bare / "moses_train.smi.xz").unlink()
        read_molecules("moses", "test")


def test_a_file_of_smiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.smi"
    path.write_text("smiles name\nCCO\tethanol\n\n  O water and more\r\nC#N\n")
    graphs, lines = read_smiles(path)
    assert lines == ["CCO", "O", "C#N"] and written(graphs) == ["CCO", "O", "C#N"]
    assert graphs.node_kinds == ("C", "N", "O") and graphs.origin == str(path)
    monkeypatch.setattr(module, "WORTH_KEEPING", 2)
    for _ in range(2):
        kept, _ = read_smiles(path)
        assert written(kept) == ["CCO", "O", "C#N"] and kept.origin == str(path)
    path.write_text("CCO\nCC(\n")
    with pytest.raises(RefineError, match=r"a.smi has 1 lines that cannot be used: line 2: 'CC\(' is not SMILES"):
        read_smiles(path)
    path.write_text("\n")
    with pytest.raises(RefineError, match=r"a.smi has no SMILES"):
        read_smiles(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RefineError, match=r"a.smi cannot be read"):
        read_smiles(path)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "qm9.csv.gz").is_file(), reason="no graphs/qm9.csv.gz in REFINE_DATA")
def test_the_real_qm9(bare: Path) -> None:
    """The split of all molecules; and of every tenth one, the graph."""
    smiles, split = module._read_qm9(SHARED / "qm9.csv.gz", "qm9")
    assert np.bincount(split).tolist() == [97734, 20042, 13055] and len(smiles) == 130831
    with gzip.open(SHARED / "qm9.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))[::10]
    with gzip.open(bare / "qm9.csv.gz", "wt", newline="", compresslevel=1) as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    for number, name in enumerate(("train", "val", "test")):
        found, expected = read_molecules("qm9", name), [r for r in rows if r["split_digress"] == str(number)]
        assert [g.num_nodes for g in found] == [Chem.MolFromSmiles(r["smiles"]).GetNumAtoms() for r in expected]
        some = range(0, len(expected), 1 if name == "test" else 10)
        assert [to_smiles(found[i], found.node_kinds) for i in some] == [expected[i]["canonical"] for i in some]
