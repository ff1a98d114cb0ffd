"""Lightning checkpoints without pickle: tensors in safetensors, everything else as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from refine.errors import RefineError, require, shown
from refine.storage.files import atomic_write
from refine.storage.plain_json import parse_json
from refine.storage.tensors import open_tensors


class SafetensorsIO(CheckpointIO):
    """Reads and writes the resume state of a stage as one ``.safetensors`` file, atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        tensors: dict[str, Tensor] = {}
        tree = _pack(checkpoint, tensors)
        with atomic_write(Path(path)) as temporary:
            save_file(tensors, temporary, metadata={"tree": json.dumps(tree)})

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        """The state that :meth:`save_checkpoint` wrote.

        Raises:
            RefineError: missing, damaged, or foreign.
        """
        foreign = f"{path} is not a resume file of refine, or is damaged"
        file = open_tensors(Path(path))
        require(file is not None, f"{foreign}: it does not exist")
        tree = (file.metadata() or {}).get("tree")
        require(tree is not None, f"{foreign}: it has no tree")
        try:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return _unpack(parse_json(str(tree), path), tensors)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            text = error.args[0] if error.args else type(error).__name__
            raise RefineError(f"{foreign}: {text}") from None

    def remove_checkpoint(self, path: str | Path) -> None:
        require(".." not in Path(path).parts, f"{path} is not removed: it leads out of its folder")
        Path(path).unlink(missing_ok=True)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Nested containers as JSON: tagged lists, so that keys keep their types and tuples stay tuples."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return ["tensor", name]
    if isinstance(value, Mapping):
        return ["dict", [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]]
    if isinstance(value, list | tuple):
        return ["tuple" if isinstance(value, tuple) else "list", [_pack(v, tensors) for v in value]]
    if value is None or isinstance(value, bool | int | float | str):
        return ["plain", value]
    if isinstance(value, Path):
        return ["plain", str(value)]
    raise TypeError(f"cannot store {type(value)} in a resume file")


def _unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
    if not (isinstance(node, list) and len(node) == 2):
        raise ValueError("a part of its tree is no pair")
    tag, value = node
    if tag == "tensor" and isinstance(value, str):
        return tensors[value]
    if tag == "dict" and isinstance(value, list):
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in value}
    if tag in ("list", "tuple") and isinstance(value, list):
        items = [_unpack(v, tensors) for v in value]
        return tuple(items) if tag == "tuple" else items
    if tag != "plain" or isinstance(value, list | dict):
        raise ValueError(f"a part of its tree is of no kind: {shown(tag)}")
    return value
