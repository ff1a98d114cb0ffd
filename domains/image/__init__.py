"""Images: latents of images on a grid, coarse to fine."""

from refine.domains.image.domain import ImageConfig, ImageDomain

__all__ = ["ImageConfig", "ImageDomain"]
