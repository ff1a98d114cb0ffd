"""Caches and records that are not what a run wrote: made again, or passed over and named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from refine.errors import RefineError
from refine.items import FieldsDataset
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.curves import plot_curves
from refine.learning.data import read_cache, write_cache
from refine.storage.runs import METRICS, log_metrics, read_metrics


class Coded(FieldsDataset):
    """Items whose codes are below 4."""

    def accepts(self, columns: dict[str, Tensor]) -> bool:
        return bool((columns["codes_0"] < 4).all())


def items() -> Coded:
    return Coded(codes_0=torch.tensor([[0, 1], [2, 3], [3, 0]], dtype=torch.uint8), x=torch.ones(3, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {n: t[:2].clone() for n, t in c.items()},
        lambda c: {n: t[:0].clone() for n, t in c.items()},
        lambda c: {**c, "more": torch.ones(3)},
        lambda c: {"x": c["x"]},
        lambda c: {**c, "codes_0": c["codes_0"] + 4},
        lambda c: {**c, "codes_0": c["codes_0"].long()},
        lambda c: {**c, "x": c["x"] * torch.nan},
        lambda c: {**c, "x": torch.ones(3, 5)},
    ],
)
def test_a_cache_of_others_is_made_again(change, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "cache.safetensors"
    write_cache(items(), path, 2)
    right = load_file(path)
    save_file(change(right), path)
    write_cache(items(), path, 2)
    found = read_cache(path).tensors
    assert found.keys() == right.keys() and all(torch.equal(found[n], right[n]) for n in right)


def test_a_cache_that_fits_stays(tmp_path: Path) -> None:
    path = tmp_path / "cache.safetensors"
    write_cache(items(), path, 2)
    before = path.stat().st_mtime_ns
    write_cache(items(), path, 2)
    assert path.stat().st_mtime_ns == before
    path.unlink()
    with pytest.raises(RefineError, match="is not there"):
        read_cache(path)


def test_records_that_are_none_are_passed_over_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_metrics(tmp_path, {"stage": "predictor", "step": 1, "nll": 2.0})
    odd = [b"[1]", b'{"stage": "predictor", "step": NaN, "nll": 1}', b"[" * 10**5, b"\xff\xfe", b'{"stage": 3}']
    odd += [
        b'{"stage": "predictor", "step": -1}',
        b'{"stage": "p", "step": 1, "nll": ' + b"9" * 400 + b"}",
        b'{"a": 1, "a": 2}',
    ]
    with (tmp_path / METRICS).open("ab") as file:
        file.write(b"\n".join(odd) + b'\n{"step": 1, "nll": 1}\n{"stage": "predictor", "step": 2, "nll": NaN}\n')
    log_metrics(tmp_path, {"stage": "predictor", "step": 3, "nll": float("inf")})
    rows = read_metrics(tmp_path)
    assert [row.get("step") for row in rows] == [1, 1, 2, 3]
    assert "line 2, 3, 4, 5, 6, ... (8 in all)" in " ".join(capsys.readouterr().err.split())
    assert [p.name for p in plot_curves(tmp_path, tmp_path)] == ["curves.png"]


def test_metrics_are_not_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "run" / METRICS).symlink_to(tmp_path / "victim")
    with pytest.raises(RefineError, match="leads out of"):
        log_metrics(tmp_path / "run", {"step": 1})
    assert (tmp_path / "victim").read_text() == "kept"


def test_files_that_a_state_names_elsewhere_stay(tmp_path: Path) -> None:
    (tmp_path / "resume").mkdir()
    (tmp_path / "victim").write_text("kept")
    with pytest.raises(RefineError, match="leads out of its folder"):
        SafetensorsIO().remove_checkpoint(tmp_path / "resume" / ".." / "victim")
    assert json.dumps((tmp_path / "victim").read_text()) == '"kept"'
