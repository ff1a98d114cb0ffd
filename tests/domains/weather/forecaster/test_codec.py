"""Between fields and latents: exact within the truncation, white in degree and latitude, winds as vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.forecaster.codec import LEAST, SphereCodec
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import degrees

from ..rotations import precision, some_rotations, wigner

T, NAME = 5, "gaussian:12x24"
WINDS = [(1, 2)]  # of four channels
LOW = torch.from_numpy(degrees(T))


def build(sites: str = "rings:2", dtype: torch.dtype = torch.float64, grid: str = NAME) -> SphereCodec:
    with precision(dtype):
        return SphereCodec(4, WINDS, Grid.parse(grid), T, sites)


def coefficients(batch: int = 6, seed: int = 0) -> Tensor:
    """(B, D, C) of unlike sizes by degree and channel."""
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(batch, (T + 1) ** 2, 4, generator=generator, dtype=torch.float64)
    c = c * torch.tensor([100.0, 3.0, 3.0, 0.01]) / (1 + LOW[:, None]) ** 2
    c[:, 0, 1:3] = 0  # a wind has no degree 0
    return c


def fields(codec: SphereCodec, batch: int = 6, seed: int = 0) -> Tensor:
    return codec.transform.synthesise(coefficients(batch, seed))


def close(a: Tensor, b: Tensor, rtol: float = 1e-10, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def fitted(codec: SphereCodec, x: Tensor) -> SphereCodec:
    codec.fit(x)
    return codec


@pytest.mark.parametrize("sites", ["rings:2", "gaussian:8x16", "healpix:4"])
@pytest.mark.parametrize("grid", [NAME, "regular:13x24"])
def test_band_limited_fields_come_back(sites: str, grid: str) -> None:
    codec = build(sites, grid=grid)
    x = fields(codec)
    latent = codec.encode(x)
    assert latent.shape == (6, codec.synthesis.shape[0], 4)
    close(codec.decode(latent), x, 1e-9, 1e-9)


def test_what_lies_beyond_the_truncation_is_lost_and_only_that() -> None:
    codec = fitted(build(), fields(build()))
    x = fields(codec, seed=1) + torch.randn(6, 4, 12, 24, dtype=torch.float64)
    once = codec.decode(codec.encode(x))
    assert (once - x).abs().max() > 0.5
    close(codec.decode(codec.encode(once)), once, 1e-8, 1e-8)  # a projection


def test_latents_are_white_in_every_degree_and_channel() -> None:
    codec = build()
    x = fields(codec, 4000)
    codec.fit(x)
    latent = codec.encode(x)
    assert float(latent.square().mean()) == pytest.approx(1, abs=0.05)
    white = codec.analysis @ latent * codec._norm
    for degree in range(T + 1):
        size = white[:, degree == LOW].square().mean((0, 1))
        wanted = torch.ones(4, dtype=torch.float64)
        if degree == 0:
            assert (size[1:3] < 1e-3).all()
            wanted, size = wanted[[0, 3]], size[[0, 3]]
        close(size, wanted, 1e-6, 1e-6)


def test_weak_latitudes_weigh_as_much_as_strong_ones() -> None:
    """Fields that are ten times weaker in the tropics: latents are not, and what comes back is."""
    grid = Grid.parse(NAME)
    strength = torch.from_numpy(0.1 + 0.9 * np.sin(np.deg2rad(grid.latitude)) ** 2)[:, None]
    codec = build("gaussian:12x24")  # sites where the fields are, to look at latitudes
    x = torch.randn(3000, 4, 12, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = codec.transform.synthesise(codec.transform.analyse(x)) * strength
    codec.fit(x)
    spread = codec.encode(x).view(-1, 12, 24, 4).square().mean((0, 2)).sqrt()
    assert (spread.amax(0) / spread.amin(0) < 1.7).all()
    plain = x.square().mean((0, 3)).sqrt()
    assert (plain.amax(1) / plain.amin(1) > 5).all()
    back = codec.decode(codec.encode(x)).square().mean((0, 3)).sqrt()
    assert (back / plain - 1).abs().max() < 0.25


def test_profiles_are_smooth_bounded_and_one_for_a_wind() -> None:
    codec = build()
    power = torch.rand(4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 4 + 1e-9
    power[3, :8] = 0.0
    profile = codec.profile_of(power)
    assert profile.shape == (4, 12, 1)
    assert torch.equal(profile[1], profile[2])
    assert (profile.amin(1) >= LEAST * profile.amax(1) - 1e-15).all()
    constant = codec.profile_of(torch.full((4, 12), 9.0, dtype=torch.float64))
    close(constant, torch.full_like(constant, 3.0))


def test_without_a_profile_it_commutes_with_every_rotation() -> None:
    """All channels of a latent are scalars; the double, winds as two scalars, is not."""
    codec = build()
    c = coefficients(3)
    x = codec.transform.synthesise(c)
    for rotation in some_rotations(3):
        matrix = wigner(rotation, T)
        turned = codec.transform.synthesise(matrix @ c)  # the rotated fields: see test_harmonics
        white = codec.analysis @ codec.encode(turned)
        close(white, matrix @ (codec.analysis @ codec.encode(x)), 1e-8, 1e-8)
        scalars = [codec.transform.scalar.analyse(f[:, 1:3]).transpose(1, 2) for f in (x, turned)]
        assert (scalars[1] - matrix @ scalars[0]).norm() > 0.3 * scalars[0].norm()


def test_with_one_it_commutes_with_turns_about_the_axis() -> None:
    codec = build()
    x = fields(codec)
    codec.fit(x * torch.linspace(0.2, 2, 12, dtype=torch.float64)[:, None])
    angle = 2 * np.pi * 5 / 24
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    turned = codec.analysis @ codec.encode(x.roll(5, -1))
    close(turned, wigner(turn, T) @ (codec.analysis @ codec.encode(x)), 1e-8, 1e-8)


def test_what_was_learned_is_in_the_checkpoint() -> None:
    one, other = fitted(build(), fields(build())), build()
    x = fields(one, seed=2)
    assert not torch.allclose(other.encode(x), one.encode(x))
    assert set(one.state_dict()) == {"size", "profile"}
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.encode(x), one.encode(x))


def test_precision_is_kept_under_autocast() -> None:
    codec = build(dtype=torch.float32)
    x = fields(codec.double()).float()
    codec = fitted(build(dtype=torch.float32), x)
    plain = codec.encode(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = codec.encode(x)
        back = codec.decode(mixed)
    assert torch.equal(mixed, plain) and back.dtype == torch.float32
    torch.testing.assert_close(back, codec.decode(plain), rtol=0, atol=0)


def test_channels_without_winds_are_all_scalars() -> None:
    with precision(torch.float64):
        codec = SphereCodec(2, [], Grid.parse(NAME), T, "rings:2")
    x = codec.transform.synthesise(torch.randn(3, 36, 2, dtype=torch.float64))
    close(codec.decode(codec.encode(x)), x, 1e-9, 1e-9)
    close(codec.transform.analyse(x), codec.transform.scalar.analyse(x).transpose(1, 2))
