from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from refine.domains.weather.curves import score_pictures
from refine.domains.weather.evaluation import evaluate
from refine.domains.weather.tables import score_tables

from .toy_climate import climate, exchangeable, forecast_of


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """A calibrated forecast of a made-up world, scored beside its references."""
    truth = climate(400, "2004-01-01", seed=1)
    forecast = forecast_of(truth, [50, 120, 200, 270], (1, 2, 5), exchangeable(6))
    return evaluate(forecast, truth, climate(), floors={"geopotential_500": 0.031})


def test_tables_say_what_the_scores_are(found: dict[str, Any]) -> None:
    tables = score_tables(found)
    crps, rmse, energy, spread, *_ = tables.values()
    heights = [row for row in crps if row["variable"].startswith("500 hPa geopotential")]
    assert [row["forecast"] for row in heights] == ["this one", *found["references"]]
    assert heights[0]["quantisation floor"] == "3.1%" and "quantisation floor" not in heights[1]
    score = found["variables"]["geopotential_500"]["crps"]
    for lead, day in ((0, "day 1"), (2, "day 5")):
        value, low, high = (f"{score[key][lead]:.3g}" for key in ("value", "low", "high"))
        assert heights[0][day] == f"{value} ({low} to {high})"
    for name, row in zip(found["references"], heights[1:], strict=True):
        sure = found["against"][name]["variables"]["geopotential_500"]["crps"]["significant"][0]
        value = found["references"][name]["variables"]["geopotential_500"]["crps"]["value"][0]
        assert row["day 1"] == f"{value:.3g}" + "*" * sure
    assert list(heights[0]) == ["variable", "forecast", "day 1", "day 2", "day 5", "quantisation floor"]
    assert len(rmse) == len(crps) and len(energy) == 1 + len(found["references"]) and len(spread) == 2
    assert len(tables) == 6 and all(re.match(r"[\d.]+", row["day 1"]) for rows in tables.values() for row in rows)


def test_what_is_scored_is_drawn(found: dict[str, Any], tmp_path: Path) -> None:
    names = [path.name for path in score_pictures(found, tmp_path)]
    assert names == ["crps.png", "spread_skill.png", "rank_histograms.png", "spectra.png"]


def test_what_was_not_scored_has_no_table(found: dict[str, Any]) -> None:
    lean = {"lead_hours": found["lead_hours"], "variables": {"made_up": {"crps": {"value": [1.0, None, 3.0]}}}}
    assert score_tables(lean) == {
        "Fair CRPS": [
            {"variable": "Made up (unit of the data)", "forecast": "this one", "day 1": "1", "day 2": "", "day 5": "3"}
        ]
    }
