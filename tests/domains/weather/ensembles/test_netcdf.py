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


def test_equal_stores_make_equal_files(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        made(tmp_path / name / "f.zarr")
        files.append(write_netcdf(tmp_path / name / "f.zarr", tmp_path / name / "f.nc").read_bytes())
    assert files[0] == files[1] == files[2]
