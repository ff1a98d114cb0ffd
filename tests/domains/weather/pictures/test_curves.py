from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refine.domains.weather.pictures.curves import score_pictures
from refine.domains.weather.pictures.report import report_evaluation
from refine.domains.weather.scores.evaluation import evaluate

from ..toy_climate import climate, exchangeable, forecast_of
from ..waves import picture


def scores(channels: int, leads: int, members: int, width: int = 16, low: bool = True) -> dict[str, Any]:
    """What scores look like, made up."""
    random = np.random.default_rng(0)

    def by_lead(start: float) -> dict[str, Any]:
        value = (start + 0.3 * np.arange(leads)).tolist()
        none = [None] * leads
        return {
            "value": value,
            "low": [v * 0.9 for v in value] if low else none,
            "high": [v * 1.1 for v in value] if low else none,
        }

    def one() -> dict[str, Any]:
        found: dict[str, Any] = {"units": "m2 s-2", "crps": by_lead(1), "rmse": by_lead(2), "spread": by_lead(1.5)}
        found["spread_skill"] = by_lead(0.8)
        power = {k: (random.uniform(1, 2, (leads, width))).tolist() for k in ("truth", "members", "mean")}
        found["spectra"] = {"wavenumber": list(range(width)), **power}
        if members > 1:
            found["ranks"] = random.uniform(0, 1, (leads, members + 1)).tolist()
        return found

    names = [f"temperature_{100 * (i + 1)}" for i in range(channels)]
    hours = [24.0 * (i + 1) for i in range(leads)]
    return {
        "members": members,
        "lead_hours": hours,
        "variables": {n: one() for n in names},
        "interval": {"level": 0.95},
    }


@pytest.mark.parametrize(("channels", "leads", "members"), [(1, 1, 1), (1, 10, 50), (5, 2, 4)])
def test_scores_of_any_number_of_channels_leads_and_members(
    tmp_path: Path, channels: int, leads: int, members: int
) -> None:
    ours = scores(channels, leads, members, low=leads > 1)
    ours["references"] = {"persistence": scores(1, leads, 1), "climatology": scores(channels, 2, 1)}
    ours["published"] = {
        "set": "ens13",
        "temperature_100": {"physics_ensemble_crps_fair": [None] + [0.1] * (leads - 1)},
    }
    paths = score_pictures(ours, tmp_path)
    names = ["crps", "spread_skill", *(["rank_histograms"] if members > 1 else []), "spectra"]
    assert [p.stem for p in paths] == names
    assert all(picture(p).std() > 5 for p in paths)


def test_scores_that_are_not_there_are_not_drawn(tmp_path: Path) -> None:
    ours = scores(2, 3, 4)
    for found in ours["variables"].values():
        del found["spectra"], found["ranks"], found["spread_skill"], found["spread"], found["rmse"]
    assert [p.stem for p in score_pictures(ours, tmp_path, {})] == ["crps"]


def test_an_evaluation_is_drawn_with_its_references(tmp_path: Path) -> None:
    truth = climate(400, "2004-01-01", seed=1)
    forecast = forecast_of(truth, [50, 120, 200, 270], (1, 2, 5), exchangeable(6))
    found = evaluate(forecast, truth, climate())
    names = ["crps.png", "spread_skill.png", "rank_histograms.png", "spectra.png"]
    report, *paths = report_evaluation(found, tmp_path)
    assert [path.name for path in paths] == names
    text = report.read_text(encoding="utf-8")
    assert text.count("<img") == 4 and text.count("<table") == 3 and "dressed persistence" in text
    alone = score_pictures(found, tmp_path / "alone", {})
    same = [(picture(a).shape == picture(b).shape) for a, b in zip(paths, alone, strict=True)]
    assert same == [False, False, True, True]  # the legend names the references
