"""Between the numbers 0..255 of a picture and the floats in [-1, 1] of a model; and from any picture to one shape."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
LARGEST = 2**27  # pixels of an image that is decoded, and of all images that are decoded at the same time
EXTERNAL = ("EPS", "WMF")  # formats that Pillow has other programs draw: what they make of a file is out of our hands


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
    """A Pillow image as uint8 (channels, H, W): turned as its EXIF says (the given one is turned, too), laid on white
    where transparent, converted to grey or RGB; with ``size`` (h, w) its short side is resized and its centre cropped.

    Raises:
        ValueError: pixel values whose range is not known (floats, 32-bit integers).
    """
    from PIL import Image, ImageOps

    ImageOps.exif_transpose(image, in_place=True)  # without a copy, as in all that follows: images may be large
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of kind {image.mode!r} have no known range")
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    if image.mode != MODES[channels]:
        image = image.convert(MODES[channels])
    if size is not None and (image.height, image.width) != size:
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).reshape(image.height, image.width, channels).permute(2, 0, 1)


def open_picture(source: Path | bytes) -> Image:
    """Have Pillow open an image by its content; formats that it would hand to another program are none.

    Raises:
        OSError: no such file, or no image.
        Image.DecompressionBombError: far too many pixels.
    """
    from PIL import Image

    Image.init()
    formats = [kind for kind in Image.OPEN if kind not in EXTERNAL]
    return Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=formats)


@contextmanager
def no_warning_of_size() -> Iterator[None]:
    """Without Pillow's warning of images of many pixels: ``LARGEST`` is what holds. For one thread at a time."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def read_pictures(
    sources: Sequence[tuple[str, Path | bytes]], size: tuple[int, int], channels: int, strict: bool, where: str
) -> tuple[Tensor, list[int], list[str]]:
    """Decode many images (PNG, JPEG, whatever Pillow reads by itself) into memory; see :func:`each_picture`.

    Returns:
        uint8 (N, channels, h, w); the positions in ``sources`` of those N; "name (reason)" of each that was skipped.
    """
    kept: list[int] = []
    skipped: list[str] = []
    pixels = torch.empty(len(sources), channels, *size, dtype=torch.uint8)
    for i, picture in each_picture(sources, size, channels, strict, where, skipped):
        pixels[len(kept)] = picture
        kept.append(i)
    return pixels[: len(kept)], kept, skipped


def each_picture(
    sources: Sequence[tuple[str, Path | bytes]],
    size: tuple[int, int],
    channels: int,
    strict: bool,
    where: str,
    skipped: list[str],
) -> Iterator[tuple[int, Tensor]]:
    """Decode one image after another, files on all cores, with a progress bar.

    Together, images that are decoded at the same time have no more than ``LARGEST`` pixels; one that has more is not
    decoded (a JPEG is decoded at a fraction of its size, if that is enough).

    Args:
        sources: the name of each and its path or its bytes.
        size: (h, w) of the result.
        channels: 1 or 3.
        strict: refuse an image that cannot be read; otherwise it is named in a warning and skipped.
        where: what the images belong to, for messages.
        skipped: "name (reason)" of each that was skipped is put here.

    Yields:
        The place in ``sources``, and uint8 (channels, h, w).

    Raises:
        RefineError: an image cannot be read and ``strict``, or none can be.
    """
    room = _Room(LARGEST)

    def read(source: Path | bytes) -> Tensor | str:
        try:
            with open_picture(source) as image:
                image.draft(None, (2 * max(size), 2 * max(size)))  # lets JPEG decode a large photograph at a fraction
                pixels = image.width * image.height
                if pixels > LARGEST:
                    return f"{image.width} x {image.height} pixels; images of up to {LARGEST:,} pixels are read"
                with room.take(pixels):
                    return from_picture(image, size, channels)
        except Exception as error:  # a damaged file may fail anywhere inside its decoder
            return f"{type(error).__name__}: {error}"

    def results() -> Iterator[Tensor | str]:
        if isinstance(sources[0][1], bytes):  # small images out of one file: handing them to threads costs more
            yield from (read(source) for _, source in sources)
            return
        with no_warning_of_size(), ThreadPoolExecutor() as pool:
            for start in range(0, len(sources), BLOCK):
                yield from pool.map(read, [source for _, source in sources[start : start + BLOCK]])

    for i, result in enumerate(track(results(), f"reading {where}", len(sources))):
        if isinstance(result, Tensor):
            yield i, result
            continue
        skipped.append(f"{sources[i][0]} ({result})")
        if strict:
            break
    tell_of(skipped, len(sources), strict, where)


def tell_of(skipped: Sequence[str], total: int, strict: bool, where: str) -> None:
    """Warn of the images that were skipped, of ``total``.

    Raises:
        RefineError: ``strict``, or none is left.
    """
    if not skipped:
        return
    require(not strict, f"{where}: {some(skipped, 1)} cannot be read, and strict=true refuses to skip it")
    if len(skipped) == total:
        raise RefineError(f"{where}: none of {total} images can be read; the first: {some(skipped[:1])}")
    message = f"{where}: {len(skipped)} of {total} images cannot be read and are skipped: {some(skipped)}"
    warnings.warn(message, stacklevel=2)


def some(names: Iterable[str], most: int = 10) -> str:
    """Names of files in one line that any terminal can show: the first ones, and how many more there are."""
    listed = list(names)
    text = ", ".join(listed[:most]) + (f", and {len(listed) - most} more" if len(listed) > most else "")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) or "none"


class _Room:
    """Has threads wait while what others have taken leaves no room.

    Args:
        size: of the room; nobody asks for more.
    """

    def __init__(self, size: int) -> None:
        self.free, self.changed = size, threading.Condition()

    @contextmanager
    def take(self, size: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: self.free >= size)
            self.free -= size
        try:
            yield
        finally:
            with self.changed:
                self.free += size
                self.changed.notify_all()
