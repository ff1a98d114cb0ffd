"""Patches of pixels as sites: nothing is lost, and the pyramid is that of the pixels."""

from __future__ import annotations

import pytest
import torch

from refine.domains.image import ImageConfig, ImageDomain
from refine.scales.laplacian import LaplacianPyramid
from refine.scales.resample import GridResampler


def domain(channels: int = 1, **options: object) -> ImageDomain:
    config = ImageConfig(data="none", size=12, channels=channels, classes=2, codec="patch", factor=2, **options)  # type: ignore[arg-type]
    return ImageDomain(config)


@pytest.mark.parametrize("channels", [1, 3])
def test_codec_loses_nothing(channels: int) -> None:
    codec = domain(channels, scales=[6]).codec()
    x = torch.randn(2, channels, 12, 12)
    latent = codec.encode(x)
    assert latent.shape == (2, 36, 4 * channels) and codec.channels == 4 * channels
    assert torch.equal(codec.decode(latent), x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("down", "up"), [("area", "bicubic"), ("blur", "blur")])
def test_bands_are_those_of_the_pixels(channels: int, down: str, up: str) -> None:
    """The Gaussian pyramid of patches, put together again, is that of the image on a grid of pixels."""
    x = torch.randn(2, channels, 12, 12)
    image = domain(channels, scales=[1, 3, 6], down=down, up=up)
    patches = LaplacianPyramid(image.resampler(), image.codec().channels)
    pixels = LaplacianPyramid(GridResampler([2, 6, 12], down, up), channels)
    pairs = zip(
        patches.bands(patches.gaussian(image.codec().encode(x))),
        pixels.bands(pixels.gaussian(x.flatten(2).transpose(1, 2))),
        (1, 3, 6),
        strict=True,
    )
    for of_patches, of_pixels, side in pairs:
        grid = torch.nn.functional.pixel_shuffle(of_patches.transpose(1, 2).unflatten(2, (side, side)), 2)
        torch.testing.assert_close(grid, of_pixels.transpose(1, 2).unflatten(2, (2 * side, 2 * side)))


def test_resampling_patches_as_if_they_were_sites_would_be_another_pyramid() -> None:
    """The broken double: averaging each pixel of a patch with its namesakes in the next patches."""
    image = domain(scales=[3, 6])
    latent = image.codec().encode(torch.randn(1, 1, 12, 12))
    right, wrong = image.resampler().down(latent, 1, 0), GridResampler([3, 6]).down(latent, 1, 0)
    assert (right - wrong).abs().max() > 0.1


def test_fields_of_a_condition_are_seen_site_by_site() -> None:
    resampler = domain(scales=[3, 6]).resampler()
    field = torch.randn(2, 36, 5)
    torch.testing.assert_close(resampler.field(field, 0), GridResampler([3, 6]).down(field, 1, 0))
    assert resampler.level(1).num_sites == resampler.num_sites(1) == 36
