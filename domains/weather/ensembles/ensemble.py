"""Ensembles: which members of which initial times are forecast together, and how such a part is forecast.

The work is cut into *parts*: some members of one or more initial times, all leads. A part is forecast lead by lead and
written chunk by chunk, so that memory depends on the size of a part alone. What is in a part depends on the plan, not
on who works or what was done before: a run that went on, or one on a cluster, forecasts the very same parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from refine.commands.ensemble import EnsembleConfig
from refine.domains.weather.ensembles import store
from refine.domains.weather.ensembles.initial_times import Timeline, hours, lead_steps
from refine.domains.weather.ensembles.unfinished import MODEL, RUN
from refine.domains.weather.fields import checks
from refine.domains.weather.fields.whole import looked_at, reason
from refine.domains.weather.sphere.grids import Grid
from refine.errors import require
from refine.progress import console, warn
from refine.settings.config import SamplerConfig

if TYPE_CHECKING:
    import xarray as xr

BUFFER = 64 * 2**20  # bytes of fields that wait to be written together, where one lead of a part has less


class Forecaster(Protocol):
    """What can make ensembles."""

    grid: Grid
    channels: list[str]
    step: np.timedelta64

    @property
    def device(self) -> torch.device:
        """Where it wants its input."""

    def forecast(
        self,
        before: Tensor,
        now: Tensor,
        times: Any,
        members: Sequence[int],
        steps: int,
        seed: int,
        sampler: SamplerConfig | None,
    ) -> Iterator[Tensor]:
        """Fields (T, M, C, *grid) of lead 1, 2, ..., ``steps``, from two states (T, C, *grid) each, in physical units.

        Member m depends on (seed, initial time, m), not on what else is asked for.
        """


class Loader(Protocol):
    """How another process gets the forecaster and the fields it starts from; small, hashable, and it can be pickled."""

    def __hash__(self) -> int: ...

    @property
    def folder(self) -> str:
        """Where the forecaster is."""

    @property
    def fingerprint(self) -> str:
        """Changes with the forecaster's numbers."""

    def load(self) -> tuple[Forecaster, xr.Dataset]:
        """The forecaster and a canonical dataset on its grid."""


@dataclass(frozen=True)
class Part:
    """Initial times ``first_time`` to ``stop_time`` - 1 and members ``first_member`` to ``stop_member`` - 1."""

    first_time: int
    stop_time: int
    first_member: int
    stop_member: int

    @property
    def name(self) -> str:
        """As it stands in the record."""
        times, members = (self.first_time, self.stop_time), (self.first_member, self.stop_member)
        return f"times {times[0]}-{times[1] - 1} members {members[0]}-{members[1] - 1}"


@dataclass(frozen=True)
class Job:
    """What is to be forecast; all that has to be known beside the forecaster and the fields.

    Attributes:
        starts: indices of the initial times in the fields.
        members: M in all.
        steps: of the roll-out.
        seed: of all noise.
        sampler: what to do with logits.
        rows: members times initial times that are forecast together.
    """

    starts: tuple[int, ...]
    members: int
    steps: int
    seed: int
    sampler: SamplerConfig
    rows: int

    @property
    def member_chunk(self) -> int:
        """Members in a part: as even as ``rows`` allows."""
        return -(-self.members // -(-self.members // self.rows))

    @property
    def parts(self) -> list[Part]:
        """All the work, one initial time after another."""
        together = max(1, self.rows // self.members)
        times = [(t, min(t + together, len(self.starts))) for t in range(0, len(self.starts), together)]
        members = [(m, min(m + self.member_chunk, self.members)) for m in range(0, self.members, self.member_chunk)]
        return [Part(*t, *m) for t, m in product(times, members)]

    def lead_chunk(self, channels: int, cells: int) -> int:
        """Leads in a chunk: all of them, or as many as the buffer holds."""
        fit = max(1, BUFFER // (4 * self.rows * channels * cells))
        return -(-self.steps // -(-self.steps // fit))


def initial_states(fields: xr.Dataset, model: Forecaster, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The states one step before and at these times: two tensors (T, C, *grid), in physical units.

    Raises:
        RefineError: unreadable, or values are missing, not finite, or cannot be in their units.
    """
    import dask

    timeline = timeline_of(fields, model.step)
    before = [timeline.at(i, -1) for i in indices]
    assert None not in before
    with dask.config.set(scheduler="synchronous"):
        both = checks.load(fields[model.channels].isel(time=[*before, *indices]), str(fields.attrs.get("source", "")))
    first, last = timeline.stamps[indices[0]], timeline.stamps[indices[-1]]
    where = f"initial time {first}" if first == last else f"initial times {first} to {last}"
    for channel in model.channels:
        checks.values(both[channel], f"{where}, or the fields one step before")
    x = torch.from_numpy(np.stack([both[c].values for c in model.channels], 1)).to(model.device)
    return x[: len(indices)], x[len(indices) :]


def whole_starts(fields: xr.Dataset, model: Forecaster, indices: Sequence[int], most: int | None = None) -> list[int]:
    """Those of some initial times whose two states are whole; how many are left out is said. Both states are read.

    Args:
        fields: canonical dataset.
        model: the forecaster.
        indices: of the initial times, in the order in which they are looked at.
        most: how many are wanted; all by default.

    Raises:
        RefineError: none is left, or the fields cannot be read.
    """
    timeline, kept, why, seen = timeline_of(fields, model.step), list[int](), "", 0
    for first in range(0, len(indices), most or len(indices)):
        some = indices[first : first + (most or len(indices))]
        seen += len(some)
        states = sorted({place for i in some for place in (i, timeline.at(i, -1)) if place is not None})
        good, found = looked_at(fields[model.channels].isel(time=states))
        whole = {place for place, is_whole in zip(states, good, strict=True) if is_whole}
        kept += [i for i in some if {i, timeline.at(i, -1)} <= whole]
        why = why or (reason(found) if found else "")
        if len(kept) >= (most or 1):
            break
    if not kept:
        initial_states(fields, model, indices[:1])  # which says why
    if len(kept) < seen:
        source = fields.attrs.get("source", "the data")
        warn(f"{seen - len(kept)} of {seen} initial times are left out: {why} ({source})")
    return kept


def timeline_of(fields: xr.Dataset, step: np.timedelta64) -> Timeline:
    """The times of a canonical dataset; runs apart where it has the coordinate ``branch``."""
    return Timeline(fields["time"].values, step, fields["branch"].values if "branch" in fields.coords else None)


def forecast_part(path: Path, job: Job, part: Part, model: Forecaster, fields: xr.Dataset) -> Iterator[int]:
    """Forecast a part and write it; each lead is told when it is done, and the last one when all is on disk."""
    indices = job.starts[part.first_time : part.stop_time]
    before, now = initial_states(fields, model, indices)
    members = range(part.first_member, part.stop_member)
    size = job.lead_chunk(len(model.channels), int(np.prod(model.grid.shape)))
    finite = True
    waiting: list[np.ndarray[Any, np.dtype[np.float32]]] = []
    times = fields["time"].values[list(indices)]
    leads = model.forecast(before, now, times, members, job.steps, job.seed, job.sampler)
    for lead, fields_TMC in enumerate(leads):
        waiting.append(fields_TMC.float().cpu().numpy().swapaxes(0, 1))
        if finite and not np.isfinite(waiting[-1]).all():
            finite = False
            text = f"warning: the forecast of {part.name} is not finite from {(lead + 1) * hours(model.step)} h on"
            console.print(text, soft_wrap=True)
        if len(waiting) == size or lead == job.steps - 1:
            corner = (part.first_member, part.first_time, lead + 1 - len(waiting))
            store.write(path, model.channels, np.stack(waiting, 2), corner)
            waiting.clear()
        yield lead


def plan_of(job: Job, model: Forecaster, fields: xr.Dataset, loader: Loader) -> dict[str, Any]:
    """All that the numbers in a store and their places depend on, as plain data under the names of the keys; and the
    folder of the model, for messages."""
    timeline = timeline_of(fields, model.step)
    return {
        RUN: loader.folder,
        MODEL: loader.fingerprint,
        "data": str(fields.attrs.get("source", "")),
        "channels": list(model.channels),
        "grid": model.grid.name,
        "ensemble.start": [timeline.stamps[i] for i in job.starts],
        "ensemble.members": job.members,
        "ensemble.lead": f"{job.steps * hours(model.step)}h",
        "ensemble.batch_size": job.rows,
        "seed": job.seed,
        **{f"sampler.{name}": value for name, value in asdict(job.sampler).items()},
    }


def job_of(
    config: EnsembleConfig, sampler: SamplerConfig, seed: int, model: Forecaster, fields: xr.Dataset, candidates: Any
) -> Job:
    """What a configuration asks for.

    Args:
        config: the section ``ensemble``.
        sampler: the section ``sampler``.
        seed: of all noise.
        model: the forecaster.
        fields: what it starts from.
        candidates: the times of ``ensemble.split``.

    Raises:
        RefineError: a value that is not accepted, or no initial time of which the states are whole.
    """
    for name in ("members", "batch_size"):
        value = getattr(config, name)
        require(value > 0, f"ensemble.{name}={value} is not accepted; accepted: 1 or more")
    steps = lead_steps(config.lead, model.step)
    timeline = timeline_of(fields, model.step)
    if config.start is None:  # the last that is whole
        starts = whole_starts(fields, model, timeline.preferred(steps, candidates), 1)
    else:
        starts = whole_starts(fields, model, timeline.choose(config.start, steps, candidates))
    return Job(tuple(starts), config.members, steps, seed, sampler, config.batch_size)
