"""A forecast store as one netCDF file."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from refine.storage.files import WriteError, atomic_write


def write_netcdf(path: Path, target: Path) -> Path:
    """Copy the store at ``path`` into the file ``target``, chunk by chunk, compressed; it appears when it is complete.

    Chunks are written one after another in the order of their places, so that equal stores make equal files.

    Raises:
        RefineError: the file cannot be written.
    """
    import netCDF4
    import xarray as xr
    import zarr

    ds, group = xr.open_zarr(path), zarr.open_group(path, mode="r")
    fields = [str(name) for name, variable in ds.variables.items() if variable.dtype.kind == "f" and variable.ndim > 3]
    ds = ds.assign_coords({name: ds[name].compute() for name in ds.coords})
    for name, variable in ds.variables.items():
        kept = {k: v for k, v in variable.encoding.items() if k in ("units", "calendar", "dtype", "_FillValue")}
        packed = {"chunksizes": variable.encoding.get("chunks"), "zlib": True, "complevel": 1, "shuffle": True}
        variable.encoding = kept | (packed if name in fields else {})
    try:
        with atomic_write(target) as temporary:
            ds.to_netcdf(temporary, engine="netcdf4", compute=False)
            with netCDF4.Dataset(temporary, "a") as file:
                file.set_auto_maskandscale(False)
                for name in fields:
                    _copy(group[name], file.variables[name])
    except RuntimeError as error:  # how netCDF reports a full disk
        raise WriteError(f"{target} cannot be written: {error}") from error
    return target


def _copy(array: Any, variable: Any) -> None:
    """All chunks of a zarr array into a variable of a file."""
    starts = [range(0, size, chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    for corner in itertools.product(*starts):
        place = tuple(slice(first, first + chunk) for first, chunk in zip(corner, array.chunks, strict=True))
        variable[place] = array[place]
