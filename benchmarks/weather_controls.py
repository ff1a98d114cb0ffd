"""Rivals of the codes on top of the same trained mean: trained, forecast and scored alike.

    python benchmarks/weather_controls.py train --run RUN --control edm --cpu-minutes 15 --out FOLDER
    python benchmarks/weather_controls.py forecast RUN|FOLDER --starts physics|every:8d --members 20 --out STORE.zarr
    python benchmarks/weather_controls.py score STORE.zarr ... [--name NAME]

``train`` makes a folder from the mean of the run RUN (which may have no more than its mean yet). The controls:

* ``mean``: the deterministic mean alone.
* ``dressed``: the mean and errors of training days within 30 days of the season, each member and step its own day.
* ``edm``: EDM diffusion of the mean's error, 20 noise levels, Heun's method of diffusers (39 passes); ``pip install
  diffusers``.
* ``one_pass``: a network with noise among its inputs, trained on almost fair CRPS with two members.

The networks of the last two are the U-Net of the mean, smaller (as many parameters as the codes' predictor), are told
all that the codes are told, and train for the CPU time given (one thread, this process; a killed training goes on from
its last minute). Errors that are drawn are inflated as those of the codes are, to the size of errors on validation days
by channel, degree and latitude; with ``--raw`` they are not. With ``--memory`` they are also given what the codes have
and such methods have not: the correlation of errors of successive steps.

``forecast`` takes a folder of ``train`` or a run, whose codes it then forecasts with, and measures CPU seconds per step
of a member beside the store (``STORE.json``). ``physics`` are the initial times of the physics ensemble beside the
data. ``score`` writes all stores, which should be of the same initial times, to ``results/NAME.json``; differences are
those of the first store to the others, significant by bootstrap over pairs of initial times.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from rivals.folders import KINDS, LEARNED, ControlFolder, is_control, make, mean_of
from rivals.rollout import Timed

from refine.domains.weather.ensemble_command import Checkpoint
from refine.domains.weather.ensembles.ensemble import Job, timeline_of
from refine.domains.weather.ensembles.initial_times import lead_steps, stamps
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.ensembles.writing import write_ensemble
from refine.domains.weather.fields.sources import locate
from refine.domains.weather.forecaster.new_days import NewDays
from refine.domains.weather.scores.climatology import Climatology
from refine.domains.weather.scores.comparison import compare
from refine.domains.weather.scores.scores import score_forecast
from refine.errors import require
from refine.settings.config import SamplerConfig
from refine.storage.checkpoint import read_header
from refine.storage.files import write_text
from refine.storage.runs import load_run_config

PHYSICS = "speedy_t31_physics_ensemble.zarr"
PARTS = ("energy", "spectra", "calibration")
KEPT = ("crps", "rmse", "spread_skill", "energy")  # of the scores by channel
SHOWN, DAYS = ("geopotential_500", "temperature_850"), (1, 3, 5, 10)


def train(args: argparse.Namespace) -> None:
    """Make the folder of a control."""
    require(args.control not in LEARNED or args.cpu_minutes > 0, "--cpu-minutes has to be given for networks")
    about = make(args.out, str(args.run), args.control, args.cpu_minutes, args.seed)
    print(json.dumps({k: v for k, v in about.items() if k != "log"}))


def forecast(args: argparse.Namespace) -> None:
    """Write a store, and beside it what it cost."""
    loader: Any = ControlFolder(str(args.source)) if is_control(args.source) else codes(args.source)
    model, fields = loader.load()
    about = loader.about if is_control(args.source) else about_codes(args.source, model)
    if args.raw:
        model.drawn, model.new_days = (NewDays(model.model.codec) for _ in range(2))
        about["control"] += ", raw"
    if is_control(args.source) and args.memory:
        about["control"] += ", memory"
    elif is_control(args.source):
        model.new_days.memory.fill_(0.0)
    domain = model.domain if not is_control(args.source) else model.model.domain
    steps, timeline = lead_steps(args.lead, model.step), timeline_of(fields, model.step)
    starts: Any = args.starts
    if starts == "physics":
        starts = stamps(open_forecast(Path(locate(domain.config.data)).parent / PHYSICS)["time"].values)
    chosen = timeline.choose(starts, steps, domain.fields("test")["time"].values)
    members = 1 if about["control"] == "mean" else args.members
    sampler = SamplerConfig() if is_control(args.source) else load_run_config(args.source).sampler
    job = Job(tuple(chosen), members, steps, args.seed, sampler, args.batch)
    timed, begin = Timed(model), time.perf_counter()
    write_ensemble(args.out, job, timed, fields, loader, {"title": about["control"]})
    cost = {"cpu_seconds_per_member_step": timed.seconds / max(1, timed.member_steps), "batch": args.batch}
    cost |= {"wall_seconds": round(time.perf_counter() - begin, 1), "machine": machine()}
    passes = about.get("passes", getattr(model, "passes", None))
    figures = {k: v for k, v in about.items() if k != "log"} | {"passes": passes, "forecast_seed": args.seed, **cost}
    write_text(args.out.with_suffix(".json"), json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


def codes(run: Path) -> Checkpoint:
    """A run of the weather domain."""
    return Checkpoint(str(run.absolute()), read_header(run)["weights"], None, "cpu")


def about_codes(run: Path, model: Any) -> dict[str, Any]:
    """As ``control.json`` of a control."""
    learned = sum(p.numel() for part in (model.predictor, model.head) for p in part.parameters())
    passes = 1 + sum(model.predictor.rounds)
    header = read_header(run)
    about = {"control": "codes", "run": str(run.absolute()), "weights": header["weights"], "parameters": learned}
    return about | {"passes": passes, "scales": model.domain.scale_names(), "seed": load_run_config(run).seed}


def score(args: argparse.Namespace) -> None:
    """Score stores against the data of the run that the first was made from."""
    sides = [json.loads(Path(s).with_suffix(".json").read_text()) for s in args.stores]
    domain = mean_of(sides[0]["run"]).domain
    rows: dict[str, Any] = {}
    results: list[Any] = []
    for store, side in zip(args.stores, sides, strict=True):
        result = scores_of(Path(store), domain)
        results.append(result)
        name = side["control"]
        about = side | {"run": Path(side["run"]).name}
        row = {"about": about, "members": result["members"], "variables": {}, "joint": result["joint"]["energy"]}
        for channel, scores in result["variables"].items():
            row["variables"][channel] = {k: scores[k] for k in KEPT} | {
                "spectra_worst": scores["spectra"]["worst"],
                "thirds_ratio": scores.get("calibration", {}).get("thirds", {}).get("ratio"),
            }
        if len(results) > 1:
            row["first_minus_this"] = compare(results[0], result)["variables"]
        name = name if name not in rows else Path(store).stem
        require(name not in rows, f"{store}: a row is named {name!r} already; give stores of one control other names")
        rows[name] = row
    first = results[0]
    out = {key: first[key] for key in ("leads", "lead_hours", "initial_times", "verified", "interval")}
    RESULTS.mkdir(exist_ok=True)
    write_text(RESULTS / f"{args.name}.json", json.dumps(out | {"rows": rows, "machine": machine()}) + "\n")
    show(rows, first["lead_hours"])


def scores_of(store: Path, domain: Any) -> dict[str, Any]:
    """Of a store, kept beside it (``STORE.scores.json``)."""
    kept = store.with_suffix(".scores.json")
    if not kept.exists() or kept.stat().st_mtime < store.with_suffix(".json").stat().st_mtime:
        climatology = Climatology.fit(domain.whole("train"), domain.channels)
        forecast = open_forecast(store)[domain.channels]
        write_text(kept, json.dumps(score_forecast(forecast, domain.fields(), climatology, parts=PARTS)) + "\n")
    result: dict[str, Any] = json.loads(kept.read_text())
    return result


def show(rows: dict[str, Any], lead_hours: list[int]) -> None:
    """A table of some leads."""
    places = [lead_hours.index(24 * day) for day in DAYS if 24 * day in lead_hours]
    channels = [c for c in SHOWN if c in next(iter(rows.values()))["variables"]]
    columns = [f"{c} {what}" for c in channels for what in ("CRPS", "spread/skill")]
    table = Table("control", *columns, "joint energy", "passes", "CPU ms", title="days 1 / 3 / 5 / 10")

    def at(values: list[float | None]) -> str:
        return " / ".join("-" if values[i] is None else f"{values[i]:.3g}" for i in places)

    for name, row in rows.items():
        cells = [at(row["variables"][c][k]["value"]) for c in channels for k in ("crps", "spread_skill")]
        cost = 1000 * row["about"].get("cpu_seconds_per_member_step", float("nan"))
        table.add_row(name, *cells, at(row["joint"]["value"]), str(row["about"]["passes"]), f"{cost:.0f}")
    Console(width=220).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("--run", type=Path, required=True, help="whose mean it stands on")
    one.add_argument("--control", choices=KINDS, required=True)
    one.add_argument("--cpu-minutes", type=float, default=0.0)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path, required=True)
    one.set_defaults(call=train)
    two = commands.add_parser("forecast")
    two.add_argument("source", type=Path, metavar="RUN|FOLDER")
    two.add_argument("--starts", default="physics")
    two.add_argument("--members", type=int, default=20)
    two.add_argument("--lead", default="10d")
    two.add_argument("--seed", type=int, default=0)
    two.add_argument("--batch", type=int, default=20, help="members times initial times forecast together")
    two.add_argument("--raw", action="store_true", help="a control's errors as they were learned, not inflated")
    two.add_argument("--memory", action="store_true", help="give a control the memory that the codes have")
    two.add_argument("--out", type=Path, required=True)
    two.set_defaults(call=forecast)
    three = commands.add_parser("score")
    three.add_argument("stores", nargs="+")
    three.add_argument("--name", default="weather")
    three.set_defaults(call=score)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.call(args)


if __name__ == "__main__":
    main()
