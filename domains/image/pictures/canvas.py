"""What is known of a picture: an image and a mask as the user gives them, brought to the size of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.image.data.dataset import SPLITS
from refine.domains.image.data.pixels import from_picture, open_picture, to_picture
from refine.domains.image.image_data import ImageData
from refine.errors import RefineError, require

if TYPE_CHECKING:
    from PIL.Image import Image

    from refine.domains.image.config import ImageInpaintConfig


@dataclass(frozen=True)
class Canvas:
    """A picture of the model's size, and what is known of it.

    Attributes:
        pixels: uint8 (C, H, W).
        keep: bool (H, W), true where pixels are known.
        remarks: lines about what was given.
    """

    pixels: Tensor
    keep: Tensor
    remarks: tuple[str, ...] = ()


def read_canvas(data: ImageData, wanted: ImageInpaintConfig) -> Canvas:
    """The image and the mask that ``inpaint.image``, ``mask`` and ``place`` mean, of the model's size.

    Beyond an image that is placed inside the canvas its border's pixels are repeated, for the encoder's sake.

    Raises:
        RefineError: missing or unreadable files, an item that is none, a mask of another size, nothing to paint.
    """
    channels, *size = data.shape
    height, width = size
    require(wanted.image is not None, "inpaint.image is missing; accepted: a picture, or an item such as test:17")
    assert wanted.image is not None
    some = wanted.mask is not None or wanted.place is not None or wanted.keep_scales > 0
    require(some, "nothing is to be painted: give mask=PNG, place=[top,left,height,width] or keep_scales=N")
    top, left, h, w = (0, 0, height, width) if wanted.place is None else _checked_place(wanted.place, height, width)
    mask = None if wanted.mask is None else _read(wanted.mask, "inpaint.mask", "a PNG")
    image, remarks = open_image(data, wanted.image)
    own = (image.height, image.width)
    if own != (h, w):
        remarks.append(f"{wanted.image} is {own[0]}x{own[1]}; it is resized and cropped to {h}x{w}")
    around = (left, width - left - w, top, height - top - h)
    inner = from_picture(image, (h, w), channels)
    pixels = F.pad(inner[None].float(), around, mode="replicate")[0].to(torch.uint8)
    keep = F.pad(torch.ones(h, w, dtype=torch.bool), around)
    if wanted.mask is not None and mask is not None:
        keep &= ~_painted(wanted.mask, mask, (height, width), own, (h, w), around)
    elif wanted.place is None:
        keep = torch.zeros_like(keep)  # super-resolution: only the coarse scales are known
    if wanted.mask is not None and not keep.any() and not wanted.keep_scales:
        remarks.append("the mask paints everything: these are plain samples")
    empty = f"{wanted.mask or wanted.place} leaves nothing to paint; white is painted, black is kept"
    require(not bool(keep.all()), empty)
    return Canvas(pixels, keep, tuple(remarks))


def open_image(data: ImageData, source: str) -> tuple[Image, list[str]]:
    """The picture at a path, or item ``SPLIT:NUMBER`` of the domain's data, turned as its EXIF says; and what there is
    to say of it.

    Raises:
        RefineError: no such file, no picture, or no such item.
    """
    split, colon, number = source.partition(":")
    if split in SPLITS and colon and not Path(source).exists():
        images = data.images(split)
        good = number.isdecimal() and int(number) < len(images)
        require(good, f"inpaint.image={source!r} is not accepted; accepted: {split}:0 to {split}:{len(images) - 1}")
        label = None if images.labels is None else data.class_names()[int(images.labels[int(number)])]
        return to_picture(images.pixels[int(number)]), [] if label is None else [f"{source} is of class {label}"]
    return _read(source, "inpaint.image", "a picture, or an item of the data such as test:17"), []


def _checked_place(place: Sequence[int], height: int, width: int) -> tuple[int, int, int, int]:
    accepted = f"accepted: [top, left, height, width] inside the model's {height}x{width}"
    require(len(place) == 4, f"inpaint.place={list(place)} is not accepted; {accepted}")
    top, left, h, w = place
    fits = min(top, left) >= 0 and min(h, w) >= 1 and top + h <= height and left + w <= width
    require(fits, f"inpaint.place={list(place)} is not accepted; {accepted}")
    return top, left, h, w


def _painted(
    path: str,
    image: Image,
    canvas: tuple[int, int],
    own: tuple[int, int],
    placed: tuple[int, int],
    around: tuple[int, ...],
) -> Tensor:
    """bool (H, W): what the mask at ``path`` paints."""
    from PIL import Image, ImageOps

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
    from PIL import ImageOps

    file = Path(path).expanduser()
    require(file.is_file(), f"{key}={path!r} is not a file; accepted: {accepted}")
    try:
        with open_picture(file) as image:
            turned = ImageOps.exif_transpose(image)
            from_picture(turned, None, 1)  # what cannot be converted is said here
            return turned
    except Exception as error:  # a damaged file may fail anywhere inside its decoder
        raise RefineError(f"{key}={path!r} cannot be read: {error}; accepted: {accepted}") from error
