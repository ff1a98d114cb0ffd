"""Opening files: zarr of either version, netCDF, globs of them, and URLs, each error as one clear line."""

from __future__ import annotations

import glob
import math
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domains.weather.fields.names import VARIABLES, known
from refine.errors import RefineError, require
from refine.extras import how_to_install
from refine.settings.places import opened
from refine.storage.downloads import may_fetch

if TYPE_CHECKING:
    import xarray as xr

CHUNK_BYTES = 2 * 2**20  # of one Dask chunk; little enough for one step, enough for going through all of them
_ZARR = ("zarr.json", ".zgroup", ".zmetadata")
_CHUNK = re.compile(r"c|\d+(\.\d+)*")  # how files and folders of chunks are called
_CLASSIC, _CLASSIC_5 = (b"CDF\x01", b"CDF\x02"), b"CDF\x05"


def is_zarr(source: str) -> bool:
    """Whether a path or URL is to be read as zarr: by its name, or by what lies in the folder."""
    bare = source.rstrip("/")
    return bare.endswith((".zarr", ".zarr.zip")) or any((Path(bare) / name).is_file() for name in _ZARR)


def stores(source: str, what: str) -> list[str]:
    """The files and zarr stores that a path, URL or glob stands for.

    Raises:
        RefineError: there are none.
    """
    opened(source, what)
    if "://" in source:
        may_fetch(f"{what}={source!r}")
        return [source]
    source = str(Path(source).expanduser())
    if Path(source).is_file() or (is_zarr(source) and Path(source).is_dir()):
        return [source]
    where = f"{what}={source!r}"
    require(not Path(source).is_dir(), f"{where} is a folder, and no zarr; accepted: a glob like {source}/*.nc")
    require(glob.has_magic(source), f"{where} does not exist; accepted: a path, URL or glob of zarr or netCDF")
    paths = sorted(glob.glob(source, recursive=True))  # noqa: PTH207  (an absolute pattern is no pathlib glob)
    require(bool(paths), f"{where}: no file matches")
    return paths


def open_any(source: str, what: str) -> xr.Dataset:
    """The dataset at a path, URL or glob as it is stored, decoded after CF, in Dask chunks along the first dimension.

    Raises:
        RefineError: nothing there, no zarr or netCDF, truncated, or files that do not fit together.
    """
    import xarray as xr

    parts = [_chunked(_one(path, f"{what}={path!r}")) for path in stores(source, what)]
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
        path = _store(source) if zarr else _local(source)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*consolidated", category=RuntimeWarning)
            warnings.filterwarnings("ignore", message=".*not recognized as a component", category=UserWarning)
            ds = xr.open_dataset(path, engine=_engine(path), chunks=None, decode_timedelta=False)
    except ImportError as error:
        how = f"; {how_to_install(error)}" if isinstance(error, ModuleNotFoundError) else ""
        raise RefineError(f"{where} needs a package that is not installed: {error}{how}") from error
    except Exception as error:  # whatever the file system, the network or the format has against it
        kind, hint = "zarr" if zarr else "netCDF", "is it there?" if "://" in source else "is it cut off, or damaged?"
        raise RefineError(f"{where} cannot be read as {kind} ({_first_line(error)}); {hint}") from error
    if zarr and "://" not in source and Path(source).is_dir() and (lost := _lost(Path(source), ds)):
        raise RefineError(f"{where}: {lost} has chunks and nothing that says what they are; is it cut off, or damaged?")
    if _magic(path) == _CLASSIC_5:
        enough = Path(path).stat().st_size >= sum(v.size * v.encoding["dtype"].itemsize for v in ds.variables.values())
        require(enough, f"{where} is shorter than the fields that it announces; it has been cut off")
    return ds


def _lost(store: Path, ds: xr.Dataset) -> str | None:
    """An array of a store whose metadata is missing: zarr would pass it over."""
    for folder in (path for path in store.iterdir() if path.is_dir() and path.name not in ds.variables):
        described = any((folder / name).is_file() for name in (*_ZARR, ".zarray"))
        if not described and any(_CHUNK.fullmatch(path.name) for path in folder.iterdir()):
            return folder.name
    return None


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


def _store(source: str) -> Any:
    """What zarr opens: a path or URL, or a zip of the local disk."""
    if not source.endswith(".zip") or "://" in source:
        return source
    from zarr.storage import ZipStore

    return ZipStore(source, mode="r")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _local(source: str) -> str:
    """A file of the internet as a local one: netCDF over the wire is not in every build of its library."""
    if "://" not in source:
        return source
    import fsspec  # type: ignore[import-untyped]

    return str(fsspec.open_local(f"simplecache::{source}"))


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


def whole(source: str, names: Iterable[str], what: str) -> None:
    """Look whether local zarr stores have all their chunks: zarr reads one that is missing as its fill value.

    Args:
        names: of the arrays that matter, as they are stored.

    Raises:
        RefineError: chunks are missing, in an array that could not be a constant there.
    """
    import zarr

    for path in stores(source, what):
        if "://" in path or not is_zarr(path):
            continue
        group: Any = zarr.open_group(_store(path), mode="r")
        for name in names:
            found = known(name)
            if name not in group or (found and VARIABLES[found].rests):
                continue
            there, all_of_them = group[name].nchunks_initialized, group[name].nchunks
            if there < all_of_them:
                absent = f"chunks of {name} that are missing: {all_of_them - there} of {all_of_them}"
                raise RefineError(f"{what}={path!r}: {absent}; is it cut off? They would be read as a constant")
