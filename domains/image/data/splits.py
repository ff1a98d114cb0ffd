"""The published data sets by name: what is known of each before it is read, and its splits in any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from refine.domains.image.data.canonical import cifar10, digits, mnist
from refine.domains.image.data.dataset import ImageDataset, check_labels
from refine.domains.image.data.pixels import from_picture, to_picture

CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass(frozen=True)
class Source:
    """A published data set.

    Attributes:
        read: a split by name, and whether to refuse images that cannot be read.
        size: (h, w) of its images.
        channels: of its images.
        classes: names of its labels.
    """

    read: Callable[[str, bool], ImageDataset]
    size: tuple[int, int]
    channels: int
    classes: list[str] = field(default_factory=lambda: [str(i) for i in range(10)])


CANONICAL = {
    "digits": Source(digits, (8, 8), 1),
    "mnist": Source(mnist, (28, 28), 1),
    "cifar10": Source(cifar10, (32, 32), 3, CIFAR_CLASSES),
}
DATA = (*CANONICAL, "folder", "none")


def read_canonical(name: str, split: str, size: tuple[int, int], channels: int, strict: bool) -> ImageDataset:
    """One split of a published data set, resized and converted where its own shape is not wanted.

    Raises:
        RefineError: its files cannot be had or read, or a label is out of range.
    """
    source = CANONICAL[name]
    data = source.read(split, strict)
    assert data.labels is not None
    check_labels(data.labels, len(source.classes), f"{name} ({split})")
    if (size, channels) != (source.size, source.channels):
        data.pixels = torch.stack([from_picture(to_picture(p), size, channels) for p in data.pixels])
    return data
