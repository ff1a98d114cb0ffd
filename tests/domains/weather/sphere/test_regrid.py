"""Conservative regridding: constants stay, integrals stay, both ways, on tensors and on datasets."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import healpy
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.overlaps import overlaps
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import RefineError

PAIRS = [
    ("gaussian:48x96", "healpix:16"),
    ("gaussian:12x24", "healpix:1"),
    ("gaussian:6x9", "healpix:8"),
    ("regular:37x72", "healpix:4"),
    ("regular:36x72:2.5", "healpix:4"),
    ("regular:180x7:-89..90", "healpix:2"),
    ("gaussian:48x96", "regular:37x72:2.5"),
    ("regular:8x5:20", "regular:9x7"),
    ("regular:181x360", "gaussian:48x96"),
    ("healpix:4", "healpix:16"),
    ("healpix:8", "healpix:8"),
    ("gaussian:8x16", "gaussian:8x16"),
]
PAIRS += [(b, a) for a, b in PAIRS if a != b]


def mean(x: Tensor, grid: Grid) -> Tensor:
    return (x * torch.from_numpy(grid.area)).flatten(1).mean(1)


def leak(apply: Callable[[Tensor], Tensor], source: Grid, target: Grid) -> float:
    """How far the means over the sphere of random fields move, in units of their size."""
    x = torch.randn(4, *source.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return float((mean(apply(x), target) - mean(x, source)).abs().max() / mean(x.abs(), source).max())


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_constants_and_integrals_stay(source: str, target: str) -> None:
    a, b = Grid.parse(source), Grid.parse(target)
    regridder = Regridder(a, b)
    ones = regridder.apply_torch(torch.ones(a.shape, dtype=torch.float64))
    assert ones.shape == b.shape and float((ones - 1).abs().max()) < 1e-12
    assert leak(regridder.apply_torch, a, b) < 1e-11
    assert regridder.matrix.data.min() > 0  # nothing new below the least or above the greatest value


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_shared_areas_add_up_to_those_of_the_cells(source: str, target: str) -> None:
    a, b = Grid.parse(source), Grid.parse(target)
    shared = overlaps(b, a)
    np.testing.assert_allclose(np.asarray(shared.sum(0)).ravel(), a.area.ravel() / a.num_cells, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(shared.sum(1)).ravel(), b.area.ravel() / b.num_cells, rtol=1e-9)
    np.testing.assert_allclose((shared - overlaps(a, b).T).data, 0, atol=1e-15)


@pytest.mark.parametrize(("lat_lon", "nside"), [("gaussian:12x24", 4), ("regular:9x14:11", 2), ("regular:7x4:30", 8)])
def test_shared_areas_are_those_that_points_count(lat_lon: str, nside: int) -> None:
    grid, fine = Grid.parse(lat_lon), 512
    lon, lat = healpy.pix2ang(fine, np.arange(12 * fine**2), nest=True, lonlat=True)
    row = np.searchsorted(grid.latitude_bounds, lat) - 1
    width = grid.shape[1]
    column = np.floor((lon - grid.longitude[0]) / 360 * width + 0.5).astype(int) % width
    cell = np.arange(12 * fine**2) // (fine // nside) ** 2
    counted = np.zeros((12 * nside**2, grid.num_cells))
    np.add.at(counted, (cell, row * width + column), 1 / len(cell))
    exact = overlaps(Grid.parse(f"healpix:{nside}"), grid).toarray()
    assert np.abs(exact - counted).max() < 0.1 * min(1 / len(exact), grid.area.min() / grid.num_cells)


def test_bilinear_interpolation_leaks() -> None:
    a, b = Grid.parse("healpix:8"), Grid.parse("gaussian:48x96")
    theta, phi = np.deg2rad(90 - b.latitude), np.deg2rad(b.longitude)
    index, weight = healpy.get_interp_weights(8, *np.meshgrid(theta, phi, indexing="ij"), nest=True)

    def bilinear(x: Tensor) -> Tensor:
        return (x[:, torch.from_numpy(index)] * torch.from_numpy(weight)).sum(1)

    assert leak(bilinear, a, b) > 1e-4


def test_healpix_to_healpix_is_what_healpy_does() -> None:
    x = np.random.default_rng(0).normal(size=12 * 8**2)
    for nside in (2, 4, 8, 16):
        made = Regridder(Grid.parse("healpix:8"), Grid.parse(f"healpix:{nside}")).apply_torch(torch.from_numpy(x))
        expected = healpy.ud_grade(x, nside, order_in="NESTED", order_out="NESTED")
        np.testing.assert_allclose(made.numpy(), expected, atol=1e-13)


def test_smooth_fields_keep_their_values() -> None:
    fine, nside = Grid.parse("regular:181x360"), 8
    points = fine.points.reshape(*fine.shape, 3)
    x = torch.from_numpy(points[..., 0] * points[..., 2] + points[..., 1])
    made = Regridder(fine, Grid.parse(f"healpix:{nside}")).apply_torch(x)
    x, y, z = Grid.parse(f"healpix:{nside}").points.T
    assert np.abs(made.numpy() - (x * z + y)).max() < 0.02


def test_leading_dimensions_and_precisions() -> None:
    regridder = Regridder(Grid.parse("gaussian:8x16"), Grid.parse("healpix:2"))
    x = torch.randn(2, 3, 8, 16, dtype=torch.float64)
    full = regridder.apply_torch(x)
    assert full.shape == (2, 3, 48)
    torch.testing.assert_close(full[1, 2], regridder.apply_torch(x[1, 2]), atol=1e-14, rtol=1e-14)
    assert regridder.apply_torch(x[:0]).shape == (0, 3, 48)
    for dtype, tolerance in [(torch.float32, 1e-6), (torch.bfloat16, 0.02), (torch.float16, 0.003)]:
        made = regridder.apply_torch(x.to(dtype))
        assert made.dtype == dtype
        torch.testing.assert_close(made.double(), full, atol=tolerance, rtol=tolerance)
    assert regridder.apply_torch(torch.ones(8, 16, dtype=torch.int64)).dtype == torch.float32
    again = pickle.loads(pickle.dumps(regridder))
    assert torch.equal(again.apply_torch(x), full)


def test_gradients() -> None:
    regridder = Regridder(Grid.parse("gaussian:4x8"), Grid.parse("healpix:2"))
    x = torch.randn(2, 4, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(regridder.apply_torch, x)
    assert torch.autograd.gradgradcheck(lambda x: regridder.apply_torch(x) ** 2, x)
    holes = x.detach().clone()
    holes[0, 0, :3] = torch.nan
    holes.requires_grad_()
    regridder.apply_known(holes).nansum().backward()
    assert holes.grad is not None and bool(holes.grad.isfinite().all())


def test_a_tensor_on_another_grid_is_refused() -> None:
    regridder = Regridder(Grid.parse("gaussian:8x16"), Grid.parse("healpix:2"))
    with pytest.raises(RefineError, match=r"on gaussian:8x16 has the shape \(..., 8, 16\), not \(16, 8\)"):
        regridder.apply_torch(torch.zeros(16, 8))


@pytest.mark.parametrize("target", ["healpix:4", "regular:13x20"])
def test_missing_values_are_left_out_and_never_become_zero(target: str) -> None:
    source = Grid.parse("gaussian:12x24")
    regridder = Regridder(source, Grid.parse(target))
    x = torch.full((2, *source.shape), 7.0, dtype=torch.float64)
    x[1, 3:6, 4:11] = torch.nan
    made = regridder.apply_known(x)
    known = regridder.apply_torch((~x[1].isnan()).double())
    assert torch.equal(made[1].isnan(), known < 0.5) and bool(made[1].isnan().any())
    torch.testing.assert_close(made[~made.isnan()], torch.full_like(made[~made.isnan()], 7), rtol=1e-12, atol=0)
    torch.testing.assert_close(made[0], regridder.apply_torch(x[0]), atol=0, rtol=1e-12)
    assert int(regridder.apply_known(x, least=1).isnan().sum()) >= int(made.isnan().sum())
    assert int(regridder.apply_known(x, least=0)[1].isnan().sum()) == int((known < 1e-6).sum())
    assert torch.equal(regridder.apply_torch(x)[1].isnan(), known < 1 - 1e-9)


def dataset(grid: Grid) -> xr.Dataset:
    values = np.random.default_rng(2).normal(size=(5, *grid.shape)).astype(np.float32)
    fields = {
        "t": (("time", *grid.dims), values, {"units": "K"}),
        "mask": (grid.dims, values[0] > 0),
        "split": ("time", np.arange(5)),
    }
    if grid.kind != "healpix":
        fields["weights"] = ("latitude", grid.area[:, 0])
    coords = {"time": np.arange(5), grid.dims[0]: grid.latitude, grid.dims[-1]: grid.longitude}
    return xr.Dataset(fields, coords if grid.kind != "healpix" else {"time": coords["time"]})


@pytest.mark.parametrize(("source", "target"), [("gaussian:12x24", "healpix:4"), ("healpix:4", "gaussian:12x24")])
def test_datasets_become_what_tensors_do(source: str, target: str) -> None:
    a, b = Grid.parse(source), Grid.parse(target)
    regridder, ds = Regridder(a, b), dataset(a)
    made = regridder.apply(ds)
    assert set(made.data_vars) == {"t", "mask", "split"}
    assert made["t"].dims == ("time", *b.dims) and made["t"].dtype == np.float32 and made["mask"].dtype == np.float32
    assert made["t"].attrs["units"] == "K"
    expected = regridder.apply_torch(torch.from_numpy(ds["t"].values).double())
    np.testing.assert_allclose(made["t"].values, expected, atol=1e-6)
    assert Grid.of(made) == b
    np.testing.assert_array_equal(made["latitude"], b.latitude)


def test_dask_arrays_stay_lazy_and_give_the_same() -> None:
    a, b = Grid.parse("gaussian:12x24"), Grid.parse("healpix:4")
    regridder, ds = Regridder(a, b), dataset(a)
    lazy = regridder.apply(ds.chunk(time=2, latitude=5))
    assert lazy["t"].chunks == ((2, 2, 1), (192,))
    np.testing.assert_array_equal(lazy["t"].compute(scheduler="synchronous"), regridder.apply(ds)["t"])
    assert lazy["t"].data.name == regridder.apply(ds.chunk(time=2, latitude=5))["t"].data.name


def test_any_order_of_rows_and_columns_gives_the_same() -> None:
    a = Grid.parse("regular:13x24")
    regridder, ds = Regridder(a, Grid.parse("healpix:4")), dataset(a)
    expected = regridder.apply(ds)["t"]
    west = ds.assign_coords(longitude=(ds["longitude"] + 180) % 360 - 180).sortby("longitude")
    down = ds.sortby("latitude", ascending=False)
    turned = ds.transpose("longitude", "time", "latitude")
    for other in (west, down, turned, west.sortby("latitude", ascending=False)):
        xr.testing.assert_allclose(regridder.apply(other)["t"].transpose("time", "cell"), expected)
    assert not np.allclose(regridder.apply(ds.assign(t=ds["t"] * 0 + down["t"].values))["t"], expected)


def test_cells_are_described_after_the_conventions() -> None:
    made = Regridder(Grid.parse("gaussian:12x24"), Grid.parse("healpix:4")).apply(dataset(Grid.parse("gaussian:12x24")))
    mapping = made["healpix"].attrs
    assert made["t"].attrs["grid_mapping"] == "healpix" and mapping["grid_mapping_name"] == "healpix"
    assert (mapping["refinement_level"], mapping["indexing_scheme"]) == (2, "nested")
    assert (mapping["nside"], mapping["order"]) == (4, "nested")
    back = Regridder(Grid.parse("healpix:4"), Grid.parse("gaussian:12x24")).apply(made)
    assert "grid_mapping" not in back["t"].attrs and not {"healpix", "cell"} & set(back.variables)


def test_a_dataset_on_another_grid_is_refused() -> None:
    regridder = Regridder(Grid.parse("gaussian:8x16"), Grid.parse("healpix:2"))
    with pytest.raises(RefineError, match=r"regrids gaussian:8x16; the data is on gaussian:12x24"):
        regridder.apply(dataset(Grid.parse("gaussian:12x24")))


def test_the_round_trip_loses_less_the_finer_the_cells() -> None:
    a = Grid.parse("gaussian:24x48")
    points = a.points.reshape(*a.shape, 3)
    x = torch.from_numpy(np.sin(6 * points).sum(-1))
    lost = [float(Regridder(a, Grid.parse(f"healpix:{n}")).round_trip_error(x)) for n in (2, 4, 8, 16, 32)]
    assert lost == sorted(lost, reverse=True) and lost[-1] < 0.05 * float(x.std())
    assert float(Regridder(a, a).round_trip_error(x)) < 1e-12
    assert float(Regridder(a, Grid.parse("healpix:4")).conservation_error(x)) < 1e-12
