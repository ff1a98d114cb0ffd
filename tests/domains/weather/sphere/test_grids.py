"""Grids: known by name, found in any order of rows and columns, with the areas that WeatherBench2 gives them."""

from __future__ import annotations

import pickle

import healpy
import numpy as np
import pytest
import xarray as xr

from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError

NAMES = [
    "healpix:1",
    "healpix:16",
    "gaussian:8x16",
    "gaussian:48x96",
    "gaussian:47x96:1.5",
    "regular:181x360",
    "regular:180x360",
    "regular:180x360:0.5",
    "regular:720x1440:-89.75..90",
    "regular:192x288:-90..90",
    "regular:96x144:-90..90:1.25",
]
LAT_LON = [name for name in NAMES if not name.startswith("healpix")]


def fields(latitude: np.ndarray, longitude: np.ndarray) -> xr.Dataset:
    shape = len(longitude), len(latitude)
    coords = {"latitude": latitude, "longitude": longitude}
    return xr.Dataset({"t": (("longitude", "latitude"), np.zeros(shape))}, coords)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_says_all(name: str) -> None:
    grid = Grid.parse(name)
    assert grid.name == name
    assert Grid.parse(grid.name) == grid and hash(Grid.parse(name)) == hash(grid)
    assert pickle.loads(pickle.dumps(grid)) == grid
    assert grid.num_cells == np.prod(grid.shape) == grid.area.size == len(grid.points)
    assert (np.diff(grid.latitude) > 0).all() or grid.kind == "healpix"
    assert grid.longitude.min() >= 0 and grid.longitude.max() < 360


@pytest.mark.parametrize("longer", ["regular:181x360:-90..90", "regular:180x360:-89.5..89.5:0", "regular:180x360:2"])
def test_of_several_names_the_shortest_is_kept(longer: str) -> None:
    assert Grid.parse(longer).name in ("regular:181x360", "regular:180x360")


@pytest.mark.parametrize("name", LAT_LON)
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_a_dataset_in_any_order_has_the_grid(name: str, kind: type) -> None:
    grid = Grid.parse(name)
    latitude, longitude = grid.latitude.astype(kind), grid.longitude.astype(kind)
    west = np.sort((longitude + 180) % 360 - 180)
    for lat in (latitude, latitude[::-1]):
        for lon in (longitude, west, np.roll(longitude, 5)):
            assert Grid.of(fields(lat, lon)) == grid


def test_rounded_coordinates_are_put_right() -> None:
    grid = Grid.parse("gaussian:48x96")
    rough = Grid.on(grid.latitude.round(2), grid.longitude)
    assert rough == grid and np.array_equal(rough.latitude, grid.latitude)


@pytest.mark.parametrize("name", NAMES)
def test_centres_are_unit_vectors_in_order(name: str) -> None:
    grid = Grid.parse(name)
    np.testing.assert_allclose((grid.points**2).sum(1), 1, rtol=1e-12)
    if grid.nside is not None:
        expected = np.stack(healpy.pix2vec(grid.nside, np.arange(grid.num_cells), nest=True), 1)
    else:
        lat, lon = np.deg2rad(np.meshgrid(grid.latitude, grid.longitude, indexing="ij")).reshape(2, -1)
        expected = healpy.ang2vec(np.pi / 2 - lat, lon)
    np.testing.assert_allclose(grid.points, expected, atol=1e-12)


@pytest.mark.parametrize("name", LAT_LON)
def test_areas_are_those_between_the_midpoints(name: str) -> None:
    grid = Grid.parse(name)
    lat = np.deg2rad(grid.latitude)
    bounds = np.concatenate([[-np.pi / 2], (lat[1:] + lat[:-1]) / 2, [np.pi / 2]])
    expected = np.sin(bounds[1:]) - np.sin(bounds[:-1])
    np.testing.assert_allclose(grid.area, np.tile(expected[:, None] / expected.mean(), grid.shape[1]), rtol=1e-12)
    assert abs(grid.area.mean() - 1) < 1e-12 and grid.area.min() > 0


def test_areas_of_a_gaussian_grid_come_close_to_its_quadrature() -> None:
    weights = np.polynomial.legendre.leggauss(48)[1]
    np.testing.assert_allclose(
        Grid.parse("gaussian:48x96").area[:, 0], weights / weights.mean(), rtol=0.06
    )  # 6 % at the poles


def test_cells_of_healpix_are_equal() -> None:
    assert np.ptp(Grid.parse("healpix:8").area) == 0
    with pytest.raises(RefineError, match="no bounds of latitude"):
        _ = Grid.parse("healpix:8").latitude_bounds


def test_cells_of_a_dataset_are_nested_or_refused() -> None:
    grid = Grid.parse("healpix:4")
    nested = xr.Dataset({"t": ("cell", np.zeros(192))}, {"latitude": ("cell", grid.latitude)})
    assert Grid.of(nested) == grid == Grid.of(nested.drop_vars("latitude"))
    assert Grid.of(nested) != Grid.parse("healpix:8")
    with pytest.raises(RefineError, match="another order than nested"):
        Grid.of(nested.isel(cell=healpy.ring2nest(4, np.arange(192))))
    for key, word in [("indexing_scheme", "ring"), ("healpix_order", "ring")]:
        mapping = xr.Dataset({"t": nested["t"], "crs": ((), 0, {key: word})})
        for ring in (mapping, mapping.set_coords("crs")["t"]):
            with pytest.raises(RefineError, match="another order than nested"):
                Grid.of(ring)
    assert Grid.of(nested.assign(crs=((), 0, {"healpix_order": "nest"}))) == grid
    with pytest.raises(RefineError, match="cell=100 is not accepted"):
        Grid.of(nested.isel(cell=slice(100)))


def test_grids_do_not_change_under_the_hands() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Grid.parse("gaussian:8x16").latitude[0] = 0


NONE = """healpix healpix:3 healpix:0 healpix:16384 healpix:-1 gaussian:48 gaussian:8x1 gaussian:8x16:-90..90 cubed:8x16
regular:1x8 regular:8x16:-60..60 regular:8x16:60..-60 regular:8x16:-95..95 regular:8x16:"""


@pytest.mark.parametrize("name", ["", *NONE.split()])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(RefineError, match=r"not accepted"):
        Grid.parse(name)


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        (np.linspace(-60, 60, 20), np.arange(0, 360, 10.0), "not from pole to pole"),
        (np.linspace(-90, 90, 19) ** 3 / 8100, np.arange(0, 360, 10.0), "equal steps"),
        (np.linspace(-90, 90, 19), np.arange(0, 361, 10.0), "longitude=0..360"),
        (np.linspace(-90, 90, 19), np.arange(0, 180, 10.0), "longitude=0..170"),
        (np.linspace(-90, 90, 19), np.array([0, 100, 180, 270.0]), "4 equal steps"),
        (np.linspace(-90, 90, 19) * 2, np.arange(0, 360, 10.0), "degrees from -90 to 90"),
        (np.full(19, np.nan), np.arange(0, 360, 10.0), "latitude=nan"),
        (np.array([0.0]), np.arange(0, 360, 10.0), "2 or more"),
    ],
)
def test_grids_that_have_no_name_are_refused(latitude: np.ndarray, longitude: np.ndarray, message: str) -> None:
    with pytest.raises(RefineError, match=message):
        Grid.on(latitude, longitude)


def test_a_dataset_without_a_place_is_refused() -> None:
    with pytest.raises(RefineError, match="no dimension 'latitude'"):
        Grid.of(xr.Dataset({"t": ("time", np.zeros(3))}))
