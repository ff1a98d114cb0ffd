"""Opening files: zarr of either version, netCDF, globs of them, and URLs, each error as one clear line."""

from __future__ import annotations

import glob
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domains.weather.fields.zarr_stores import ZARR, lost, refuse_code, store_of
from refine.errors import RefineError, require, shown
from refine.extras import how_to_install
from refine.settings.places import opened
from refine.storage.downloads import may_fetch

if TYPE_CHECKING:
    import xarray as xr

CHUNK_BYTES = 2 * 2**20  # of one Dask chunk; little enough for one step, enough for going through all of them
ALONG_TIME = ("split", "branch")  # kept beside the fields: which part of the data a time belongs to, and which run
_CLASSIC, _CLASSIC_5 = (b"CDF\x01", b"CDF\x02"), b"CDF\x05"


REMOTE = ("http", "https", "s3", "gs", "gcs", "abfs", "az")
"""Protocols under which data are read over a network. Others, and chains of them, reach into archives, memory and
programs; none are read."""


def is_remote(source: str) -> bool:
    """Whether a text is anything but a path of this computer."""
    return "://" in source or "::" in source


def is_zarr(source: str) -> bool:
    """Whether a path or URL is to be read as zarr: by its name, or by what lies in the folder."""
    bare = source.rstrip("/")
    return bare.endswith((".zarr", ".zarr.zip")) or any((Path(bare) / name).is_file() for name in ZARR)


def stores(source: str, what: str) -> list[str]:
    """The files and zarr stores that a path, URL or glob stands for.

    Raises:
        RefineError: there are none, or data are not read from such a place.
    """
    opened(source, what)
    if is_remote(source):
        protocol = source.partition("://")[0].lower()
        accepted = f"accepted: a path, or a URL of {', '.join(REMOTE)}"
        require("::" not in source and protocol in REMOTE, f"{what}={shown(source)} is not accepted; {accepted}")
        may_fetch(f"{what}={source!r}")
        return [source]
    where = f"{what}={source!r}"
    try:
        source = str(Path(source).expanduser())
        if Path(source).is_file() or (is_zarr(source) and Path(source).is_dir()):
            return [source]
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, or no name; nobody's home
        raise RefineError(f"{where} cannot be read ({_first_line(error)})") from error
    require(not Path(source).is_dir(), f"{where} is a folder, and no zarr; accepted: a glob like {source}/*.nc")
    require(glob.has_magic(source), f"{where} does not exist; accepted: a path, URL or glob of zarr or netCDF")
    paths = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  (an absolute pattern is no pathlib glob)
    require(bool(paths), f"{where}: no file matches")
    return paths


def open_any(source: str, what: str) -> xr.Dataset:
    """The dataset at a path, URL or glob as it is stored, decoded after CF, in Dask chunks along the first dimension.

    Coordinates, ``split`` and ``branch`` are in memory: nothing but fields is read later.

    Raises:
        RefineError: nothing there, no zarr or netCDF, truncated, arrays that run code when they are read, or files that
            do not fit together.
    """
    import xarray as xr

    parts = [_one(path, f"{what}={path!r}") for path in stores(source, what)]
    if len(parts) == 1:
        return parts[0]
    how: Any = {"join": "exact", "combine_attrs": "override", "data_vars": "minimal", "coords": "minimal"}
    try:
        joined = xr.combine_by_coords(parts, compat="no_conflicts", **how)
    except Exception as error:
        raise RefineError(f"{what}={source!r}: these files do not fit together ({_first_line(error)})") from error
    assert isinstance(joined, xr.Dataset)
    return joined


def _one(source: str, where: str) -> xr.Dataset:
    import xarray as xr

    zarr = is_zarr(source)
    try:
        path = store_of(source) if zarr else _local(source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*consolidated", category=RuntimeWarning)
            warnings.filterwarnings("ignore", message=".*not recognized as a component", category=UserWarning)
            if zarr:
                refuse_code(path, where)
            ds = xr.open_dataset(path, engine=_engine(path), chunks=None, decode_timedelta=False)
        ds = _chunked(_with_coordinates(ds))
    except RefineError:
        raise
    except ImportError as error:
        how = f"; {how_to_install(error)}" if isinstance(error, ModuleNotFoundError) else ""
        raise RefineError(f"{where} needs a package that is not installed: {error}{how}") from error
    except Exception as error:  # whatever the file system, the network or the format has against it
        kind, hint = "zarr" if zarr else "netCDF", "is it there?" if is_remote(source) else "is it cut off, or damaged?"
        raise RefineError(f"{where} cannot be read as {kind} ({_first_line(error)}); {hint}") from error
    if zarr and not is_remote(source) and Path(source).is_dir() and (name := lost(Path(source), ds)):
        raise RefineError(f"{where}: {name} has chunks and nothing that says what they are; is it cut off, or damaged?")
    if _magic(path) == _CLASSIC_5:
        enough = Path(path).stat().st_size >= sum(v.size * v.encoding["dtype"].itemsize for v in ds.variables.values())
        require(enough, f"{where} is shorter than the fields that it announces; it has been cut off")
    return ds


def _magic(path: Any) -> bytes:
    if not isinstance(path, str) or not Path(path).is_file():
        return b""
    with Path(path).open("rb") as file:
        return file.read(4)


def _engine(path: Any) -> str:
    """Which library reads it; netCDF's own reads zeros past the end of a classic file that was cut off."""
    if not isinstance(path, str) or is_zarr(path):
        return "zarr"
    return "scipy" if _magic(path) in _CLASSIC else "netcdf4"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _local(source: str) -> str:
    """A file of the internet as a local one: netCDF over the wire is not in every build of its library."""
    if not is_remote(source):
        return source
    import fsspec  # type: ignore[import-untyped]

    return str(fsspec.open_local(f"simplecache::{source}"))


def _with_coordinates(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with its coordinates in memory, and what is kept beside the fields, so that a place that cannot be
    read says so here."""
    names = [n for n, a in ds.variables.items() if a.ndim < 2 and (n in ds.coords or n in ALONG_TIME)]
    return ds.assign({n: ds[n].compute() for n in names}) if names else ds


def _chunked(ds: xr.Dataset) -> xr.Dataset:
    """Fields in chunks of some times: whole chunks of the store, about :data:`CHUNK_BYTES`."""
    place = 1 if "cell" in ds.dims else 2
    return ds.assign({n: a.chunk(_chunks(a, place)) for n, a in ds.data_vars.items() if a.ndim > place})


def _chunks(array: xr.DataArray, place: int) -> dict[Any, int]:
    """Sizes of chunks where the last ``place`` dimensions are those of a field, which stays whole."""
    stored = array.encoding.get("preferred_chunks") or {}
    first, *between = array.dims[:-place]
    sizes = {d: max(1, min(int(stored.get(d, 1)), array.sizes[d])) for d in (first, *between)}
    size = 4 * math.prod(array.shape[-place:]) * math.prod(sizes[d] for d in between)
    times = max(1, CHUNK_BYTES // max(size, 1) // sizes[first]) * sizes[first]
    return {d: -1 for d in array.dims} | sizes | {first: times}
