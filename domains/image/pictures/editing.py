"""In- and out-painting, editing and super-resolution: what is known of a picture, and what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.commands.sample import choose_labels
from refine.domains.image.data.dataset import SPLITS
from refine.domains.image.data.pixels import from_picture, to_float, to_picture, to_uint8
from refine.domains.image.pictures import grids as pictures
from refine.errors import RefineError, require
from refine.progress import console, track
from refine.types import Condition, Samples

if TYPE_CHECKING:
    from PIL.Image import Image

    from refine.commands.inpaint import InpaintConfig
    from refine.domains.image.domain import ImageDomain
    from refine.models.refiner import Refiner
    from refine.settings.config import Config

MAX_COLUMNS = 8  # results in a row of the comparison


@dataclass(frozen=True)
class Canvas:
    """A picture of the model's size, and what is known of it.

    Attributes:
        pixels: uint8 (C, H, W).
        keep: bool (H, W), true where pixels are known.
    """

    pixels: Tensor
    keep: Tensor


def inpaint(domain: ImageDomain, refiner: Refiner, config: Config, folder: Path) -> list[Path]:
    """``refine inpaint``: read image and mask, draw, and write.

    Beside what :meth:`ImageDomain.save` writes there are ``inpaint.png`` (the input, its known part, results, with a
    row for each class), ``input.png`` and ``mask.png`` (both as the model saw them).

    Raises:
        RefineError: an image or a mask that cannot be read or does not fit, nothing to paint, or no such class.
    """
    wanted = config.inpaint
    canvas = read_canvas(domain, wanted)
    masks = keep_masks(domain, canvas.keep, wanted.keep_scales)
    labels = None if wanted.label is None else choose_labels(wanted.label, wanted.num, domain, "inpaint.label")
    samples = draw(refiner, canvas, masks, labels, config)
    if wanted.paste:
        items = torch.where(canvas.keep, to_float(canvas.pixels), samples.items)
        samples = replace(samples, items=items)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        pictures.save_picture(compare(domain, canvas, samples), folder / "inpaint.png"),
        pictures.save_picture(to_picture(canvas.pixels), folder / "input.png"),
        pictures.save_picture(to_picture((~canvas.keep).to(torch.uint8)[None] * 255), folder / "mask.png"),
    ]
    return paths + domain.save(samples, folder)


def draw(refiner: Refiner, canvas: Canvas, masks: Sequence[Tensor], labels: Tensor | None, config: Config) -> Samples:
    """``inpaint.num`` results of ``config.seed``, in batches, on the CPU; result i does not depend on its batch."""
    num, size = config.inpaint.num, config.inpaint.batch_size
    codes = refiner.tokenizer.encode(to_float(canvas.pixels)[None].to(refiner.device))
    parts = []
    for first in track(range(0, num, size), f"Painting {num} results"):
        stop = min(first + size, num)
        given = [c.expand(stop - first, *c.shape[1:]) for c in codes]
        condition = Condition(label=None if labels is None else labels[first:stop])
        parts.append(refiner.inpaint(given, masks, condition, config.seed, first, config.sampler).cpu())
    return Samples.join(parts)


def keep_masks(domain: ImageDomain, keep: Tensor, keep_scales: int = 0) -> list[Tensor]:
    """Which sites of each scale keep their codes: those with more than half of their pixels known.

    Args:
        keep: bool (H, W), true where pixels are known.
        keep_scales: the coarsest scales, of which all sites keep theirs.

    Returns:
        K masks (1, N_k).

    Raises:
        RefineError: ``keep_scales`` is not below K, or no site is left to paint.
    """
    shapes = domain.resampler().shapes
    require(
        0 <= keep_scales < len(shapes),
        f"inpaint.keep_scales={keep_scales} is not accepted; accepted: 0 to {len(shapes) - 1}, the model has "
        f"{len(shapes)} scales",
    )
    share = [F.adaptive_avg_pool2d(keep[None, None].float(), (shape[0], shape[1])).flatten(1) for shape in shapes]
    masks = [s > 0.5 if k >= keep_scales else torch.ones_like(s, dtype=torch.bool) for k, s in enumerate(share)]
    require(
        not all(bool(m.all()) for m in masks),
        f"the mask paints {int((~keep).sum())} of {keep.numel()} pixels, which is not half of any site; paint more "
        f"(white is painted, black is kept)",
    )
    return masks


def read_canvas(domain: ImageDomain, wanted: InpaintConfig) -> Canvas:
    """The image and the mask that ``inpaint.image``, ``mask`` and ``place`` mean, of the model's size.

    Beyond an image that is placed inside the canvas its border's pixels are repeated, for the encoder's sake.

    Raises:
        RefineError: missing or unreadable files, an item that is none, a mask of another size, nothing to paint.
    """
    channels, *size = domain.shape
    height, width = size
    require(wanted.image is not None, "inpaint.image is missing; accepted: a picture, or an item such as test:17")
    assert wanted.image is not None
    some = wanted.mask is not None or wanted.place is not None or wanted.keep_scales > 0
    require(some, "nothing is to be painted: give mask=PNG, place=[top,left,height,width] or keep_scales=N")
    top, left, h, w = (0, 0, height, width) if wanted.place is None else _checked_place(wanted.place, height, width)
    image = open_image(domain, wanted.image)
    own = (image.height, image.width)
    if own != (h, w):
        text = f"{wanted.image} is {own[0]}x{own[1]}; it is resized and cropped to {h}x{w}"
        console.print(text, highlight=False, soft_wrap=True)
    around = (left, width - left - w, top, height - top - h)
    inner = from_picture(image, (h, w), channels)
    pixels = F.pad(inner[None].float(), around, mode="replicate")[0].to(torch.uint8)
    keep = F.pad(torch.ones(h, w, dtype=torch.bool), around)
    if wanted.mask is not None:
        keep &= ~_painted(wanted.mask, (height, width), own, (h, w), around)
    elif wanted.place is None:
        keep = torch.zeros_like(keep)  # super-resolution: only the coarse scales are known
    if wanted.mask is not None and not keep.any() and not wanted.keep_scales:
        console.print("the mask paints everything: these are plain samples", highlight=False)
    empty = f"{wanted.mask or wanted.place} leaves nothing to paint; white is painted, black is kept"
    require(not bool(keep.all()), empty)
    return Canvas(pixels, keep)


def open_image(domain: ImageDomain, source: str) -> Image:
    """The picture at a path, or item ``SPLIT:NUMBER`` of the domain's data, turned as its EXIF says.

    Raises:
        RefineError: no such file, no picture, or no such item.
    """
    split, colon, number = source.partition(":")
    if split in SPLITS and colon and not Path(source).exists():
        data = domain.images(split)
        good = number.isdecimal() and int(number) < len(data)
        require(good, f"inpaint.image={source!r} is not accepted; accepted: {split}:0 to {split}:{len(data) - 1}")
        label = None if data.labels is None else domain.class_names()[int(data.labels[int(number)])]
        if label is not None:
            console.print(f"{source} is of class {label}", highlight=False)
        return to_picture(data.pixels[int(number)])
    return _read(source, "inpaint.image", "a picture, or an item of the data such as test:17")


def compare(domain: ImageDomain, canvas: Canvas, samples: Samples) -> Image:
    """The input, its known part (what is painted anew lies under grey), and results: a row for each class."""
    grey = (canvas.pixels.float() * 0.25 + 96).to(torch.uint8)
    shown = [canvas.pixels, torch.where(canvas.keep, canvas.pixels, grey)]
    results, label = to_uint8(samples.items), samples.condition.label
    if label is None:
        rows, names = list(results.split(MAX_COLUMNS)), []
    else:
        present = label.unique().tolist()
        rows = [results[label == n][:MAX_COLUMNS] for n in present]
        names = [domain.class_names()[n] for n in present]
    blank = [torch.full_like(canvas.pixels, 255)] * 2
    lines = [[*(shown if i == 0 else blank), *row] for i, row in enumerate(rows)]
    return pictures.grid(lines, names, ["input", "known"])


def _checked_place(place: Sequence[int], height: int, width: int) -> tuple[int, int, int, int]:
    accepted = f"accepted: [top, left, height, width] inside the model's {height}x{width}"
    require(len(place) == 4, f"inpaint.place={list(place)} is not accepted; {accepted}")
    top, left, h, w = place
    fits = min(top, left) >= 0 and min(h, w) >= 1 and top + h <= height and left + w <= width
    require(fits, f"inpaint.place={list(place)} is not accepted; {accepted}")
    return top, left, h, w


def _painted(
    path: str, canvas: tuple[int, int], own: tuple[int, int], placed: tuple[int, int], around: tuple[int, ...]
) -> Tensor:
    """bool (H, W): what the mask at ``path`` paints."""
    from PIL import Image, ImageOps

    image = _read(path, "inpaint.mask", "a PNG")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    mask = to_picture(from_picture(image, None, 1))
    found = (mask.height, mask.width)
    model = f"{canvas[0]}x{canvas[1]}"
    sizes = model if own == canvas else f"{own[0]}x{own[1]} (the image's) or {model} (the model's)"
    require(found in (own, canvas), f"inpaint.mask={path!r} is {found[0]}x{found[1]}; expected {sizes}")
    if found == canvas:
        return _white(mask)
    return F.pad(_white(ImageOps.fit(mask, (placed[1], placed[0]), Image.Resampling.BOX)), tuple(around))


def _white(mask: Image) -> Tensor:
    return from_picture(mask, None, 1)[0] >= 128


def _read(path: str, key: str, accepted: str) -> Image:
    """A picture with its pixels, turned as its EXIF says."""
    from PIL import Image, ImageOps

    file = Path(path).expanduser()
    require(file.is_file(), f"{key}={path!r} is not a file; accepted: {accepted}")
    try:
        with Image.open(file) as image:
            turned = ImageOps.exif_transpose(image)
            from_picture(turned, None, 1)  # what cannot be converted is said here
            return turned
    except Exception as error:  # a damaged file may fail anywhere inside its decoder
        raise RefineError(f"{key}={path!r} cannot be read: {error}; accepted: {accepted}") from error
