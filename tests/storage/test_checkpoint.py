"""Checkpoint folders: what is written comes back, what is damaged or hostile is refused, and no crash loses a model."""

from __future__ import annotations

import json
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from refine.errors import RefineError
from refine.storage.checkpoint import (
    CONFIG,
    FORMAT,
    NEXT,
    WEIGHTS,
    fingerprint,
    load_checkpoint,
    open_checkpoint,
    read_header,
    save_checkpoint,
)


def header(mark: int = 0) -> dict[str, Any]:
    info = {"predictor": {"steps": mark}}
    return {"domain": "toy", "domain_config": {"scales": [1, 2]}, "model": {"commitment": 0.25}, "info": info}


def tensors(mark: int = 0) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 2), float(mark)), "steps": torch.tensor(mark)}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def mark_of(folder: Path) -> int:
    """Which save a folder holds, after checking that header and weights are of one and the same."""
    loaded, arrays = load_checkpoint(folder)
    mark = loaded["info"]["predictor"]["steps"]
    assert torch.equal(arrays["a"], tensors(mark)["a"])
    assert arrays["steps"] == mark
    return int(mark)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    save_checkpoint(folder, header(1), tensors(1))
    return folder


def test_round_trip(tmp_path: Path) -> None:
    base = torch.randn(4, 6)
    written = {
        "float": base,
        "tied": base,  # shares its memory
        "transposed": base.T,
        "half": base.bfloat16(),
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "grad": torch.nn.Parameter(base[0]),
    }
    save_checkpoint(tmp_path / "deep" / "run", header(), written)
    loaded, arrays = load_checkpoint(tmp_path / "deep" / "run")
    assert {k: loaded[k] for k in header()} == header()
    assert loaded["format"] == FORMAT
    assert arrays.keys() == written.keys()
    for name, tensor in written.items():
        assert arrays[name].dtype == tensor.dtype and torch.equal(arrays[name], tensor), name
    assert names(tmp_path / "deep" / "run") == [CONFIG, WEIGHTS]


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_checkpoint(tmp_path / name, header(), tensors())
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@contextmanager
def snapshots(folder: Path, into: Path, stop_at: int | None = None) -> Iterator[list[Path]]:
    """Copy ``folder`` before every change of names or flush to disk: all the states that a kill could leave behind.

    With ``stop_at``, Ctrl-C comes at that operation instead.
    """
    states: list[Path] = []
    count = 0

    def spy(name: str) -> Any:
        real = getattr(os, name)

        def operation(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == stop_at:
                raise KeyboardInterrupt
            if stop_at is None:
                states.append(into / f"{len(states):03d}")
                shutil.copytree(folder, states[-1])
            return real(*args, **kwargs)

        return operation

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "fsync", "unlink"):
            patch.setattr(os, name, spy(name))
        yield states


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(saved: Path, tmp_path: Path) -> None:
    with snapshots(saved, tmp_path / "states") as states:
        save_checkpoint(saved, header(2), tensors(2))
    marks = [mark_of(state) for state in states]
    assert len(marks) >= 6 and marks == sorted(marks) and set(marks) == {1, 2}
    for state in states:  # and each can be saved to again, with a kill at any moment there as well
        with snapshots(state, tmp_path / f"{state.name}-again") as later:
            save_checkpoint(state, header(3), tensors(3))
        assert {mark_of(s) for s in later} == {mark_of(later[0]), 3}
        assert mark_of(state) == 3
        assert names(state) == [CONFIG, WEIGHTS]


def test_interrupt_at_any_moment_leaves_nothing_half_done(saved: Path, tmp_path: Path) -> None:
    stopped = 0
    for moment in range(1, 100):
        before = mark_of(saved)
        try:
            with snapshots(saved, tmp_path, stop_at=moment):
                save_checkpoint(saved, header(before + 1), tensors(before + 1))
        except KeyboardInterrupt:
            stopped += 1
            assert mark_of(saved) in (before, before + 1)
        else:
            break
    assert stopped >= 6
    assert mark_of(saved) == before + 1
    assert names(saved) == [CONFIG, WEIGHTS]


def test_a_disk_that_fills_up_costs_nothing(saved: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # writing beyond fails, as on a full disk
    try:
        with pytest.raises((RefineError, OSError), match=r"cannot be written|File too large"):
            save_checkpoint(saved, header(2), {"a": torch.zeros(100_000)})
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(saved, {**header(2), "info": {"text": "x" * 30_000}}, tensors(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert mark_of(saved) == 1
    assert names(saved) == [CONFIG, WEIGHTS]


def test_reading_while_another_thread_saves(saved: Path) -> None:
    done = threading.Event()

    def keep_saving() -> None:
        for mark in range(2, 60):
            save_checkpoint(saved, header(mark), tensors(mark))
        done.set()

    writer = threading.Thread(target=keep_saving)
    writer.start()
    marks = [mark_of(saved)]
    while not done.is_set():
        marks.append(mark_of(saved))
    writer.join()
    assert marks == sorted(marks)
    assert mark_of(saved) == 59


def test_missing(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RefineError, match="nowhere does not exist"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(RefineError, match=r"holds no checkpoint: there is no config\.json"):
        load_checkpoint(tmp_path)
    (saved / WEIGHTS).unlink()
    with pytest.raises(RefineError, match=r"has no model\.safetensors"):
        load_checkpoint(saved)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 50, 200, -1])
def test_truncated_or_foreign_weights(saved: Path, size: int) -> None:
    content = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(content[:size])
    with pytest.raises(RefineError, match="damaged or not a safetensors file"):
        load_checkpoint(saved)
    save_file(tensors(1), saved / WEIGHTS)
    with pytest.raises(RefineError, match=r"does not belong to the config\.json"):
        load_checkpoint(saved)


def test_files_of_two_checkpoints_do_not_mix(saved: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "other", header(2), tensors(2))
    shutil.copy(tmp_path / "other" / WEIGHTS, saved / WEIGHTS)
    with pytest.raises(RefineError, match=r"does not belong to the config\.json"):
        load_checkpoint(saved)
    shutil.copy(tmp_path / "other" / CONFIG, saved / CONFIG)
    assert mark_of(saved) == 2


def test_no_pickle(saved: Path) -> None:
    torch.save(tensors(1), saved / WEIGHTS)
    with pytest.raises(RefineError, match="damaged or not a safetensors file"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is damaged"),
        ('{"format": 1,', "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "was not written by refine"),
        ('{"architectures": ["GPT2"], "format": 1}', "was not written by refine"),
    ],
)
def test_damaged_or_foreign_header(saved: Path, text: str, message: str) -> None:
    (saved / CONFIG).write_text(text)
    with pytest.raises(RefineError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1, "refine_version": "9.1"}, r"written by refine 9\.1; this refine reads formats up to"),
        ({"format": "one"}, "has format 'one'"),
        ({"format": None}, "has format None"),
        ({"info": None}, "'info' is missing or is not a dict"),
        ({"domain": 3}, "'domain' is missing or is not a str"),
        ({"loader": "os.system"}, "'loader' is not accepted; accepted: format, refine_version"),
        ({"_target_": "os.system"}, "'_target_' is not accepted"),
        ({"model": {"quantizer": {"size": {"_target_": "os.system"}}}}, r"model\.quantizer\.size\._target_ is not"),
        ({"domain_config": {"folder": "${oc.env:HOME}"}}, "values are not interpolated"),
    ],
)
def test_header_that_is_newer_incomplete_or_names_code(saved: Path, change: dict[str, Any], message: str) -> None:
    (saved / CONFIG).write_text(json.dumps(json.loads((saved / CONFIG).read_text()) | change))
    with pytest.raises(RefineError, match=message):
        read_header(saved)


def test_what_could_not_be_read_is_not_written(saved: Path) -> None:
    with pytest.raises(RefineError, match="values are numbers, texts, lists and mappings"):
        save_checkpoint(saved, {**header(2), "info": {"path": float}}, tensors(2))
    assert mark_of(saved) == 1


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, NEXT])
def test_links_out_of_the_folder_are_refused(saved: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / name
    if name == NEXT:
        (saved / WEIGHTS).rename(outside)
    else:
        (saved / name).rename(outside)
    (saved / name).symlink_to(outside)
    with pytest.raises(RefineError, match="leads out of"):
        load_checkpoint(saved)


def test_links_of_the_hub_cache_are_followed(saved: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--me--digits" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "blobs").mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copy(saved / name, snapshot.parents[1] / "blobs" / f"1{name}")
        (snapshot / name).symlink_to(f"../../blobs/1{name}")
    assert mark_of(snapshot) == 1


def rewritten(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    """Other tensors under the same fingerprint."""
    found = load_file(folder / WEIGHTS)
    change(found)
    save_file(found, folder / WEIGHTS, metadata={"refine": read_header(folder)["weights"]})


def test_the_fingerprint_is_computed(saved: Path) -> None:
    rewritten(saved, lambda t: t["a"].view(-1)[:1].add_(1))
    with pytest.raises(RefineError, match=r"has changed since they were saved"):
        load_checkpoint(saved)
    save_checkpoint(saved, header(2), tensors(2))
    text = (saved / CONFIG).read_text()
    (saved / CONFIG).write_text(text.replace('"info": {', '"info": {"more": 1, ', 1))
    with pytest.raises(RefineError, match=r"has changed since they were saved"):
        load_checkpoint(saved)
    assert open_checkpoint(saved)[0]["info"]["more"] == 1  # without the weights nobody can tell


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_neither_written_nor_read(saved: Path, value: float) -> None:
    broken = {**tensors(2), "b": torch.tensor([1.0, value])}
    with pytest.raises(RefineError, match=r"b is not finite"):
        save_checkpoint(saved, header(2), broken)
    assert mark_of(saved) == 1
    signed = {**read_header(saved), "weights": ""}
    signed["weights"] = fingerprint(signed, broken)
    save_file(broken, saved / WEIGHTS, metadata={"refine": signed["weights"]})
    (saved / CONFIG).write_text(json.dumps(signed))
    with pytest.raises(RefineError, match=r"b is not finite"):
        load_checkpoint(saved)


def test_weights_that_are_no_regular_file(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    os.mkfifo(saved / WEIGHTS)
    with pytest.raises(RefineError, match="no regular file"):
        load_checkpoint(saved)
    (saved / WEIGHTS).unlink()
    (saved / WEIGHTS).symlink_to(WEIGHTS)
    with pytest.raises(RefineError, match=r"refused|cannot be read"):
        load_checkpoint(saved)
    (saved / WEIGHTS).unlink()
    (saved / WEIGHTS).write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(RefineError, match="its header claims"):
        load_checkpoint(saved)
