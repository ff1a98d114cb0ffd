"""What ships: a forecaster of at most 4 MB that forecasts at once, without any data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import refine
from refine.cli import main
from refine.domains.weather.ensembles.store import open_forecast


def test_it_is_small() -> None:
    assert sum(f.stat().st_size for f in refine.starter("weather").iterdir()) <= 4e6


def test_it_forecasts_on_a_bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cut that ships is where it starts from; a day ahead it errs by less than half of what persistence does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFINE_DATA", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["ensemble", "domain=weather", "--members", "4", "--lead", "1d", "--out", "f.zarr"])
    assert end.value.code == 0
    forecast = open_forecast("f.zarr").load()
    assert dict(forecast.sizes) | {"number": 4, "prediction_timedelta": 1} == dict(forecast.sizes)
    fields = refine.load_domain("weather").fields("test")  # type: ignore[attr-defined]
    for channel, field in forecast.data_vars.items():
        now, after = (fields[channel].sel(time=t).values for t in (forecast["time"][0], forecast["valid_time"][0, 0]))
        error, change = (np.square(x - after).mean() ** 0.5 for x in (field.mean("number").values[0, 0], now))
        assert error < 0.5 * change, channel
        assert 0.03 * change < float(field.std("number").mean()) < 0.5 * change, channel
    assert (tmp_path / "f" / "report.html").is_file()
