"""What ensembles cost: seconds for one step of one member, and the peak memory of a whole run.

    python benchmarks/ensemble.py [RUN ...] [--members 10 50] [--starts 12] [--lead 10d] [--repeats 3]

RUN are training runs of the weather domain, or of any domain whose model has the method ``forecast``, or folders of
controls (``weather_controls.py train``); without one, the starter is measured. Seconds are of ``forecast`` alone, ten
members of one initial time in one batch, the runs in turn within a repeat, one thread. Memory is the highest resident
set of a process that writes a whole store with the first run, once for each number of members: it must not grow with
them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, compare, machine
from rich.console import Console
from rich.table import Table
from rivals.folders import ControlFolder, is_control

import refine
from refine.domains.weather.ensemble_command import Checkpoint
from refine.domains.weather.ensembles.ensemble import Forecaster, Job, initial_states, timeline_of
from refine.domains.weather.ensembles.initial_times import lead_steps
from refine.domains.weather.ensembles.writing import write_ensemble
from refine.settings.config import SamplerConfig
from refine.storage.checkpoint import read_header
from refine.storage.runs import load_run_config

BATCH, STEPS = 10, 3  # members and steps of the timing


def checkpoint(run: str) -> Checkpoint | ControlFolder:
    """How to load a run, or a control."""
    if is_control(run):
        return ControlFolder(run)
    return Checkpoint(str(Path(run).absolute()), read_header(Path(run))["weights"], None, "cpu")


def sampler_of(run: str) -> SamplerConfig:
    """As a run was told; controls do not look at it."""
    return SamplerConfig() if is_control(run) else load_run_config(Path(run)).sampler


def one_rollout(model: Forecaster, fields: Any, run: str) -> Callable[[], None]:
    """A short forecast of some members, from the last initial time."""
    timeline, sampler = timeline_of(fields, model.step), sampler_of(run)
    start = timeline.choose(None, STEPS, fields["time"].values)
    before, now = initial_states(fields, model, start)

    def forecast() -> None:
        for _ in model.forecast(before, now, fields["time"].values[start], range(BATCH), STEPS, 0, sampler):
            pass

    return forecast


def whole_run(run: str, members: int, starts: int, lead: str) -> dict[str, float]:
    """Write a whole store, in this process; its peak memory in MB, and the time it took."""
    torch.set_num_threads(1)
    loader = checkpoint(run)
    model, fields = loader.load()
    timeline, steps = timeline_of(fields, model.step), lead_steps(lead, model.step)
    chosen = timeline.choose("all", steps, fields["time"].values)[-starts:]
    job = Job(tuple(chosen), members, steps, 0, sampler_of(run), BATCH)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_ensemble(Path(folder, "forecast.zarr"), job, model, fields, loader, {})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    seconds = time.perf_counter() - begin
    return {"peak_MB": peak, "seconds": seconds, "seconds_per_member_step": seconds / (members * len(chosen) * steps)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN")
    parser.add_argument("--members", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--starts", type=int, default=12, help="initial times")
    parser.add_argument("--lead", default="10d")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    runs = args.runs or [str(refine.starter("weather"))]
    if args.child is not None:
        print(json.dumps(whole_run(runs[0], args.child, args.starts, args.lead)))
        return
    memory: dict[str, float] = {}
    for members in args.members:  # first: a process starts with the peak of the one that started it
        command = [sys.executable, __file__, runs[0], "--child", str(members), "--starts", str(args.starts)]
        done = subprocess.run([*command, "--lead", args.lead], stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout.splitlines()[-1])
        memory |= {f"{name}_{members}": value for name, value in figures.items()}
    torch.set_num_threads(1)
    seconds = compare({Path(run).name: one_rollout(*checkpoint(run).load(), run) for run in runs}, args.repeats)
    rows = {name: {"ms_per_member_step": 1000 * s["median"] / BATCH / STEPS} for name, s in seconds.items()}
    rows[Path(runs[0]).name] |= memory
    columns = list(next(iter(rows.values())))
    table = Table("run", *columns, title=f"{args.starts} initial times, {args.lead}")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.4g}" if column in row else "" for column in columns))
    Console(width=200).print(table)
    RESULTS.mkdir(exist_ok=True)
    out = {"starts": args.starts, "lead": args.lead, "batch": BATCH, "rows": rows, "machine": machine()}
    (RESULTS / "ensemble.json").write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
