"""Tensors in the files that VAR's authors and its users keep: safetensors, or what ``torch.save`` wrote."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from refine.errors import RefineError, require


def read_tensors(path: str, part: str) -> dict[str, Tensor]:
    """The tensors of a state dict by name, on the CPU and, where the format allows it, not read before they are used.

    Args:
        path: a ``.safetensors`` file, or one of ``torch.save`` with tensors, which may stand in a training checkpoint or
            below ``state_dict`` or ``model``; names may begin as ``torch.compile`` or ``DistributedDataParallel`` have
            them (``_orig_mod.``, ``module.``).
        part: name of the state dict in a training checkpoint: ``vae_local`` or ``var_wo_ddp``.

    Raises:
        RefineError: no such file, a damaged one, or one that holds anything but tensors and plain data.
    """
    file = Path(path).expanduser()
    require(file.is_file(), f"{path} is not a file")
    try:
        content = load_file(file) if file.suffix == ".safetensors" else _load(file)
    except SafetensorError as error:
        raise RefineError(f"{path} is damaged or not a safetensors file: {error}") from None
    for name in ("trainer", part):  # as VAR's trainer saves them
        content = content[name] if isinstance(content, Mapping) and name in content else content
    for name in ("state_dict", "model"):
        inner = content.get(name) if isinstance(content, Mapping) else None
        content = inner if isinstance(inner, Mapping) else content
    require(isinstance(content, Mapping) and len(content) > 0, f"{path} holds {_kind(content)}, not tensors with names")
    for name, value in content.items():
        good = isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided
        good = good and not value.is_meta
        require(good, f"{path} holds under {name!r} {_kind(value)}; accepted: names of tensors")
    return _unwrapped(path, content)


def _unwrapped(path: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the names that the tensors have in the module itself, not in what it was wrapped in."""
    names = {name: name.replace("_orig_mod.", "") for name in tensors}
    while all(name.startswith("module.") for name in names.values()):
        names = {name: inner.removeprefix("module.") for name, inner in names.items()}
    require(len(set(names.values())) == len(names), f"{path} holds tensors twice, with and without '_orig_mod.'")
    return {inner: tensors[name] for name, inner in names.items()}


def _load(file: Path) -> Any:
    """What ``torch.save`` wrote, with PyTorch's own unpickler for tensors and plain data: no code in it can run."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except Exception as error:  # of many kinds, and none that tells a refused file from a damaged one
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise RefineError(
                f"{file} is refused: it would have Python build {found[1]!r}; accepted: tensors and plain data"
            ) from None
        first = f"{type(error).__name__} {error}".splitlines()[0]
        raise RefineError(f"{file} is damaged, or no file of torch.save: {first}") from None


def _kind(value: Any) -> str:
    if isinstance(value, Mapping) and not value:
        return "nothing"
    if value is None:
        return "nothing"
    article = "an" if type(value).__name__[:1] in "aeiou" else "a"
    which = ""
    if isinstance(value, Tensor):
        which = " without numbers" if value.is_meta else " that is sparse" if value.layout != torch.strided else ""
    return f"{article} {type(value).__name__}{which}"
