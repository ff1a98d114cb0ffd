"""The archive of graphs gives back what was written, and a damaged one is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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
