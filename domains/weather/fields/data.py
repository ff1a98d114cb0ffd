"""Which fields on which grid at which times: what a configuration says, with what it leaves to the data filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from refine.domain import Domain
from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.fields import checks, sources
from refine.domains.weather.fields.calendar import DAILY, FORCINGS
from refine.domains.weather.fields.names import canonical
from refine.domains.weather.fields.pairs import Pairs
from refine.domains.weather.fields.whole import whole_times
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.regrid import Regridder
from refine.errors import RefineError, not_accepted, require, shown
from refine.progress import warn

if TYPE_CHECKING:
    import xarray as xr

SPLITS = ("train", "val", "test")
YEAR = 366 * 24  # hours
SHARES = (0.8, 0.9)  # where the splits end in time, if nothing else says so


class WeatherData(Domain):
    """Fields on the sphere, some hours apart: all that a forecaster and its scores ask of the weather domain.

    What a configuration leaves to the data (channels, grid) is looked up when the object is made and written into
    ``config``, so that a checkpoint knows what it was trained on where its training data is not at hand.

    Attributes:
        config: the options, complete.
        channels: names of the C fields.
        grid: that the fields are on, or are brought to.
        step: the time from one state to the next.
        forcings: names of the forcings (:func:`refine.domains.weather.fields.calendar.forcings`).
        statics: names of the fields that do not change.
        northward: the channels that change sign when the globe is mirrored at the equator.
        data_key: what the source of the fields is called in messages.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    data_key = "domain.data"
    config: WeatherConfig

    def __init__(self, config: WeatherConfig) -> None:
        config, self._opened = _complete(config)
        super().__init__(config)
        assert self.config.variables is not None and self.config.grid is not None
        self.channels: list[str] = self.config.variables
        self.grid = Grid.parse(self.config.grid)
        self.step = parse_step(self.config.step)
        self.forcings: tuple[str, ...] = FORCINGS if self.config.hourly else DAILY
        self.statics: list[str] = self.config.statics or []
        self.northward = [c for c in self.channels if c.startswith(("v_component", "10m_v_component"))]

    @cached_property
    def _all(self) -> xr.Dataset:
        """Every time of the data, on the grid of the configuration; lazily."""
        ds = self._opened
        if ds is None:
            ds = sources.open_fields(sources.locate(self.config.data, self.data_key), self.channels, self.data_key)
        found = Grid.of(ds)
        if found == self.grid:
            return ds
        return Regridder(found, self.grid).apply(ds)

    def fields(self, split: str | None = None) -> xr.Dataset:
        """The canonical dataset (``sources.open_fields``) of a split, or of all times.

        Raises:
            RefineError: no such split, or no times in it.
        """
        if split is None:
            return self._all
        if split not in SPLITS:
            raise not_accepted("split", split, SPLITS)
        chosen = _in_split(self._all, self.config, split)
        require(bool(chosen.any()), f"domain.{split}: none of the data's times is in it")
        return self._all.isel(time=np.flatnonzero(chosen))

    def whole(self, split: str) -> xr.Dataset:
        """:meth:`fields` of a split without the times of which a value is missing or cannot be; how many there are is
        said. All values are read for that, once.

        Raises:
            RefineError: no such split, no times in it, or none that is left.
        """
        if split not in self._whole:
            self._whole[split] = whole_times(self.fields(split), f"domain.{split}")
        return self._whole[split]

    @cached_property
    def _whole(self) -> dict[str, xr.Dataset]:
        return {}

    @classmethod
    def older(cls, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Before there was ``hourly``, the step alone decided."""
        step = options.get("step", WeatherConfig.step)
        return {"hourly": not _whole_days(parse_step(step)), **options} if isinstance(step, str) else options

    def static(self) -> xr.Dataset | None:
        """The fields named in ``statics``, on the grid; None where there are none."""
        if not self.statics:
            return None
        found = sources.open_static(self.config.static or self.config.data, self.grid)
        if missing := [name for name in self.statics if name not in found]:
            raise not_accepted("domain.statics", missing[0], found)
        return found[list(self.statics)]

    def dataset(self, split: str) -> Pairs:
        """States with their two predecessors."""
        if split not in self._pairs:
            self._pairs[split] = Pairs(self.whole(split), self.grid, self.step, self.forcings)
        return self._pairs[split]

    @cached_property
    def _pairs(self) -> dict[str, Pairs]:
        return {}

    def initial_times(self, split: str) -> NDArray[Any]:
        """(n,) times of a split that have a predecessor one step before, within the same run of the model."""
        ds = self.fields(split)
        return np.asarray(ds["time"].to_numpy()[checks.consecutive(ds, self.step)])

    @property
    def winds(self) -> list[tuple[int, int]]:
        """Pairs of channel numbers (eastward, northward)."""
        pairs = [(c, c.replace("u_component", "v_component")) for c in self.channels if "u_component" in c]
        return [(self.channels.index(u), self.channels.index(v)) for u, v in pairs if v in self.channels]

    @property
    def dimensions(self) -> int:
        return len(self.channels) * self.grid.num_cells


def parse_step(text: str) -> np.timedelta64:
    """``24h``, ``6h`` or ``1d`` as a time step.

    Raises:
        RefineError: anything else.
    """
    number, unit = text[:-1], text[-1:]
    hours = int(number) * {"h": 1, "d": 24}.get(unit, 0) if number.isdecimal() and len(number) < 9 else 0
    good = 0 < hours <= YEAR
    require(
        good, f"domain.step={shown(text)} is not accepted; accepted: hours or days, like 6h, 24h or 1d, up to a year"
    )
    return np.timedelta64(hours, "h")


def _whole_days(step: np.timedelta64) -> bool:
    return bool(step % np.timedelta64(24, "h") == np.timedelta64(0, "h"))


def _in_split(ds: xr.Dataset, config: WeatherConfig, split: str) -> NDArray[np.bool_]:
    """(T,) whether each time belongs to ``split``."""
    if any(getattr(config, s) is not None for s in SPLITS):
        period = getattr(config, split)
        right = isinstance(period, list) and len(period) == 2
        require(right, f"domain.{split}={period!r} is not accepted; accepted: [FIRST, LAST], two dates")
        index = ds.get_index("time")
        try:
            chosen = index.slice_indexer(*period)
        except (ValueError, TypeError, KeyError) as error:
            raise RefineError(f"domain.{split}={period!r} is not accepted; accepted: dates: {error}") from error
        inside = np.zeros(len(index), dtype=bool)
        inside[chosen] = True
        return inside
    if "split" in ds.coords:
        given = ds["split"].to_numpy()
        names: Sequence[Any] = SPLITS if given.dtype.kind == "U" else range(3) if given.dtype.kind in "biuf" else ()
        known = np.isin(given, names)
        accepted = "0, 1, 2 or train, val, test, unless domain.train, domain.val and domain.test are given"
        source = ds.attrs.get("source", "the data")
        require(bool(known.any()), f"{source}: split begins with {shown(str(given[0]))}; accepted: {accepted}")
        if not known.all():
            warn(f"{source}: {(~known).sum()} of {len(given)} times are in no split: theirs is none of {accepted}")
        return np.asarray(known & (given == names[SPLITS.index(split)]))
    place = np.arange(ds.sizes["time"]) / ds.sizes["time"]
    return np.asarray(np.digitize(place, SHARES) == SPLITS.index(split))


def _several_hours(ds: xr.Dataset, config: WeatherConfig) -> bool:
    """Whether what a model learns from has more than one hour of the day; all of the data where only other splits are
    said."""
    of_all = config.train is None and (config.val or config.test)
    times = ds["time"] if of_all else ds["time"][_in_split(ds, config, "train")]
    return len(np.unique(times.dt.hour)) > 1


def _complete(config: WeatherConfig) -> tuple[WeatherConfig, xr.Dataset | None]:
    """The configuration with what it leaves to the data filled in, and the data if they had to be opened for that."""
    require(config.variables != [], "domain.variables=[] is not accepted; accepted: one channel or more")
    if config.variables is not None:
        names = [canonical(v) for v in config.variables]
        twice = [v for v, name in zip(config.variables, names, strict=True) if names.count(name) > 1]
        require(not twice, f"domain.variables has {' and '.join(twice[:2])}, which are one channel")
        config = replace(config, variables=names)
    ds = None
    if config.hourly is None and not _whole_days(parse_step(config.step)):
        config = replace(config, hourly=True)
    if config.variables is None or config.grid is None or config.hourly is None:
        ds = sources.open_fields(sources.locate(config.data), config.variables)
        config = replace(config, variables=[str(c) for c in ds.data_vars], grid=config.grid or Grid.of(ds).name)
        if config.hourly is None:
            config = replace(config, hourly=_several_hours(ds, config))
    if config.statics is None:
        config = replace(config, statics=_statics(config))
    assert config.variables is not None and config.grid is not None
    grid = Grid.parse(config.grid)
    require(
        grid.kind != "healpix",
        f"domain.grid={config.grid!r} is not accepted: the mean forecast is made on latitudes and longitudes; "
        "accepted: gaussian:HxW or regular:HxW (scales of HEALPix cells: domain.pyramid=healpix)",
    )
    return config, ds


def _statics(config: WeatherConfig) -> list[str]:
    """The static fields that there are; a source that was named has to have some."""
    try:
        return [str(name) for name in sources.open_static(config.static or config.data).data_vars]
    except RefineError:
        if config.static is not None:
            raise
        return []
