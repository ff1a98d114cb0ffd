"""What is packed is read within bounds."""

from __future__ import annotations

import gzip
from pathlib import Path

import networkx as nx
import pytest

from refine.domains.graph.graphs.folder import read_folder
from refine.domains.graph.graphs.formats import content
from refine.domains.graph.graphs.formats.content import read_bytes, read_lines, read_text
from refine.errors import RefineError


def test_every_text_may_be_packed(tmp_path: Path) -> None:
    nx.write_graphml(nx.path_graph(3), tmp_path / "train.graphml.gz")
    nx.write_gml(nx.path_graph(4), tmp_path / "val.gml.gz")
    (tmp_path / "test.csv.GZ").write_bytes(gzip.compress(b"source,target\n0,1\n"))
    sizes = [read_folder(str(tmp_path), split)[0].num_nodes for split in ("train", "val", "test")]
    assert sizes == [3, 4, 2]


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_BYTES", 2**20)
    for name, data in (("a.txt.gz", gzip.compress(bytes(2**21))), ("a.txt", bytes(2**21))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(RefineError, match=rf"{name} has more than 1 MiB"):
            read_bytes(tmp_path / name)


def test_too_many_lines_are_refused_before_they_are_all_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_ITEMS", 6)
    (tmp_path / "a.txt").write_bytes(b"0 1\r\n" * 6)
    assert list(read_lines(tmp_path / "a.txt")) == ["0 1"] * 6
    (tmp_path / "a.txt").write_bytes(b"\r" * 7)
    with pytest.raises(RefineError, match=r"a.txt has more than 6 lines"):
        list(read_lines(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"0 1\n" * 99)[:-9], gzip.compress(b"\xff\xfe")],
    ids=["no gzip", "cut", "no text"],
)
def test_what_cannot_be_unpacked_or_is_no_text(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt.gz").write_bytes(data)
    with pytest.raises(RefineError, match=r"a.txt.gz cannot be read"):
        read_text(tmp_path / "a.txt.gz")
