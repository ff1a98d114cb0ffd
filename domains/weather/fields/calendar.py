"""Forcings that are known at any time: where the year and the day stand, and the sunlight above the atmosphere.

Times may be of any calendar of the CF conventions: datetime64 or cftime. Orbits change little within the centuries that
fields are kept for, so that declination and distance of the sun are Fourier series in the part of the year that has
passed (J. W. Spencer 1971, Fourier series representation of the position of the sun, Search 2, 172): declination within
0.04 degrees, distance within 0.01 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.errors import not_accepted

if TYPE_CHECKING:
    from refine.domains.weather.sphere.grids import Grid

FORCINGS = ("sin_of_year", "cos_of_year", "sin_of_day", "cos_of_day", "solar")
DAILY = ("sin_of_year", "cos_of_year", "daily_solar")  # where the hour is always the same

Array = NDArray[np.float64]


def forcings(
    times: NDArray[Any], grid: Grid, names: Sequence[str] = FORCINGS
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Forcing fields (T, F, \\*grid) and their names.

    Args:
        times: (T,) datetime64 or cftime.
        names: which: sine and cosine of the phase of the year and of local solar time, ``solar``, the radiation at the
            top of the atmosphere at that moment, and ``daily_solar``, its mean over the day around; both in units of
            the solar constant (1361 W m-2).

    Raises:
        RefineError: no such forcing.
    """
    year, day = (2 * np.pi * part for part in passed(np.asarray(times)))
    latitude, longitude = np.deg2rad(_everywhere(grid))
    angle = _over(day, longitude) + longitude  # local solar time, 0 at midnight
    fields: dict[str, Callable[[], Array]] = {
        "sin_of_year": lambda: _over(np.sin(year), latitude),
        "cos_of_year": lambda: _over(np.cos(year), latitude),
        "sin_of_day": lambda: np.sin(angle),
        "cos_of_day": lambda: np.cos(angle),
        "solar": lambda: _solar(_over(year, latitude), latitude, angle),
        "daily_solar": lambda: _daily_solar(_over(year, latitude), latitude),
    }
    for name in names:
        if name not in fields:
            raise not_accepted("forcing", name, fields)
    stacked = np.empty((len(year), len(names), *grid.shape), np.float32)
    for i, name in enumerate(names):
        stacked[:, i] = fields[name]()
    return stacked, tuple(names)


def passed(times: NDArray[Any]) -> tuple[Array, Array]:
    """The parts of the year and of the day that have passed at each time, in [0, 1). Years of any calendar."""
    if times.dtype.kind == "M":
        begun = times.astype("datetime64[Y]").astype(times.dtype)
        length = (times.astype("datetime64[Y]") + 1).astype(times.dtype) - begun
        today = times.astype("datetime64[D]").astype(times.dtype)
        return (times - begun) / length, (times - today) / np.timedelta64(1, "D")
    day = np.array([t.hour / 24 + t.minute / 1440 + t.second / 86400 for t in times])
    lengths = np.array([(t.replace(year=t.year + 1, month=1, day=1) - t.replace(month=1, day=1)).days for t in times])
    return (np.array([t.dayofyr - 1 for t in times]) + day) / lengths, day


def _everywhere(grid: Grid) -> Array:
    """Latitude and longitude of each cell, degrees. (2, \\*grid)"""
    if len(grid.shape) == 1:
        return np.stack([grid.latitude, grid.longitude])
    return np.stack(np.meshgrid(grid.latitude, grid.longitude, indexing="ij"))


def _over(values: Array, field: Array) -> Array:
    """One value per time, the same everywhere. (T, \\*grid)"""
    return np.broadcast_to(values.reshape(-1, *(1,) * field.ndim), (len(values), *field.shape))


def _sun(year: Array) -> tuple[Array, Array]:
    """Declination in radians, and the square of mean distance over distance."""
    one, two, three = (np.exp(1j * k * year) for k in (1, 2, 3))
    declination = 0.006918 - 0.399912 * one.real + 0.070257 * one.imag - 0.006758 * two.real + 0.000907 * two.imag
    declination += -0.002697 * three.real + 0.00148 * three.imag
    near = 1.00011 + 0.034221 * one.real + 0.00128 * one.imag + 0.000719 * two.real + 0.000077 * two.imag
    return declination, near


def _solar(year: Array, latitude: Array, angle: Array) -> Array:
    declination, near = _sun(year)
    height = np.sin(latitude) * np.sin(declination) - np.cos(latitude) * np.cos(declination) * np.cos(angle)
    return np.asarray(near * np.maximum(height, 0))


def _daily_solar(year: Array, latitude: Array) -> Array:
    declination, near = _sun(year)
    noon = np.arccos(np.clip(-np.tan(latitude) * np.tan(declination), -1, 1))  # half the day's length; 0 in polar night
    lit = noon * np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.sin(noon)
    return np.asarray(near * lit / np.pi)
