"""Conservative regridding: one sparse matrix, for tensors and for datasets, in memory or lazily.

The new value of a cell is the mean, weighted by area, of the cells that it covers (first-order conservative: Jones
1999, "First- and second-order conservative remapping schemes for grids in spherical coordinates"). The areas are exact
(:mod:`refine.domains.weather.sphere.overlaps`), so a constant field stays constant and the integral over the sphere is
kept. Each field is regridded by itself: the components of wind are averaged as numbers, which is less than exact close
to a pole, where the direction of east changes from cell to cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refine.domains.weather.sphere.grids import CELL, Grid
from refine.domains.weather.sphere.overlaps import overlaps
from refine.domains.weather.sphere.sparse import SparseMap
from refine.errors import require

if TYPE_CHECKING:
    import xarray as xr

LEAST = 0.5  # of a cell that has to be known for it to have a value
MAPPING = "healpix"  # the variable that says how cells are numbered


class Regridder:
    """The linear map from fields on one grid to fields on another; built once, for all fields.

    Attributes:
        source, target: the grids.
        matrix: (cells of target, cells of source) scipy CSR matrix in float64; its rows add up to 1.
    """

    def __init__(self, source: Grid, target: Grid) -> None:
        self.source, self.target = source, target
        shared = overlaps(target, source)
        self._map = SparseMap(shared.multiply(1 / shared.sum(1)))
        self.matrix = self._map.matrix

    def __dask_tokenize__(self) -> tuple[str, str, str]:
        return "Regridder", self.source.name, self.target.name

    def __repr__(self) -> str:
        return f"Regridder({self.source.name} -> {self.target.name}, {self.matrix.nnz:,} weights)"

    def inverse(self) -> Regridder:
        """The way back (which does not undo what was averaged away)."""
        return Regridder(self.target, self.source)

    # -- tensors -----------------------------------------------------------------------------------------------------

    def apply_torch(self, x: Tensor) -> Tensor:
        """(..., *source.shape) -> (..., *target.shape), differentiable; a missing value (NaN) goes where it counts.

        Raises:
            RefineError: a tensor on another grid.
        """
        shape = self.source.shape
        message = (
            f"a field on {self.source.name} has the shape (..., {', '.join(map(str, shape))}), not {tuple(x.shape)}"
        )
        require(x.shape[-len(shape) :] == shape, message)
        leading = x.shape[: -len(shape)]
        return self._map(x.reshape(*leading, self.source.num_cells)).reshape(*leading, *self.target.shape)

    def apply_known(self, x: Tensor, least: float = LEAST) -> Tensor:
        """As :meth:`apply_torch`, of the values that are known: each cell is the mean of the part of it that is.

        A cell of which less than ``least`` is known stays missing (NaN).
        """
        missing = x.isnan()
        if not bool(missing.any()):
            return self.apply_torch(x)
        total = self.apply_torch(x.masked_fill(missing, 0))
        known = self.apply_torch((~missing).to(x.dtype))
        return torch.where(known >= max(least, 1e-6), total / known.clamp(min=1e-6), torch.nan)

    # -- datasets ----------------------------------------------------------------------------------------------------

    def apply(self, ds: xr.Dataset, least: float = LEAST) -> xr.Dataset:
        """A dataset with each field on the target grid; lazily where it is Dask-backed.

        Variables without a place stay; those of rows or columns of the old grid alone, its weights say, go.

        Latitudes and longitudes may be in any order, -180..180 too; those of the result ascend. Missing values are
        handled as in :meth:`apply_known`. The sums are in float64, the result in the type of the field (float32 of
        integers).

        Raises:
            RefineError: the dataset is on another grid.
        """
        import xarray as xr

        found = Grid.of(ds)
        require(found == self.source, f"this regrids {self.source.name}; the data is on {found.name}")
        dims = self.source.dims
        if self.source.kind != "healpix":
            rows = np.argsort(ds["latitude"].values, kind="stable")
            turned = np.round(ds["longitude"].values.astype(float) % 360, 6) % 360
            ds = ds.isel(latitude=rows, longitude=np.argsort(turned, kind="stable"))
        ds = ds.drop_vars([MAPPING, *(c for c in ds.coords if set(ds[c].dims) & set(dims))], errors="ignore")
        out: dict[Any, xr.DataArray] = {}
        for name, field in ds.data_vars.items():
            if set(dims) <= set(field.dims):
                out[name] = self._field(field, least)
            elif not set(dims) & set(field.dims):
                out[name] = field
        made = xr.Dataset(out, ds.coords, ds.attrs)
        return located(made, self.target)

    def _field(self, field: xr.DataArray, least: float) -> xr.DataArray:
        import xarray as xr

        dims = self.source.dims
        if field.chunks is not None:
            field = field.chunk({d: -1 for d in dims})
        dtype = field.dtype if field.dtype.kind == "f" else np.dtype("float32")
        made: xr.DataArray = xr.apply_ufunc(
            self.on_array,
            field,
            kwargs={"least": least},
            input_core_dims=[dims],
            output_core_dims=[self.target.dims],
            exclude_dims=set(dims),
            dask="parallelized",
            output_dtypes=[dtype],
            dask_gufunc_kwargs={"output_sizes": dict(zip(self.target.dims, self.target.shape, strict=True))},
        )
        made.attrs = {k: v for k, v in field.attrs.items() if k != "grid_mapping"}
        return made

    def on_array(self, x: NDArray[Any], least: float = LEAST) -> NDArray[Any]:
        """(..., *source.shape) -> (..., *target.shape) as :meth:`apply_known`, in float64.

        The result has the type of ``x``, float32 of integers.
        """
        dtype = x.dtype if x.dtype.kind == "f" else np.dtype("float32")
        return self.apply_known(torch.from_numpy(x.astype(np.float64)), least).numpy().astype(dtype)

    # -- figures -----------------------------------------------------------------------------------------------------

    def conservation_error(self, x: Tensor) -> Tensor:
        """(...) by how much the mean over the sphere differs after regridding, in units of the mean size of ``x``."""
        before, after = _mean(x, self.source), _mean(self.apply_torch(x), self.target)
        return (after - before).abs() / _mean(x.abs(), self.source).clamp(min=torch.finfo(before.dtype).tiny)

    def round_trip_error(self, x: Tensor, inverse: Regridder | None = None) -> Tensor:
        """(...) root mean square over the sphere of the difference that going to the target and back makes."""
        back = (inverse or self.inverse()).apply_torch(self.apply_torch(x))
        return _mean((back - x) ** 2, self.source).sqrt()


def located(ds: xr.Dataset, grid: Grid) -> xr.Dataset:
    """A dataset on ``grid`` with its coordinates, after the CF conventions (1.13 for HEALPix)."""
    north = {"units": "degrees_north", "standard_name": "latitude"}
    east = {"units": "degrees_east", "standard_name": "longitude"}
    if grid.kind != "healpix":
        return ds.assign_coords(
            latitude=("latitude", grid.latitude, north), longitude=("longitude", grid.longitude, east)
        )
    assert grid.nside is not None
    mapping = {
        "grid_mapping_name": "healpix",
        "refinement_level": grid.nside.bit_length() - 1,
        "indexing_scheme": "nested",
        "nside": grid.nside,
        "order": "nested",
    }
    for field in ds.data_vars.values():
        if CELL in field.dims:
            field.attrs["grid_mapping"] = MAPPING
    return ds.assign_coords(
        {
            CELL: (CELL, np.arange(grid.num_cells), {"standard_name": "healpix_index"}),
            "latitude": (CELL, grid.latitude, north),
            "longitude": (CELL, grid.longitude, east),
            MAPPING: ((), np.int32(0), mapping),
        }
    )


def _mean(x: Tensor, grid: Grid) -> Tensor:
    """(..., *grid.shape) -> (...): means over the sphere."""
    weights = torch.from_numpy(grid.area).to(x)
    return (x * weights).flatten(-len(grid.shape)).mean(-1)
