"""Every record of :mod:`malformed.records` is read, or refused in one message: by its reader in this process for all of
them, and by a command in a process of its own for some."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from malformed import records
from malformed.frame import bad
from refine.errors import RefineError


def refused(read: Callable[[Path], Any], path: Path, content: bytes) -> bool:
    """Whether a reader refuses a file, by name and in one line; anything else that it raises is not caught."""
    path.write_bytes(content)
    try:
        read(path)
    except RefineError as error:
        said = str(error)
        assert path.name in said and "\n" not in said and len(said) < 700
        return True
    return False


def test_studies(tmp_path: Path) -> None:
    from refine.studies.contest.results import read_results
    from refine.studies.contest.write_up import frontier, hypotheses

    def read(path: Path) -> None:
        results = read_results(path)
        assert len(frontier(results)) > 100 and len(hypotheses(results)) > 100

    path = tmp_path / "study.json"
    assert not refused(read, path, json.dumps(records.STUDY).encode())
    odd = [json.dumps(held).encode() for _, held in records.changed(records.STUDY)]
    assert 300 < sum(refused(read, path, content) for content in odd) < len(odd)
    for name, content in records.texts(records.STUDY).items():
        assert refused(read, path, content), name
    for place, *act in records.NO_STUDY:
        assert refused(read, path, json.dumps(records.other(records.STUDY, place, *act)).encode()), (place, act)


def test_reproductions(tmp_path: Path) -> None:
    from refine.studies.store import Key, Store

    def read(path: Path) -> None:
        Store(path, Key)

    path = tmp_path / "reproduction.json"
    assert not refused(read, path, json.dumps(records.REPRODUCTION).encode())
    for _, held in records.changed(records.REPRODUCTION):
        refused(read, path, json.dumps(held).encode())
    for name, content in records.texts(records.REPRODUCTION).items():
        assert refused(read, path, content), name


def test_plans(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    from refine.domains.weather.ensembles.unfinished import Unfinished

    now = {"seed": 7, "model": "x", "ensemble.start": ["2021-01-01T00:00"]}
    (tmp_path / "f.zarr.partial" / "store.zarr").mkdir(parents=True)

    def read(path: Path) -> None:
        Unfinished(tmp_path / "f.zarr", now, lambda _: None)

    path = tmp_path / "f.zarr.partial" / "plan.json"
    for content in (*records.texts(now).values(), *(json.dumps(v).encode() for _, v in records.changed(now))):
        path.write_bytes(content)
        with pytest.raises(RefineError, match=r"f\.zarr\.partial"):
            read(path)


def test_graphs(tmp_path: Path) -> None:
    pytest.importorskip("networkx")
    from refine.domains.graph.graphs.archive import read_npz

    path = tmp_path / "a.npz"
    assert not refused(read_npz, path, records.npz(records.GRAPHS))
    for name, arrays in records.archives():
        assert refused(read_npz, path, records.npz(arrays)) != (name in ("split negative", "split large")), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is bounded on Linux")
def test_commands_refuse_them_and_leave_them_as_they_are() -> None:
    """Two that are fast."""
    cases = list(records.cases())
    some = [case for case in cases if case.name in ("reproduction/deep", "graphs/edges large")]
    assert len(cases) > 150 and len(some) == 2 and bad(some) == []
