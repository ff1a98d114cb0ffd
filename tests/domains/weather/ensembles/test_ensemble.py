"""Jobs: what a configuration asks for, the parts it is cut into, and the streams of the toy."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from refine.commands.ensemble import EnsembleConfig
from refine.domains.weather.ensembles.ensemble import Job, initial_states, job_of
from refine.domains.weather.ensembles.initial_times import hours
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.settings.config import SamplerConfig

from ..toy_forecaster import ToyForecaster, toy_fields

JOB = Job(starts=(1, 3, 4), members=5, steps=4, seed=3, sampler=SamplerConfig(), rows=2)


@pytest.mark.parametrize("rows", range(1, 17))
def test_parts_cover_everything_once(rows: int) -> None:
    job = replace(JOB, rows=rows)
    seen = np.zeros((3, 5), dtype=int)
    for part in job.parts:
        seen[part.first_time : part.stop_time, part.first_member : part.stop_member] += 1
        size = (part.stop_time - part.first_time) * (part.stop_member - part.first_member)
        assert size <= rows and part.first_member % job.member_chunk == 0
    assert (seen == 1).all() and len({part.name for part in job.parts}) == len(job.parts)


def test_memory_is_bounded_by_the_rows() -> None:
    job = replace(JOB, members=50, rows=10, steps=40)
    assert job.lead_chunk(9, 48 * 96) == 40  # one chunk of 66 MB would be all leads
    assert replace(job, steps=41).lead_chunk(9, 48 * 96) == 21  # two of even size
    assert job.lead_chunk(80, 721 * 1440) == 1
    assert replace(job, members=5000).lead_chunk(9, 48 * 96) == 40


def job(**options: Any) -> Job:
    fields = toy_fields()
    model = ToyForecaster(Grid.of(fields))
    return job_of(EnsembleConfig(**options), SamplerConfig(), 5, model, fields, fields["time"].values[6:])


def test_from_a_configuration() -> None:
    default = job(lead="3d")
    assert default.starts == (8,) and default.members == 10 and default.steps == 3 and default.seed == 5
    assert job(lead="72h", start=["2021-01-03", "2021-01-05"], members=4).starts == (2, 4)
    assert job(lead="1d", start="all").starts == (6, 7, 8, 9, 10)
    model = ToyForecaster(Grid.parse("gaussian:4x8"))
    assert hours(model.step) == 24


def starts(fields: Any, candidates: slice = slice(6, None), **options: Any) -> tuple[int, ...]:
    model = ToyForecaster(Grid.of(fields))
    times = fields["time"].values[candidates]
    return job_of(EnsembleConfig(**options), SamplerConfig(), 5, model, fields, times).starts


def test_initial_times_that_are_not_whole_are_left_out_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    fields = toy_fields().load()
    fields["temperature_850"][7, 1, 2] = np.nan
    fields["2m_temperature"][10] = 1e20
    assert starts(fields, lead="1d", start="all") == (6, 9)  # 7 and 10 themselves, 8 and 11 start from them too
    text = "3 of 5 initial times are left out: temperature_850 misses 1 values, the first at time 2021-01-08T00:00:00"
    assert f"{text}, latitude" in capsys.readouterr().err
    assert starts(fields, lead="1d", start=["2021-01-09", "2021-01-10"]) == (9,)
    assert starts(fields, lead="1d") == (9,)  # the last that can be verified is 10
    assert starts(toy_fields(), lead="1d") == (10,)


def test_none_of_the_initial_times_is_whole() -> None:
    fields = toy_fields().load()
    fields["temperature_850"][:, 1, 2] = np.nan
    for options in ({}, {"start": "all"}, {"start": "2021-01-09"}):
        with pytest.raises(
            RefineError, match=r"initial time 2021-01.*, or the fields one step before: temperature_850: "
        ):
            starts(fields, lead="1d", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "ensemble.members=0 is not accepted; accepted: 1 or more"),
        ({"batch_size": -1}, "ensemble.batch_size=-1"),
        ({"lead": "30h"}, "ensemble.lead='30h'"),
        ({"start": "2021-01-01"}, "2020-12-31T00:00 is missing"),
        ({"start": "2022-01-01"}, "from 2021-01-02T00:00 to 2021-01-12T00:00"),
    ],
)
def test_what_is_not_accepted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefineError, match=re.escape(message)):
        job(**options)


def test_the_toy_has_streams_of_its_own() -> None:
    fields = toy_fields()
    model = ToyForecaster(Grid.of(fields))
    before, now = initial_states(fields, model, [4])
    times = fields["time"].values[[4]]
    alone = [x[0, 0] for x in model.forecast(before, now, times, [7], 3, 0, None)]
    among = [x[0, 7] for x in model.forecast(before, now, times, range(10), 3, 0, None)]
    assert all(torch.equal(a, b) for a, b in zip(alone, among, strict=True))
