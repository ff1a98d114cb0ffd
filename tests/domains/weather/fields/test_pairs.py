"""What forecasts are trained on: a state, its two predecessors, and nothing from another run or across a gap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from refine.domains.weather.fields import pairs
from refine.domains.weather.fields.calendar import DAILY, FORCINGS, forcings
from refine.domains.weather.fields.pairs import Pairs
from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.items import Numbered, in_batches, spread

from ..made_up_fields import make_fields

DAY = np.timedelta64(24, "h")


def canonical(tmp_path: Path, days: int = 12, calendar: str = "standard") -> xr.Dataset:
    path = tmp_path / f"{days}{calendar}.zarr"
    if not path.exists():
        make_fields(days, calendar=calendar).to_zarr(path, consolidated=False)
    return open_fields(path)


def pairs_of(ds: xr.Dataset, step: np.timedelta64 = DAY, forcing: Any = DAILY) -> Pairs:
    return Pairs(ds, Grid.of(ds), step, forcing)


def test_states_are_one_step_apart(tmp_path: Path) -> None:
    ds = canonical(tmp_path)
    found = pairs_of(ds)
    assert len(found) == 10
    values = np.stack([ds[c].to_numpy() for c in ds.data_vars], 1)
    for i in (0, 4, 9):
        for offset, name in enumerate(("before", "now", "after")):
            np.testing.assert_array_equal(found[i][name].numpy(), values[i + offset])
    np.testing.assert_array_equal(found.times, ds["time"].to_numpy()[1:-1])
    sun = forcings(found.times[3:4], Grid.of(ds), DAILY)[0][0]
    np.testing.assert_array_equal(found[3]["forcing"].numpy(), sun)
    assert found[3]["before"].dtype == found[3]["forcing"].dtype == torch.float32


def test_two_day_steps_skip_a_day(tmp_path: Path) -> None:
    ds = canonical(tmp_path)
    found = pairs_of(ds, 2 * DAY)
    assert len(found) == 8
    assert found.index[0].tolist() == [0, 2, 4]


def test_no_pair_spans_a_gap(tmp_path: Path) -> None:
    whole = canonical(tmp_path)
    ds = whole.isel(time=[0, 1, 2, 3, 5, 6, 7, 9, 11])  # 4, 8 and 10 are missing
    found = pairs_of(ds)
    days = ds["time"].to_numpy()[found.index]
    assert (np.diff(days, axis=1) == DAY).all()
    assert found.index.tolist() == [[0, 1, 2], [1, 2, 3], [4, 5, 6]]


def test_no_pair_spans_two_runs(tmp_path: Path) -> None:
    ds = canonical(tmp_path)
    branch = np.array([0] * 5 + [1] * 4 + [0] * 3)
    found = pairs_of(ds.assign_coords(branch=("time", branch)))
    assert all(len(set(branch[row])) == 1 for row in found.index)
    assert len(found) == 3 + 2 + 1
    assert len(pairs_of(ds)) == 10  # the dates alone would not tell


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian"])
def test_other_calendars_have_other_days(calendar: str, tmp_path: Path) -> None:
    ds = canonical(tmp_path, 14, calendar)
    found = pairs_of(ds)
    assert len(found) == 12  # past the end of February, however long it is
    first = found[0]
    assert np.isfinite(first["forcing"].numpy()).all() and first["forcing"].shape == (len(DAILY), 8, 16)


def test_what_is_too_large_to_keep_is_read_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = pairs_of(canonical(tmp_path), forcing=FORCINGS)
    assert kept._values is not None
    monkeypatch.setattr(pairs, "IN_MEMORY", 0)
    read = pairs_of(canonical(tmp_path), forcing=FORCINGS)
    rows = [7, 2, 2, 3]
    for a, b in zip(kept.__getitems__(rows), read.__getitems__(rows), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in ("before", "now", "after", "forcing"))
    assert read._values is None


def test_batches_are_those_of_any_data_set(tmp_path: Path) -> None:
    found = pairs_of(canonical(tmp_path))
    batches = list(in_batches(Numbered(spread(found, 5)), 2))
    assert [len(b["now"]) for b in batches] == [2, 2, 1]
    assert torch.equal(batches[1]["now"][1], found[6]["now"]) and batches[1]["index"].tolist() == [2, 3]


def test_a_missing_value_is_told_not_learned(tmp_path: Path) -> None:
    ds = canonical(tmp_path).compute()
    name = next(iter(ds.data_vars))
    ds[name][5, 2, 3] = np.nan
    with pytest.raises(RefineError, match=f"{name}: 1 of .* values are missing"):
        pairs_of(ds)[0]


@pytest.mark.parametrize(("times", "step"), [([0, 1, 3, 4, 6], DAY), (range(12), np.timedelta64(6, "h")), ([3], DAY)])
def test_without_two_predecessors_there_is_nothing_to_learn(times: Any, step: np.timedelta64, tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=r"domain\.step=.*none of the \d+ times has two predecessors"):
        pairs_of(canonical(tmp_path).isel(time=list(times)), step)
