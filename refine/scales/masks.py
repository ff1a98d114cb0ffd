"""Which sites of every scale a mask keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refine.errors import require
from refine.scales.pyramid import Pyramid


def keep_by_scale(pyramid: Pyramid, keep: Tensor | Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """K masks (B|1, N_k): those that are given, or one (B|1, N_{K-1}) of the finest scale, seen at each scale as "more
    than half is kept".

    Raises:
        RefineError: masks that do not fit the scales.
    """
    expected = [pyramid.num_sites(k) for k in range(pyramid.num_levels)]
    if isinstance(keep, Tensor):
        fits = keep.dim() == 2 and keep.shape[1] == expected[-1]
        require(fits, f"keep has shape {tuple(keep.shape)}, not (B, {expected[-1]})")
        finest = keep.to(device, torch.float32)[..., None]
        return [pyramid.field(finest, k)[..., 0] > 0.5 for k in range(pyramid.num_levels)]
    masks = [m.to(device, torch.bool) for m in keep]
    found = [m.shape[-1] for m in masks]
    require(found == expected, f"keep has {found} sites by scale; expected {expected}")
    return masks
