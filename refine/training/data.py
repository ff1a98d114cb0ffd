"""What the stages train on: batches that are a function of the step alone, and codes that are computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from refine.domain import FieldsDataset
from refine.errors import require
from refine.files import atomic_write
from refine.progress import track
from refine.tokenizer import Tokenizer
from refine.types import Codes

Items = Dataset[dict[str, Tensor]]


class StepBatches(Sampler[list[int]]):
    """The indices of every step's batch, drawn without replacement from one seeded permutation after another.

    The batch of step s depends on (seed, s) only, so a run that resumes at s continues as if it had never stopped.

    Args:
        size: items in the dataset.
        batch_size: per process.
        seed: of the permutations.
        steps: how many batches there are in all.
        first: the step to start from, asked when iteration starts.
        rank: number of this process, of ``world``.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        steps: int,
        first: Callable[[], int] = lambda: 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        require(size > 0, "there are no training items")
        require(batch_size > 0, f"batch_size={batch_size} is not accepted; accepted: 1 or more")
        self.size, self.batch_size, self.seed, self.steps = size, batch_size, seed, steps
        self.first, self.rank, self.world = first, rank, world
        self._permutation: tuple[int, Tensor] = (-1, torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first(), self.steps):
            start = (step * self.world + self.rank) * self.batch_size
            yield [self._item(place) for place in range(start, start + self.batch_size)]

    def _item(self, place: int) -> int:
        epoch, offset = divmod(place, self.size)
        if self._permutation[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", epoch))
            self._permutation = epoch, torch.randperm(self.size, generator=generator)
        return int(self._permutation[1][offset])


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from anything printable, the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


class Numbered(Dataset[dict[str, Tensor]]):
    """Adds each item's ``index``, so that a bad batch can be named."""

    def __init__(self, items: Items) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {**self.items[index], "index": torch.tensor(index)}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        many = getattr(self.items, "__getitems__", None)
        rows = many(indices) if many else [self.items[i] for i in indices]
        return [{**row, "index": torch.tensor(i)} for row, i in zip(rows, indices, strict=True)]


def spread(items: Items, count: int) -> Items:
    """At most ``count`` items, evenly spaced over the dataset."""
    size = len(items)  # type: ignore[arg-type]
    return items if count >= size else Subset(items, torch.linspace(0, size - 1, count).long().tolist())


def in_batches(items: Items, batch_size: int) -> DataLoader[dict[str, Tensor]]:
    """All items once, in order."""
    return DataLoader(items, batch_size=batch_size)


def fingerprint(tokenizer: Tokenizer, *extra: object) -> str:
    """A name for what a tokenizer does: the hash of its weights and of ``extra``."""
    digest = hashlib.sha256(json.dumps(extra, sort_keys=True, default=str).encode())
    for name, tensor in sorted(tokenizer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def token_cache(tokenizer: Tokenizer, items: Items, path: Path, batch_size: int, device: Any) -> None:
    """Encode every item once into ``path``: codes as the smallest integers that hold them, and the conditions."""
    if _readable(path):
        return
    columns: dict[str, list[Tensor]] = {}
    tokenizer = tokenizer.to(device).eval()
    for batch in track(in_batches(items, batch_size), f"Encoding {path.stem}"):
        base = batch.get("base")
        codes = tokenizer.encode(batch.pop("x").to(device), None if base is None else base.to(device))
        for k, c in enumerate(codes):
            columns.setdefault(f"codes_{k}", []).append(shrink(c.cpu(), tokenizer.quantizer.sizes[k]))
        for name, value in batch.items():
            columns.setdefault(name, []).append(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        save_file({name: torch.cat(parts) for name, parts in columns.items()}, temporary)


def _readable(path: Path) -> bool:
    """A cache that a full disk or a kill left damaged is made again, not trusted."""
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            return bool(file.keys())
    except (SafetensorError, OSError):
        return False


def shrink(codes: Tensor, size: int) -> Tensor:
    """Codes in the smallest integer type that holds ``size`` of them."""
    for dtype in (torch.uint8, torch.int16, torch.int32):
        if size - 1 <= torch.iinfo(dtype).max:
            return codes.to(dtype)
    return codes


def load_tokens(path: Path) -> FieldsDataset:
    """The items of a cache: ``codes_0`` ... ``codes_{K-1}`` and the conditions."""
    with safe_open(path, "pt") as file:
        return FieldsDataset(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def batch_codes(batch: dict[str, Tensor]) -> Codes:
    """The codes of a batch of cached items."""
    count = sum(name.startswith("codes_") for name in batch)
    return [batch[f"codes_{k}"].long() for k in range(count)]


def loader(items: Items, batches: Sequence[list[int]] | Sampler[list[int]], workers: int) -> DataLoader[Any]:
    """A loader over numbered items in the given batches."""
    return DataLoader(Numbered(items), batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0)
