"""The options of the image domain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from refine.commands.evaluate import EvaluateConfig
from refine.commands.inpaint import InpaintConfig
from refine.settings.places import place


@dataclass
class ImageEvaluateConfig(EvaluateConfig):
    """Keys of ``refine evaluate`` for images."""

    features: str = "auto"  # of the Frechet distance, precision and recall: auto | inception | classifier


@dataclass
class ImageInpaintConfig(InpaintConfig):
    """Keys of ``refine inpaint`` for images."""

    image: str | None = place(None)  # a picture, or an item of the model's data as SPLIT:NUMBER (test:17)
    mask: str | None = place(None)  # a PNG of the image's size or the model's: white is painted anew, black is kept
    place: list[int] | None = None  # [top, left, height, width] that the image takes; all around it is painted anew
    paste: bool = False  # known pixels as the image has them, not as the kept codes are decoded


@dataclass
class ImageConfig:
    """Options of the image domain; null where the data itself answers."""

    data: str | None = place(
        None
    )  # digits | mnist | cifar10 | folder | none; null: folder where one is given, else digits
    folder: str | None = place(None)  # images, in subfolders named by their labels or all in the folder itself
    size: Any = None  # pixels: one number or [height, width]; resized on the short side, cropped to the centre
    channels: int | None = None  # 1 grey | 3 RGB; null: the data's own, 3 for a folder
    classes: Any = None  # names of the labels, or how many there are; null: the data's own
    label_conditional: bool = True  # condition on the labels, where there are some
    strict: bool = False  # refuse images that cannot be read instead of skipping them
    codec: str = "conv"  # conv | linear (by patch) | identity, patch (of factor x factor; both pixels) | vqgan (VAR's)
    factor: int = 1  # pixels of a latent site along each side; conv: 1, 2, 4, 8 or 16
    latent: int = 4  # channels of the latent; identity has the image's, patch those of factor x factor pixels
    width: int = 32  # conv, vqgan: channels of hidden layers; vqgan: at the finest level
    blocks: int = 2  # conv, vqgan: residual blocks at each resolution
    multipliers: list[int] = field(default_factory=lambda: [1, 1, 2, 2, 4])  # vqgan: widths of its levels, in width
    scales: list[Any] = field(default_factory=lambda: [1, 2, 4, 8])  # grids, coarsest first, ending at size / factor
    down: str = "area"  # area | bicubic | blur
    up: str = "bicubic"  # bicubic | linear | nearest | blur
