"""The codec and the scales that a configuration names."""

from __future__ import annotations

from collections.abc import Callable

from refine.domains.image.codecs.codec import ConvCodec, GridCodec, LinearCodec, PixelCodec
from refine.domains.image.codecs.patches import PatchCodec, PatchResampler
from refine.domains.image.codecs.vqgan import VQGANCodec
from refine.domains.image.config import ImageConfig
from refine.errors import require
from refine.scales.resample import GridResampler

CODECS: dict[str, Callable[[ImageConfig, tuple[int, int, int]], GridCodec]] = {
    "conv": lambda c, image: ConvCodec(image, c.latent, c.factor, c.width, c.blocks),
    "linear": lambda c, image: LinearCodec(image, c.latent, c.factor),
    "identity": lambda c, image: PixelCodec(image),
    "patch": lambda c, image: PatchCodec(image, c.factor),
    "vqgan": lambda c, image: VQGANCodec(image, c.latent, c.factor, c.width, c.multipliers, c.blocks),
}


def build_codec(config: ImageConfig, image: tuple[int, int, int]) -> GridCodec:
    """A fresh codec of images (C, H, W)."""
    return CODECS[config.codec](config, image)


def build_resampler(c: ImageConfig, channels: int) -> GridResampler | PatchResampler:
    """The scales of a configuration that says the size of its images.

    Args:
        c: the configuration.
        channels: of the images.

    Raises:
        RefineError: scales that cannot be, or that do not end at the latent.
    """
    resampler = GridResampler(c.scales, c.down, c.up)
    h, w = c.size[0] // c.factor, c.size[1] // c.factor
    require(
        resampler.shapes[-1] == (h, w),
        f"domain.scales={c.scales} ends at {resampler.shapes[-1]}; images of {c.size} with "
        f"factor={c.factor} have a latent of {h}x{w}, which has to be the last scale",
    )
    return PatchResampler(c.scales, channels, c.factor, c.down, c.up) if c.codec == "patch" else resampler
