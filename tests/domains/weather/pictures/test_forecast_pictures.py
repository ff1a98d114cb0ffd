from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from refine.domains.weather.pictures.forecast_pictures import (
    STAMPS,
    Maps,
    forecast_pictures,
    plot_maps,
    plot_stamps,
    refinement_strip,
)
from refine.domains.weather.pictures.maps import Globe
from refine.domains.weather.pictures.plumes import plot_plume
from refine.domains.weather.pictures.views import View
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

from ..waves import UNITS, field, forecast, land, picture


@pytest.mark.parametrize(("members", "leads"), [(1, 1), (1, 5), (3, 1), (30, 5)])
def test_pictures_of_any_number_of_members_and_leads(tmp_path: Path, members: int, leads: int) -> None:
    grid = Grid.parse("gaussian:8x16")
    ds, truth = forecast(grid, ["geopotential_500"], members, leads)
    maps, view = Maps(grid, land(grid)), View(ds["geopotential_500"].isel(time=0), truth)
    stamps = picture(plot_stamps(view, tmp_path / "stamps.png", maps))
    shown = picture(plot_maps(view, tmp_path / "maps.png", maps))
    plume = picture(plot_plume([view], (51.5, -0.1), tmp_path / "plume.png", maps.globe))
    rows = 1 if members == 1 and leads == 1 else 2  # at lead 0 nothing is known
    assert shown.shape[0] > 250 * rows and shown.shape[1] > 400 * min(leads, 3)
    assert max(stamps.shape[:2]) < 2400 and plume.std() > 5
    with Image.open(tmp_path / "stamps.png") as image:
        title = image.info["Title"]
    told = {1: "1 member", 3: "3 members", 30: f"{STAMPS - 2} of 30 members"}
    assert title == f"500 hPa geopotential height: {told[members]}"


def test_a_store_is_drawn_channel_by_channel_with_place_land_and_truth(tmp_path: Path) -> None:
    grid = Grid.parse("gaussian:8x16")
    ds, truth = forecast(grid, ["v_component_of_wind_850", "made_up"])
    ds.to_zarr(tmp_path / "store.zarr", consolidated=False)
    paths = forecast_pictures(
        tmp_path / "store.zarr", tmp_path, "51.5,-0.1", land(Grid.parse("regular:19x36")), truth=truth
    )
    names = [
        f"{kind}_{channel}.png" for channel in ("made_up", "v_component_of_wind_850") for kind in ("maps", "stamps")
    ] + ["plume.png"]
    assert sorted(p.name for p in paths) == sorted(names)
    assert all(picture(p).std() > 5 for p in paths)
    some = forecast_pictures(tmp_path / "store.zarr", tmp_path / "one", channels=["made_up"], start=-1)
    assert [p.name for p in some] == ["maps_made_up.png", "stamps_made_up.png"]
    without = picture(tmp_path / "one" / "stamps_made_up.png")
    assert without.shape != picture(tmp_path / "stamps_made_up.png").shape  # no truth, no land


def test_healpix_is_drawn_and_truth_on_another_grid_is_regridded(tmp_path: Path) -> None:
    grid = Grid.parse("healpix:4")
    ds, _ = forecast(grid, ["geopotential_500"])
    _, truth = forecast(Grid.parse("gaussian:16x32"), ["geopotential_500"])
    ds.to_zarr(tmp_path / "store.zarr", consolidated=False)
    paths = forecast_pictures(tmp_path / "store.zarr", tmp_path, "-33.9,151.2", land(grid), truth=truth)
    assert len(paths) == 3 and all(picture(p).std() > 5 for p in paths)


def test_pictures_take_any_calendar(tmp_path: Path) -> None:
    times = xr.date_range("2021-02-26", periods=1, calendar="noleap", use_cftime=True).values
    ds, truth = forecast(Grid.parse("gaussian:8x16"), ["2m_temperature"], times=times)
    view = View(ds["2m_temperature"].isel(time=0), truth)
    assert view.lead_name(4) == "day 5 (2021-03-03 00 UTC)"
    assert np.isfinite(view.actual_at(7)).all()
    assert plot_plume([view], (0, 0), tmp_path / "plume.png", Globe(Grid.parse("gaussian:8x16"))).is_file()


def test_channels_and_times_that_are_not_there_are_refused(tmp_path: Path) -> None:
    ds, _ = forecast(Grid.parse("gaussian:8x16"), ["2m_temperature"])
    ds.to_zarr(tmp_path / "store.zarr", consolidated=False)
    with pytest.raises(RefineError, match="2m_temperature"):
        forecast_pictures(tmp_path / "store.zarr", tmp_path, channels=["2m_temperatur"])
    with pytest.raises(RefineError, match="2 initial times"):
        forecast_pictures(tmp_path / "store.zarr", tmp_path, start=2)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("name", ["gaussian:8x16", "healpix:4"])
def test_the_strip_of_a_step(tmp_path: Path, mean: bool, name: str) -> None:
    grid, channels = Grid.parse(name), {c: UNITS[c] for c in ("geopotential_500", "v_component_of_wind_850")}
    steps = [np.stack([field(grid, c, p) for c in channels]) for p in (0.0, 0.2, 0.3, 0.4)]
    path = tmp_path / "strip.png"
    refinement_strip(
        steps[1:],
        ["T4", "T8", "T12"],
        channels,
        grid,
        path,
        truth=steps[3],
        mean=steps[0] if mean else None,
        static=land(grid),
    )
    with pytest.raises(RefineError, match="3 fields of 2 scales"):
        refinement_strip(steps[1:], ["T4", "T8"], channels, grid, path)
    assert picture(path).std() > 5
