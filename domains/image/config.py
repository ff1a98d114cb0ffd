"""The options of the image domain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from refine.commands.evaluate import EvaluateConfig
from refine.commands.inpaint import InpaintConfig
from refine.settings.bounds import Text, each, either, one_of, whole
from refine.settings.places import Place


@dataclass
class ImageEvaluateConfig(EvaluateConfig):
    """Keys of ``refine evaluate`` for images."""

    # of the Frechet distance, precision and recall: auto | inception | classifier
    features: Annotated[str, one_of("auto", "inception", "classifier")] = "auto"


@dataclass
class ImageInpaintConfig(InpaintConfig):
    """Keys of ``refine inpaint`` for images."""

    image: Place = None  # a picture, or an item of the model's data as SPLIT:NUMBER (test:17)
    mask: Place = None  # a PNG of the image's size or the model's: white is painted anew, black is kept
    # [top, left, height, width] that the image takes; all around it is painted anew
    place: Annotated[list[int] | None, each(whole(-1_000_000, 1_000_000), 4, 4)] = None
    paste: bool = False  # known pixels as the image has them, not as the kept codes are decoded


@dataclass
class ImageConfig:
    """Options of the image domain; null where the data itself answers."""

    data: Place = None  # digits | mnist | cifar10 | folder | none; null: folder where one is given, else digits
    folder: Place = None  # images, in subfolders named by their labels or all in the folder itself
    # pixels: one number or [height, width]; resized on the short side, cropped to the centre
    size: Annotated[Any, either(whole(1, 65536), each(whole(1, 65536), 2, 2))] = None
    channels: Annotated[int | None, whole(1, 3)] = None  # 1 grey | 3 RGB; null: the data's own, 3 for a folder
    # names of the labels, or how many there are; null: the data's own
    classes: Annotated[Any, either(whole(0, 1_000_000), each(Text(), 0, 1_000_000))] = None
    label_conditional: bool = True  # condition on the labels, where there are some
    strict: bool = False  # refuse images that cannot be read instead of skipping them
    # conv | linear (by patch) | identity, patch (of factor x factor; both pixels) | vqgan (VAR's)
    codec: Annotated[str, one_of("conv", "linear", "identity", "patch", "vqgan")] = "conv"
    factor: Annotated[int, whole(1, 1024)] = 1  # pixels of a latent site along each side; conv: 1, 2, 4, 8 or 16
    # channels of the latent; identity has the image's, patch those of factor x factor pixels
    latent: Annotated[int, whole(1)] = 4
    width: Annotated[int, whole(1)] = 32  # conv, vqgan: channels of hidden layers; vqgan: at the finest level
    blocks: Annotated[int, whole(0, 100)] = 2  # conv, vqgan: residual blocks at each resolution
    # vqgan: widths of its levels, in width
    multipliers: Annotated[list[int], each(whole(1, 1024), 1, 16)] = field(default_factory=lambda: [1, 1, 2, 2, 4])
    # grids, coarsest first, ending at size / factor
    scales: Annotated[list[Any], each(either(whole(1, 65536), each(whole(1, 65536), 2, 2)), 1, 100)] = field(
        default_factory=lambda: [1, 2, 4, 8]
    )
    down: Annotated[str, one_of("area", "bicubic", "blur")] = "area"  # area | bicubic | blur
    up: Annotated[str, one_of("bicubic", "linear", "nearest", "blur")] = "bicubic"  # bicubic | linear | nearest | blur
