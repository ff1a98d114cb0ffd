"""The data of the domain: which times belong to which split, what is known beside the fields, what its keys may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.fields.calendar import DAILY, FORCINGS
from refine.domains.weather.fields.data import WeatherData
from refine.errors import RefineError

from ..made_up_fields import make_fields


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "fields.nc"
    make_fields(20).to_netcdf(path)
    return path


def opened(data: Path, **options: Any) -> WeatherData:
    return WeatherData(WeatherConfig(data=str(data), **options))


def days(found: WeatherData, split: str) -> list[int]:
    """Numbers of the days of a split, from 2001-02-20 on."""
    times = found.fields(split)["time"].values
    return ((times - np.datetime64("2001-02-20")) // np.timedelta64(1, "D")).tolist()


def test_splits_by_shares_of_time_by_a_coordinate_and_by_dates(data: Path, tmp_path: Path) -> None:
    found = opened(data)
    assert [days(found, s) for s in ("train", "val", "test")] == [list(range(16)), [16, 17], [18, 19]]
    split = np.array([2] * 4 + [0] * 9 + [1] * 7)
    make_fields(20).assign_coords(split=("time", split)).to_netcdf(tmp_path / "a.nc")
    found = opened(tmp_path / "a.nc")
    assert [days(found, s) for s in ("train", "val", "test")] == [list(range(4, 13)), list(range(13, 20)), [0, 1, 2, 3]]
    dates = {"train": ["2001-02-21", "2001-02-23"], "val": ["2001-02", "2001-02-22"], "test": ["2001-03-10", "2002"]}
    found = opened(tmp_path / "a.nc", **dates)
    assert [days(found, s) for s in ("train", "val", "test")] == [[1, 2, 3], [0, 1, 2], [18, 19]]


@pytest.mark.parametrize(
    ("options", "split", "message"),
    [
        (
            {"train": ["2001-02-21", "2001-02-23"]},
            "val",
            r"domain\.val=None is not accepted; accepted: \[FIRST, LAST\]",
        ),
        ({"val": ["2001-02-21"]}, "val", r"domain\.val=\['2001-02-21'\] is not accepted"),
        ({"test": ["soon", "later"]}, "test", r"domain\.test=\['soon', 'later'\] is not accepted; accepted: dates"),
        ({"test": ["2001-02-23", "2001-02-21"]}, "test", r"domain\.test: none of the data's times is in it"),
        ({}, "tests", r"split='tests' is not accepted; accepted: .*test"),
    ],
)
def test_splits_that_cannot_be(data: Path, options: dict[str, Any], split: str, message: str) -> None:
    with pytest.raises(RefineError, match=message):
        opened(data, **options).fields(split)


@pytest.mark.parametrize("step", ["24h", "1d", "2d"])
def test_steps_of_whole_days_see_the_sunlight_of_a_day(data: Path, step: str) -> None:
    assert opened(data, step=step).forcings == DAILY


def test_shorter_steps_see_the_hour(data: Path) -> None:
    assert opened(data, step="6h").forcings == FORCINGS


@pytest.mark.parametrize("step", ["0h", "24", "h", "1.5d", "24 h", "-6h", ""])
def test_steps_that_are_none(data: Path, step: str) -> None:
    with pytest.raises(RefineError, match=r"domain\.step=.* is not accepted; accepted: hours or days"):
        opened(data, step=step)


def test_a_channel_by_two_names_is_refused(data: Path) -> None:
    with pytest.raises(RefineError, match=r"domain\.variables has z500 and geopotential_500, which are one channel"):
        opened(data, variables=["z500", "t2m", "geopotential_500"], grid="gaussian:8x16")
    found = opened(data, variables=["z500", "t2m"], grid="gaussian:8x16")
    assert found.channels == ["geopotential_500", "2m_temperature"] == list(found.fields().data_vars)


def test_what_cannot_be_forecast_on(data: Path) -> None:
    with pytest.raises(RefineError, match=r"no level 700 hPa of geopotential; levels there: 500, 850"):
        opened(data, variables=["z700"])
    with pytest.raises(RefineError, match=r"domain\.variables=\[\] is not accepted"):
        opened(data, variables=[])
    with pytest.raises(RefineError, match=r"domain\.grid='healpix:4' is not accepted.*domain\.pyramid=healpix"):
        opened(data, grid="healpix:4")
