"""What the stages train on: batches that are a function of the step alone, computed once where they can be."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from refine.errors import require
from refine.items import FieldsDataset, Items, Numbered, in_batches
from refine.progress import track
from refine.storage.files import atomic_write


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


def write_cache(items: Items, path: Path, batch_size: int) -> None:
    """Compute every batch once into ``path``, one row for each item."""
    if _readable(path):
        return
    columns: dict[str, list[Tensor]] = {}
    for batch in track(in_batches(items, batch_size), f"Encoding {path.stem}"):
        for name, value in batch.items():
            columns.setdefault(name, []).append(value.cpu())
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


def read_cache(path: Path) -> FieldsDataset:
    """The items of a cache."""
    with safe_open(path, "pt") as file:
        return FieldsDataset(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def _undisturbed(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; what it means is for the one that trains to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def loader(items: Items, batches: Sequence[list[int]] | Sampler[list[int]], workers: int) -> DataLoader[Any]:
    """A loader over numbered items in the given batches."""
    numbered = Numbered(items)
    return DataLoader(
        numbered,
        batch_sampler=batches,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=_undisturbed if workers else None,
        collate_fn=numbered.collate,
    )
