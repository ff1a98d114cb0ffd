"""Fields from any CF or WeatherBench2-style zarr or netCDF, lazily, in one form.

The form (*canonical*): one float32 variable per channel with dimensions (time, latitude, longitude), levels in the
name, latitude and longitude ascending, longitude in [0, 360), WeatherBench2's names and units, times unique and sorted.
Nothing but coordinates and a sample of the values is read before somebody asks for more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refine.domains.weather.fields import checks
from refine.domains.weather.fields.axes import arranged, places, spread
from refine.domains.weather.fields.names import STATIC, canonical, describe
from refine.domains.weather.fields.reading import ALONG_TIME, is_remote, is_zarr, open_any, stores
from refine.domains.weather.fields.units import accepted, conversion
from refine.domains.weather.fields.zarr_stores import unwritten
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError, not_accepted
from refine.progress import warn

if TYPE_CHECKING:
    import xarray as xr

EMBEDDED = Path(__file__).parents[1] / "embedded" / "speedy_t31_cut.zarr.zip"
SHIPPED = {"speedy": "speedy_t31.zarr", "era5_week": "era5_week.zarr"}
STATIC_OF = {"speedy": "speedy_t31_static.nc"}


def locate(data: str | None, what: str = "domain.data") -> str:
    """The source that ``data`` names: null (the cut that ships), ``speedy``, ``era5_week``, or itself.

    Raises:
        RefineError: a set that is kept in ``REFINE_DATA``, and is not there.
    """
    if data is None:
        return str(EMBEDDED)
    return _in_refine_data(data, SHIPPED[data], what) if data in SHIPPED else data


def _in_refine_data(data: str, name: str, what: str) -> str:
    root = os.environ.get("REFINE_DATA")
    path = Path(root or ".") / "weather" / name
    if not root or not path.exists():
        where = f"REFINE_DATA={root}" if root else "REFINE_DATA is not set"
        raise RefineError(
            f"{what}={data!r} needs weather/{name} in the folder that the environment variable REFINE_DATA names "
            f"({where}); accepted too: null (the cut that ships), or a path, URL or glob of zarr or netCDF"
        )
    return str(path)


def open_fields(source: str | Path, channels: Sequence[str] | None = None, what: str = "domain.data") -> xr.Dataset:
    """The canonical dataset of a zarr or netCDF store.

    Args:
        source: a path, a URL, or a glob of stores that are joined along time or by variable.
        channels: which fields, by any of their names (``z500``); all by default.
        what: the key of the configuration that named the source, for messages.

    Returns:
        Variables (time, latitude, longitude), float32, Dask-backed; coordinates ``split`` and ``branch`` (time) where
        the source has them. ``attrs["source"]`` says where it came from.

    Raises:
        RefineError: unreadable or truncated, no such channel, not on a latitude-longitude grid of the whole sphere,
            times not in order, units that cannot be, or values that cannot be in the sample that is looked at.
    """
    raw = open_any(str(source), what)
    where = f"{what}={str(source)!r}"
    order = ("time", *places(raw))
    arrays = arranged(raw, where, order)
    fields = _fields(arrays, where, order)
    if channels is not None:
        wanted = list(dict.fromkeys(canonical(c) for c in channels))
        if missing := [c for c in wanted if c not in fields]:
            raise _missing(missing, list(fields), where)
        fields = {c: fields[c] for c in wanted}
    else:
        fields = dict(sorted(fields.items()))  # a folder lists its arrays in any order
    if not fields:
        raise RefineError(f"{where}: no fields with a time and a place; found: {', '.join(map(str, raw.variables))}")
    for path in stores(str(source), what):
        if is_zarr(path) and not is_remote(path):
            for sentence in unwritten(path, fields.values(), f"{what}={path!r}"):
                warn(f"{what}={path!r}: {sentence}")
    ds = _dataset(arrays, fields, where)
    checks.times(ds, where)
    checks.sample(ds, where)
    ds.attrs["source"] = str(source)
    return ds


def _missing(missing: list[str], found: list[str], where: str) -> RefineError:
    """The error that lists what is there; for a level that is missing, the levels that are."""
    name, _, level = missing[0].rpartition("_")
    levels = [c.rpartition("_")[2] for c in found if c.rpartition("_")[0] == name]
    if level.replace(".", "").isdigit() and levels:
        return RefineError(f"{where}: no level {level} hPa of {name}; levels there: {', '.join(levels)}")
    return not_accepted(f"{where}: channel", missing[0], found)


def _fields(ds: xr.Dataset, where: str, order: tuple[str, ...]) -> dict[str, Any]:
    """Channels by name: arrays ``order``, (time, \\*place), in the source's own units, levels apart."""
    found: dict[str, xr.DataArray] = {}
    for name, array in ds.data_vars.items():
        if not set(order) <= set(array.dims) or array.dtype.kind not in "fiu":
            continue
        for channel, field in spread(str(name), array, where, order).items():
            if channel in found:
                raise RefineError(f"{where}: both {found[channel].name!r} and {name!r} are {channel}; keep one of them")
            found[channel] = field
    return {channel: field for channel, field in found.items() if channel not in STATIC}


def _dataset(arrays: xr.Dataset, fields: dict[str, Any], where: str) -> xr.Dataset:
    import xarray as xr

    first = next(iter(fields.values()))
    there = [k for k in ALONG_TIME if k in arrays.variables and arrays[k].dims == ("time",)]
    along = {k: ("time", checks.marks(k, arrays[k].to_numpy(), where)) for k in there}
    coords = {k: first[k].variable for k in first.dims if k in first.coords}
    ds = xr.Dataset({c: converted(a, c, where) for c, a in fields.items()}, {**coords, **along})
    return ds.assign_attrs({k: arrays.attrs[k] for k in ("title", "license", "references") if k in arrays.attrs})


def converted(array: xr.DataArray, channel: str, where: str) -> xr.Variable:
    """A field in float32 and in the units of its channel, converted as its attribute ``units`` says.

    Raises:
        RefineError: units that cannot be brought to the channel's.
    """
    variable = describe(channel)
    given = str(array.attrs.get("units", variable.units))
    factors = conversion(variable, given)
    if factors is None:
        allowed = ", ".join(accepted(variable))
        raise RefineError(f"{where}: {channel} is given in units={given!r}; accepted: {allowed}")
    data = array.variable
    if factors != (1.0, 0.0):
        data = data * factors[0] + factors[1]
    data = data.astype("float32")
    data.attrs = {
        "units": variable.units or given,
        "standard_name": variable.standard_name or str(array.attrs.get("standard_name", "")),
        "long_name": str(array.attrs.get("long_name", channel.replace("_", " "))),
    }
    data.encoding = {}
    return data


def open_static(source: str | Path | None, grid: Grid | None = None, what: str = "domain.static") -> xr.Dataset:
    """Those of ``geopotential_at_surface`` (m2 s-2) and ``land_sea_mask`` (0..1) that are there.

    Args:
        source: what :func:`locate` accepts, of data that has them, with or without times (the first is taken).
        grid: brought to this grid, conservatively, where they are on another one.

    Returns:
        float32 fields of the grid's dimensions, in memory.

    Raises:
        RefineError: unreadable, neither of them is there, or values that cannot be.
    """
    name = source if source is None else str(source)
    path = _in_refine_data(name, STATIC_OF[name], what) if name in STATIC_OF else locate(name, what)
    where = f"{what}={path!r}"
    raw = open_any(path, what)
    fields = _static_in(raw, where)
    if not fields.data_vars:
        found_there = ", ".join(map(str, raw.data_vars))
        raise RefineError(f"{where} has neither {' nor '.join(STATIC)}; found: {found_there or 'nothing'}")
    found = checks.load(fields, where)
    for field in found.values():
        checks.values(field, where)
    if grid is None or (source_grid := Grid.of(found)) == grid:
        return found
    from refine.domains.weather.sphere.regrid import Regridder

    return Regridder(source_grid, grid).apply(found)


def _static_in(raw: xr.Dataset, where: str) -> xr.Dataset:
    """The static fields that a store has."""
    import xarray as xr

    order = places(raw)
    ds = arranged(raw, where, order)
    fields: dict[str, xr.Variable] = {}
    for name, array in ds.data_vars.items():
        if not set(order) <= set(array.dims) or "level" in array.dims:
            continue
        once = array.isel({d: 0 for d in array.dims if d not in order}, drop=True)
        for channel, field in spread(str(name), once, where, order).items():
            if channel in STATIC:
                fields[channel] = converted(field, channel, where)
    ordered = {name: fields[name] for name in STATIC if name in fields}
    return xr.Dataset(ordered, {k: ds[k].variable for k in order if k in ds.coords})
