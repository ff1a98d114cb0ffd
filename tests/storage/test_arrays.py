"""Archives that grow row by row."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from refine.storage import arrays
from refine.storage.arrays import ArchiveWriter


def test_rows_that_were_added_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK", 7)  # copied in many parts
    whole = np.random.default_rng(0).normal(size=(11, 2, 3)).astype(np.float32)
    with ArchiveWriter(tmp_path / "new" / "a.npz") as archive:
        for rows, edges in ((slice(0, 4), np.arange(6, dtype=np.int16)), (slice(4, 11), np.array([70000], np.int32))):
            archive.add(items=whole[rows], edges=edges)
        archive.add(items=whole[:0], edges=np.zeros(0, np.int16))
        path = archive.finish(meta=np.array("a text"))
    with np.load(path) as found:
        assert np.array_equal(found["items"], whole) and found["items"].dtype == np.float32
        assert found["edges"].tolist() == [0, 1, 2, 3, 4, 5, 70000] and found["edges"].dtype == np.int32
        assert str(found["meta"]) == "a text" and len(found.files) == 3
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_nothing_is_left_of_an_archive_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="midway"), ArchiveWriter(tmp_path / "a.npz") as archive:
        archive.add(items=np.zeros((3, 2)))
        raise RuntimeError("midway")
    assert not list(tmp_path.iterdir())


def test_columns_and_bits_are_those_of_numpy(tmp_path: Path) -> None:
    turned = np.asfortranarray(np.arange(24, dtype=np.uint8).reshape(4, 6))
    with ArchiveWriter(tmp_path / "a.npz") as archive:
        archive.add(images=turned[:3], flags=np.array([True, False, True]))
        archive.add(images=turned[3:], flags=np.array([False]))
        archive.finish()
    np.savez_compressed(tmp_path / "b.npz", images=np.ascontiguousarray(turned), flags=[True, False, True, False])
    with zipfile.ZipFile(tmp_path / "a.npz") as ours, zipfile.ZipFile(tmp_path / "b.npz") as theirs:
        assert ours.namelist() == theirs.namelist()
        assert all(ours.read(name) == theirs.read(name) for name in ours.namelist())
