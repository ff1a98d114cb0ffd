"""Every codec and its scales, as a configuration names them."""

from __future__ import annotations

import pytest

from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.codecs.codec import LinearCodec, PixelCodec
from refine.errors import RefineError


def test_every_codec_and_shape_can_be_had() -> None:
    mnist = ImageDomain(ImageConfig(data="mnist", factor=2, scales=[1, 2, 4, 7, 14]))
    assert mnist.codec().grid == (14, 14) and mnist.resampler().num_levels == 5
    linear = ImageDomain(ImageConfig(data="mnist", codec="linear", factor=28, latent=64, scales=[1])).codec()
    assert isinstance(linear, LinearCodec) and linear.channels == 64
    pixels = ImageDomain(ImageConfig(data="cifar10", codec="identity", scales=[1, 4, 16, 32])).codec()
    assert isinstance(pixels, PixelCodec) and pixels.channels == 3
    wide = ImageDomain(ImageConfig(size=[8, 16], factor=2, scales=[1, [2, 4], [4, 8]]))
    assert wide.codec().grid == (4, 8) and wide.resampler().num_sites(2) == 32


def test_the_last_scale_has_to_be_the_latent() -> None:
    with pytest.raises(
        RefineError, match=r"ends at \(8, 8\); images of \(28, 28\) with factor=2 have a latent of 14x14"
    ):
        ImageDomain(ImageConfig(data="mnist", factor=2)).resampler()
    with pytest.raises(RefineError, match="down='aera' is not accepted"):
        ImageDomain(ImageConfig(down="aera")).resampler()
    with pytest.raises(RefineError, match="factor=3 is not accepted"):
        ImageDomain(ImageConfig(factor=3)).codec()
    with pytest.raises(RefineError, match="split='training' is not accepted"):
        ImageDomain(ImageConfig()).dataset("training")
