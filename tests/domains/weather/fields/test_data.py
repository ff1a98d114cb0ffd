"""The data of the domain: which times belong to which split, what is known beside the fields, what its keys may say."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

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
    ("split", "numbers"),
    [
        (np.array(["train"] * 6 + ["val"] * 3 + ["test"] * 3), (6, 3, 3)),
        (np.array([0.0] * 3 + [np.nan] * 3 + [1] * 3 + [2] * 3), (3, 3, 3)),
        (np.array(["train"] * 4 + [""] * 2 + ["val"] * 3 + ["test"] * 3, dtype=object), (4, 3, 3)),
        (np.array([0] * 4 + [1] * 4 + [2] * 2 + [-1, 7]), (4, 4, 2)),
    ],
)
def test_a_split_may_be_named_or_be_of_some_times_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], split: np.ndarray, numbers: tuple[int, ...]
) -> None:
    make_fields(12)[["2m_temperature"]].assign_coords(split=("time", split)).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    found = opened(tmp_path / "a.zarr")
    assert tuple(found.fields(s).sizes["time"] for s in ("train", "val", "test")) == numbers
    assert (f"{12 - sum(numbers)} of 12 times are in no split" in capsys.readouterr().err) == (sum(numbers) < 12)


def test_a_split_of_something_else_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    ds = make_fields(12)[["2m_temperature"]].assign_coords(split=("time", list("abcabcabcabc")))
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(
        RefineError, match=r"a\.nc: split begins with 'a'; accepted: 0, 1, 2 or train, val, test, unless"
    ):
        opened(tmp_path / "a.nc").fields("train")
    found = opened(tmp_path / "a.nc", train=["2001-02-20", "2001-02-24"], val=["2001-02-25", "2001-02-26"])
    assert days(found, "train") == [0, 1, 2, 3, 4]


def test_times_without_a_run_are_paired_with_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By number or by name: the sixth day of twelve has no run."""
    numbers = np.array([1.0] * 5 + [np.nan] + [2] * 6)
    for name, branch in (("a", numbers), ("b", np.where(np.isnan(numbers), "", numbers.astype(str)))):
        ds = make_fields(12)[["2m_temperature"]].assign_coords(branch=("time", branch), split=("time", [0] * 12))
        ds.to_zarr(tmp_path / f"{name}.zarr", zarr_format=2)
        found = opened(tmp_path / f"{name}.zarr")
        assert found.dataset("train").index.tolist() == [[i, i + 1, i + 2] for i in (0, 1, 2, 6, 7, 8, 9)]
        assert "branch is missing at 1 of 12 times" in capsys.readouterr().err


def test_files_whose_marks_are_of_two_kinds_are_refused(tmp_path: Path) -> None:
    for i, split in enumerate((np.zeros(6, int), np.array(["1"] * 6))):
        part = make_fields(12)[["2m_temperature"]].isel(time=slice(6 * i, 6 * i + 6))
        part.assign_coords(split=("time", split)).to_netcdf(tmp_path / f"{i}.nc")
    with pytest.raises(RefineError, match=r"split is a number at some times and a text at others, like \['1'\]"):
        opened(tmp_path / "*.nc")


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
def test_steps_of_whole_days_from_one_hour_see_the_sunlight_of_a_day(data: Path, step: str) -> None:
    assert opened(data, step=step).forcings == DAILY


def test_shorter_steps_see_the_hour(data: Path) -> None:
    assert opened(data, step="6h").forcings == FORCINGS


def six_hourly(path: Path, days: int = 10) -> Path:
    """Noise four times a day for ``days`` days, the first eight of which train."""
    ds = make_fields(4 * days)[["2m_temperature"]]
    times = ds["time"].values[0] + np.arange(4 * days) * np.timedelta64(6, "h")
    ds.assign_coords(time=times).to_netcdf(path)
    return path


def test_steps_of_days_see_the_hour_where_training_data_have_several(tmp_path: Path) -> None:
    source = six_hourly(tmp_path / "fields.nc")
    domain = opened(source)
    assert domain.forcings == FORCINGS and domain.config.hourly is True
    pairs = domain.dataset("train")
    hours = pairs.times.astype("datetime64[h]").astype(int) % 24
    assert set(hours) == {0, 6, 12, 18}
    lit = [pairs[i]["forcing"][FORCINGS.index("solar")].argmax() % 16 for i in range(4)]
    assert [(h - 6 * i) % 24 for i, h in enumerate(hours[:4])] == [hours[0]] * 4
    assert [int(x - y) % 16 for x, y in pairwise(lit)] == [4, 4, 4]  # the sun goes west by a quarter of 16 columns


def test_the_hours_of_the_training_split_count(tmp_path: Path) -> None:
    source = six_hourly(tmp_path / "fields.nc")
    ds = xr.open_dataset(source)
    noon = ds["time"].dt.hour == 12
    later = ds["time"] > ds["time"][20]
    ds.isel(time=np.flatnonzero(noon | later)).to_netcdf(tmp_path / "mixed.nc")
    days = {"train": ["2001-02-20", "2001-02-24"], "val": ["2001-02-26", "2001-02-28"]}
    assert opened(tmp_path / "mixed.nc", **days).forcings == DAILY
    assert opened(tmp_path / "mixed.nc").forcings == FORCINGS
    assert opened(tmp_path / "mixed.nc", hourly=False).forcings == DAILY
    assert opened(tmp_path / "mixed.nc", hourly=True, **days).forcings == FORCINGS


@pytest.mark.parametrize(("step", "names"), [("24h", DAILY), ("2d", DAILY), ("6h", FORCINGS)])
def test_options_from_before_forcings_could_be_chosen_keep_their_rule(
    tmp_path: Path, step: str, names: tuple[str, ...]
) -> None:
    options = {"data": str(six_hourly(tmp_path / "fields.nc")), "step": step}
    assert WeatherData(WeatherConfig(**WeatherData.older(options))).forcings == names
    assert WeatherData(WeatherConfig(**WeatherData.older({**options, "hourly": True}))).forcings == FORCINGS


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
