"""What is known of meteorological variables: names that mean the same, units, and values that can be.

A *channel* is one two-dimensional field with the pressure level in hPa in its name: ``geopotential_500``,
``2m_temperature``. Names and units are WeatherBench2's.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

GRAVITY = 9.80665  # m s-2; geopotential over geopotential height
WHOLE = (-math.inf, math.inf)
HEIGHT = ("hgt", "gh", "geopotential_height")  # names of geopotential that is given as a height


@dataclass(frozen=True)
class Variable:
    """A meteorological variable.

    Attributes:
        name: WeatherBench2's.
        units: in which fields are held everywhere.
        standard_name: of the CF conventions.
        short: other names that mean it.
        range: lowest and highest value that a field can show, in ``units``; wide, made to tell units apart.
        on_levels: it is given on pressure levels.
        partner: the other component of the same vector.
        rests: whole fields of zero are possible, as in precipitation.
    """

    name: str
    units: str = ""
    standard_name: str = ""
    short: tuple[str, ...] = ()
    range: tuple[float, float] = WHOLE
    on_levels: bool = False
    partner: str = ""
    rests: bool = False


def _wind(name: str, axis: str, partner: str, short: tuple[str, ...], on_levels: bool = False) -> Variable:
    return Variable(name, "m s-1", f"{axis}ward_wind", short, (-250.0, 250.0), on_levels, partner)


VARIABLES = {
    variable.name: variable
    for variable in (
        Variable("geopotential", "m2 s-2", "geopotential", ("z", "phi", "zg", *HEIGHT), (-9e3, 9e5), True),
        Variable("temperature", "K", "air_temperature", ("t", "ta", "air"), (130.0, 350.0), True),
        _wind("u_component_of_wind", "east", "v_component_of_wind", ("u", "ua", "uwnd"), True),
        _wind("v_component_of_wind", "north", "u_component_of_wind", ("v", "va", "vwnd"), True),
        Variable(
            *("vertical_velocity", "Pa s-1", "lagrangian_tendency_of_air_pressure"),
            *(("w", "wap", "omega"), (-99, 99), True),
        ),
        Variable("specific_humidity", "kg kg-1", "specific_humidity", ("q", "hus", "shum"), (-1e-3, 0.06), True),
        Variable(
            *("relative_humidity", "%", "relative_humidity", ("r", "rh", "hur", "rhum"), (-20.0, 180.0), True),
            rests=True,
        ),
        Variable("2m_temperature", "K", "", ("t2m", "2t", "tas"), (130.0, 350.0)),
        Variable("2m_dewpoint_temperature", "K", "dew_point_temperature", ("d2m", "2d", "tdps"), (130.0, 350.0)),
        Variable("sea_surface_temperature", "K", "sea_surface_temperature", ("sst", "tos"), (260.0, 320.0)),
        _wind("10m_u_component_of_wind", "east", "10m_v_component_of_wind", ("u10", "u10m", "10u", "uas")),
        _wind("10m_v_component_of_wind", "north", "10m_u_component_of_wind", ("v10", "v10m", "10v", "vas")),
        _wind("100m_u_component_of_wind", "east", "100m_v_component_of_wind", ("u100", "u100m", "100u")),
        _wind("100m_v_component_of_wind", "north", "100m_u_component_of_wind", ("v100", "v100m", "100v")),
        Variable("10m_wind_speed", "m s-1", "wind_speed", ("si10", "ws10", "10si", "sfcWind"), (0.0, 250.0)),
        Variable(
            "mean_sea_level_pressure",
            "Pa",
            "air_pressure_at_mean_sea_level",
            ("msl", "mslp", "psl", "prmsl", "slp", "air_pressure_at_sea_level"),
            (8.2e4, 1.12e5),
        ),
        Variable("surface_pressure", "Pa", "surface_air_pressure", ("sp", "ps"), (4.0e4, 1.12e5)),
        Variable("total_column_water_vapour", "kg m-2", "", ("tcwv", "prw"), (-1.0, 150.0)),
        Variable("total_cloud_cover", "1", "cloud_area_fraction", ("tcc", "clt"), (-0.01, 1.01), rests=True),
        Variable("total_precipitation", "m", "", ("tp",), (-1e-3, 3.0), rests=True),
        Variable("total_precipitation_1hr", "m", "", ("tp1h",), (-1e-3, 0.5), rests=True),
        Variable("total_precipitation_6hr", "m", "", ("tp6h",), (-1e-3, 1.0), rests=True),
        Variable("total_precipitation_24hr", "m", "", ("tp24h",), (-1e-3, 3.0), rests=True),
        Variable(
            "geopotential_at_surface",
            "m2 s-2",
            "surface_geopotential",
            ("orography", "orog", "surface_altitude", "z_sfc"),
            (-9e3, 9e4),
            rests=True,
        ),
        Variable(
            "land_sea_mask", "1", "land_area_fraction", ("lsm", "sftlf", "land_binary_mask"), (-0.01, 1.01), rests=True
        ),
    )
}
STATIC = ("geopotential_at_surface", "land_sea_mask")
_BY_NAME = {alias.lower(): v.name for v in VARIABLES.values() for alias in (v.name, *v.short)}


def known(name: str, standard_name: str = "", on_levels: bool = False) -> str | None:
    """WeatherBench2's name of a variable that calls itself ``name``, or None.

    A standard name alone decides only where it means one variable: winds and temperatures have the same standard
    name at every height, so that it counts for variables on levels.
    """
    if name.lower() in _BY_NAME:
        return _BY_NAME[name.lower()]
    fits = [v.name for v in VARIABLES.values() if standard_name in _standards(v) and v.on_levels == on_levels]
    return fits[0] if standard_name and len(fits) == 1 else None


def _standards(variable: Variable) -> tuple[str, ...]:
    """Standard names that mean a variable; some conventions have several for one."""
    return (variable.standard_name, *(name for name in variable.short if "_" in name))


def split_level(channel: str) -> tuple[str, float | None]:
    """Variable and level in hPa: ``("geopotential", 500)`` of ``geopotential_500`` or ``z500``; no level: None."""
    if channel.lower() in _BY_NAME:
        return _BY_NAME[channel.lower()], None
    found = re.fullmatch(r"(.*?[^0-9_.])_?([0-9]+(?:\.[0-9]+)?)(?:_?hPa)?", channel)
    name = known(found[1]) if found else None
    if found and name and VARIABLES[name].on_levels:
        return name, _number(float(found[2]))
    return channel, None


def _number(level: float) -> float:
    return int(level) if level == int(level) else level


def at_level(name: str, level: float | None) -> str:
    """The channel of a variable at a level in hPa."""
    return name if level is None else f"{name}_{level:g}"


def canonical(channel: str) -> str:
    """The one name of a channel: ``geopotential_500`` of ``z500``; what is not known stays as it is."""
    return at_level(*split_level(channel))


def describe(channel: str) -> Variable:
    """What is known of a channel; for geopotential the range is that of its level. Unknown: a name and no bounds."""
    name, level = split_level(channel)
    variable = VARIABLES.get(name, Variable(name))
    partner = at_level(variable.partner, level) if variable.partner else ""
    if name == "geopotential" and level:
        usual = (
            GRAVITY * 44330.77 * (1 - (level / 1013.25) ** 0.190263)
            if level > 226
            else GRAVITY * (11e3 + 6341.6 * math.log(226.32 / level))
        )
        variable = replace(variable, range=(0.75 * usual - 8e3, 1.25 * usual + 8e3))  # fits 1000 to 1 hPa
    return replace(variable, name=at_level(name, level), partner=partner)
