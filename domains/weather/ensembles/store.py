"""Forecast stores: zarr v3 after the CF conventions, with the dimensions and names of WeatherBench2.

Dimensions are ``number, time, prediction_timedelta, [level,] latitude, longitude`` (``cell`` in place of the last two
for HEALPix): the member, the initial time, the lead, pressure in hPa. ``valid_time`` (time, prediction_timedelta) is
the time that a field is for. A variable on levels has the attribute ``levels_hPa``, those that are forecast; the other
levels of the store are missing values that take no space.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.ensembles.initial_times import valid_times
from refine.domains.weather.fields import checks
from refine.domains.weather.fields.axes import arranged, spread
from refine.domains.weather.fields.axes import places as dimensions
from refine.domains.weather.fields.names import canonical, describe, split_level
from refine.domains.weather.fields.reading import open_any
from refine.domains.weather.fields.sources import converted
from refine.domains.weather.sphere.grids import CELL, Grid
from refine.errors import not_accepted, require
from refine.storage.files import sync, writing

if TYPE_CHECKING:
    import xarray as xr

DIMS = ("number", "time", "prediction_timedelta")
OTHER_NAMES = {
    "number": ("realization", "member", "ensemble", "ensemble_member", "sample"),
    "time": ("init_time", "initial_time", "forecast_reference_time", "reference_time"),
    "prediction_timedelta": ("lead_time", "lead", "step", "forecast_period"),
}
SECONDS = {"day": 86400, "hour": 3600, "minute": 60, "second": 1, "millisecond": 1e-3, "nanosecond": 1e-9}
SECONDS |= {"d": 86400, "h": 3600, "hr": 3600, "m": 60, "min": 60, "s": 1, "sec": 1, "ms": 1e-3, "ns": 1e-9}
LEVELS, ORDER = "levels_hPa", "channels"  # attributes: of a variable on levels, of the store


def create(
    path: Path,
    grid: Grid,
    units: Mapping[str, str],
    times: Any,
    leads: NDArray[np.timedelta64],
    members: int,
    chunks: tuple[int, int],
    attributes: Mapping[str, Any],
    like: xr.Dataset | None = None,
) -> None:
    """Lay an empty store out.

    Args:
        path: a folder that is not there yet.
        grid: of the fields.
        units: of each channel, by its name with the level in it.
        times: T initial times, datetime64 or cftime.
        leads: L leads.
        members: M.
        chunks: members and leads in a chunk; one initial time and the whole grid are.
        attributes: of the store.
        like: fields that the forecast will be compared with. If they are on the grid, their latitudes and longitudes
            are taken digit by digit, for those who match coordinates exactly, as ``xarray.align`` does.
    """
    import xarray as xr
    import zarr
    from zarr.codecs import BloscCodec

    levels = sorted({level for level in (split_level(c)[1] for c in units) if level is not None})
    places = grid.latitude, grid.longitude
    if like is not None and {"latitude", "longitude"} <= set(like.coords) and Grid.of(like) == grid:
        places = like["latitude"].to_numpy(), like["longitude"].to_numpy()
    axes = xr.Dataset(coords=_coordinates(grid, places, np.asarray(times), leads, members, levels))
    axes.attrs = {"Conventions": "CF-1.10", **attributes, ORDER: list(units)}
    axes.to_zarr(path, zarr_format=3, consolidated=False)
    group = zarr.open_group(path, mode="r+")
    shape, chunk = (members, len(times), len(leads)), (chunks[0], 1, chunks[1])
    for name in dict.fromkeys(split_level(c)[0] for c in units):
        own = [c for c in units if split_level(c)[0] == name]
        on_levels = [level for level in (split_level(c)[1] for c in own) if level is not None]
        group.create_array(
            name,
            shape=(*shape, *([len(levels)] if on_levels else []), *grid.shape),
            chunks=(*chunk, *([1] if on_levels else []), *grid.shape),
            dtype="float32",
            fill_value=np.nan,
            dimension_names=(*DIMS, *(["level"] if on_levels else []), *grid.dims),
            compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
            attributes=_described(own[0], units[own[0]]) | ({LEVELS: on_levels} if on_levels else {}),
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*onsolidated")  # others may ignore it; xarray opens faster with it
        zarr.consolidate_metadata(path)


def _described(channel: str, units: str) -> dict[str, Any]:
    name = split_level(channel)[0]
    standard = describe(channel).standard_name
    about = {"units": units, "long_name": name.replace("_", " "), "coordinates": "valid_time"}
    return about | ({"standard_name": standard} if standard else {})


def _coordinates(
    grid: Grid,
    places: tuple[Any, Any],
    times: Any,
    leads: NDArray[np.timedelta64],
    members: int,
    levels: Sequence[float],
) -> dict[str, Any]:
    """All coordinates; ``places`` are latitudes and longitudes."""
    import xarray as xr

    initial = xr.DataArray(times, dims="time")
    lead = xr.DataArray(leads.astype("timedelta64[ns]"), dims="prediction_timedelta")
    horizontal = {
        "latitude": (grid.dims[0], places[0], {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": (grid.dims[-1], places[1], {"standard_name": "longitude", "units": "degrees_east"}),
    }
    out: dict[str, Any] = {
        "number": ("number", np.arange(members), {"standard_name": "realization", "units": "1", "axis": "E"}),
        "time": initial.assign_attrs(standard_name="forecast_reference_time", long_name="initial time", axis="T"),
        "prediction_timedelta": lead.assign_attrs(standard_name="forecast_period", long_name="lead time"),
        "valid_time": (DIMS[1:], valid_times(times, leads), {"standard_name": "time", "long_name": "valid time"}),
        **horizontal,
    }
    out["number"][2]["long_name"] = "member of the ensemble"
    if grid.dims != (CELL,):
        out["latitude"][2]["axis"], out["longitude"][2]["axis"] = "Y", "X"
    if levels:
        about = {"standard_name": "air_pressure", "units": "hPa", "positive": "down", "axis": "Z"}
        out["level"] = ("level", np.asarray(levels), about)
    out["prediction_timedelta"].encoding = {"units": "hours", "dtype": "int64"}
    return out


def write(path: Path, channels: Sequence[str], values: NDArray[np.float32], corner: tuple[int, int, int]) -> None:
    """Write fields where they belong, and have them on disk before this returns.

    Args:
        path: of a store from :func:`create`.
        channels: C of them.
        values: (M, T, L, C, *grid), whole chunks.
        corner: first member, initial time and lead.

    Raises:
        RefineError: they cannot be written, as on a full disk.
    """
    import zarr

    with writing(path):
        group = zarr.open_group(path, mode="r+", use_consolidated=False)
        levels = list(np.asarray(group["level"])) if "level" in group else []
        where = tuple(slice(first, first + size) for first, size in zip(corner, values.shape, strict=False))
        for c, channel in enumerate(channels):
            name, level = split_level(channel)
            array: Any = group[name]
            array[where if level is None else (*where, levels.index(level))] = values[:, :, :, c]
            place = [first // size for first, size in zip(corner, array.chunks, strict=False)]
            for time in range(corner[1], corner[1] + values.shape[1]):
                folder = path / name / "c" / f"{place[0]}" / f"{time}" / f"{place[2]}"
                for file in folder.rglob("*") if folder.is_dir() else ():
                    if file.is_file():
                        sync(file)


def open_forecast(path: str | Path, channels: Sequence[str] | None = None) -> xr.Dataset:
    """A forecast store of this module, a WeatherBench2-style one, or one with levels in its names; nothing is read yet.

    Args:
        path: of a zarr or netCDF store, or its URL.
        channels: which to open, by any of their names (``z500``); all by default.

    Returns:
        One float32 variable for each channel, level in the name, in WeatherBench2's units, Dask-backed, with dimensions
        (number, time, prediction_timedelta, latitude, longitude), or ``cell`` last; a store without members has one.

    Raises:
        RefineError: unreadable, no forecast, no such channel, one that is there twice, units that are not understood,
            or initial times or leads that are not in order.
    """
    import xarray as xr

    where = f"forecast {str(path)!r}"
    ds = arranged(_named(open_any(str(path), "forecast"), where), where, ("time",))
    checks.times(ds, where)
    last = dimensions(ds)
    found: dict[str, xr.DataArray] = {}
    for name, array in ds.data_vars.items():
        if set(DIMS[1:]) <= set(array.dims):
            array = array if "number" in array.dims else array.expand_dims("number")
            forecast = np.atleast_1d(array.attrs.get(LEVELS, [])).tolist()
            for channel, field in spread(str(name), array, where, (*DIMS, *last)).items():
                if not forecast or split_level(channel)[1] in forecast:
                    require(channel not in found, f"{where}: {channel} is there more than once; keep one of them")
                    found[channel] = field
    if channels is not None:
        wanted = [canonical(c) for c in channels]
        for channel in wanted:
            if channel not in found:
                raise not_accepted(f"{where}: channel", channel, found)
        found = {channel: found[channel] for channel in wanted}
    require(bool(found), f"{where}: no variable has the dimensions time and prediction_timedelta")
    if channels is None:  # a folder lists its arrays in any order
        first = [c for c in ds.attrs.get(ORDER, []) if c in found]
        found = {c: found[c] for c in [*first, *sorted(found.keys() - set(first))]}
    out = xr.Dataset({channel: _lazy(array, channel, where) for channel, array in found.items()})
    valid = valid_times(out["time"].values, out["prediction_timedelta"].values)
    out = out.assign_coords(valid_time=(DIMS[1:], valid))
    return out.assign_attrs(ds.attrs)


def _named(ds: xr.Dataset, where: str) -> xr.Dataset:
    """Dimensions under our names, leads as durations, members there."""
    for ours, others in OTHER_NAMES.items():
        theirs = next((o for o in others if o in ds.dims), None)
        if ours not in ds.dims and theirs is not None:
            ds = ds.drop_vars(ours, errors="ignore").rename({theirs: ours})
    missing = [d for d in DIMS[1:] if d not in ds.dims]
    dims = ", ".join(map(str, ds.dims))
    require(not missing, f"{where}: no dimension {' nor '.join(missing)}; dimensions there: {dims}")
    require("prediction_timedelta" in ds.coords, f"{where}: dimension prediction_timedelta has no values of its own")
    ds = ds.assign_coords(prediction_timedelta=_durations(ds["prediction_timedelta"], where))
    return ds if "number" in ds.dims else ds.expand_dims(number=np.arange(1))


def _durations(lead: xr.DataArray, where: str) -> NDArray[np.timedelta64]:
    """Leads, which xarray leaves to the reader where they are plain numbers of hours or days."""
    given = found = lead.to_numpy()
    if given.dtype.kind in "iuf":
        unit = str(lead.attrs.get("units", "hours")).strip().lower()
        scale = SECONDS.get(unit) or SECONDS.get(unit.removesuffix("s"))
        if scale is None:
            units = ["days", "hours", "minutes", "seconds", "milliseconds", "nanoseconds"]
            raise not_accepted(f"{where}: units of prediction_timedelta", unit, units)
        with np.errstate(invalid="ignore"):  # what is missing stays missing
            found = np.round(given * float(scale)).astype("timedelta64[s]")
    good = found.dtype.kind == "m" and not np.isnat(found).any() and bool((found[1:] > found[:-1]).all())
    shown = f"{where}: prediction_timedelta={given.tolist()[:5]} is not accepted"
    require(good, f"{shown}; accepted: durations, each once, ascending")
    return found.astype("timedelta64[ns]")


def _lazy(array: xr.DataArray, channel: str, where: str) -> xr.DataArray:
    """In the units of its channel, Dask-backed, in chunks as they are stored, at least one initial time each."""
    stored = array.encoding.get("preferred_chunks") or {"time": 1}
    out = array.drop_vars("valid_time", errors="ignore")
    out = out.chunk({d: stored.get(d, -1) for d in out.dims})
    values = converted(out, channel, where)
    out = out.copy(data=values.data)
    out.attrs = {k: v for k, v in array.attrs.items() if k != LEVELS} | {"units": values.attrs["units"]}
    out.encoding = {}
    return out
