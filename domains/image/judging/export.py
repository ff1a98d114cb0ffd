"""Samples in the form that ADM's evaluator reads, the one by which FID and IS of ImageNet models are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refine.domains.image.data.pixels import to_uint8
from refine.errors import require
from refine.storage.files import atomic_write

SEED = 0  # of the order
BLOCK = 1000  # images converted at once


def export(items: Tensor, path: Path) -> None:
    """Write images (B, 1|3, H, W) in [-1, 1] as the one array ``arr_0``, uint8 (B, H, W, 3), atomically.

    They are shuffled, always in the same way: the evaluator's Inception Score takes splits of 5,000 in the order of the
    file, and would find hardly more than one class in each split of samples that lie class by class. Grey images have
    their one channel three times.

    Raises:
        RefineError: another ending than ``.npz``, or images with numbers that are not finite.
    """
    require(path.suffix == ".npz", f"{path} is not accepted; accepted: a path that ends in .npz")
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(SEED))
    pixels = np.empty((len(items), *items.shape[2:], 3), np.uint8)
    for first in range(0, len(items), BLOCK):
        rows = order[first : first + BLOCK]
        part = items[rows]
        require(bool(part.isfinite().all()), "images have numbers that are not finite: nothing is exported")
        pixels[first : first + BLOCK] = to_uint8(part).permute(0, 2, 3, 1).numpy()
    with atomic_write(path) as temporary:
        np.savez(temporary, pixels)
