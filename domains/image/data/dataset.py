"""Images in memory as a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.domains.image.data.pixels import to_float
from refine.errors import not_accepted, require

SPLITS = ("train", "val", "test")


class ImageDataset(Dataset[dict[str, Tensor]]):
    """Images in memory; item i is ``x`` float32 (C, H, W) in [-1, 1] and, where there are labels, ``label`` int64.

    Args:
        pixels: uint8 (N, C, H, W).
        labels: (N,) int64, or None.
        origin: what the images are, for reports.
        skipped: "name (reason)" of the images that could not be read and are not in here.
        content: a hash that changes with any of the pixels, where it is known already.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor | None,
        origin: str = "",
        skipped: Sequence[str] = (),
        content: str | None = None,
    ) -> None:
        self.pixels, self.labels, self.origin, self.skipped = pixels, labels, origin, list(skipped)
        self.content = content

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def content_hash(self) -> str:
        """A hash that changes with any pixel or label."""
        digest = hashlib.sha256((self.content or "").encode())
        pixels = self.pixels if self.content is None else self.pixels[:0]
        for tensor in (pixels, self.pixels.new_empty(0) if self.labels is None else self.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data if tensor.numel() else b"")
        return digest.hexdigest()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {"x": to_float(self.pixels[index])}
        return item if self.labels is None else item | {"label": self.labels[index]}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        rows = torch.as_tensor(indices)
        items = [{"x": x} for x in to_float(self.pixels[rows])]
        if self.labels is not None:
            items = [item | {"label": label} for item, label in zip(items, self.labels[rows], strict=True)]
        return items


def check_labels(labels: Tensor, num_classes: int, where: str) -> None:
    """Raise RefineError, naming the first offender, unless all labels are in [0, num_classes)."""
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()[:, 0].tolist()
    if wrong:
        first = f"item {wrong[0]} has label {int(labels[wrong[0]])}"
        require(False, f"{where}: {first}; accepted: 0 to {num_classes - 1} ({len(wrong)} labels are out of range)")


def check_split(split: str) -> None:
    """Raise RefineError unless ``split`` is one of train, val, test."""
    if split not in SPLITS:
        raise not_accepted("split", split, SPLITS)
