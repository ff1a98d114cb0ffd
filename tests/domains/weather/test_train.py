"""``refine train domain=weather``, small: three stages, one checkpoint, and a forecast from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from refine.models.model import Model
from refine.settings.compose import compose
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics

from .made_up_fields import make_fields
from .tiny_forecaster import CHANNELS, GRID, first_states, make_world

TINY = [
    *("domain=weather", f"domain.variables=[{','.join(CHANNELS)}]", f"domain.grid={GRID.name}", "domain.statics=[]"),
    *("domain.scales=[T2,T4]", "model.mean.widths=[8,8]", "model.mean.blocks=1", "model.quantizer.size=4"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "train.fit_after=0"),
    *(f"train.{s}.{o}" for s in ("mean", "tokenizer", "predictor") for o in ("batch_size=4", "warmup=2")),
    *("train.mean.steps=30", "train.tokenizer.steps=6", "train.predictor.steps=20", "trainer.accelerator=cpu"),
    *("train.val_every=10", "train.save_every=10", "train.val_items=6"),
]


@pytest.fixture(scope="module")
def world(once: Any) -> Path:
    folder: Path = once("weather-world", lambda folder: make_world(folder / "fields.zarr"))
    return folder / "fields.zarr"


def train(world: Path, run: Path, *arguments: str) -> Path:
    """In this process; pictures are tested elsewhere."""
    from refine.learning import train as training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_pictures", lambda *_: None)
        return training.train(compose([*TINY, f"domain.data={world}", *arguments, f"run={run}"]))


@pytest.fixture(scope="module")
def finished(world: Path, once: Any) -> Path:
    run: Path = once("weather-finished", lambda run: train(world, run))
    return run


def test_every_stage_learns(finished: Path) -> None:
    rows = read_metrics(finished)
    for stage, figure in (("mean", "val_relative_mse"), ("predictor", "val_nll")):
        curve = [row[figure] for row in rows if row["stage"] == stage and figure in row]
        assert len(curve) >= 2 and curve[-1] < curve[0]
    assert any("usage_1" in row for row in rows) and any("val_nll_1" in row for row in rows)


def test_the_checkpoint_says_how_good_it_is(finished: Path) -> None:
    model: Any = Model.from_pretrained(finished)
    assert set(model.info) == {"mean", "error", "tokenizer", "predictor", "calibration"}
    assert model.info["error"]["val"]["relative_mse"] < 1.2
    assert len(model.info["calibration"]["temperature"]) == 2
    before, now, times = first_states(model.domain, 2)
    steps = list(model.forecast(before, now, times, range(4), 3))
    assert len(steps) == 3 and steps[0].shape == (2, 4, 3, *GRID.shape)
    assert all(torch.isfinite(s).all() for s in steps)


def test_stage_by_stage_is_all_at_once(world: Path, finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for stage in ("mean", "tokenizer", "predictor"):
        train(world, run, f"stage={stage}")
    (one, tensors), (other, others) = load_checkpoint(run), load_checkpoint(finished)
    assert [n for n in others if not torch.equal(tensors[n], others[n])] == []
    assert one["info"] == other["info"]


def test_stages_leave_one_another_alone(world: Path, finished: Path, tmp_path: Path) -> None:
    run = train(world, tmp_path / "run", "stage=mean")
    before, after = load_checkpoint(run)[1], load_checkpoint(finished)[1]
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("mean."))
    assert bool(before["mean.fitted"]) and not bool(before["tokenizer.quantizer.fitted"])
    assert bool(after["tokenizer.quantizer.fitted"])


@pytest.mark.parametrize(
    "options",
    [
        ["domain.pyramid=healpix", "domain.scales=[1,2,4]", "trainer.precision=bf16-mixed"],
        ["model.base=persistence", "model.predictor.rounds=2", "model.quantizer.groups=[[0],[1,2]]"],
        ["model.pyramid.loop=closed", "domain.points=gaussian", "train.predictor.optimizer=muon"],
    ],
    ids=["healpix", "persistence", "closed"],
)
def test_other_ways_train_too(options: list[str], world: Path, tmp_path: Path) -> None:
    short = ["train.mean.steps=2", "train.tokenizer.steps=2", "train.predictor.steps=2"]
    model: Any = Model.from_pretrained(train(world, tmp_path / "run", *options, *short))
    before, now, times = first_states(model.domain, 1)
    assert torch.isfinite(next(model.forecast(before, now, times, range(3), 1))).all()


def test_a_store_of_levels_and_surface_fields_trains(tmp_path: Path) -> None:
    """As WeatherBench2 publishes them: one variable on levels, others without, longitude before latitude."""
    ds = make_fields(60)[["geopotential", "2m_temperature"]].transpose("time", "level", "longitude", "latitude")
    ds.to_zarr(tmp_path / "wb2.zarr", zarr_format=2, consolidated=False)
    keys = ["domain.variables=null", "stage=mean", "train.mean.steps=2", "train.val_every=2", "train.save_every=2"]
    model: Any = Model.from_pretrained(train(tmp_path / "wb2.zarr", tmp_path / "run", *keys))
    assert model.channels == ["2m_temperature", "geopotential_500", "geopotential_850"]
    centre = model.mean.centre[:, 0, 0].tolist()
    assert centre == pytest.approx([285, 55e3, 14e3], rel=0.01)
