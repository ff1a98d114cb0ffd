"""Data sets as the core reads them: any map from 0..n-1 to items, with a way to make batches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, default_collate

Items = Dataset[Any]
"""It has a length, and item i never changes. A method ``collate(rows)`` makes a batch of items in its own way."""


def collate_of(items: Items) -> Callable[[list[Any]], Any]:
    """How ``items`` become a batch: by their own ``collate``, else as PyTorch does it; a subset as the whole."""
    while isinstance(items, Subset):
        items = items.dataset
    return getattr(items, "collate", default_collate)


def spread(items: Items, count: int) -> Items:
    """At most ``count`` items, evenly spaced over the data set."""
    size = len(items)  # type: ignore[arg-type]
    return items if count >= size else Subset(items, torch.linspace(0, size - 1, count).long().tolist())


def in_batches(items: Items, batch_size: int) -> DataLoader[Any]:
    """All items once, in order."""
    return DataLoader(items, batch_size=batch_size, collate_fn=collate_of(items))


class Numbered(Dataset[tuple[int, Any]]):
    """Adds the number of each item as ``index`` to batches, so that a bad batch can be named."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[int, Any]:
        return index, self.items[index]

    def __getitems__(self, indices: list[int]) -> list[tuple[int, Any]]:
        many = getattr(self.items, "__getitems__", None)
        return list(zip(indices, many(indices) if many else [self.items[i] for i in indices], strict=True))

    def collate(self, pairs: list[tuple[int, Any]]) -> dict[str, Tensor]:
        """A batch of the items' own, and ``index`` (B,)."""
        batch: dict[str, Tensor] = collate_of(self.items)([row for _, row in pairs])
        return {**batch, "index": torch.tensor([index for index, _ in pairs])}


class FieldsDataset(Dataset[dict[str, Tensor]]):
    """Items held in memory: one tensor per field, the first dimension counting items."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors: Mapping[str, Tensor] = tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.tensors.items()}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        rows = {name: tensor[torch.as_tensor(indices)] for name, tensor in self.tensors.items()}
        return [{name: row[i] for name, row in rows.items()} for i in range(len(indices))]
