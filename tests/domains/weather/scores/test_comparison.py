"""Which differences of two forecasts are called significant."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from refine.domains.weather.pictures.tables import tables
from refine.domains.weather.scores.bootstrap import FEWEST
from refine.domains.weather.scores.comparison import compare

LEADS = ["1d", "2d"]


def result_of(crps: np.ndarray) -> dict[str, Any]:
    """As ``score_forecast`` gives it, of a CRPS (T, L) of one channel."""
    times = [f"2021-01-{day:02}T00:00" for day in range(1, len(crps) + 1)]
    kept = {"crps": {"t850": crps.tolist()}, "mse": {}, "energy": {}}
    return {"leads": LEADS, "initial_times": times, "by_time": kept}


@pytest.mark.parametrize("times", range(1, FEWEST + 2))
def test_a_few_initial_times_say_nothing(times: int) -> None:
    """However clear the difference looks: of two or three times, that all of them agree happens by chance."""
    rng = np.random.default_rng(0)
    ours, theirs = rng.uniform(0.9, 1.1, (times, 2)), rng.uniform(1.9, 2.1, (times, 2))
    found = compare(result_of(ours), result_of(theirs))["variables"]["t850"]["crps"]
    assert found["significant"] == [times >= FEWEST] * 2
    np.testing.assert_allclose(found["value"], (ours - theirs).mean(0), rtol=1e-5)


def test_times_are_counted_by_lead() -> None:
    ours, theirs = np.full((FEWEST, 2), 1.0), np.full((FEWEST, 2), 2.0)
    ours[0, 1] = np.nan  # no truth there
    found = compare(result_of(ours), result_of(theirs))["variables"]["t850"]["crps"]
    assert found["significant"] == [True, False]


def test_false_alarms_are_rare() -> None:
    """Two forecasts as good as each other: no more than about one in ten is called different (nominal: in twenty)."""
    rng = np.random.default_rng(1)
    both = [np.stack([rng.gamma(4.0, size=FEWEST) for _ in range(2)], 1) for _ in range(200)]
    stars = [compare(result_of(x), result_of(x[:, ::-1]))["variables"]["t850"]["crps"]["significant"] for x in both]
    assert 0.01 < np.mean(stars) < 0.2


@pytest.mark.parametrize(("times", "said"), [(FEWEST - 1, "too few to call"), (FEWEST, "* this forecast differs")])
def test_the_table_says_so(times: int, said: str) -> None:
    ours, theirs = np.full((times, 2), 1.0), np.full((times, 2), 2.0)
    result = result_of(ours)
    score = {"value": [1.0, 1.0], "low": [0.9, 0.9], "high": [1.1, 1.1]}
    scores = {name: score for name in ("crps", "rmse", "spread", "spread_skill", "acc", "energy")}
    result |= {"members": 5, "variables": {"t850": {"units": "K", **scores}}, "joint": {}}
    result["references"] = {"climatology": {"variables": {"t850": scores}}}
    result["against"] = {"climatology": compare(result_of(ours), result_of(theirs))}
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(*tables(result))
    text = console.export_text()
    assert said in text and f"{times} initial times" in text
    row = next(line for line in text.splitlines() if "climatology" in line and "crps" in line)
    assert ("1 *" in row) == (times >= FEWEST)
