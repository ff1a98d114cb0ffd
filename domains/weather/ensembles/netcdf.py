"""A forecast store as one netCDF file."""

from __future__ import annotations

from pathlib import Path

from refine.storage.files import WriteError, atomic_write


def write_netcdf(path: Path, target: Path) -> Path:
    """Copy the store at ``path`` into the file ``target``, chunk by chunk, compressed; it appears when it is complete.

    Raises:
        RefineError: the file cannot be written.
    """
    import dask
    import xarray as xr

    ds = xr.open_zarr(path)
    for variable in ds.variables.values():
        chunks = variable.encoding.get("chunks")
        kept = {k: v for k, v in variable.encoding.items() if k in ("units", "calendar", "dtype", "_FillValue")}
        variable.encoding = kept
        if chunks and variable.dtype.kind == "f" and variable.ndim > 3:
            variable.encoding |= {"chunksizes": chunks, "zlib": True, "complevel": 1, "shuffle": True}
    try:
        with atomic_write(target) as temporary, dask.config.set(scheduler="synchronous"):
            ds.to_netcdf(temporary, engine="netcdf4")
    except RuntimeError as error:  # how netCDF reports a full disk
        raise WriteError(f"{target} cannot be written: {error}") from error
    return target
