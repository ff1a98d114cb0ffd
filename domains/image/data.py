"""The image data sets by name, each as uint8 tensors in memory behind a dataset of float items."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import Dataset

from refine.domains.image import canonical
from refine.domains.image.pixels import from_picture, to_float, to_picture
from refine.errors import not_accepted, require

SPLITS = ("train", "val", "test")
DATA = ("digits", "mnist", "cifar10", "folder")


class ImageDataset(Dataset[dict[str, Tensor]]):
    """Images in memory; item i is ``x`` float32 (C, H, W) in [-1, 1] and, where there are labels, ``label`` int64.

    Args:
        pixels: uint8 (N, C, H, W).
        labels: (N,) int64, or None.
        skipped: "name: reason" of the images that could not be read and are not in here.
    """

    def __init__(self, pixels: Tensor, labels: Tensor | None, skipped: list[str] | None = None) -> None:
        self.pixels, self.labels, self.skipped = pixels, labels, skipped or []

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = {"x": to_float(self.pixels[index])}
        return item if self.labels is None else item | {"label": self.labels[index]}

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        rows = torch.as_tensor(indices)
        items = [{"x": x} for x in to_float(self.pixels[rows])]
        if self.labels is not None:
            items = [item | {"label": label} for item, label in zip(items, self.labels[rows], strict=True)]
        return items


@dataclass(frozen=True)
class Source:
    """What is known of a data set before it is read."""

    size: tuple[int, int]
    channels: int
    classes: list[str] = field(default_factory=lambda: [str(i) for i in range(10)])


CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CANONICAL = {
    "digits": Source((8, 8), 1),
    "mnist": Source((28, 28), 1),
    "cifar10": Source((32, 32), 3, CIFAR_CLASSES),
}


def read_canonical(name: str, split: str, size: tuple[int, int], channels: int, strict: bool) -> ImageDataset:
    """One split of ``digits``, ``mnist`` or ``cifar10``, resized and converted where its own shape is not wanted."""
    source = CANONICAL[name]
    skipped: list[str] = []
    if name == "digits":
        pixels, labels = canonical.digits(split)
    elif name == "mnist":
        pixels, labels = canonical.mnist(split)
    else:
        pixels, labels, skipped = canonical.cifar10(split, strict)
    if (size, channels) != (source.size, source.channels):
        pixels = torch.stack([from_picture(to_picture(p), size, channels) for p in pixels])
    check_labels(labels, len(source.classes), f"{name} ({split})")
    return ImageDataset(pixels, labels, skipped)


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
