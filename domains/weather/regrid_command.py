"""``refine regrid``: a store on another grid, chunk by chunk, with figures of what that did to the fields."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domains.weather.ensembles.store import OTHER_NAMES, open_forecast
from refine.domains.weather.fields.checks import unreadable
from refine.domains.weather.fields.reading import open_any
from refine.domains.weather.fields.sources import locate, open_fields
from refine.domains.weather.sphere.grids import CELL, Grid
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import not_accepted, require
from refine.progress import track
from refine.storage.files import WriteError, sync, temporary_beside, writing
from refine.storage.locks import alone, lock_beside
from refine.version import __version__

if TYPE_CHECKING:
    import xarray as xr

KINDS = (".zarr", ".nc")
LEADS = ("prediction_timedelta", *OTHER_NAMES["prediction_timedelta"])

Slices = dict[str, slice]


def regrid_store(source: str, out: str | Path, grid: str) -> dict[str, dict[str, Any]]:
    """Write the fields or forecasts of ``source`` on another grid.

    Memory holds one chunk of one channel. ``out`` appears when it is complete; what was there is never replaced.

    Args:
        source: zarr or netCDF: path, URL or glob, or the name of a known set; fields or a forecast store.
        out: ``NAME.zarr`` or ``NAME.nc``.
        grid: name of the target (:mod:`refine.domains.weather.sphere.grids`).

    Returns:
        By channel: ``units``; ``round_trip``, the root mean square of what is lost on the way there and back, and
        ``round_trip_share`` of the standard deviation; ``conservation``, the largest difference of the mean over the
        sphere, relative to the mean size; ``missing`` values before and ``missing_after``.

    Raises:
        RefineError: a grid that is none, the one that the data is on, a place that is taken, or data that cannot be
            read.
    """
    target, out = Grid.parse(grid), Path(out).expanduser()
    if out.suffix not in KINDS:
        raise not_accepted("OUT", str(out), [f"NAME{kind}" for kind in KINDS])
    _require_free(out)
    ds = _opened(source)
    found = Grid.of(ds)
    require(found != target, f"--grid={grid} is not accepted: {source} is on {found.name} already")
    regridder = Regridder(found, target)
    figures = {str(c): _Figures(regridder, regridder.inverse()) for c in ds.data_vars}
    made = regridder.apply(ds)
    made.attrs |= {
        "Conventions": "CF-1.13" if target.kind == "healpix" else "CF-1.10",
        "history": f"{found.name} to {target.name}, first-order conservative, by refine {__version__}",
    }
    with _new(out) as temporary:
        steps = _lay_out(made, temporary)
        with _writing(temporary) as store:
            for part, channel in track(list(itertools.product(_parts(made, steps), figures)), "Regridding"):
                before = _loaded(ds[channel].isel(part), source)
                after = regridder.on_array(before)
                figures[channel].add(before, after)
                where = tuple(part.get(str(d), slice(None)) for d in made[channel].dims)
                store[channel][where] = after
    return {c: {"units": ds[c].attrs.get("units", "")} | figure.all for c, figure in figures.items()}


def _opened(source: str) -> xr.Dataset:
    """Fields, or forecasts where there are leads."""
    path = locate(source, "IN")
    raw = open_any(path, "IN")
    if CELL in raw.dims:
        Grid.of(raw)  # nested?
    if set(LEADS) & set(map(str, raw.dims)):
        ds = open_forecast(path)
        return ds.drop_vars("valid_time").assign_coords(valid_time=ds["valid_time"].compute())
    ds = open_fields(path, what="IN")
    ds.attrs.pop("source", None)
    return ds


def _loaded(field: xr.DataArray, source: str) -> NDArray[Any]:
    try:
        values: NDArray[Any] = field.to_numpy()
    except Exception as error:  # whatever the format, the file system or the network has against it
        raise unreadable(f"IN={source!r}", error) from error
    return values


def _require_free(out: Path) -> None:
    require(not out.exists() and not out.is_symlink(), f"OUT={str(out)!r} is not accepted: it is there already")


@contextmanager
def _new(out: Path) -> Iterator[Path]:
    """A name beside ``out`` for a file or a folder that takes its place once it is complete and on disk."""
    with alone(lock_beside(out), f"OUT={str(out)!r} is being made"), writing(out):
        _require_free(out)
        temporary = temporary_beside(out)
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            _require_free(out)
            temporary.rename(out)
            sync(out.parent)
        except BaseException as error:
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)
            if isinstance(error, RuntimeError):  # how netCDF reports a full disk
                raise WriteError(f"{out} cannot be written: {error}") from error
            raise


def _lay_out(made: xr.Dataset, path: Path) -> dict[str, int]:
    """Write everything but the fields; the length of a chunk along each dimension."""
    import dask.array as da

    place = (CELL,) if CELL in made.dims else ("latitude", "longitude")
    chunks = made.unify_chunks().chunksizes
    steps = {str(d): size if d in place else max(chunks.get(d, (size,))) for d, size in made.sizes.items()}
    fields, encoding = {}, {}
    for name, field in made.data_vars.items():
        size = tuple(steps[str(d)] for d in field.dims)
        fields[name] = field.copy(data=da.zeros(field.shape, chunks=size, dtype=np.float32))
        fields[name].attrs["cell_methods"] = "area: mean"
        encoding[name] = (
            {"chunksizes": size, "zlib": True, "complevel": 1} if path.suffix == ".nc" else {"chunks": size}
        )
    empty = made.assign(fields)
    for variable in empty.variables.values():
        variable.encoding = {k: v for k, v in variable.encoding.items() if k in ("units", "calendar")}
    if path.suffix == ".nc":
        empty.to_netcdf(path, engine="netcdf4", encoding=encoding, compute=False)
    else:
        empty.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding, compute=False)
    return steps


def _parts(made: xr.Dataset, steps: Mapping[str, int]) -> list[Slices]:
    """The chunks, by the dimensions that are no place."""
    place = (CELL,) if CELL in made.dims else ("latitude", "longitude")
    dims = {str(d): made.sizes[d] for d in next(iter(made.data_vars.values())).dims if d not in place}
    starts = ([slice(i, i + steps[d]) for i in range(0, size, steps[d])] for d, size in dims.items())
    return [dict(zip(dims, part, strict=True)) for part in itertools.product(*starts)]


@contextmanager
def _writing(path: Path) -> Iterator[Any]:
    """The arrays of a store, to write into."""
    if path.suffix == ".nc":
        import netCDF4

        with netCDF4.Dataset(path, "a") as file:
            file.set_auto_maskandscale(False)
            yield file.variables
        return
    import zarr

    yield zarr.open_group(path, mode="r+", use_consolidated=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*onsolidated")  # others may ignore it; xarray opens faster with it
        zarr.consolidate_metadata(path)


@dataclass
class _Figures:
    """What regridding does to one channel, summed over its chunks."""

    regridder: Regridder
    inverse: Regridder
    fields: int = 0
    complete: int = 0
    lost: float = 0.0
    known: float = 0.0
    mean: float = 0.0
    square: float = 0.0
    conservation: float = 0.0
    missing: int = 0
    missing_after: int = 0

    def add(self, before: NDArray[Any], after: NDArray[Any]) -> None:
        """Fields (..., *source) and what became of them (..., *target)."""
        source, target = self.regridder.source, self.regridder.target
        x, y = before.reshape(-1, source.num_cells).astype(float), after.reshape(-1, target.num_cells).astype(float)
        self.missing += int(np.isnan(x).sum())
        self.missing_after += int(np.isnan(y).sum())
        weights = [grid.area.ravel() / grid.num_cells for grid in (source, target)]
        back = self.inverse.on_array(y.reshape(-1, *target.shape)).reshape(x.shape)
        both = ~np.isnan(back - x)
        self.known += float((both * weights[0]).sum())
        self.lost += float((np.where(both, back - x, 0) ** 2 * weights[0]).sum())
        x0 = np.where(both, x, 0)
        self.mean += float((x0 * weights[0]).sum())
        self.square += float((x0**2 * weights[0]).sum())
        whole = ~np.isnan(x).any(1)
        if whole.any():
            change = np.abs(y[whole] @ weights[1] - x[whole] @ weights[0])
            self.conservation = max(self.conservation, float((change / (np.abs(x[whole]) @ weights[0] + 1e-300)).max()))

    @property
    def all(self) -> dict[str, Any]:
        """The figures, as :func:`regrid_store` has them."""
        known = max(self.known, 1e-300)
        std = max(self.square / known - (self.mean / known) ** 2, 0) ** 0.5
        lost = (self.lost / known) ** 0.5
        return {
            "round_trip": lost,
            "round_trip_share": lost / std if std else 0.0,
            "conservation": self.conservation,
            "missing": self.missing,
            "missing_after": self.missing_after,
        }
