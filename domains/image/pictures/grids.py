"""Pictures for people: grids, refinement strips and animations of uint8 images (C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from refine.domains.image.data.pixels import to_picture
from refine.storage.files import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

MIN_SIDE = 56  # pixels that the longer side of an image has at least in a grid
GAP = 2
TEXT = 12


@cache
def _font() -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(TEXT)


def save_picture(image: Image, path: Path, **options: Any) -> Path:
    """Write a picture atomically, in the format that the name's extension says."""
    with atomic_write(path) as temporary:
        image.save(temporary, **options)
    return path


def grid(
    rows: Sequence[Sequence[Tensor] | Tensor], row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> Image:
    """Images side by side on white, small ones enlarged by a whole factor without smoothing.

    Args:
        rows: uint8 images (C, H, W) of one shape; rows may have different lengths.
        row_labels: a word before each row.
        column_labels: a word above each column.
    """
    from PIL import Image, ImageDraw

    height, width = rows[0][0].shape[1:]
    zoom = max(1, -(-MIN_SIDE // max(height, width)))
    cell_w, cell_h = width * zoom + GAP, height * zoom + GAP
    left = max((int(_font().getlength(label)) + 3 * GAP for label in row_labels), default=0)
    top = TEXT + 3 * GAP if column_labels else 0
    columns = max(len(row) for row in rows)
    canvas = Image.new("RGB", (left + columns * cell_w + GAP, top + len(rows) * cell_h + GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for j, label in enumerate(column_labels):
        draw.text((left + j * cell_w + cell_w / 2, top / 2), label, "black", _font(), anchor="mm")
    for i, row in enumerate(rows):
        y = top + GAP + i * cell_h
        if row_labels:
            draw.text((left - GAP, y + cell_h / 2), row_labels[i], "black", _font(), anchor="rm")
        for j, pixels in enumerate(row):
            picture = to_picture(pixels).resize((width * zoom, height * zoom), Image.Resampling.NEAREST)
            canvas.paste(picture, (left + GAP + j * cell_w, y))
    return canvas


def save_animation(frames: Sequence[Image], path: Path, milliseconds: int = 400) -> Path:
    """An endless GIF; its last frame stays four times as long."""
    from PIL.Image import Dither

    durations = [milliseconds] * (len(frames) - 1) + [4 * milliseconds]
    palette = [frame.quantize(dither=Dither.NONE) for frame in frames]
    return save_picture(palette[0], path, save_all=True, append_images=palette[1:], duration=durations, loop=0)
