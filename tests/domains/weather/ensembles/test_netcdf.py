from __future__ import annotations

from pathlib import Path

import xarray as xr

from refine.domains.weather.ensembles.netcdf import write_netcdf
from refine.domains.weather.ensembles.store import open_forecast

from ..made_up_stores import made


def test_the_file_has_what_the_store_has(tmp_path: Path) -> None:
    path = tmp_path / "f.zarr"
    made(path)
    file = write_netcdf(path, tmp_path / "f.nc")
    assert open_forecast(file).identical(open_forecast(path).load())
    with xr.open_dataset(file) as ds:
        assert ds["temperature"].encoding["chunksizes"] == (2, 1, 3, 1, 4, 8)
        assert ds["time"].attrs["standard_name"] == "forecast_reference_time"
