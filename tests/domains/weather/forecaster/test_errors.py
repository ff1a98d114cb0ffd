"""Errors of the mean, in pairs of successive steps."""

from __future__ import annotations

import pytest
import torch

from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.forecaster.errors import successive_errors

from ..tiny_forecaster import make_world, tiny_domain, tiny_forecaster


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> WeatherDomain:
    return tiny_domain(make_world(tmp_path_factory.mktemp("world") / "fields.zarr"))


def test_successive_errors_are_successive(domain: WeatherDomain) -> None:
    model = tiny_forecaster(domain, stirred=False)  # no changes forecast: errors are changes
    errors, pairs = successive_errors(model, "train", 100)
    days = domain.dataset("train")
    changes = torch.stack([days[i]["after"] - days[i]["now"] for i in range(len(days))]) / model.mean.change
    torch.testing.assert_close(errors, changes, rtol=1e-3, atol=1e-3)
    assert pairs.tolist() == [[i, i + 1] for i in range(len(days) - 1)]
    few, some = successive_errors(model, "train", 8)
    assert len(some) > 0 and 8 <= len(few) <= 10
    for a, b in some.tolist():
        place = int((changes - few[a]).abs().sum((1, 2, 3)).argmin())
        torch.testing.assert_close(few[b], changes[place + 1], rtol=1e-3, atol=1e-3)
