"""In- and out-painting, editing and super-resolution: drawing what is not known of a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.image.data.pixels import to_float, to_picture
from refine.domains.image.image_data import ImageData
from refine.domains.image.pictures.canvas import Canvas, read_canvas
from refine.domains.image.pictures.grids import grid, save_picture
from refine.domains.image.pictures.samples import SampleFiles
from refine.errors import require
from refine.progress import console, track
from refine.types import Condition, Samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from refine.models.refiner import Refiner
    from refine.settings.config import Config

MAX_COLUMNS = 8  # results in a row of the comparison


def inpaint(data: ImageData, refiner: Refiner, config: Config, folder: Path) -> list[Path]:
    """``refine inpaint``: read image and mask, draw, and write.

    It writes what :class:`~refine.domains.image.pictures.samples.SampleFiles` writes, and ``inpaint.png`` (the input,
    its known part, and the results, with a row for each class), ``input.png`` and ``mask.png`` (both as the model saw
    them).

    Raises:
        RefineError: an image or a mask that cannot be read or does not fit, nothing to paint, or no such class.
    """
    wanted = config.inpaint
    check_scales(data, wanted.keep_scales)
    labels = None if wanted.label is None else data.labels_of(wanted.label, wanted.num, "inpaint.label")
    canvas = read_canvas(data, wanted)
    masks = keep_masks(data, canvas.keep, wanted.keep_scales)
    batches = draw(refiner, canvas, masks, labels, config)
    begun = chain([next(batches)], batches)  # what cannot be drawn leaves no folder
    for remark in canvas.remarks:
        console.print(remark, soft_wrap=True)
    with SampleFiles(data, wanted.num, folder) as files:
        for samples in begun:
            known = to_float(canvas.pixels)
            items = torch.where(canvas.keep, known, samples.items) if wanted.paste else samples.items
            files.add(replace(samples, items=items))
        paths = files.finish()
    return [
        save_picture(compare(data, canvas, files.pixels, files.labels), folder / "inpaint.png"),
        save_picture(to_picture(canvas.pixels), folder / "input.png"),
        save_picture(to_picture((~canvas.keep).to(torch.uint8)[None] * 255), folder / "mask.png"),
        *paths,
    ]


def draw(
    refiner: Refiner, canvas: Canvas, masks: Sequence[Tensor], labels: Tensor | None, config: Config
) -> Iterator[Samples]:
    """``inpaint.num`` results of ``config.seed``, in batches, on the CPU; result i does not depend on its batch."""
    num, size = config.inpaint.num, config.inpaint.batch_size
    codes = refiner.tokenizer.encode(to_float(canvas.pixels)[None].to(refiner.device))
    for first in track(range(0, num, size), f"Painting {num} results"):
        stop = min(first + size, num)
        given = [c.expand(stop - first, *c.shape[1:]) for c in codes]
        condition = Condition(label=None if labels is None else labels[first:stop])
        yield refiner.inpaint(given, masks, condition, config.seed, first, config.sampler).cpu()


def check_scales(data: ImageData, keep_scales: int) -> None:
    """Refuse a number of scales that are kept unless it is below K."""
    scales = len(data.resampler().shapes)
    accepted = f"accepted: 0 to {scales - 1}, the model has {scales} scales"
    require(0 <= keep_scales < scales, f"inpaint.keep_scales={keep_scales} is not accepted; {accepted}")


def keep_masks(data: ImageData, keep: Tensor, keep_scales: int = 0) -> list[Tensor]:
    """Which sites of each scale keep their codes: those with more than half of their pixels known.

    Args:
        keep: bool (H, W), true where pixels are known.
        keep_scales: the coarsest scales, of which all sites keep theirs.

    Returns:
        K masks (1, N_k).

    Raises:
        RefineError: ``keep_scales`` is not below K, or no site is left to paint.
    """
    check_scales(data, keep_scales)
    shapes = data.resampler().shapes
    share = [F.adaptive_avg_pool2d(keep[None, None].float(), (shape[0], shape[1])).flatten(1) for shape in shapes]
    masks = [s > 0.5 if k >= keep_scales else torch.ones_like(s, dtype=torch.bool) for k, s in enumerate(share)]
    require(
        not all(bool(m.all()) for m in masks),
        f"the mask paints {int((~keep).sum())} of {keep.numel()} pixels, which is not half of any site; paint more "
        f"(white is painted, black is kept)",
    )
    return masks


def compare(data: ImageData, canvas: Canvas, results: Tensor, labels: Tensor) -> Image:
    """The input, its known part (what is painted anew lies under grey), and results: a row for each class.

    Args:
        data: whose classes they are.
        canvas: what was given.
        results: uint8 (N, C, H, W).
        labels: (N,) classes of the results; (0,) where there are none.
    """
    grey = (canvas.pixels.float() * 0.25 + 96).to(torch.uint8)
    shown = [canvas.pixels, torch.where(canvas.keep, canvas.pixels, grey)]
    if len(labels) == 0:
        rows, names = list(results.split(MAX_COLUMNS)), []
    else:
        present = labels.unique().tolist()
        rows = [results[labels == n][:MAX_COLUMNS] for n in present]
        names = [data.class_names()[n] for n in present]
    blank = [torch.full_like(canvas.pixels, 255)] * 2
    lines = [[*(shown if i == 0 else blank), *row] for i, row in enumerate(rows)]
    return grid(lines, names, ["input", "known"])
