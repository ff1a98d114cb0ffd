"""Lightning checkpoints without pickle: tensors in safetensors, everything else as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from refine.errors import RefineError
from refine.storage.files import atomic_write


class SafetensorsIO(CheckpointIO):
    """Reads and writes the resume state of a stage as one ``.safetensors`` file, atomically."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        tensors: dict[str, Tensor] = {}
        tree = _pack(checkpoint, tensors)
        with atomic_write(Path(path)) as temporary:
            save_file(tensors, temporary, metadata={"tree": json.dumps(tree)})

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = None) -> Any:
        try:
            with safe_open(path, "pt") as file:
                tree = json.loads(file.metadata()["tree"])
                return _unpack(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise RefineError(f"{path} is not a resume file of refine, or is damaged: {error}") from error

    def remove_checkpoint(self, path: str | Path) -> None:
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
    tag, value = node
    if tag == "tensor":
        return tensors[value]
    if tag == "dict":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in value}
    if tag in ("list", "tuple"):
        items = [_unpack(v, tensors) for v in value]
        return tuple(items) if tag == "tuple" else items
    return value
