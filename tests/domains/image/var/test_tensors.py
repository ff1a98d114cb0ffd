"""Files with tensors: every form that users have, and nothing that could run code."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from refine.domains.image.var.tensors import read_tensors
from refine.errors import RefineError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


class Stranger:
    """What a hostile file would have built: to be built leaves a trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("trace"),)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def same(path: str) -> bool:
    found = read_tensors(path, "var_wo_ddp")
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_every_form() -> None:
    torch.save(TENSORS, "plain.pth")
    torch.save(OrderedDict(TENSORS), "ordered.pth")
    torch.save({n: torch.nn.Parameter(t) if t.is_floating_point() else t for n, t in TENSORS.items()}, "parameters.pth")
    torch.save(TENSORS, "old.pth", _use_new_zipfile_serialization=False)
    save_file(TENSORS, "new.safetensors")
    assert all(same(str(path)) for path in Path().iterdir()) and len(list(Path().iterdir())) == 5


def test_a_training_checkpoint_of_var() -> None:
    parts = {
        "config": {"prog_it": 3},
        "var_wo_ddp": TENSORS,
        "vae_local": {"c": torch.ones(1)},
        "var_opt": {"state": {}},
    }
    torch.save({"epoch": 3, "iter": 0, "trainer": parts, "args": OrderedDict(depth=16, pn="256")}, "ar-ckpt-last.pth")
    torch.save(parts, "trainer.pth")
    assert same("ar-ckpt-last.pth") and same("trainer.pth")
    assert list(read_tensors("ar-ckpt-last.pth", "vae_local")) == ["c"]


def test_files_of_wrapped_modules() -> None:
    for i, prefix in enumerate(["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."]):
        wrapped = {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}
        torch.save(wrapped, f"{i}.pth")
        torch.save({"state_dict": wrapped, "epoch": 3}, f"{i}-state.pth")
        torch.save({"trainer": {"var_wo_ddp": wrapped}}, f"{i}-trainer.pth")
        save_file(wrapped, f"{i}.safetensors")
    torch.save({"model": TENSORS, "optimizer": {"lr": 1}}, "model.pth")
    torch.save({"a._orig_mod.weight": TENSORS["a.weight"], "b": TENSORS["b"]}, "part.pth")
    assert all(same(str(path)) for path in Path().iterdir()) and len(list(Path().iterdir())) == 18
    torch.save({"_orig_mod.b": TENSORS["b"], "b": TENSORS["b"]}, "twice.pth")
    with pytest.raises(RefineError, match=r"twice\.pth holds tensors twice"):
        read_tensors("twice.pth", "var_wo_ddp")


def test_nothing_is_read_before_it_is_used() -> None:
    torch.save({"a": torch.zeros(1000)}, "plain.pth")
    tensor = read_tensors("plain.pth", "")["a"]
    tensor += 1  # memory of its own from here on, not the file's
    assert float(read_tensors("plain.pth", "")["a"].sum()) == 0


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(zipped: bool) -> None:
    torch.save(TENSORS | {"c": Stranger()}, "bad.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        RefineError, match=r"bad.pth is refused: it would have Python build 'pathlib.Path.touch'|'getattr'"
    ):
        read_tensors("bad.pth", "")
    assert not Path("trace").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"a": "text"}, "holds under 'a' a str; accepted: names of tensors"),
        ({"a": torch.ones(1), "epoch": 3}, "holds under 'epoch' an int"),
        ({3: torch.ones(1)}, "holds under 3 a Tensor; accepted: names of tensors"),
        ({"a": None}, "holds under 'a' nothing"),
        ({"a": torch.ones(2).to_sparse()}, "holds under 'a' a Tensor that is sparse"),
        ({"a": torch.ones(2, device="meta")}, "holds under 'a' a Tensor without numbers"),
        ({}, "holds nothing, not tensors with names"),
        ({"trainer": 3}, "holds an int, not tensors with names"),
        ([torch.ones(1)], "holds a list, not tensors with names"),
        (torch.ones(1), "holds a Tensor, not tensors with names"),
        ({"a": np.float64(3)}, "is refused: it would have Python build 'numpy"),
    ],
)
def test_other_content(content: Any, words: str) -> None:
    torch.save(content, "bad.pth")
    with pytest.raises(RefineError, match=f"bad.pth {words}"):
        read_tensors("bad.pth", "var_wo_ddp")


@pytest.mark.parametrize("kind", ["text", "empty", "cut", "foreign zip", "safetensors", "missing", "folder"])
def test_damaged_files(kind: str) -> None:
    name = "bad.safetensors" if kind == "safetensors" else "bad.pth"
    torch.save(TENSORS, "good.pth")
    if kind == "folder":
        Path(name).mkdir()
    elif kind == "foreign zip":
        with zipfile.ZipFile(name, "w") as file:
            file.writestr("readme.txt", "hello")
    elif kind != "missing":
        cut = {"cut": Path("good.pth").read_bytes()[:-300], "empty": b""}
        Path(name).write_bytes(cut.get(kind, b"<html>404 Not Found</html>"))
    with pytest.raises(
        RefineError, match=f"{name} is (damaged, or no file of torch.save: |damaged or not a|not a file)"
    ):
        read_tensors(name, "")
