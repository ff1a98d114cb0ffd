from __future__ import annotations

import numpy as np

from refine.domains.weather.scores import bootstrap


def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(40, 300))  # 300 worlds of 40 initial times
    _, low, high = bootstrap.interval(bootstrap.mean, samples)
    assert 0.89 <= np.mean((low < 0) & (high > 0)) <= 0.98
    np.testing.assert_allclose(np.mean(high - low), 2 * 1.96 / np.sqrt(40), rtol=0.1)


def test_pairs_stay_together() -> None:
    """The ratio of a sample and itself has no interval, though both vary."""
    x = np.random.default_rng(1).gamma(1.0, size=(12, 3, 2))
    value, low, high = bootstrap.interval(bootstrap.root_ratio, 4 * x, x)
    for found in (value, low, high):
        np.testing.assert_allclose(found, 2 * np.ones((3, 2)))


def test_times_without_truth_are_left_out() -> None:
    x = np.array([[1.0, 1.0], [3.0, np.nan], [5.0, np.nan]])
    value, low, high = bootstrap.interval(bootstrap.mean, x)
    np.testing.assert_allclose(value, [3.0, 1.0])
    assert 1 <= low[0] < 3 < high[0] <= 5
    alone = bootstrap.interval(bootstrap.mean, x[:1])
    np.testing.assert_allclose(alone[0], [1.0, 1.0])
    assert np.isnan(alone[1]).all() and np.isnan(alone[2]).all()


def test_the_same_draw_every_time() -> None:
    x = np.random.default_rng(2).normal(size=(9, 5))
    first, again = (bootstrap.interval(bootstrap.root, x**2) for _ in range(2))
    np.testing.assert_array_equal(first, again)
