"""Pyramids, rounds and gains of the weather domain end to end: the same mean, the same training, other scales.

    python benchmarks/weather_pyramids.py RUN OUT

RUN is a run whose mean is trained (experiment=weather_starter stage=mean); OUT a folder for the runs of the variants,
which go on where they stopped. Needs REFINE_DATA. Prints and writes benchmarks/results/weather_pyramids.json.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from safetensors.torch import load_file

from refine.cli import configure
from refine.commands import ensemble, train
from refine.compose import to_yaml
from refine.domains.weather.climatology import Climatology
from refine.domains.weather.scores import score_forecast
from refine.domains.weather.store import open_forecast
from refine.files import write_text
from refine.model import Model
from refine.registry import load_domain_class

STEPS, MEMBERS, LEAD, STARTS = 250, 10, "3d", "every:30d"
VARIANTS: dict[str, tuple[list[str], list[list[str]]]] = {
    "near-critical, projected": ([], [["gain=auto"], ["gain=1"]]),
    "near-critical, closed": (["model.pyramid.loop=closed"], [["gain=auto"], ["gain=1"]]),
    "redundant, closed": (["model.pyramid.loop=closed", "points=gaussian"], [["gain=auto"], ["gain=1"]]),
    "near-critical, projected, 4 rounds": (["model.predictor.rounds=4"], [["gain=1"]]),
    "HEALPix nested, projected": (["domain.pyramid=healpix"], [["gain=auto"], ["gain=1"]]),
    "one scale": (["domain.scales=[T35]"], [["gain=auto"]]),
    "base=persistence": (["model.base=persistence"], [["gain=auto"]]),
}


def trained(source: Path, run: Path, overrides: list[str]) -> None:
    """Codes of a variant on the mean of ``source``."""
    if not (run / "config.yaml").exists():
        config = configure("train", ["experiment=weather_starter", f"train.predictor.steps={STEPS}", *overrides])
        config.run = str(run)
        torch.manual_seed(0)
        model: Any = load_domain_class("weather")(config.domain).model(config.model)
        weights = {n: t for n, t in load_file(source / "model.safetensors").items() if n.startswith("mean.")}
        model.load_state_dict(weights, strict=False)
        model.info = {"mean": Model.from_pretrained(source).info["mean"]}
        model.save_pretrained(run)
        write_text(run / "config.yaml", to_yaml(config))
    train.run(configure("train", [f"run={run}"]))


def scores(run: Path, sampler: list[str]) -> dict[str, Any]:
    """CRPS and spread/skill of forecasts with a sampler, and their cost."""
    store = run / f"forecast-{'-'.join(sampler)}.zarr"
    shutil.rmtree(store, ignore_errors=True)
    options = [f"run={run}", f"members={MEMBERS}", f"lead={LEAD}", f"start={STARTS}", f"ensemble.out={store}", *sampler]
    begin = time.process_time()
    ensemble.run(configure("ensemble", options))
    spent = time.process_time() - begin
    model: Any = Model.from_pretrained(run)
    forecast = open_forecast(store)
    climatology = Climatology.fit(model.domain.fields("train"), model.channels)
    found = score_forecast(forecast, model.domain.fields(), climatology, parts=())
    out: dict[str, Any] = {"cpu_seconds_of_command": round(spent, 1), "leads": found["leads"]}
    for channel in ("geopotential_500", "temperature_850"):
        for name in ("crps", "spread_skill"):
            out[f"{name} {channel}"] = [round(v, 4) for v in found["variables"][channel][name]["value"]]
    return out


def main(source: Path, folder: Path) -> None:
    """See this module."""
    results: dict[str, Any] = {"machine": machine(), "steps": STEPS, "members": MEMBERS, "starts": STARTS, "rows": {}}
    for name, (overrides, samplers) in VARIANTS.items():
        run = folder / name.replace(", ", "-").replace(" ", "-").replace("=", "-")
        trained(source, run, overrides)
        model: Any = Model.from_pretrained(run)
        sites = [model.tokenizer.pyramid.num_sites(k) for k in range(model.num_levels)]
        for sampler in samplers:
            row = {"sites": sites} | scores(run, sampler)
            results["rows"][f"{name}, {' '.join(sampler)}"] = row
            print(name, sampler, row, flush=True)
            write_text(RESULTS / "weather_pyramids.json", json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
