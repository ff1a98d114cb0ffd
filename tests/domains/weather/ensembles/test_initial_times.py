"""Which times a forecast starts from, and what is said of those it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.ensembles.initial_times import Timeline, lead_steps, parse_duration, stamps
from refine.errors import RefineError

DAY, SIX = np.timedelta64(24, "h"), np.timedelta64(6, "h")


def daily(days: int = 40, calendar: str = "standard", **options: Any) -> Timeline:
    times = xr.date_range("2021-01-01", periods=days, calendar=calendar, use_cftime=calendar != "standard")
    return Timeline(times.values, DAY, **options)


def chosen(timeline: Timeline, start: Any, steps: int = 10) -> list[str]:
    return [timeline.stamps[i] for i in timeline.choose(start, steps, timeline.times)]


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_every_form(calendar: str) -> None:
    timeline = daily(calendar=calendar)
    assert chosen(timeline, "2021-01-05") == ["2021-01-05T00:00"]
    assert chosen(timeline, ["2021-01-07", "2021-01-05T00", "2021-01-05"]) == ["2021-01-05T00:00", "2021-01-07T00:00"]
    assert chosen(timeline, "2021-01-29..2021-02-01")[0] == "2021-01-29T00:00"
    assert chosen(timeline, "2021-01-29..2021-02-01")[-1] == "2021-02-01T00:00"
    assert [s[:10] for s in chosen(timeline, "every:8d")] == ["2021-01-02", "2021-01-10", "2021-01-18", "2021-01-26"]
    assert len(chosen(timeline, "all")) == 40 - 1 - 10  # the first has no predecessor, the last ten no verification
    last = timeline.stamps[-11]
    assert chosen(timeline, None) == chosen(timeline, last) == [last]


def test_where_nothing_can_be_verified_the_longest_verification_is_first() -> None:
    assert chosen(daily(5), None, steps=60) == ["2021-01-02T00:00"]
    assert len(chosen(daily(5), "all", steps=60)) == 4


def test_a_split_takes_its_predecessor_from_the_one_before() -> None:
    timeline = daily(20)
    assert timeline.choose("all", 5, timeline.times[10:]) == [10, 11, 12, 13, 14]


def test_runs_and_gaps_are_not_bridged() -> None:
    branch = np.repeat([0, 1], 20)
    assert daily(branch=branch).at(19, 1) is None and daily(branch=branch).at(18, 1) == 19
    assert "2021-01-21T00:00" not in chosen(daily(branch=branch), "all", 1)
    gap = Timeline(np.delete(daily().times, 7), DAY)
    assert gap.at(6, 1) is None and gap.at(6, 2) == 7
    with pytest.raises(RefineError, match=r"nearest: 2021-01-07T00:00, 2021-01-10T00:00"):
        chosen(gap, "2021-01-09")


def test_hours_within_a_day() -> None:
    times = np.arange("2021-01-01", "2021-01-06", SIX, dtype="datetime64[h]").astype("datetime64[ns]")
    timeline = Timeline(times, SIX)
    assert chosen(timeline, "2021-01-03T18", 1) == ["2021-01-03T18:00"]
    assert chosen(timeline, "2021-01-03", 1) == ["2021-01-03T00:00"]
    assert len(chosen(timeline, "2021-01-03..2021-01-03", 1)) == 4
    noon = Timeline(times[2::4], DAY)
    assert chosen(noon, "2021-01-03", 1) == ["2021-01-03T12:00"]  # the only field of that day
    with pytest.raises(RefineError, match="give the hour"):
        Timeline(times[1:][times[1:].astype("datetime64[h]").astype(int) % 24 != 0], SIX).choose("2021-01-03", 1, times)


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("2021-01-01", "2020-12-31T00:00 is missing"),
        ("2031-01-01", "no field at that time"),
        ("2021-01-05T07:30", "no field at that time"),
        ("tomorrow", "'tomorrow' is no date"),
        (20210105, "'20210105' is no date"),
        ("2021-02-01..", "'' is no date"),
        ("2031-01-01..2031-02-01", "means no time"),
        (["2021-01-05", "2021-13-01"], "'2021-13-01'"),
    ],
)
def test_what_is_not_accepted(start: Any, why: str) -> None:
    with pytest.raises(RefineError) as error:
        chosen(daily(), start)
    message = str(error.value)
    assert why in message and "ensemble.start=" in message
    assert "from 2021-01-02T00:00 to 2021-02-09T00:00" in message


def test_dates_of_a_list_that_the_data_do_not_have_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = chosen(daily(), ["2021-01-05", "2021-01-01", "2031-01-01", "2021-01-07..2021-01-08"])
    assert found == ["2021-01-05T00:00", "2021-01-07T00:00", "2021-01-08T00:00"]
    said = capsys.readouterr().err
    assert "2 of 4 entries of ensemble.start are left out: ensemble.start='2021-01-01'" in said
    assert said.count("\n") == 1 and "2020-12-31T00:00 is missing" in said
    with pytest.raises(RefineError, match=r"ensemble\.start='2031-01-01' is not accepted"):
        chosen(daily(), ["2031-01-01", "2031-01-02"])


def test_bad_intervals_and_empty_lists() -> None:
    for start, accepted in (("every:soon", "every:8d"), ("every:0d", "every:8d"), ([], "FIRST..LAST")):
        with pytest.raises(RefineError, match=accepted):
            chosen(daily(), start)
    with pytest.raises(RefineError, match="no initial time"):
        daily().choose(None, 3, np.array([], "datetime64[ns]"))


def test_leads() -> None:
    assert lead_steps("10d", DAY) == lead_steps("240h", DAY) == 10
    assert lead_steps("1d", SIX) == 4
    for text in ("10", "7h", "0d", "-1d", "ten days", ""):
        with pytest.raises(RefineError, match=r"ensemble.lead=.*24 h.*240h = 10d"):
            lead_steps(text, DAY)
    with pytest.raises(RefineError, match="a week"):
        parse_duration("a fortnight", "x", "a week")


def test_stamps_of_any_calendar_sort_as_the_times_do() -> None:
    times = xr.date_range("2021-02-25", periods=10, freq="6h", calendar="360_day", use_cftime=True).values
    assert stamps(times) == sorted(stamps(times)) and stamps(times)[-1] == "2021-02-27T06:00"
