"""Zonal power spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def zonal_power(fields: Array, weights: Array) -> Array:
    """Power by zonal wavenumber, averaged over latitudes.

    Args:
        fields: (..., H, W) on circles of latitude.
        weights: (H,) areas of the circles.

    Returns:
        (..., W // 2 + 1) for wavenumbers 0, 1, ...; they sum to the area mean of the squared field.
    """
    width = fields.shape[-1]
    power = np.abs(np.fft.rfft(fields, axis=-1) / width) ** 2
    power[..., 1 : (width + 1) // 2] *= 2  # each stands for +k and -k; the last of an even width is its own mirror
    mean: Array = np.einsum("...hk,h->...k", power, weights / weights.sum())
    return mean
