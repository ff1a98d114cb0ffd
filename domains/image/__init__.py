"""Images: latents of images on a grid, coarse to fine.

The files and rooms from the lowest to the highest; each imports only what stands above it in this drawing::

    config       options of the domain
      data       folders and published sets -> pixels with labels
      codecs     pixels <-> latents, and the scales of a configuration
    image_data   the images of a configuration: splits, shape, classes, codec, scales
      pictures   samples, and pictures with a part to be drawn anew -> files
      judging    samples and real images -> figures; the study's tasks
      var        VAR's published files -> a run
    domain       all of it as one domain of refine
"""

from refine.domains.image.config import ImageConfig
from refine.domains.image.domain import ImageDomain

__all__ = ["ImageConfig", "ImageDomain"]
