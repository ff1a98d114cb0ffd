"""The archive of graphs gives back what was written, and a damaged one is named."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refine.domains.graph.graphs import archive
from refine.domains.graph.graphs.archive import read_npz, write_npz
from refine.domains.graph.graphs.generators import generate
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError

from ..made_up import MIXED, same


def test_the_archive_gives_back_what_was_written(tmp_path: Path) -> None:
    for packed in (PackedGraphs.of(MIXED, ["C", "N+", "O"], list("abcd"), "some"), generate("sbm", 5, "train")):
        back, split = read_npz(write_npz(tmp_path / "new" / "a.npz", packed))
        assert split is None and all(same(a, b) for a, b in zip(packed, back, strict=True))
        assert (back.node_kinds, back.edge_kinds) == (packed.node_kinds, packed.edge_kinds)
    _, split = read_npz(write_npz(tmp_path / "a.npz", packed, np.array([2, 0, 1])))
    assert split.tolist() == [2, 0, 1]
    assert len(read_npz(write_npz(tmp_path / "none.npz", packed.select([])))[0]) == 0
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.npz", "a.npz", "none.npz"]


def damaged(path: Path, kind: str) -> None:
    good = dict(num_nodes=np.array([2]), num_edges=np.array([1]), edges=np.array([[0, 1]]))
    if kind == "pickle":
        np.savez(path, **good | {"edges": np.array([{"a": 1}], dtype=object)})
    elif kind == "missing":
        np.savez(path, num_nodes=good["num_nodes"])
    elif kind == "meta":
        np.savez(path, **good, meta=np.array("{not json"))
    elif kind == "kinds":
        np.savez(path, **good, node_label=np.array([0, 0]), meta=np.array(json.dumps({"node_kinds": [1]})))
    elif kind == "split":
        np.savez(path, **good, split=np.array([0, 1]))
    elif kind == "loop":
        np.savez(path, **good | {"edges": np.array([[1, 1]])})
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif kind == "truncated":
        np.savez(path, **good)
        path.write_bytes(path.read_bytes()[:-40])
    else:
        path.write_bytes(b"nothing of the kind")


@pytest.mark.parametrize("kind", ["pickle", "missing", "meta", "kinds", "split", "loop", "npy", "truncated", "foreign"])
def test_a_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    damaged(tmp_path / "a.npz", kind)
    with pytest.raises(RefineError, match=r"a\.npz"):
        read_npz(tmp_path / "a.npz")


GOOD = {"num_nodes": np.array([2]), "num_edges": np.array([1]), "edges": np.array([[0, 1]])}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"node_label": np.array([0, 10**9])}, "node_label 1000000000 has no name; accepted: 0 to 9999"),
        ({"num_nodes": np.array([2 * 10**9])}, "graph 0 has 2000000000 nodes; accepted: 16777216 at most"),
        ({"num_nodes": np.array([10**12])}, "graph 0 has 1000000000000 nodes"),
        ({"num_nodes": np.array([2**64 - 1], np.uint64)}, "num_nodes has 18446744073709551615; accepted: less than"),
        ({"edges": np.array([[0, 2**63]], np.uint64)}, "edges has 9223372036854775808; accepted: less than"),
        ({"num_nodes": np.array([2, 2, 2]), "num_edges": np.array([2**62] * 2 + [1])}, "edges has the shape"),
        ({"split": np.array(["a"])}, "split is not one whole number for each graph"),
        ({"split": np.array([0.5])}, "split is not one whole number for each graph"),
        ({"meta": np.array("[" * 100_000)}, "meta is damaged"),
        ({"meta": np.array("[]")}, "cannot be read"),
        ({"meta": np.array('{"node_kinds": "' + "x" * 9999 + '"}')}, "node_kinds of meta is no list of names"),
    ],
)
def test_claims_that_would_take_the_memory_are_refused(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "a.npz", **GOOD | arrays)
    with pytest.raises(RefineError, match=rf"a\.npz.*{words}") as error:
        read_npz(tmp_path / "a.npz")
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_unsigned_integers_of_any_size_are_integers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{key: array.astype(np.uint64) for key, array in GOOD.items()})
    assert read_npz(tmp_path / "a.npz")[0].edges.tolist() == [[0, 1]]


def test_headers_are_compared_with_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def claims(shape: tuple[int, ...], dtype: str, rest: bytes = b"") -> bytes:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
        return header.getvalue() + rest

    np.savez(tmp_path / "good.npz", **GOOD)
    for entry, content, words in (
        ("edges.npy", claims((10**12, 2), "<i8"), "has not its"),
        ("meta.npy", claims((10**12,), "<U0"), "has not its"),
        ("edges.npy", b"xx", "cannot be read"),
        ("node_label.npy", claims((2**20,), "<i1", bytes(2**20)), "has more than 0 MiB, unpacked"),
    ):
        with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "a.npz", "w", 8) as bad:
            for name in good.namelist():
                bad.writestr(name, good.read(name)) if name != entry else None
            bad.writestr(entry, content)
        with monkeypatch.context() as patch, pytest.raises(RefineError, match=rf"a\.npz.*{words}"):
            patch.setattr(archive, "MOST_BYTES", 2**19)
            read_npz(tmp_path / "a.npz")
