"""Axes as files have them, brought into one order: time, latitude and longitude ascending, levels in the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.fields.names import VARIABLES, at_level, canonical, known
from refine.domains.weather.fields.units import spelled
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import xarray as xr

_NAMES = {
    "time": ("time", "valid_time"),
    "latitude": ("latitude", "lat", "y"),
    "longitude": ("longitude", "lon", "x"),
    "level": ("level", "pressure_level", "isobaricInhPa", "isobaricInPa", "plev", "lev", "pressure", "isobaric"),
}
_HINTS = [  # what to do about a further dimension, by its name
    (("number", "realization", "member", "ensemble", "sample"), "select one member first"),
    (("step", "lead", "forecast", "prediction"), "these are forecasts: select one lead first, or give analyses"),
]
VERSION = "expver"
_STANDARD = {"time": "time", "latitude": "latitude", "longitude": "longitude", "air_pressure": "level"}


def places(ds: xr.Dataset) -> tuple[str, ...]:
    """Dimensions of a field: the cells of HEALPix, else latitude and longitude."""
    return ("cell",) if "cell" in ds.dims else ("latitude", "longitude")


def arranged(raw: xr.Dataset, where: str, needed: tuple[str, ...]) -> xr.Dataset:
    """A dataset with dimensions named time, latitude, longitude and level, the globe in ascending order.

    HEALPix cells stay as they are.

    Raises:
        RefineError: no such axes, a curvilinear grid, axes that are not in order, or not the whole sphere.
    """
    ds = raw.rename(_renames(raw))
    missing = [axis for axis in needed if axis not in ds.dims]
    found = ", ".join(f"{name} ({size})" for name, size in raw.sizes.items())
    require(not missing, f"{where}: no dimension {' nor '.join(missing)}; dimensions there: {found}")
    for axis in needed:
        if axis != "cell":
            hint = "" if axis == "time" else "; curvilinear and unstructured grids are not accepted"
            require(
                axis in ds.coords and ds[axis].ndim == 1, f"{where}: dimension {axis} has no values of its own{hint}"
            )
    if "cell" in ds.dims:
        return ds
    ds = ds.isel(latitude=_northward(ds, where), longitude=_eastward(ds, where))
    axes = {"latitude": _degrees(ds["latitude"]), "longitude": _east(_degrees(ds["longitude"]))}
    units = {"latitude": "degrees_north", "longitude": "degrees_east"}
    return ds.assign_coords({k: (k, v, {"units": units[k], "standard_name": k}) for k, v in axes.items()})


def _renames(raw: xr.Dataset) -> dict[Any, str]:
    """New names of dimensions; a variable that bears one of these names already is put aside."""
    axes: dict[Any, str] = {}
    for dim in raw.dims:
        standard = raw[dim].attrs.get("standard_name", "") if dim in raw.coords else ""
        axis = _STANDARD.get(str(standard)) or next((a for a, n in _NAMES.items() if str(dim) in n), None)
        if axis and axis not in axes.values() and (axis == dim or axis not in raw.dims):
            axes[dim] = axis
    renames = {old: new for old, new in axes.items() if old != new}
    aside = {name: f"{name}_as_given" for name in raw.variables if name in renames.values()}
    return renames | aside


def _degrees(axis: xr.DataArray) -> NDArray[np.float64]:
    return np.asarray(axis.to_numpy(), dtype=np.float64)


def _east(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """In [0, 360), digit by digit as they are where they are there already; a hair below 360 is 0."""
    there = (longitude >= 0) & (longitude < 360 - 5e-7)
    return np.where(there, longitude, np.round(longitude % 360, 6) % 360)


def _northward(ds: xr.Dataset, where: str) -> slice:
    """What puts latitudes in ascending order."""
    latitude = _degrees(ds["latitude"])
    good = bool(np.isfinite(latitude).all()) and len(latitude) > 1 and abs(latitude).max() <= 90.001
    ends = f"{latitude[0]:g}..{latitude[-1]:g}" if len(latitude) else "nothing"
    require(good, f"{where}: latitude={ends} is not accepted; accepted: two or more, in degrees from -90 to 90")
    steps = np.diff(latitude)
    in_order = bool((steps > 0).all() or (steps < 0).all())
    require(in_order, f"{where}: latitude={ends} is neither ascending nor descending")
    left_out = max(latitude.min() + 90, 90 - latitude.max())
    message = f"{where}: latitude={ends} leaves part of the sphere out; accepted: fields of the whole sphere"
    require(left_out <= abs(steps).max() * 1.01, message)
    return slice(None, None, -1) if steps[0] < 0 else slice(None)


def _eastward(ds: xr.Dataset, where: str) -> Any:
    """What puts longitudes in ascending order from 0; a meridian that is there twice (0 and 360) is taken once."""
    longitude = _degrees(ds["longitude"])
    ends = f"{longitude[0]:g}..{longitude[-1]:g}"
    good = bool(np.isfinite(longitude).all()) and longitude.min() >= -360 and longitude.max() <= 540
    require(good, f"{where}: longitude={ends} is not accepted; accepted: degrees, 0..360 or -180..180")
    east, order = np.unique(_east(longitude), return_index=True)
    again = len(longitude) - len(east)
    require(again <= 1, f"{where}: longitude={ends} has {again} meridians twice; accepted: each once")
    gaps = np.diff(np.append(east, east[0] + 360))
    message = f"{where}: longitude={ends} leaves {gaps.max():g} degrees out; accepted: the whole circle"
    require(gaps.max() <= 1.5 * np.median(gaps), message)
    return slice(None) if np.array_equal(order, np.arange(len(longitude))) else order


def levels(axis: xr.DataArray, where: str) -> list[float]:
    """The values of a level axis in hPa; from Pa where its units say so, or where there are none and it must be.

    Raises:
        RefineError: another unit (model levels, heights), or no pressures of the atmosphere.
    """
    values = np.atleast_1d(_degrees(axis))
    units = spelled(str(axis.attrs.get("units", "")))
    accepted = f"{where}: levels {axis.name}={values.tolist()[:5]}... in {units!r}; accepted: pressures in hPa or Pa"
    require(units in ("Pa", "hPa", "1"), accepted)
    if units == "Pa" or (units == "1" and values.max() > 1100):
        values = values / 100
    require(bool((values > 0).all() and (values <= 1100).all()), accepted)
    found = [float(v) for v in np.round(values, 6)]
    again = next((v for i, v in enumerate(found) if v in found[:i]), None)
    require(again is None, f"{where}: level {again} hPa is there more than once; accepted: each once")
    return found


def spread(name: str, array: xr.DataArray, where: str, order: tuple[str, ...]) -> dict[str, Any]:
    """One array with dimensions ``order`` per channel: a variable with levels gives one for each of them.

    Raises:
        RefineError: a further dimension, as of members or lead times, longer than 1.
    """
    if VERSION in array.dims:
        array = _final_first(array)
    extra = [d for d in array.dims if d not in (*order, "level")]
    if long := [d for d in extra if array.sizes[d] > 1]:
        dims = ", ".join(f"{d} ({array.sizes[d]})" for d in long)
        text = f"{where}: {name} has dimensions {dims} beside time, level and place"
        hints = [hint for names, hint in _HINTS if any(str(d).startswith(names) for d in long)]
        raise RefineError(f"{text}; {' and '.join(hints) or 'select one of each first'}")
    array = array.isel({d: 0 for d in extra}, drop=True)
    standard = str(array.attrs.get("standard_name", ""))
    if "level" not in array.dims:
        return {_without_level(name, standard, array.coords, where): array.transpose(*order)}
    own = known(name, standard, on_levels=True) or name
    at = levels(array["level"], where) if "level" in array.coords else []
    require(bool(at), f"{where}: dimension level of {name} has no values")
    return {at_level(own, v): array.isel(level=i, drop=True).transpose(*order) for i, v in enumerate(at)}


def _final_first(array: xr.DataArray) -> xr.DataArray:
    """ERA5 (``expver`` 1) where it is there, else its preliminary version (5): the archive gives both as one dimension,
    each missing where the other is not."""
    array = array.sortby(VERSION) if VERSION in array.coords else array
    found = array.isel({VERSION: 0}, drop=True)
    for i in range(1, array.sizes[VERSION]):
        found = found.fillna(array.isel({VERSION: i}, drop=True))
    return found.rename(array.name).assign_attrs(array.attrs)


def _without_level(name: str, standard: str, coords: Mapping[Any, xr.DataArray], where: str) -> str:
    """The channel of an array that has no dimension of levels: a level may stand in its name or beside it."""
    if canonical(name) != name:
        name = canonical(name)
    own = known(name, standard) or name
    if own not in VARIABLES or not VARIABLES[own].on_levels:
        return own
    scalar = next((coords[c] for c in (*_NAMES["level"],) if c in coords and coords[c].ndim == 0), None)
    if scalar is not None:
        return at_level(own, levels(scalar, where)[0])
    return "geopotential_at_surface" if own == "geopotential" else own
