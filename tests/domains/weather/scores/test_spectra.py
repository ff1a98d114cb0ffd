from __future__ import annotations

import numpy as np
import pytest

from refine.domains.weather.scores.spectra import zonal_power
from refine.domains.weather.sphere.grids import Grid


@pytest.mark.parametrize("width", [15, 16])
def test_power_adds_up_to_the_area_mean_square(width: int) -> None:
    grid = Grid.parse(f"gaussian:8x{width}")
    field = np.random.default_rng(0).normal(size=(3, *grid.shape))
    power = zonal_power(field, grid.area[:, 0])
    assert power.shape == (3, width // 2 + 1)
    np.testing.assert_allclose(power.sum(-1), (field**2 * grid.area).mean((-2, -1)), rtol=1e-12)


def test_a_wave_is_in_its_own_bin() -> None:
    grid = Grid.parse("regular:6x12")
    wave = 3 * np.cos(4 * np.deg2rad(grid.longitude)) * np.ones((6, 1))
    power = zonal_power(wave, grid.area[:, 0])
    np.testing.assert_allclose(power, [0, 0, 0, 0, 4.5, 0, 0], atol=1e-12)
