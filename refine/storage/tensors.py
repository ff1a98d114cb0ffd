"""Safetensors files that others may have written: opened within bounds, or one message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refine.errors import RefineError, require
from refine.storage.files import regular

HEADER = 64 * 2**20  # bytes that names, shapes and metadata may have


def open_tensors(path: Path) -> Any:
    """An open safetensors file, of which nothing but the header is read; None where there is none.

    Raises:
        RefineError: damaged, foreign, or no regular file (a pipe would never end).
    """
    if not path.exists():
        return None
    try:
        regular(path)
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        require(size <= HEADER, f"{path} is damaged or not a safetensors file: its header claims {size:,} bytes")
        return safe_open(path, "pt")
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError) as error:
        raise RefineError(f"{path} is damaged or not a safetensors file: {error}") from None


def finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Make sure that all real numbers are numbers.

    Raises:
        RefineError: a tensor has NaN or infinities.
    """
    for name, tensor in tensors.items():
        wide = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # some small types know no such question
        require(bool(torch.isfinite(wide).all()), f"{path}: {name} is not finite (NaN or infinite)")
