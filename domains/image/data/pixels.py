"""Between the numbers 0..255 of a picture and the floats in [-1, 1] of a model; and from any picture to one shape."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from refine.errors import RefineError, require
from refine.progress import track

if TYPE_CHECKING:
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB"}
BLOCK = 512  # images decoded ahead of where the result is


def to_float(pixels: Tensor) -> Tensor:
    """uint8 0..255 to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Floats, [-1, 1] being the range of a picture, to the nearest of 0..255, on the CPU; inverts :func:`to_float`."""
    return ((x.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_picture(pixels_CHW: Tensor) -> Image:
    """A uint8 image (1|3, H, W) as a Pillow image."""
    from PIL import Image

    array = pixels_CHW.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else np.ascontiguousarray(array.transpose(1, 2, 0)))


def from_picture(image: Image, size: tuple[int, int] | None, channels: int) -> Tensor:
    """A Pillow image as uint8 (channels, H, W): turned as its EXIF says, laid on white where transparent, converted to
    grey or RGB; with ``size`` (h, w) its short side is resized and its centre cropped.

    Raises:
        ValueError: pixel values whose range is not known (floats, 32-bit integers).
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of kind {image.mode!r} have no known range")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert(MODES[channels])
    if size is not None and (image.height, image.width) != size:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).reshape(image.height, image.width, channels).permute(2, 0, 1)


def read_pictures(
    sources: Sequence[tuple[str, Path | bytes]], size: tuple[int, int], channels: int, strict: bool, where: str
) -> tuple[Tensor, list[int], list[str]]:
    """Decode many images (PNG, JPEG, whatever Pillow reads), files on all cores, with a progress bar.

    Args:
        sources: the name of each and its path or its bytes.
        size: (h, w) of the result.
        channels: 1 or 3.
        strict: refuse an image that cannot be read; otherwise it is named in a warning and skipped.
        where: what the images belong to, for messages.

    Returns:
        uint8 (N, channels, h, w); the positions in ``sources`` of those N; "name: reason" of each that was skipped.

    Raises:
        RefineError: an image cannot be read and ``strict``, or none can be.
    """
    from PIL import Image

    def read(source: Path | bytes) -> Tensor | str:
        try:
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                image.draft(None, (2 * max(size), 2 * max(size)))  # lets JPEG decode a large photograph at a fraction
                return from_picture(image, size, channels)
        except Exception as error:  # a damaged file may fail anywhere inside its decoder
            return f"{type(error).__name__}: {error}"

    def results() -> Iterator[Tensor | str]:
        if isinstance(sources[0][1], bytes):  # small images out of one file: handing them to threads costs more
            yield from (read(source) for _, source in sources)
            return
        with ThreadPoolExecutor() as pool:
            for start in range(0, len(sources), BLOCK):
                yield from pool.map(read, [source for _, source in sources[start : start + BLOCK]])

    kept: list[int] = []
    skipped: list[str] = []
    pixels = torch.empty(len(sources), channels, *size, dtype=torch.uint8)
    for i, result in enumerate(track(results(), f"reading {where}", len(sources))):
        if isinstance(result, Tensor):
            pixels[len(kept)] = result
            kept.append(i)
            continue
        skipped.append(f"{sources[i][0]} ({result})")
        require(not strict, f"{where}: {skipped[-1]} cannot be read, and strict=true refuses to skip it")
    if not kept:
        raise RefineError(f"{where}: none of {len(sources)} images can be read; the first: {skipped[0]}")
    if skipped:
        names = ", ".join(skipped[:10]) + (f", and {len(skipped) - 10} more" if len(skipped) > 10 else "")
        message = f"{where}: {len(skipped)} of {len(sources)} images cannot be read and are skipped: {names}"
        warnings.warn(message, stacklevel=2)
    return pixels[: len(kept)], kept, skipped
