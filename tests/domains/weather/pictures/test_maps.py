from __future__ import annotations

import numpy as np
import pytest

from refine.domains.weather.pictures import maps as mapped
from refine.domains.weather.pictures.forecast_pictures import Maps
from refine.domains.weather.pictures.looks import limits
from refine.domains.weather.pictures.maps import Globe
from refine.domains.weather.sphere.grids import Grid

from ..waves import field

GRIDS = ["gaussian:16x32", "regular:19x36", "regular:18x36:0.5", "healpix:8"]


@pytest.mark.parametrize("name", GRIDS)
def test_each_pixel_shows_the_cell_in_which_it_lies(name: str) -> None:
    grid = Grid.parse(name)
    globe, cells = Globe(grid), np.arange(grid.num_cells)
    centres = np.array([globe.centre(int(cell)) for cell in cells])
    assert (globe.cell(*centres.T) == cells).all()
    assert (globe.cell(centres[:, 0], centres[:, 1] + 360) == cells).all()
    assert globe.cell(12.3, -179.999) == globe.cell(12.3, 180.001)
    shown = np.bincount(globe.pixels[ellipse()], minlength=grid.num_cells)
    inner = abs(centres[:, 0]) < 60
    if grid.kind == "healpix":  # an equal-area map gives equal areas equally many pixels
        assert np.allclose(shown[inner] / shown[inner].mean(), 1, atol=0.12)
    else:
        area = grid.area.ravel() / grid.area.sum() * shown.sum()
        assert np.allclose(shown[inner] / area[inner], 1, atol=0.12)


def ellipse() -> np.ndarray:
    h, w = mapped.WIDTH // 2, mapped.WIDTH
    y, x = np.mgrid[:h, :w]
    return np.asarray(((x + 0.5) / w * 2 - 1) ** 2 + ((y + 0.5) / h * 2 - 1) ** 2 <= 1)


def test_the_projection_is_mollweides() -> None:
    lat, lon = np.meshgrid(np.linspace(-89, 89, 60), np.linspace(-179, 179, 60))
    x, y = mapped._project(lat, lon)
    back = mapped._unproject(x, y)
    assert np.allclose(back[0], lat, atol=1e-3) and np.allclose(back[1], lon, atol=0.05)
    assert np.allclose(mapped._project(np.array([0.0, 90.0]), np.array([180.0, 0.0])), [[2, 0], [0, 1]], atol=1e-6)


@pytest.mark.parametrize("name", GRIDS)
def test_contour_lines_lie_where_the_field_has_their_value(name: str) -> None:
    globe = Globe(Grid.parse(name))
    latitude = (
        globe.grid.latitude
        if globe.grid.kind == "healpix"
        else np.repeat(globe.grid.latitude[:, None], globe.grid.shape[1], 1)
    )
    lines = globe.lines(latitude, [30.0])
    points = np.concatenate(lines)
    found = mapped._unproject(np.clip(points[:, 0], -2, 2), points[:, 1])[0]
    assert np.allclose(found, 30, atol=1.5)
    assert points[:, 0].min() < -1.6 and points[:, 0].max() > 1.6  # once round the globe
    assert globe.lines(latitude, [200.0]) == []


def test_missing_cells_are_grey() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = Grid.parse("gaussian:16x32")
    values = field(grid, "made_up")
    values[:, 8:16] = np.nan
    figure = Figure((4, 2))
    canvas, ax = FigureCanvasAgg(figure), figure.add_axes((0, 0, 1, 1))
    Maps(grid).draw(ax, values, limits(values), "viridis", 0.5)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    grey = (pixels == int(mapped.MISSING[1:3], 16)).all(-1)
    assert 0.15 < grey.mean() / (np.pi / 4) < 0.35
