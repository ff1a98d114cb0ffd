"""Normal noise for networks: on the cells of a grid, and smooth, in bands of harmonics of the sphere."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.sphere.harmonics import HarmonicTransform, degrees
from refine.noise import Noise

EDGES = (0, 1 / 6, 0.4, 0.68, 1)  # of the bands, as shares of the truncation: the scales of the codes


class Bands:
    """Isotropic noise of unit variance in bands of degrees.

    Attributes:
        coefficients: D normal numbers that make a field.
    """

    def __init__(self, model: Forecaster) -> None:
        last = model.domain.truncation
        self.transform, degree = HarmonicTransform(model.grid, last), torch.from_numpy(degrees(last))
        edges = [-1.0, *(share * last for share in EDGES[1:])]
        self.bands = torch.stack([(a < degree) & (degree <= b) for a, b in itertools.pairwise(edges)]).float()
        self.bands *= (4 * math.pi / self.bands.sum(1, keepdim=True)).sqrt()
        self.coefficients = self.transform.num_coefficients

    def fields(self, normal_BND: Tensor) -> Tensor:
        """(B, N, H, W), field n in band n modulo their number."""
        which = torch.arange(normal_BND.shape[1]) % len(self.bands)
        return self.transform.synthesise(normal_BND * self.bands[which])


def normal(noise: Noise, shape: tuple[int, ...], stream: int = 0) -> Tensor:
    """(B, *shape) normal numbers, those of each sample its own."""
    return noise.normal(0, shape, stream=stream)
