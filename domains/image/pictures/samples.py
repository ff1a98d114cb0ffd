"""Samples and reconstructions as pictures, and as arrays for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from refine.domains.image.data.pixels import to_picture, to_uint8
from refine.domains.image.image_data import ImageData
from refine.domains.image.pictures.grids import grid, save_animation, save_picture
from refine.storage.files import atomic_write, writing
from refine.types import Samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from refine.models.refiner import Refiner

MAX_ROWS, MAX_COLUMNS = 40, 16  # of a sample grid


def save_samples(data: ImageData, samples: Samples, folder: Path, gif: bool = False, strip: int = 8) -> list[Path]:
    """Write samples as pictures and arrays.

    ``samples.png``, a grid with a row for each class; ``images/00000.png`` and so on, one by one; ``samples.npz``
    with ``images`` uint8 (B, H, W, C), ``labels`` and ``codes_0`` to ``codes_{K-1}``; where a trail was kept,
    ``refinement.png``, the first ``strip`` samples decoded after every scale, and with ``gif`` the same of the whole
    grid as ``refinement.gif``.
    """
    single = folder / "images"
    single.mkdir(parents=True, exist_ok=True)
    pixels, label = to_uint8(samples.items), samples.condition.label
    labels = None if label is None else label.cpu()
    paths = [save_picture(sample_grid(data, pixels, labels), folder / "samples.png")]
    arrays: dict[str, Any] = {f"codes_{k}": c.cpu().numpy() for k, c in enumerate(samples.codes)}
    arrays["images"] = pixels.permute(0, 2, 3, 1).numpy()
    if labels is not None:
        arrays["labels"] = labels.numpy()
    with atomic_write(folder / "samples.npz") as temporary:
        np.savez_compressed(temporary, **arrays)
    paths.append(folder / "samples.npz")
    if samples.trail:
        trail = [to_uint8(items) for items in samples.trail]
        rows = [[t[i] for t in trail] for i in range(min(strip, len(pixels)))]
        if rows:
            picture = grid(rows, column_labels=[f"{h}x{w}" for h, w in data.resampler().shapes])
            paths.append(save_picture(picture, folder / "refinement.png"))
        if gif:
            frames = [sample_grid(data, t, labels) for t in trail]
            paths.append(save_animation(frames, folder / "refinement.gif"))
    for i, image in enumerate(pixels):  # thousands of files: not worth a sync each
        paths.append(single / f"{i:05d}.png")
        with writing(paths[-1]):
            to_picture(image).save(paths[-1])
    return paths


def sample_grid(data: ImageData, pixels: Tensor, labels: Tensor | None) -> Image:
    """A row for each class; near to a square where there are none."""
    if labels is None or not data.class_names():
        columns = min(MAX_COLUMNS, int(np.ceil(len(pixels) ** 0.5)))
        rows = [pixels[i : i + columns] for i in range(0, len(pixels), columns)]
        return grid(rows[:MAX_ROWS])
    present = labels.unique().tolist()[:MAX_ROWS]
    rows = [pixels[labels == label][:MAX_COLUMNS] for label in present]
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
