from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refine.domains.weather.pictures.maps import Globe, distance_km
from refine.domains.weather.pictures.plumes import parse_place, place_name, plot_plume
from refine.domains.weather.pictures.views import View
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

from ..waves import forecast


def test_the_plume_reads_the_nearest_cell_and_says_which_one(tmp_path: Path) -> None:
    grid = Grid.parse("gaussian:16x32")
    ds, truth = forecast(grid, ["2m_temperature"])
    view, globe = View(ds["2m_temperature"].isel(time=0), truth), Globe(grid)
    cell = int(globe.cell(51.5, -0.1))
    away = [distance_km((51.5, -0.1), globe.centre(c)) for c in range(grid.num_cells)]
    assert int(np.argmin(away)) == cell
    row, column = divmod(cell, 32)
    expected = ds["2m_temperature"].values[:, 0, :, row, column] - 273.15
    assert np.allclose(view.members_at(cell), expected) and view.members_at(cell).shape == (3, 5)
    assert np.allclose(view.actual_at(cell), truth["2m_temperature"].values[1:, row, column] - 273.15)
    path = plot_plume([view], (51.5, -0.1), tmp_path / "plume.png", globe)
    with Image.open(path) as image:
        assert image.info["Title"] == "Forecast for 51.5°N 0.1°W"
        assert f"{away[cell]:.0f} km away" in image.info["Description"]


@pytest.mark.parametrize("text", ["51.5", "London", "91,0", "0,361", "1,2,3", "", "nan,0"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RefineError, match="latitude,longitude in degrees"):
        parse_place(text)


def test_places_have_names() -> None:
    assert parse_place(" 51.5, -0.1 ") == (51.5, -0.1)
    assert place_name(-33.87, 151.21) == "33.87°S 151.2°E"
    assert place_name(40, 255) == "40°N 105°W"
