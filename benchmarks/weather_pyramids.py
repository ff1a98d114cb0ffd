"""Pyramids, rounds and gains of the weather domain end to end: the same mean, the same training, other scales.

    python benchmarks/weather_pyramids.py RUN OUT

RUN is a run whose mean is trained (experiment=weather_starter stage=mean); OUT a folder for the runs of the variants,
which go on where they stopped. Needs REFINE_DATA. Prints and writes benchmarks/results/weather_pyramids.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from common import RESULTS, machine
from safetensors.torch import load_file

from refine.cli import configure
from refine.commands import train
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.scores import score_forecast
from refine.kinds import DOMAINS
from refine.models.model import Model
from refine.settings.compose import to_yaml
from refine.settings.config import SamplerConfig
from refine.storage.files import write_text

STEPS, MEMBERS, LEADS, EVERY = 120, 8, 3, 30
VARIANTS: dict[str, tuple[list[str], list[Any]]] = {
    "near-critical, closed": ([], ["auto", 1.0]),
    "near-critical, projected": (["model.pyramid.loop=projected"], ["auto", 1.0]),
    "redundant, closed": (["domain.points=gaussian"], ["auto", 1.0]),
    "near-critical, closed, 4 rounds": (["model.predictor.rounds=4"], ["auto", 1.0]),
    "HEALPix nested, closed": (["domain.pyramid=healpix"], ["auto", 1.0]),
    "one scale": (["domain.scales=[T35]"], ["auto"]),
    "base=persistence": (["model.base=persistence"], ["auto"]),
}


def trained(source: Path, run: Path, overrides: list[str]) -> None:
    """Codes of a variant on the mean of ``source``."""
    if not (run / "config.yaml").exists():
        config = configure("train", ["experiment=weather_starter", f"train.predictor.steps={STEPS}", *overrides])
        config.run = str(run)
        torch.manual_seed(0)
        model: Any = DOMAINS.load("weather")(config.domain).model(config.model)
        weights = {n: t for n, t in load_file(source / "model.safetensors").items() if n.startswith("mean.")}
        model.load_state_dict(weights, strict=False)
        model.info = {"mean": Model.from_pretrained(source).info["mean"]}
        model.save_pretrained(run)
        write_text(run / "config.yaml", to_yaml(config))
    train.run(configure("train", [f"run={run}"]))


def forecast(model: Any, sampler: SamplerConfig) -> xr.Dataset:
    """Ensembles from some days of the test year, in memory."""
    pairs = model.domain.dataset("test")
    chosen = pairs.__getitems__(list(range(0, len(pairs) - LEADS, EVERY)))
    times = pairs.times[: len(pairs) - LEADS : EVERY]
    before, now = (torch.stack([row[name] for row in chosen]) for name in ("before", "now"))
    parts = []
    for i in range(len(times)):
        leads = model.forecast(before[i : i + 1], now[i : i + 1], times[i : i + 1], range(MEMBERS), LEADS, 0, sampler)
        parts.append(torch.stack([x[0] for x in leads], 1))  # (M, leads, C, H, W)
    values = torch.stack(parts, 1).numpy()
    dims = ("number", "time", "prediction_timedelta", "latitude", "longitude")
    ds = xr.Dataset({name: (dims, values[:, :, :, c]) for c, name in enumerate(model.channels)})
    return ds.assign_coords(
        number=range(MEMBERS),
        time=times,
        prediction_timedelta=np.arange(1, LEADS + 1) * model.step.astype("timedelta64[ns]"),
        latitude=model.grid.latitude,
        longitude=model.grid.longitude,
    )


def scores(run: Path, sampler: SamplerConfig) -> dict[str, Any]:
    """CRPS and spread/skill of forecasts with a sampler, and their cost."""
    model: Any = Model.from_pretrained(run)
    begin = time.process_time()
    ds = forecast(model, sampler)
    spent = time.process_time() - begin
    climatology = Climatology.fit(model.domain.whole("train"), model.channels)
    found = score_forecast(ds, model.domain.fields(), climatology, parts=())
    steps = ds.sizes["number"] * ds.sizes["time"] * LEADS
    out: dict[str, Any] = {"cpu_seconds_a_member_step": round(spent / steps, 4), "leads": found["leads"]}
    for channel in ("geopotential_500", "temperature_850"):
        for name in ("crps", "spread_skill"):
            out[f"{name} {channel}"] = [round(v, 4) for v in found["variables"][channel][name]["value"]]
    return out


def main(source: Path, folder: Path) -> None:
    """See this module."""
    settings = {"steps": STEPS, "members": MEMBERS, "days between initial times": EVERY}
    results: dict[str, Any] = {"machine": machine(), **settings, "rows": {}}
    for name, (overrides, gains) in VARIANTS.items():
        run = folder / name.replace(", ", "-").replace(" ", "-").replace("=", "-")
        trained(source, run, overrides)
        model: Any = Model.from_pretrained(run)
        sites = [model.tokenizer.pyramid.num_sites(k) for k in range(model.num_levels)]
        for gain in gains:
            row = {"sites": sites} | scores(run, SamplerConfig(gain=gain))
            results["rows"][f"{name}, gain {gain}"] = row
            print(name, gain, row, flush=True)
            write_text(RESULTS / "weather_pyramids.json", json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
