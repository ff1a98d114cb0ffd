"""Pixels without a latent, patch by patch: as few sites as a latent has, and a pyramid of pixels all the same."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from refine.domains.image.codecs.codec import GridCodec
from refine.scales.resample import GridResampler, Resampler, grid_shape
from refine.types import Level


class PatchCodec(GridCodec):
    """A site is a patch of factor x factor pixels, its channels are these pixels, image channel by image channel.

    Nothing is learned and nothing lost; the control without a latent (the paper, section 6) at the cost of one with.
    """

    def __init__(self, image: tuple[int, int, int], factor: int) -> None:
        super().__init__(image, image[0] * factor**2, factor, nn.PixelUnshuffle(factor), nn.PixelShuffle(factor))


class PatchResampler(Resampler):
    """Scales whose sites are patches of the image at each size: pixels are resampled, not patches.

    Args:
        scales: K grids of patches, coarsest first.
        channels: of the image.
        factor: pixels of a patch along each side.
        down: as :class:`refine.scales.resample.GridResampler` has it.
        up: likewise.
    """

    def __init__(self, scales: Sequence[int | Sequence[int]], channels: int, factor: int, down: str, up: str) -> None:
        super().__init__()
        self.sites = GridResampler(scales, down, up)
        self.shapes, self.num_levels = self.sites.shapes, self.sites.num_levels
        self.pixels = GridResampler([[n * factor for n in grid_shape(s)] for s in scales], down, up)
        self.channels, self.factor = channels, factor

    def num_sites(self, k: int) -> int:
        return self.sites.num_sites(k)

    def level(self, k: int) -> Level:
        return self.sites.level(k)

    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._patches(self.pixels.down(self._image(x, source), source, target), target)

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._patches(self.pixels.up(self._image(x, source), source, target), target)

    def field(self, field: Tensor, k: int) -> Tensor:
        return self.sites.field(field, k)  # fields of a condition have channels of their own

    def _image(self, x: Tensor, k: int) -> Tensor:
        """(B, N_k, C factor^2) patches to (B, pixels, C)."""
        grid = x.transpose(1, 2).unflatten(2, self.shapes[k])
        return nn.functional.pixel_shuffle(grid, self.factor).flatten(2).transpose(1, 2)

    def _patches(self, x: Tensor, k: int) -> Tensor:
        """(B, pixels, C) to (B, N_k, C factor^2) patches."""
        grid = x.transpose(1, 2).unflatten(2, self.pixels.shapes[k])
        return nn.functional.pixel_unshuffle(grid, self.factor).flatten(2).transpose(1, 2)
