"""The weather domain: which fields on which grid, what is known of them, and how their errors are taken apart."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from refine.domain import Domain, Symmetry
from refine.domains.weather.config import ForecasterConfig, WeatherConfig
from refine.domains.weather.fields import checks, sources
from refine.domains.weather.fields.calendar import DAILY, FORCINGS
from refine.domains.weather.fields.names import canonical
from refine.domains.weather.fields.pairs import Pairs
from refine.domains.weather.forecaster.codec import SphereCodec
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.resamplers import (
    HarmonicResampler,
    NestedResampler,
    SphereResampler,
    harmonic_names,
    nested_names,
    points_of,
)
from refine.errors import RefineError, not_accepted, require

if TYPE_CHECKING:
    import xarray as xr

    from refine.models.model import Model
    from refine.settings.config import Config as RunConfig

PYRAMIDS = ("harmonic", "healpix")
SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.9)  # where the splits end in time, if nothing else says so


class WeatherDomain(Domain):
    """Fields on the sphere, some hours apart.

    What a configuration leaves to the data (channels, grid) is looked up when the domain is made and written into
    ``config``, so that a checkpoint knows what it was trained on where its training data is not at hand.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    name = "weather"
    group = "rotations about the axis that map every scale to itself"
    Config = WeatherConfig
    ModelConfig = ForecasterConfig
    unconditional = False
    data_key = "domain.data"  # what the source of fields is called in messages
    config: WeatherConfig

    def __init__(self, config: WeatherConfig) -> None:
        super().__init__(_complete(config))
        assert self.config.variables is not None and self.config.grid is not None
        self.channels: list[str] = self.config.variables
        self.grid = Grid.parse(self.config.grid)
        self.step = parse_step(self.config.step)
        hours = self.step / np.timedelta64(1, "h")
        self.forcings: tuple[str, ...] = DAILY if hours % 24 == 0 else FORCINGS
        self.statics: list[str] = self.config.statics or []
        self.northward = [c for c in self.channels if c.startswith(("v_component", "10m_v_component"))]

    # -- data --------------------------------------------------------------------------------------------------------

    @cached_property
    def _all(self) -> xr.Dataset:
        """Every time of the data, on the grid of the configuration; lazily."""
        ds = sources.open_fields(sources.locate(self.config.data, self.data_key), self.channels, self.data_key)
        found = Grid.of(ds)
        if found == self.grid:
            return ds
        from refine.domains.weather.sphere.regrid import Regridder

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
        chosen = self._in_split(split)
        require(bool(chosen.any()), f"domain.{split}: none of the data's times is in it")
        return self._all.isel(time=np.flatnonzero(chosen))

    def _in_split(self, split: str) -> NDArray[np.bool_]:
        """(T,) whether each time belongs to ``split``."""
        ds, given = self._all, [getattr(self.config, s) for s in SPLITS]
        if any(g is not None for g in given):
            period = getattr(self.config, split)
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
            return np.asarray(ds["split"].to_numpy() == SPLITS.index(split))
        place = np.arange(ds.sizes["time"]) / ds.sizes["time"]
        return np.asarray(np.digitize(place, SHARES) == SPLITS.index(split))

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
            self._pairs[split] = Pairs(self.fields(split), self.grid, self.step, self.forcings)
        return self._pairs[split]

    @cached_property
    def _pairs(self) -> dict[str, Pairs]:
        return {}

    def initial_times(self, split: str) -> NDArray[Any]:
        """(n,) times of a split that have a predecessor one step before, within the same run of the model."""
        ds = self.fields(split)
        return np.asarray(ds["time"].to_numpy()[checks.consecutive(ds, self.step)])

    # -- scales ------------------------------------------------------------------------------------------------------

    @cached_property
    def truncation(self) -> int:
        """T: harmonics up to this degree are coded; the last scale's, or a little more than a quadratic grid holds."""
        scales = self.config.scales
        if self.config.pyramid == "harmonic" and scales:
            return parse_scale(scales[-1], "T")
        return min(round(0.365 * self.grid.shape[1]), self.grid.shape[0] - 1)

    @cached_property
    def scales(self) -> list[int]:
        """Truncations (harmonic) or nsides (healpix), coarsest first."""
        if self.config.pyramid not in PYRAMIDS:
            raise not_accepted("domain.pyramid", self.config.pyramid, PYRAMIDS)
        harmonic = self.config.pyramid == "harmonic"
        if self.config.scales is not None:
            return [parse_scale(s, "T" if harmonic else "H") for s in self.config.scales]
        if harmonic:  # bands of about equal width in degree
            return sorted({round(self.truncation * share) for share in (0.14, 0.37, 0.63, 1)})
        finest = int(np.ceil(np.log2(max(1, ((self.truncation + 1) ** 2 / 12) ** 0.5))))
        return [2**j for j in range(finest + 1)]

    def resampler(self) -> SphereResampler:
        if self.config.pyramid == "healpix":
            return NestedResampler(self.scales, self.grid, self.truncation)
        return HarmonicResampler(self.scales, self.config.points, self.config.oversample, self.grid)

    def resampler_names(self) -> list[str]:
        """Names of the sites of each scale."""
        if self.config.pyramid == "healpix":
            return nested_names(self.scales)
        return harmonic_names(self.scales, self.config.points, self.config.oversample)

    @property
    def winds(self) -> list[tuple[int, int]]:
        """Pairs of channel numbers (eastward, northward)."""
        pairs = [(c, c.replace("u_component", "v_component")) for c in self.channels if "u_component" in c]
        return [(self.channels.index(u), self.channels.index(v)) for u, v in pairs if v in self.channels]

    def codec(self) -> SphereCodec:
        return SphereCodec(len(self.channels), self.winds, self.grid, self.truncation, self.resampler_names()[-1])

    def scale_names(self) -> list[str]:
        """What the scales are called."""
        return [f"{'T' if self.config.pyramid == 'harmonic' else 'nside '}{s}" for s in self.scales]

    def symmetries(self) -> list[Symmetry]:
        """A quarter turn about the axis."""
        turned = []
        for points in self.resampler().points:
            back = points @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
            turned.append(torch.from_numpy((back @ points.T).argmax(1)))
        return [Symmetry("a quarter turn about the axis", turned)]

    # -- model -------------------------------------------------------------------------------------------------------

    def model(self, config: Any) -> Model:
        from refine.domains.weather.forecaster.forecaster import Forecaster

        return Forecaster(self, config)

    def describe(self, config: Any) -> dict[str, Any]:
        sites = [len(points_of(name)) for name in self.resampler_names()]
        q = config.quantizer
        books = f"{q.stages} x {q.size}" if q.stages > 1 else str(q.size)
        return {"scales": self.scale_names(), "sites": sites, "codes of a site": books, "channels": self.channels}

    @property
    def dimensions(self) -> int:
        return len(self.channels) * self.grid.num_cells

    def ensemble(self, model: Any, source: Path, config: RunConfig, folder: Path) -> list[Path]:
        """See :func:`refine.domains.weather.forecast.run_ensemble`."""
        from refine.domains.weather.forecast import run_ensemble

        return run_ensemble(model, source, config, folder)

    def verify(self, model: Any, source: Path, config: RunConfig, folder: Path) -> dict[str, Any]:
        """See :func:`refine.domains.weather.verify.verify`."""
        from refine.domains.weather.verify import verify

        return verify(model, source, config, folder)

    def plot_training(self, model: Any, folder: Path) -> list[Path]:
        """``refinement.png``: one step of one member, scale by scale."""
        from refine.domains.weather.pictures.strip import plot_strip

        return [plot_strip(model, folder / "refinement.png")] if "predictor" in model.info else []

    @classmethod
    def regrid(cls, source: str, out: Path, grid: str) -> dict[str, dict[str, Any]]:
        """See :func:`refine.domains.weather.regrid_command.regrid_store`."""
        from refine.domains.weather.regrid_command import regrid_store

        return regrid_store(source, out, grid)

    def starter(self) -> Path | None:
        path = Path(__file__).parent / "starter"
        return path if (path / "config.json").is_file() else None


def parse_scale(scale: Any, letter: str) -> int:
    """``T31``, ``H4`` or the number itself.

    Raises:
        RefineError: anything else.
    """
    text = str(scale).upper().removeprefix(letter)
    accepted = "T0, T1, ..." if letter == "T" else "nsides, powers of two"
    require(text.isdecimal(), f"domain.scales: {scale!r} is not accepted; accepted: {accepted}, coarsest first")
    return int(text)


def parse_step(text: str) -> np.timedelta64:
    """``24h``, ``6h`` or ``1d`` as a time step.

    Raises:
        RefineError: anything else.
    """
    number, unit = text[:-1], text[-1:]
    good = number.isdecimal() and int(number) > 0 and unit in ("h", "d")
    require(good, f"domain.step={text!r} is not accepted; accepted: hours or days, like 6h, 24h or 1d")
    return np.timedelta64(int(number) * (24 if unit == "d" else 1), "h")


def _complete(config: WeatherConfig) -> WeatherConfig:
    """The configuration with what it leaves to the data filled in; touches the data only where it has to."""
    require(config.variables != [], "domain.variables=[] is not accepted; accepted: one channel or more")
    if config.variables is not None:
        config = replace(config, variables=list(dict.fromkeys(canonical(v) for v in config.variables)))
    if config.variables is None or config.grid is None:
        ds = sources.open_fields(sources.locate(config.data), config.variables)
        config = replace(config, variables=[str(c) for c in ds.data_vars], grid=config.grid or Grid.of(ds).name)
    if config.statics is None:
        config = replace(config, statics=_statics(config))
    assert config.variables is not None and config.grid is not None
    grid = Grid.parse(config.grid)
    require(
        grid.kind != "healpix",
        f"domain.grid={config.grid!r} is not accepted: the mean forecast is made on latitudes and longitudes; "
        "accepted: gaussian:HxW or regular:HxW (scales of HEALPix cells: domain.pyramid=healpix)",
    )
    return config


def _statics(config: WeatherConfig) -> list[str]:
    """The static fields that there are; a source that was named has to have some."""
    try:
        return [str(name) for name in sources.open_static(config.static or config.data).data_vars]
    except RefineError:
        if config.static is not None:
            raise
        return []
