"""Samples and reconstructions as pictures, and as arrays for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from refine.domains.image.data.pixels import to_picture, to_uint8
from refine.domains.image.image_data import ImageData
from refine.domains.image.pictures.grids import grid, save_animation, save_picture
from refine.storage.arrays import ArchiveWriter
from refine.storage.files import writing
from refine.types import Samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from refine.models.refiner import Refiner

MAX_ROWS, MAX_COLUMNS = 40, 16  # of a sample grid


class SampleFiles:
    """Samples as pictures and arrays, written as they come; memory does not grow with their number.

    ``images/00000.png`` and so on, one by one; ``samples.npz`` with ``images`` uint8 (B, H, W, C), ``labels`` and
    ``codes_0`` to ``codes_{K-1}``; ``samples.png``, a grid with a row for each class. Of the samples that have a trail:
    ``refinement.png``, the first ``strip`` decoded after every scale, and with ``gif`` a grid of them at every scale as
    ``refinement.gif``.

    Args:
        data: whose images they are.
        num: how many there will be.
        folder: made if needed.
        gif: also an animation.
        strip: samples in ``refinement.png``.
        pictures: false for no grid, only files of single samples and the archive.

    Attributes:
        pixels: uint8 (n, C, H, W) what the grid shows of the samples so far.
        labels: (n,) their classes, where there are some.
    """

    def __init__(
        self, data: ImageData, num: int, folder: Path, gif: bool = False, strip: int = 8, pictures: bool = True
    ) -> None:
        self.data, self.folder, self.gif, self.strip, self.pictures = data, folder, gif, strip, pictures
        self.pixels, self.labels = torch.empty(0, *data.shape, dtype=torch.uint8), torch.empty(0, dtype=torch.int64)
        self._archive, self._count, self._width = ArchiveWriter(folder / "samples.npz"), 0, max(5, len(str(num - 1)))
        self._trail: list[list[Tensor]] = []
        self._of_trail = self.labels
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.__exit__()

    def add(self, samples: Samples) -> None:
        """Write a batch."""
        pixels, label = to_uint8(samples.items), samples.condition.label
        for i, image in enumerate(pixels, self._count):  # thousands of files: not worth a sync each
            with writing(path := self.folder / "images" / f"{i:0{self._width}d}.png"):
                to_picture(image).save(path)
        self._count += len(pixels)
        arrays = {f"codes_{k}": c.cpu().numpy() for k, c in enumerate(samples.codes)}
        arrays["images"] = pixels.permute(0, 2, 3, 1).numpy()
        labels = self.labels[:0] if label is None else label.cpu()
        if label is not None:
            arrays["labels"] = labels.numpy()
        self._archive.add(**arrays)
        self.pixels, self.labels = shown(torch.cat([self.pixels, pixels]), torch.cat([self.labels, labels]))
        if samples.trail:
            self._trail.append([to_uint8(items) for items in samples.trail])
            self._of_trail = torch.cat([self._of_trail, labels[: len(samples.trail[0])]])

    def finish(self) -> list[Path]:
        """Write what is made of all samples, and say which files and folders there are."""
        paths = [self._archive.finish()]
        if self.pictures:
            paths.insert(0, save_picture(sample_grid(self.data, self.pixels, self.labels), self.folder / "samples.png"))
        trail = [torch.cat(parts) for parts in zip(*self._trail, strict=True)]
        if rows := [list(row) for row in zip(*(t[: self.strip] for t in trail), strict=True)]:
            picture = grid(rows, column_labels=[f"{h}x{w}" for h, w in self.data.resampler().shapes])
            paths.append(save_picture(picture, self.folder / "refinement.png"))
        if self.gif and trail:
            frames = [sample_grid(self.data, *shown(t, self._of_trail)) for t in trail]
            paths.append(save_animation(frames, self.folder / "refinement.gif"))
        return [*paths, self.folder / "images"]


def shown(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Those of many images (N, C, H, W), and their labels (N,), that a grid has room for; none have labels if (0,)."""
    if len(labels) == 0:
        return pixels[: MAX_ROWS * MAX_COLUMNS], labels
    classes = labels.unique()[:MAX_ROWS]
    rows = torch.cat([(labels == label).nonzero().flatten()[:MAX_COLUMNS] for label in classes])
    return pixels[rows], labels[rows]


def sample_grid(data: ImageData, pixels: Tensor, labels: Tensor) -> Image:
    """A row for each class; near to a square where there are none. It has room for what :func:`shown` gives."""
    if len(labels) == 0:
        columns = min(MAX_COLUMNS, int(np.ceil(len(pixels) ** 0.5)))
        return grid([pixels[i : i + columns] for i in range(0, len(pixels), columns)])
    present = labels.unique().tolist()
    rows = [pixels[labels == label] for label in present]
    return grid(rows, row_labels=[data.class_names()[label] for label in present])


@torch.no_grad()
def plot_reconstructions(data: ImageData, refiner: Refiner, folder: Path) -> list[Path]:
    """``reconstructions.png``: validation images, each above what its codes are decoded to."""
    pixels = data.images("val").pixels[: 4 * MAX_COLUMNS]
    x = torch.stack([data.images("val")[i]["x"] for i in range(len(pixels))]).to(refiner.device)
    output = to_uint8(refiner.tokenizer.decode(refiner.tokenizer.encode(x)))
    starts = range(0, len(pixels), MAX_COLUMNS)
    rows = [t[i : i + MAX_COLUMNS] for i in starts for t in (pixels, output)]
    picture = grid(rows, row_labels=["input", "output"] * len(starts))
    return [save_picture(picture, folder / "reconstructions.png")]
