"""A real week of ERA5 goes through everything: read, regrid, tokenise, forecast, score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from refine.cli import main
from refine.domains.weather.fields import sources
from refine.errors import RefineError
from refine.models.model import Model


def available() -> bool:
    """Whether the week is in REFINE_DATA."""
    try:
        return Path(sources.locate("era5_week")).exists()
    except RefineError:
        return False


pytestmark = pytest.mark.skipif(not available(), reason="needs weather/era5_week.zarr in REFINE_DATA")

RUN = [
    *("domain=weather", "data=era5_week", "grid=gaussian:16x32", "step=7h", "domain.scales=[T2,T5]"),
    "variables=[10m_u_component_of_wind,10m_v_component_of_wind,2m_temperature,mean_sea_level_pressure]",
    *("domain.train=[2026-03-25,2026-03-27]", "domain.val=[2026-03-28T08,2026-03-29T13]"),
    *("domain.test=[2026-03-29T20,2026-03-31]", "model.mean.widths=[16,16]", "model.mean.blocks=1"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "model.quantizer.size=4"),
    *("train.mean.steps=4", "train.tokenizer.steps=2", "train.predictor.steps=3", "train.mean.batch_size=4"),
    *("train.fit_items=8", "train.val_every=4", "trainer.accelerator=cpu", "trainer.precision=32-true"),
]


def refine(*arguments: str) -> None:
    """One command."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    assert stop.value.code == 0


def test_a_real_week_goes_through_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Irregular times make ten pairs of steps of seven hours, on a grid of another kind, with winds at the surface."""
    monkeypatch.chdir(tmp_path)
    refine("train", *RUN, "run=run")
    model = Model.from_pretrained("run")
    assert model.domain.config.grid == "gaussian:16x32"  # type: ignore[attr-defined]
    assert np.isfinite(model.info["calibration"]["temperature"]).all()
    refine("evaluate", "run=run", "--members", "3", "--lead", "7h", "--start", "all", "evaluate.items=2")
    found = json.loads(Path("run/evaluate-test.json").read_text())
    scores = [value for name, value in found.items() if name.startswith("crps ")]
    assert len(scores) == 4 and all(0 < s < 5000 for s in scores)
    assert all(0 <= floor < 2 for floor in found["floors"].values())
    assert Path(found["report"]).is_file()
