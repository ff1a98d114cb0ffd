"""Units as files write them, and the factors that bring them to WeatherBench2's."""

from __future__ import annotations

import re

from refine.domains.weather.fields.names import GRAVITY, Variable

# unit as the file has it -> value in the canonical unit = factor * value + offset
_CONVERSIONS: dict[str, dict[str, tuple[float, float]]] = {
    "K": {"degC": (1.0, 273.15), "degF": (5 / 9, 273.15 - 160 / 9)},
    "Pa": {"hPa": (100.0, 0.0), "kPa": (1000.0, 0.0)},
    "m s-1": {"km h-1": (1 / 3.6, 0.0), "knot": (1852 / 3600, 0.0)},
    "m2 s-2": {"m": (GRAVITY, 0.0), "dam": (10 * GRAVITY, 0.0), "km": (1000 * GRAVITY, 0.0)},
    "kg kg-1": {"g kg-1": (1e-3, 0.0), "mg kg-1": (1e-6, 0.0)},
    "m": {"mm": (1e-3, 0.0), "cm": (1e-2, 0.0), "km": (1000.0, 0.0), "kg m-2": (1e-3, 0.0)},
    "kg m-2": {"mm": (1.0, 0.0)},
    "Pa s-1": {"hPa s-1": (100.0, 0.0)},
    "1": {"%": (0.01, 0.0)},
    "%": {"1": (100.0, 0.0)},
}
_SPELLINGS = {
    "K": ("kelvin", "kelvins", "degK"),
    "degC": ("celsius", "C"),
    "degF": ("fahrenheit", "F"),
    "Pa": ("pascal", "pascals", "N m-2"),
    "hPa": ("mb", "mbar", "millibar", "millibars", "hectopascal", "hectopascals"),
    "m s-1": ("m per s",),
    "km h-1": ("kph", "kmh", "km hr-1", "km per h"),
    "knot": ("knots", "kt", "kts", "kn"),
    "m": ("gpm", "geopotential m", "geopotential_m", "m of water equivalent", "m of water"),
    "dam": ("gpdm", "decameter", "decameters", "decametre", "decametres"),
    "km": ("kilometer", "kilometers", "kilometre", "kilometres"),
    "m2 s-2": ("J kg-1",),
    "kg kg-1": ("kg/kg dry air",),
    "kg m-2": ("mm of water equivalent", "mm of water"),
    "1": ("", "-", "~", "(0 - 1)", "0-1", "fraction", "dimensionless", "unitless", "proportion", "none"),
    "%": ("percent", "per cent"),
}


_DEGREE = re.compile(r"(?:°|deg|degrees?)[ _]?(C|K|F|celsius|kelvin|fahrenheit)", re.IGNORECASE)
_WORDS = [(r"(?:geopotential[ _])?met(?:er|re)s?", "m"), ("seconds?|secs?", "s"), ("kilograms?", "kg"), ("grams?", "g")]


def _key(text: str) -> str:
    """One spelling of ``m**2 s**-2``, ``m^2/s^2``, ``m2.s-2``, ``meter2 second-2`` and ``m2 s-2``; of ``degrees_C`` and
    ``°C``."""
    if degree := _DEGREE.fullmatch(text.strip()):
        return f"deg{degree[1][0].upper()}"
    text = re.sub(r"\*\*|\^", "", text.strip()).replace("·", " ").replace("*", " ")
    text = re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", " ", text)
    for words, short in _WORDS:
        text = re.sub(rf"(?<![A-Za-z_])(?:{words})(?![A-Za-z_])", short, text, flags=re.IGNORECASE)
    text = re.sub(r"/\s*([A-Za-z]+)([0-9]*)", lambda m: f" {m[1]}-{m[2] or 1}", text)
    return " ".join(text.split())


_BY_KEY = {_key(s).lower(): unit for unit, spellings in _SPELLINGS.items() for s in (unit, *spellings)}


def spelled(units: str) -> str:
    """The one spelling of a unit that may be written in many ways."""
    key = _key(units)
    return _BY_KEY.get(key.lower(), key)


def accepted(variable: Variable) -> list[str]:
    """Units in which a variable may be given."""
    return [variable.units, *_CONVERSIONS.get(variable.units, {})]


def conversion(variable: Variable, units: str) -> tuple[float, float] | None:
    """Factor and offset from ``units`` to the variable's; None where there is no way.

    A variable of which nothing is known keeps its units.
    """
    unit = spelled(units)
    if not variable.units or unit == variable.units:
        return 1.0, 0.0
    return _CONVERSIONS.get(variable.units, {}).get(unit)


def suspected(variable: Variable, low: float, high: float) -> list[str]:
    """Units in which values from ``low`` to ``high`` would be in the variable's range."""
    least, most = variable.range
    found = []
    for unit, (factor, offset) in _CONVERSIONS.get(variable.units, {}).items():
        if least <= factor * low + offset and factor * high + offset <= most:
            found.append(unit)
    return found
