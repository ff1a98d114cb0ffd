"""Items as codes: what the predictor of latents trains on, computed once."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.items import Items, collate_of, in_batches
from refine.models.tokenizer import Tokenizer
from refine.types import Codes, Condition, ConditionSpec


class EncodedItems(Dataset[Any]):
    """The items of a domain, whose batches hold their codes ``codes_0`` ... ``codes_{K-1}`` and conditions.

    Args:
        items: dicts with ``x``.
        tokenizer: encodes a batch at once, where it is at the time.
        extra: what says which items these are; it becomes part of ``fingerprint``.
        spec: what of the items is a condition; None for all that is called like one.
    """

    def __init__(self, items: Items, tokenizer: Tokenizer, extra: Any, spec: ConditionSpec | None = None) -> None:
        self.items, self.tokenizer, self.extra, self.spec = items, tokenizer, extra, spec

    def __len__(self) -> int:
        return len(self.items)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.items[index]

    @cached_property
    def fingerprint(self) -> str:
        """A name for these codes: the hash of the tokenizer's weights and of the items themselves."""
        known = [self.extra, len(self), content_hash(self.items)]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.tokenizer.state_dict().items()):
            digest.update(name.encode())
            digest.update(_bytes(tensor))
        return digest.hexdigest()[:16]

    def collate(self, rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Codes as the smallest integers that hold them, and the conditions."""
        batch: dict[str, Tensor] = collate_of(self.items)(rows)
        tokenizer, sizes = self.tokenizer.eval(), self.tokenizer.quantizer.sizes
        device, given = tokenizer.quantizer.fitted.device, Condition.from_batch(batch)
        given = given if self.spec is None else self.spec.only(given)
        given = Condition(base=given.base, mask=given.mask).to(device)
        codes = tokenizer.encode(batch.pop("x").to(device), given.base, given.mask)
        return {f"codes_{k}": shrink(c.cpu(), sizes[k]) for k, c in enumerate(codes)} | batch


def content_hash(items: Items) -> str:
    """A hash that changes with any item: ``items.content_hash`` where the data set knows one, else of all batches."""
    known: str | None = getattr(items, "content_hash", None)
    if known is not None:
        return known
    digest = hashlib.sha256()
    for batch in in_batches(items, 256):
        for name, value in sorted(batch.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(_bytes(value))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def shrink(codes: Tensor, size: int) -> Tensor:
    """Codes in the smallest integer type that holds ``size`` of them; real ones as they are."""
    for dtype in () if codes.is_floating_point() else (torch.uint8, torch.int16, torch.int32):
        if size - 1 <= torch.iinfo(dtype).max:
            return codes.to(dtype)
    return codes


def batch_codes(batch: dict[str, Tensor]) -> Codes:
    """The codes of a batch of :class:`EncodedItems`."""
    count = sum(name.startswith("codes_") for name in batch)
    codes = [batch[f"codes_{k}"] for k in range(count)]
    return [c if c.is_floating_point() else c.long() for c in codes]
