from __future__ import annotations

import numpy as np

from refine.domains.weather.pictures.looks import limits, look_of, pretty_unit


def test_units_are_those_that_people_read() -> None:
    height = look_of("geopotential_500")
    assert (height.title, height.unit) == ("500 hPa geopotential height", "dam")
    assert np.isclose(height.drawn(54000.0), 550.6, atol=0.1)
    warm = look_of("2m_temperature")
    assert (warm.title, warm.unit, warm.difference_unit) == ("2 m temperature", "°C", "K")
    assert warm.drawn(273.15) == 0 and warm.drawn_difference(1.0) == 1
    assert look_of("10m_u_component_of_wind").title == "10 m eastward wind"
    assert look_of("total_precipitation_6hr").title == "6 h precipitation"
    assert look_of("made_up", "kg m-2 s-1").unit == pretty_unit("kg m-2 s-1") == "kg m⁻² s⁻¹"
    assert look_of("vorticity_850").centred and not look_of("made_up").centred


def test_colours_are_centred_and_bear_constants_and_missing_values() -> None:
    norm = limits(np.array([-1.0, 0.0, 4.0]), centred=True)
    assert norm.vmin == -norm.vmax
    assert limits(np.array([1.0, 3.0, np.nan]), from_zero=True).vmin == 0
    for odd in (np.full(4, 7.0), np.full(4, np.nan), np.zeros(3)):
        for options in ({}, {"centred": True}, {"from_zero": True}):
            norm = limits(odd, **options)
            assert norm.vmin is not None and norm.vmax is not None and norm.vmin < norm.vmax
