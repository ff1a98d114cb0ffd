from __future__ import annotations

import numpy as np

from refine.domains.weather.pictures.views import View, when
from refine.domains.weather.sphere.grids import Grid

from ..waves import forecast


def test_leads_without_truth_are_left_out() -> None:
    ds, truth = forecast(Grid.parse("gaussian:8x16"), ["2m_temperature"])
    view = View(ds["2m_temperature"].isel(time=0), truth.isel(time=slice(0, 4)))
    assert [view.actual(lead) is None for lead in range(5)] == [False, False, False, True, True]
    assert np.isnan(view.actual_at(0)).tolist() == [False, False, False, True, True]
    assert View(ds["2m_temperature"].isel(time=0)).actual(0) is None


def test_short_forecasts_are_told_in_hours() -> None:
    ds, _ = forecast(Grid.parse("gaussian:8x16"), ["2m_temperature"], leads=9)
    days = View(ds["2m_temperature"].isel(time=0))
    assert days.near((1, 3, 5, 10)) == [0, 2, 4, 8] and days.axis[0] == "days"
    hours = ds["2m_temperature"].assign_coords(prediction_timedelta=ds["prediction_timedelta"].values // 4)
    view = View(hours.isel(time=0))
    assert view.near((1, 3, 5, 10)) == [0, 3, 5, 8] and view.axis[0] == "hours"
    assert view.axis[1].tolist() == [6.0 * (i + 1) for i in range(9)]
    assert view.lead_name(0) == "hour 6 (2021-02-26 06 UTC)"


def test_times_are_written_in_full() -> None:
    assert when(np.datetime64("2021-02-26T06:00:00.000000000")) == "2021-02-26 06 UTC"
    assert when(np.datetime64("2021-02-26T06:30")) == "2021-02-26 06:30 UTC"
