"""Names that mean the same, units, and ranges that tell units apart."""

from __future__ import annotations

import numpy as np
import pytest

from refine.domains.weather.fields.names import VARIABLES, at_level, canonical, describe, known, split_level
from refine.domains.weather.fields.units import accepted, conversion, spelled, suspected


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("z500", "geopotential_500"),
        ("geopotential_500", "geopotential_500"),
        ("Z_500", "geopotential_500"),
        ("u850hPa", "u_component_of_wind_850"),
        ("q0.4", "specific_humidity_0.4"),
        ("t2m", "2m_temperature"),
        ("2t", "2m_temperature"),
        ("10u", "10m_u_component_of_wind"),
        ("u10", "10m_u_component_of_wind"),
        ("u100", "100m_u_component_of_wind"),
        ("msl", "mean_sea_level_pressure"),
        ("total_precipitation_6hr", "total_precipitation_6hr"),
        ("something_500", "something_500"),
        ("hgt_500", "geopotential_500"),
        ("gh500", "geopotential_500"),
        ("air_850", "temperature_850"),
        ("uwnd_850", "u_component_of_wind_850"),
    ],
)
def test_channels_have_one_name(name: str, channel: str) -> None:
    assert canonical(name) == channel
    assert canonical(channel) == channel


def test_level_and_variable_part_and_join() -> None:
    assert split_level("geopotential_500") == ("geopotential", 500)
    assert split_level("2m_temperature") == ("2m_temperature", None)
    assert at_level(*split_level("temperature_0.5")) == "temperature_0.5"


def test_standard_names_decide_only_where_they_mean_one_variable() -> None:
    assert known("var130", "air_temperature", on_levels=True) == "temperature"
    assert known("var167", "air_temperature") is None  # at two metres, or anywhere
    assert known("pressure_msl", "air_pressure_at_mean_sea_level") == "mean_sea_level_pressure"
    assert known("anything") is None


def test_components_of_winds_know_each_other() -> None:
    for name, variable in VARIABLES.items():
        if variable.partner:
            assert VARIABLES[variable.partner].partner == name
    assert describe("u850").partner == "v_component_of_wind_850"
    assert describe("2m_temperature").partner == ""


@pytest.mark.parametrize("level", [1, 10, 50, 100, 200, 300, 500, 700, 850, 1000])
def test_geopotential_of_a_level_is_told_from_its_height_in_metres(level: int) -> None:
    low, high = describe(f"z{level}").range
    standard = {
        1: 47.8,
        10: 31.1,
        50: 20.6,
        100: 16.2,
        200: 11.8,
        300: 9.16,
        500: 5.57,
        700: 3.01,
        850: 1.46,
        1000: 0.11,
    }
    usual = standard[level] * 9806.65
    assert low < 0.93 * usual - 3000 and usual * 1.07 + 3000 < high
    if level <= 500:
        assert usual / 9.80665 < low


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("m**2 s**-2", "m2 s-2"),
        ("m^2/s^2", "m2 s-2"),
        ("m2.s-2", "m2 s-2"),
        ("J kg-1", "m2 s-2"),
        ("m/s", "m s-1"),
        ("kg/kg", "kg kg-1"),
        ("mbar", "hPa"),
        ("Celsius", "degC"),
        ("degrees_C", "degC"),
        ("degree C", "degC"),
        ("deg_C", "degC"),
        ("degrees celsius", "degC"),
        ("°C", "degC"),
        ("degrees_F", "degF"),
        ("degK", "K"),
        ("degrees_K", "K"),
        ("degrees_north", "degrees_north"),
        ("kg m**-2", "kg m-2"),
        ("millibar", "hPa"),
        ("geopotential meters", "m"),
        ("(0 - 1)", "1"),
        ("gpm", "m"),
    ],
)
def test_units_have_one_spelling(text: str, unit: str) -> None:
    assert spelled(text) == unit


@pytest.mark.parametrize(
    ("channel", "units", "given", "value"),
    [
        ("t2m", "degC", 20.0, 293.15),
        ("t2m", "degF", 68.0, 293.15),
        ("msl", "hPa", 1013.25, 101325.0),
        ("z500", "gpm", 5574.0, 5574 * 9.80665),
        ("z500", "dam", 557.4, 5574 * 9.80665),
        ("u10", "km/h", 36.0, 10.0),
        ("u10", "knots", 1.0, 0.514444),
        ("q700", "g/kg", 3.0, 0.003),
        ("total_precipitation", "mm", 3.0, 0.003),
        ("lsm", "%", 50.0, 0.5),
    ],
)
def test_units_are_converted(channel: str, units: str, given: float, value: float) -> None:
    factors = conversion(describe(channel), units)
    assert factors is not None
    assert np.isclose(given * factors[0] + factors[1], value, rtol=1e-5)


def test_what_is_no_unit_of_a_variable_is_refused_and_what_is_unknown_is_kept() -> None:
    assert conversion(describe("msl"), "K") is None
    assert accepted(describe("msl")) == ["Pa", "hPa", "kPa"]
    assert conversion(describe("chlorophyll"), "mg m-3") == (1.0, 0.0)


def test_units_are_guessed_from_values() -> None:
    assert suspected(describe("msl"), 950, 1050) == ["hPa"]
    assert "degC" in suspected(describe("t2m"), -60, 45)
    assert suspected(describe("t2m"), 1e6, 2e6) == []
