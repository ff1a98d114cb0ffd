"""States with their two predecessors: what forecasts are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from refine.domains.weather.fields import checks
from refine.domains.weather.fields.calendar import forcings
from refine.domains.weather.sphere.grids import Grid
from refine.errors import require

if TYPE_CHECKING:
    import xarray as xr

IN_MEMORY = 4 * 2**30  # bytes of fields that are read once and kept; more are read batch by batch


class Pairs(Dataset[dict[str, Tensor]]):
    """Items ``before``, ``now`` and ``after``, (C, H, W) each in physical units and one step apart, and ``forcing``
    (F, H, W) at the time of ``now``.

    Args:
        fields: the canonical dataset of a split.
        grid: its grid.
        step: from one state to the next.
        forcing: names of the forcings (:mod:`refine.domains.weather.fields.calendar`).

    Raises:
        RefineError: no state has two predecessors.
    """

    def __init__(self, fields: xr.Dataset, grid: Grid, step: np.timedelta64, forcing: Sequence[str]) -> None:
        self.fields, self.grid, self.step, self.forcing = fields, grid, step, tuple(forcing)
        previous = checks.predecessors(fields, step)
        now = previous
        before = np.where(now >= 0, previous[now], -1)
        after = np.flatnonzero(before >= 0)
        self.index = np.stack([before[after], now[after], after], 1)
        require(
            len(after) > 0,
            f"domain.step={step}: none of the {len(previous)} times has two predecessors, one and two steps before",
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def times(self) -> NDArray[Any]:
        """(n,) initial times: those of ``now``."""
        return np.asarray(self.fields["time"].to_numpy()[self.index[:, 1]])

    @cached_property
    def _values(self) -> NDArray[np.float32] | None:
        """(T, C, H, W) float32 if that is little enough to keep."""
        return self._read(np.arange(self.fields.sizes["time"])) if self.fields.nbytes <= IN_MEMORY else None

    def _read(self, index: NDArray[Any]) -> NDArray[np.float32]:
        loaded = checks.load(self.fields.isel(time=index), str(self.fields.attrs.get("source", "the data")))
        for channel in loaded.data_vars:
            checks.values(loaded[channel], str(self.fields.attrs.get("source", "the data")))
        return np.stack([loaded[c].to_numpy() for c in loaded.data_vars], 1)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, Tensor]]:
        rows = self.index[indices]
        if self._values is not None:
            states = torch.from_numpy(self._values[rows])
        else:
            places, inverse = np.unique(rows, return_inverse=True)
            states = torch.from_numpy(self._read(places)[inverse.reshape(rows.shape)])
        forcing = torch.from_numpy(forcings(self.fields["time"].to_numpy()[rows[:, 1]], self.grid, self.forcing)[0])
        return [
            {"before": s[0], "now": s[1], "after": s[2], "forcing": f} for s, f in zip(states, forcing, strict=True)
        ]
