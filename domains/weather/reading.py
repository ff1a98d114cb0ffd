"""Opening files: zarr of either version, netCDF, globs of them, and URLs, each error as one clear line."""

from __future__ import annotations

import glob
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.errors import RefineError, require

if TYPE_CHECKING:
    import xarray as xr

_ZARR = ("zarr.json", ".zgroup", ".zmetadata")


def is_zarr(source: str) -> bool:
    """Whether a path or URL is to be read as zarr: by its name, or by what lies in the folder."""
    bare = source.rstrip("/")
    return bare.endswith((".zarr", ".zarr.zip")) or any((Path(bare) / name).is_file() for name in _ZARR)


def open_any(source: str, what: str) -> xr.Dataset:
    """The dataset at a path, URL or glob as it is stored, decoded after CF, values unread.

    Raises:
        RefineError: nothing there, no zarr or netCDF, truncated, or files that do not fit together.
    """
    where = f"{what}={source!r}"
    if "://" in source:
        return _one(source, where)
    if glob.has_magic(source) and not Path(source).exists():
        paths = sorted(glob.glob(source, recursive=True))
        require(bool(paths), f"{where}: no file matches")
        return _together([_one(path, f"{what}={path!r}") for path in paths], where)
    require(Path(source).exists(), f"{where} does not exist; accepted: a path, URL or glob of zarr or netCDF")
    return _one(source, where)


def _one(source: str, where: str) -> xr.Dataset:
    import xarray as xr

    try:
        if is_zarr(source):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*consolidated", category=RuntimeWarning)
                return xr.open_dataset(source, engine="zarr", chunks=None)
        return xr.open_dataset(_local(source), engine="netcdf4", chunks=None)
    except ImportError as error:
        raise RefineError(f"{where} needs a package that is not installed: {error}") from error
    except Exception as error:  # whatever the file system, the network or the format has against it
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kind = "zarr" if is_zarr(source) else "netCDF"
        raise RefineError(f"{where} cannot be read as {kind} ({first}); truncated, or of another kind?") from error


def _local(source: str) -> str:
    """A file of the internet as a local one; netCDF cannot be read over the wire everywhere."""
    if "://" not in source:
        return source
    import fsspec

    return str(fsspec.open_local(f"simplecache::{source}"))


def _together(parts: list[Any], where: str) -> xr.Dataset:
    import xarray as xr

    if len(parts) == 1:
        return parts[0]
    try:
        return xr.combine_by_coords(
            parts, join="exact", combine_attrs="override", data_vars="minimal", coords="minimal"
        )
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RefineError(f"{where}: these files do not fit together ({first})") from error
