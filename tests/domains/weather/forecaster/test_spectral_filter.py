"""The filter of the mean forecast, against Wiener's and against what least squares has to leave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from refine.domains.weather.forecaster.spectral_filter import SpectralFilter
from refine.domains.weather.sphere.grids import Grid

GRID, WINDS, DAYS = Grid.parse("gaussian:12x24"), [(1, 2)], 400


@pytest.fixture(scope="module")
def world() -> tuple[SpectralFilter, tuple[Tensor, Tensor, Tensor]]:
    """Predicted changes are half of the true ones that a state would have, with noise beyond degree 5; states decay."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        found = SpectralFilter(3, WINDS, GRID)
    finally:
        torch.set_default_dtype(torch.float32)
    transform = found.transform
    shape = (DAYS, transform.num_coefficients, 3)
    small = (transform.degree > 5)[:, None].double()
    signal, state = torch.randn(shape).double(), torch.randn(shape).double()
    noise = torch.randn(shape).double() * small
    predicted, after = signal + noise, signal - 0.25 * small * state + 0.5
    predicted, state, after = (x * (transform.degree > 0)[:, None] for x in (predicted, state, after))
    batch = tuple(transform.synthesise(x) for x in (predicted, state, after))
    found.fit([tuple(x[i : i + 50] for x in batch) for i in range(0, DAYS, 50)])
    return found, batch  # type: ignore[return-value]


def test_noise_of_known_size_gives_wieners_filter(world: tuple[SpectralFilter, tuple[Tensor, Tensor, Tensor]]) -> None:
    found, _ = world
    degree = found.transform.degree
    large, small = (degree > 0) & (degree <= 2), degree > 8  # further from the edge than it is smoothed
    for name, at, wanted in (
        ("predicted", large, 1),
        ("predicted", small, 0.5),
        ("state", large, 0),
        ("state", small, -0.25),
    ):
        values = getattr(found, name)[at]
        assert float((values - wanted).abs().max()) < 0.06, (name, wanted)
    assert float((found.constant[small] - 0.5).abs().max()) < 0.35 and float(
        found.constant[small].mean()
    ) == pytest.approx(0.5, abs=0.02)


def test_what_is_left_has_nothing_to_do_with_what_is_known(
    world: tuple[SpectralFilter, tuple[Tensor, Tensor, Tensor]],
) -> None:
    """Orthogonality: so power of the estimate and of its error add up to the truth's. The prediction lacks that."""
    found, (predicted, state, after) = world
    estimate = found(predicted, state)

    def covariance(x: Tensor, y: Tensor) -> Tensor:
        x, y = (found.transform.analyse(f) for f in (x, y))
        both = ((x - x.mean(0)) * (y - y.mean(0))).mean(0)
        return found.transform.smooth(both)[found.transform.degree > 8].abs().max()

    for known in (predicted, state):
        assert float(covariance(after - estimate, known)) < 0.03
    assert float(covariance(after - predicted, predicted)) > 0.5
    left, before = ((after - x).square().mean() for x in (estimate, predicted))
    assert float(left) < 0.8 * float(before)


def test_it_does_nothing_before_it_was_fitted_and_turns_with_the_globe_afterwards(
    world: tuple[SpectralFilter, tuple[Tensor, Tensor, Tensor]],
) -> None:
    found, (predicted, state, _) = world
    fresh = SpectralFilter(3, WINDS, GRID)
    x = predicted[:2].float()
    assert fresh(x, x) is x
    turned = found(predicted[:2].roll(5, -1), state[:2].roll(5, -1)) - found(0 * predicted[:2], 0 * state[:2])
    straight = found(predicted[:2], state[:2]) - found(0 * predicted[:2], 0 * state[:2])
    torch.testing.assert_close(turned, straight.roll(5, -1))


def test_a_channel_without_any_variance_is_left_alone() -> None:
    found = SpectralFilter(1, [], GRID)
    x = torch.zeros(4, 1, 12, 24)
    found.fit([(x, x, x)])
    assert bool(found.fitted) and torch.equal(found(x + 1, x), x + 1)
