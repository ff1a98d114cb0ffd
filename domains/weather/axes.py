"""Axes as files have them, brought into one order: time, latitude and longitude ascending, levels in the name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.names import VARIABLES, at_level, canonical, known
from refine.domains.weather.units import spelled
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import xarray as xr

_NAMES = {
    "time": ("time", "valid_time"),
    "latitude": ("latitude", "lat", "y"),
    "longitude": ("longitude", "lon", "x"),
    "level": ("level", "pressure_level", "isobaricInhPa", "isobaricInPa", "plev", "lev", "pressure", "isobaric"),
}
_STANDARD = {"time": "time", "latitude": "latitude", "longitude": "longitude", "air_pressure": "level"}


def arranged(raw: xr.Dataset, where: str) -> xr.Dataset:
    """A dataset with dimensions named time, latitude, longitude and level, the globe in ascending order.

    Raises:
        RefineError: no such axes, a curvilinear grid, axes that are not in order, or not the whole sphere.
    """
    ds = raw.rename(_renames(raw))
    missing = [axis for axis in ("time", "latitude", "longitude") if axis not in ds.dims]
    found = ", ".join(f"{name} ({size})" for name, size in raw.sizes.items())
    require(not missing, f"{where}: no dimension {' nor '.join(missing)}; dimensions there: {found}")
    for axis in ("time", "latitude", "longitude"):
        require(axis in ds.coords and ds[axis].ndim == 1, f"{where}: dimension {axis} has no coordinate values")
    latitude, longitude = _south_to_north(ds, where), _eastward(ds, where)
    ds = ds.isel(latitude=latitude, longitude=longitude)
    east = np.round(np.asarray(ds["longitude"], float) % 360, 6) % 360
    north = np.asarray(ds["latitude"], float)
    attrs = {"latitude": "degrees_north", "longitude": "degrees_east"}
    return ds.assign_coords(
        {k: (k, v, {"units": attrs[k], "standard_name": k}) for k, v in (("latitude", north), ("longitude", east))}
    )


def _renames(raw: xr.Dataset) -> dict[Any, str]:
    renames: dict[Any, str] = {}
    for dim in raw.dims:
        standard = raw[dim].attrs.get("standard_name", "") if dim in raw.coords else ""
        axis = _STANDARD.get(str(standard)) or next((a for a, n in _NAMES.items() if str(dim) in n), None)
        if axis and axis not in renames.values():
            renames[dim] = axis
    taken = {new for old, new in renames.items() if new != old}
    aside = {name: f"{name}_given" for name in raw.variables if name in taken}
    return {**{old: new for old, new in renames.items() if old != new}, **aside}


def _south_to_north(ds: xr.Dataset, where: str) -> slice:
    latitude = np.asarray(ds["latitude"], float)
    require(bool(np.isfinite(latitude).all()), f"{where}: latitude has missing values")
    top = np.abs(latitude).max()
    require(top <= 90.001, f"{where}: latitude reaches {top:g}; accepted: degrees in -90..90")
    steps = np.diff(latitude)
    require(bool((steps > 0).all() or (steps < 0).all()), f"{where}: latitude is neither ascending nor descending")
    widest = float(np.abs(steps).max()) if len(steps) else 180.0
    lowest, highest = latitude.min() + 90, 90 - latitude.max()
    message = f"latitude covers {latitude.min():g}..{latitude.max():g}; accepted: the whole sphere"
    require(max(lowest, highest) <= widest, f"{where}: {message}")
    return slice(None, None, -1) if len(steps) and steps[0] < 0 else slice(None)


def _eastward(ds: xr.Dataset, where: str) -> np.ndarray:
    longitude = np.asarray(ds["longitude"], float)
    require(bool(np.isfinite(longitude).all()), f"{where}: longitude has missing values")
    low, high = longitude.min(), longitude.max()
    require(-360 <= low and high <= 540, f"{where}: longitude covers {low:g}..{high:g}; accepted: degrees")
    east, order = np.unique(np.round(longitude % 360, 6) % 360, return_index=True)  # a repeated meridian goes
    require(len(longitude) - len(east) <= 1, f"{where}: longitude has {len(longitude) - len(east)} repeated values")
    gaps = np.diff(np.append(east, east[0] + 360))
    if gaps.max() > 1.5 * np.median(gaps):
        raise RefineError(f"{where}: longitude leaves {gaps.max():g} degrees out; accepted: the whole circle")
    return order


def levels_hPa(level: xr.DataArray, where: str) -> list[float]:
    """The values of a level axis in hPa; Pa by their attribute, or where they could not be hPa."""
    values = np.asarray(level, float)
    units = spelled(str(level.attrs.get("units", "")))
    require(units in ("Pa", "hPa", "1"), f"{where}: levels are in units={units!r}; accepted: Pa, hPa")
    if units == "Pa" or (units == "1" and values.max() > 2000):
        values = values / 100
    top = values.max()
    require(values.min() > 0 and top <= 1100, f"{where}: level covers {values.min():g}..{top:g} hPa; accepted: 0..1100")
    return [float(v) for v in np.round(values, 6)]


def spread_levels(name: str, array: xr.DataArray, where: str) -> dict[str, Any]:
    """One array (time, latitude, longitude) per channel: a variable with levels gives one for each of them."""
    extra = [d for d in array.dims if d not in ("time", "level", "latitude", "longitude")]
    if long := [f"{d} ({array.sizes[d]})" for d in extra if array.sizes[d] > 1]:
        hint = "a forecast or an ensemble is no set of fields; select one first"
        raise RefineError(f"{where}: {name} has dimensions {', '.join(long)} beside time, level and place: {hint}")
    array = array.isel({d: 0 for d in extra}, drop=True)
    order = ("time", "latitude", "longitude")
    standard = str(array.attrs.get("standard_name", ""))
    if "level" not in array.dims:
        own = known(name, standard)
        at = array.coords.get("level")
        if own and VARIABLES[own].on_levels and at is not None and at.ndim == 0:
            return {at_level(own, levels_hPa(at.expand_dims("level"), where)[0]): array.transpose(*order)}
        own = canonical(name) if canonical(name) != name else (own or name)
        return {own: array.transpose(*order)}
    own = known(name, standard, on_levels=True) or name
    levels = levels_hPa(array["level"], where)
    return {at_level(own, v): array.isel(level=i, drop=True).transpose(*order) for i, v in enumerate(levels)}
