"""Between fields and latents: harmonics, winds as tangent vectors, every degree of every channel of the same size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import FieldTransform
from refine.domains.weather.sphere.resamplers import basis
from refine.models.codec import Codec

SMOOTH = 2  # latitudes on either side over which the profile is averaged
LEAST = 0.05  # of the largest value of a profile, everywhere


class SphereCodec(Codec):
    """Fields (B, C, H, W) to latents (B, N, C) at the sites of the finest scale, and back.

    Fields are divided by their root mean square at each latitude, as training items have it: errors of the tropics are
    a tenth of those of storm tracks, and codes should say both as well. The harmonic coefficients of what results are
    divided by their root mean square at each degree l. Within a band of degrees a latent is then white, which is what
    independent draws at its sites are; and no channel or scale weighs more than another. Eastward and northward wind
    become divergent and rotational parts, so all channels of a latent are scalars under rotations.

    Args:
        channels: C.
        winds: pairs of channel numbers (eastward, northward).
        grid: of the fields.
        truncation: T, of all that is coded; what lies beyond it is lost.
        sites: name of those that latents live on (:func:`refine.domains.weather.sphere.resamplers.points_of`).
    """

    size: Tensor
    profile: Tensor
    synthesis: Tensor
    analysis: Tensor

    def __init__(
        self,
        channels: int,
        winds: list[tuple[int, int]],
        grid: Grid,
        truncation: int,
        sites: str,
    ) -> None:
        super().__init__()
        self.channels, self.winds = channels, winds
        self.transform = FieldTransform(channels, winds, grid, truncation)
        synthesis, analysis = (torch.tensor(b, dtype=torch.get_default_dtype()) for b in basis(sites, truncation))
        self.register_buffer("synthesis", synthesis, persistent=False)
        self.register_buffer("analysis", analysis, persistent=False)
        self.register_buffer("size", torch.ones(truncation + 1, channels))
        self.register_buffer("profile", torch.ones(channels, grid.shape[0], 1))

    @property
    def degree(self) -> Tensor:
        """(D,) l of each harmonic."""
        return self.transform.degree

    def profile_of(self, power: Tensor) -> Tensor:
        """(C, H, 1) smooth root mean squares by latitude, one for both components of a wind, from mean squares (C, H);
        nowhere less than a small share of the largest."""
        power = power.clone()
        for u, v in self.winds:
            power[[u, v]] = (power[u] + power[v]) / 2
        profile = smooth_latitudes(power).sqrt().clamp_min(1e-12)
        return profile.maximum(LEAST * profile.amax(1, keepdim=True))[..., None]

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Learn the size at each latitude and at each degree from items."""
        self.profile.copy_(self.profile_of(x.double().square().mean((0, 3))))
        square = self.transform.analyse(x / self.profile).double().square().mean(0)  # (D, C)
        total = square.new_zeros(self.size.shape).index_add_(0, self.degree, square)
        mean = total / torch.bincount(self.degree)[:, None]
        floor = mean.amax(0).clamp_min(1e-30) * 1e-8  # a wind has no degree 0
        self.size.copy_(torch.where(mean > floor, mean, 1.0).sqrt())

    def white(self, x: Tensor) -> Tensor:
        """(B, D, C) harmonics of fields, of unit size at every degree of every channel."""
        with torch.autocast(x.device.type, enabled=False):
            return self.transform.analyse(x.to(self.size.dtype) / self.profile) / self.size[self.degree]

    def colour(self, white: Tensor) -> Tensor:
        """The inverse of :meth:`white`, (B, C, H, W)."""
        with torch.autocast(white.device.type, enabled=False):
            return self.transform.synthesise(white * self.size[self.degree]) * self.profile

    def encode(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return self.synthesis @ self.white(x) / self._norm

    def decode(self, latent: Tensor) -> Tensor:
        with torch.autocast(latent.device.type, enabled=False):
            return self.colour(self.analysis @ latent.to(self.size.dtype) * self._norm)

    @property
    def _norm(self) -> float:
        """D white coefficients of unit size have this root mean square on the sphere."""
        return float((self.transform.num_coefficients / (4 * torch.pi)) ** 0.5)


def smooth_latitudes(x: Tensor) -> Tensor:
    """(C, H) means over each latitude and those next to it."""
    padded = F.pad(x[:, None], (SMOOTH, SMOOTH), mode="reflect")
    return F.avg_pool1d(padded, 2 * SMOOTH + 1, 1)[:, 0]
