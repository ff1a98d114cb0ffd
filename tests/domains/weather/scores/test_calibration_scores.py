from __future__ import annotations

import numpy as np

from refine.domains.weather.scores.calibration_scores import flow_thirds, half_variances, thirds

RNG = np.random.default_rng(0)


def test_noise_in_the_variance_does_not_count_as_spread() -> None:
    """One law everywhere: a third chosen by its own variance would look twice as spread as another."""
    members = RNG.normal(size=(8, 2, 30000))
    variance, error = thirds(half_variances(members), RNG.normal(size=(2, 30000)) ** 2, np.ones((2, 30000)))
    np.testing.assert_allclose(variance, 1, atol=0.03)
    np.testing.assert_allclose(error, 1, atol=0.05)


def test_thirds_hold_a_third_of_the_area_each() -> None:
    halves = np.tile(np.arange(6.0), (2, 1, 1))
    weights = np.array([[2.0, 1, 1, 1, 1, 0]])
    variance, error = thirds(halves, 10 * np.arange(6.0)[None], weights)
    np.testing.assert_allclose(variance[0], [0, 1.5, 3.5])
    np.testing.assert_allclose(error[0], [0, 15, 35])


def test_flow_thirds_leave_geography_out() -> None:
    """Cells differ by a factor 100; days by 1, 2, 3: the thirds are days."""
    day = np.array([3.0, 1.0, 2.0, 1.0, 3.0, 2.0])
    cell = np.array([1.0, 100.0])
    field = (day[:, None] * cell)[:, None, :]
    variance, error = flow_thirds(field, field, 2 * field, np.ones_like(field))
    np.testing.assert_allclose(variance[0], 50.5 * np.arange(1, 4))
    np.testing.assert_allclose(error, 2 * variance)


def test_days_without_truth_are_in_no_third() -> None:
    day = np.array([1.0, 2.0, 3.0, 99.0])[:, None, None]
    weights = np.array([1.0, 1.0, 1.0, 0.0])[:, None, None]
    variance, _ = flow_thirds(day, day, day, weights)
    np.testing.assert_allclose(variance[0], [1, 2, 3])
