"""What the stages train on: batches by step, codes computed once, resume files without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from toy import LinearCodec, TinyConfig, TinyDomain, tiny_refiner

from refine.errors import RefineError
from refine.items import Numbered, in_batches, spread
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.data import StepBatches, derive_seed, read_cache, write_cache
from refine.learning.engine import CachedData
from refine.models.encoding import batch_codes, shrink
from refine.models.refiner import Refiner
from refine.settings.config import Config, ModelConfig


def test_every_item_comes_once_an_epoch() -> None:
    batches = list(StepBatches(size=20, batch_size=6, seed=0, steps=20))
    assert len(batches) == 20
    assert all(len(batch) == 6 for batch in batches)
    flat = [i for batch in batches for i in batch]
    epochs = [flat[i : i + 20] for i in range(0, 120, 20)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert batches != list(StepBatches(size=20, batch_size=6, seed=1, steps=20))


@pytest.mark.parametrize("first", [0, 1, 7, 19, 20])
def test_batches_go_on_from_any_step(first: int) -> None:
    whole = list(StepBatches(20, 6, seed=3, steps=20))
    assert list(StepBatches(20, 6, seed=3, steps=20, first=lambda: first)) == whole[first:]


def test_processes_share_what_one_would_see() -> None:
    whole = list(StepBatches(20, 6, seed=3, steps=10))
    parts = [list(StepBatches(20, 3, seed=3, steps=10, rank=r, world=2)) for r in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


def test_batches_larger_than_the_data_repeat_it() -> None:
    (batch,) = StepBatches(4, 10, seed=0, steps=1)
    assert sorted(batch[:4]) == sorted(batch[4:8]) == [0, 1, 2, 3]


@pytest.mark.parametrize(("size", "batch_size", "message"), [(0, 4, "no training items"), (4, 0, "batch_size=0")])
def test_batches_of_nothing_are_refused(size: int, batch_size: int, message: str) -> None:
    with pytest.raises(RefineError, match=message):
        StepBatches(size, batch_size, seed=0, steps=1)


def test_seeds_are_the_same_everywhere() -> None:
    assert derive_seed(0, "epoch", 1) == derive_seed(0, "epoch", 1)
    seeds = {derive_seed(seed, name, step) for seed in range(3) for name in "ab" for step in range(10)}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)


class Counted(LinearCodec):
    """Counts the items that pass the encoder."""

    items = 0

    def encode(self, x: Tensor) -> Tensor:
        self.items += len(x)
        return super().encode(x)


@pytest.fixture
def counted() -> Refiner:
    refiner = tiny_refiner(ModelConfig(), learned=True, classes=2, base=True, vector=3, items=50)
    refiner.tokenizer.codec = Counted(2)
    return refiner


def test_the_encoder_sees_every_item_once(counted: Refiner, tmp_path: Path) -> None:
    items, path = counted.training_items("train", 0), tmp_path / "cache" / "train.safetensors"
    for _ in range(3):
        write_cache(items, path, 8)
    assert counted.tokenizer.codec.items == 50 + 2  # and one, where a cache is found, to compare its columns with
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # what a full disk leaves
    write_cache(items, path, 8)
    assert counted.tokenizer.codec.items == 100 + 2
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


@torch.no_grad()
def test_the_cache_holds_codes_and_conditions(counted: Refiner, tmp_path: Path) -> None:
    data = counted.domain.dataset("train")
    write_cache(counted.training_items("train", 0), tmp_path / "tokens", 8)
    tokens = read_cache(tmp_path / "tokens")
    every = data.__getitems__(list(range(50)))  # type: ignore[attr-defined]
    batch = {name: torch.stack([item[name] for item in every]) for name in every[0]}
    assert len(tokens) == 50
    for a, b in zip(
        batch_codes(dict(tokens.tensors)), counted.tokenizer.encode(batch["x"], batch["base"]), strict=True
    ):
        assert torch.equal(a, b)
    assert tokens.tensors["codes_0"].dtype == torch.int16
    for name in ("label", "vector", "base"):
        assert torch.equal(tokens.tensors[name], batch[name])
    assert "x" not in tokens.tensors


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (2, torch.uint8),
        (256, torch.uint8),
        (257, torch.int16),
        (2**15, torch.int16),
        (2**15 + 1, torch.int32),
        (2**31, torch.int32),
        (2**31 + 1, torch.int64),
    ],
)
def test_codes_are_kept_in_the_smallest_type(size: int, dtype: torch.dtype) -> None:
    codes = torch.tensor([0, size - 1])
    assert shrink(codes, size).dtype == dtype
    assert torch.equal(shrink(codes, size).long(), codes)


def test_a_cache_belongs_to_its_tokenizer_and_items(counted: Refiner, tmp_path: Path) -> None:
    def paths(val: int = 16, seed: int = 0, **options: Any) -> list[Path]:
        counted.domain = TinyDomain(TinyConfig(**{"items": 50, **options}))
        config = Config(domain=counted.domain.config, domain_name="tiny", seed=seed)
        train, held_out = (counted.training_items(split, seed) for split in ("train", "val"))
        return CachedData(train, spread(held_out, val), config, config.train.predictor, counted, tmp_path).paths

    first = paths()
    assert len(set(first)) == 2
    assert paths(seed=7) == first
    assert paths(classes=1)[0] != first[0]
    assert paths(items=51)[0] != first[0]
    assert paths(val=17)[1] != first[1]
    with torch.no_grad():
        next(counted.tokenizer.codec.parameters()).view(-1)[0] += 1e-3
    assert paths()[0] != first[0]


class Words(Dataset[str]):
    """Items that no tensor holds, with a batch of their own making."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> str:
        return "x" * index

    def collate(self, rows: list[str]) -> dict[str, Tensor]:
        return {"length": torch.tensor([len(row) for row in rows])}


@pytest.mark.parametrize("items", [Words(), Subset(Words(), range(10)), Subset(Subset(Words(), range(10)), range(10))])
def test_data_sets_make_their_own_batches(items: Dataset[Any]) -> None:
    numbered = DataLoader(Numbered(items), batch_sampler=[[3, 1], [9]], collate_fn=Numbered(items).collate)
    for batch, index in zip(numbered, ([3, 1], [9]), strict=True):
        assert batch["length"].tolist() == batch["index"].tolist() == index
    plain = [batch["length"].tolist() for batch in in_batches(items, 6)]
    assert plain == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    both = in_batches(Numbered(spread(items, 4)), 4)
    assert [(b["length"].tolist(), b["index"].tolist()) for b in both] == [([0, 3, 6, 9], [0, 1, 2, 3])]


def test_resume_files_hold_any_nesting(tmp_path: Path) -> None:
    shared = torch.randn(3)
    state = {
        "tensors": [shared, shared, shared.double()[::2], torch.tensor(3), torch.zeros(0, 2), torch.tensor([True])],
        "plain": {"a": None, "b": True, "c": 1.5, "d": "text", "e": 10**17, "f": float("inf")},
        "keys": {0: "number", "0": "text", (1, 2): "tuple"},
        "order": [("b", 1), ("a", [2, (3, {})])],
        "bfloat16": torch.randn(2).bfloat16(),
    }
    SafetensorsIO().save_checkpoint(state, tmp_path / "new" / "state.safetensors")
    again = SafetensorsIO().load_checkpoint(tmp_path / "new" / "state.safetensors")
    assert repr(again) == repr({**state})
    assert list(again["plain"]) == list(state["plain"])
    for a, b in zip(again["tensors"], state["tensors"], strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["state.safetensors"]


def test_what_cannot_be_stored_leaves_the_old_file(tmp_path: Path) -> None:
    path, io = tmp_path / "state.safetensors", SafetensorsIO()
    io.save_checkpoint({"step": 1}, path)
    with pytest.raises(TypeError, match="cannot store"):
        io.save_checkpoint({"step": object()}, path)
    assert io.load_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir() if p.suffix] == ["state.safetensors"]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing", "other"])
def test_damaged_resume_files_are_named(damage: str, tmp_path: Path) -> None:
    path, io = tmp_path / "state.safetensors", SafetensorsIO()
    io.save_checkpoint({"a": torch.zeros(100)}, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif damage == "foreign":
        path.write_bytes(b"not a file of ours at all")
    elif damage == "missing":
        path.unlink()
    else:
        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(RefineError, match=r"state\.safetensors.*damaged"):
        io.load_checkpoint(path)
