"""Kills at random moments: does the same command end with what it would have ended with, and is anything lost?

    python benchmarks/kills.py [--kills 100] [--seed 0] [--kinds train_image study ...] [--folder FOLDER]

Trajectories of every kind of long work, in small, take turns. Each is killed (SIGKILL) one to three times, at
moments uniform over the time that it takes undisturbed, and then finished by the same command. What it leaves behind is
compared with what undisturbed work leaves, file by file and byte by byte; of states to go on from, tensor by tensor; of
``study.json`` all but times. A file too many (a temporary one, a lock) counts as a difference, and so does a line of
``metrics.jsonl`` that is missing, doubled or in another place. Of several processes one is killed; others that wait for
it are ended in time and counted (hung), as torchrun would end them. Processes are forked from one that has imported
everything, so that it is the work that is killed, not its start.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch  # noqa: F401
import matplotlib
import numpy as np
import torch
import xarray as xr
from common import RESULTS, machine
from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

import refine.domains.graph.domain
import refine.domains.image.domain
import refine.domains.weather.ensembles.writing
import refine.domains.weather.pictures.forecast_pictures
import refine.learning.train  # noqa: F401
from refine.cli import main as refine_command
from refine.domains.weather.sphere.grids import Grid
from refine.studies.contest import measurements, runner, variants

PATIENCE = 20  # seconds that the rest of several processes may take to end when one was killed, before they are ended
CPU = ("trainer.accelerator=cpu",)
GRAPH = ("model.width=16", "model.depth=1", "model.heads=2", "model.star_depth=1", "model.triangle=4")
SMALL = ("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2")


def stages(*names: str, steps: int, every: int) -> tuple[str, ...]:
    """Settings of stages of so many steps, which are saved and validated every so many."""
    each = [f"train.{s}.{o}" for s in names for o in (f"steps={steps}", "batch_size=8", "warmup=2", "ema=0.8")]
    return (
        *each,
        f"train.save_every={every}",
        f"train.val_every={2 * every}",
        "train.log_every=1",
        "train.val_items=16",
    )


IMAGE = (
    "domain=image",
    "data=digits",
    "domain.width=8",
    "model.quantizer.size=16",
    "train.fit_after=6",
    "num=4",
    *SMALL,
    *CPU,
)
WEATHER = (
    *(
        "domain=weather",
        "domain.data=fields.zarr",
        "domain.statics=[]",
        "domain.scales=[T2,T4]",
        "model.mean.widths=[8,8]",
    ),
    *("model.mean.blocks=1", "model.quantizer.size=4", "train.fit_after=0", *SMALL, *CPU),
)
TRAIN_IMAGE = ("train", *IMAGE, *stages("tokenizer", "predictor", steps=20, every=5), "run=run")
TRAIN_WEATHER = ("train", *WEATHER, *stages("mean", "tokenizer", "predictor", steps=20, every=5), "run=run")
DDP = ("trainer.devices=2", "trainer.strategy=ddp")


def command(*arguments: str) -> int:
    """``refine`` in this process; its exit code."""
    try:
        refine_command(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def small_study() -> int:
    """Two contestants of a study whose constants are cut down."""
    variants.DATA, variants.SCALES = (
        {"data": "digits", "factor": 2, "latent": 8, "width": 8, "blocks": 0},
        {2: [2, 4], 4: [1, 2, 3, 4]},
    )
    variants.WIDTH, variants.DEPTH, variants.CODES, variants.BATCH = 16, 1, 16, 8
    runner.CODEC = runner.StageConfig(steps=20, batch_size=16, lr=2e-3, ema=0.0)
    runner.CODEC_FIT_AFTER, runner.FIT_ITEMS, runner.SAMPLES = 5, 64, 40
    measurements.GRADIENTS, measurements.AT_ONCE = 3, 20
    runner.run_all(runner.Study(20, Path("study")), ("scales_2", "pixel"), range(1), False)
    return 0


def world(folder: Path) -> None:
    """``fields.zarr``: sixty days of made-up fields in splits of their own."""
    generator, grid, lengths = np.random.default_rng(0), Grid.parse("gaussian:8x16"), (36, 12, 12)
    waves = np.cumsum(generator.normal(size=(2, sum(lengths), *grid.shape)), 1) * 0.2
    split = ("time", np.repeat([0, 1, 2], lengths))
    times = np.datetime64("2001-02-20", "ns") + np.arange(sum(lengths)) * np.timedelta64(1, "D")
    fields = {
        "geopotential_500": (("time", *grid.dims), (55000 + 800 * waves[0]).astype("float32"), {"units": "m2 s-2"}),
        "temperature_850": (("time", *grid.dims), (280 + 3 * waves[1]).astype("float32"), {"units": "K"}),
    }
    places = {"latitude": grid.latitude, "longitude": grid.longitude}
    xr.Dataset(fields, {"time": times, **places, "split": split, "branch": split}).chunk(time=6).to_zarr(
        folder / "fields.zarr", consolidated=False
    )


@dataclass
class Kind:
    """One kind of work.

    Attributes:
        work: does it in the working folder; returns the exit code.
        given: the kind whose result it starts from, or None for nothing.
        processes: how many work on it at once.
    """

    work: Callable[[], int]
    given: str | None = None
    processes: int = 1


KINDS = {
    "train_image": Kind(lambda: command(*TRAIN_IMAGE)),
    "train_image_every_step": Kind(
        lambda: command(
            "train", *IMAGE, *stages("tokenizer", "predictor", steps=12, every=1), "train.val_every=1", "run=run"
        )
    ),
    "train_graph": Kind(
        lambda: command(
            "train",
            "domain=graph",
            "data=community_small",
            *GRAPH,
            *CPU,
            *stages("predictor", steps=20, every=5),
            "num=4",
            "run=run",
        )
    ),
    "world": Kind(lambda: world(Path()) or 0),
    "train_weather": Kind(lambda: command(*TRAIN_WEATHER), "world"),
    "ensemble": Kind(
        lambda: command("ensemble", "run=run", "members=6", "batch_size=2", "lead=3d", "out=f.zarr", "netcdf=true"),
        "train_weather",
    ),
    "evaluate_image": Kind(lambda: command("evaluate", "run=run", "samples=40", "items=40"), "train_image"),
    "evaluate_weather": Kind(
        lambda: command(
            "evaluate", "run=run", "members=4", "lead=2d", "ensemble.start=every:4d", "samples=1", "items=8"
        ),
        "train_weather",
    ),
    "regrid": Kind(lambda: command("regrid", "fields.zarr", "cells.zarr", "--grid", "healpix:4"), "world"),
    "regrid_netcdf": Kind(lambda: command("regrid", "fields.zarr", "cells.nc", "--grid", "gaussian:6x12"), "world"),
    "study": Kind(small_study),
    "train_two_processes": Kind(lambda: command(*TRAIN_IMAGE, *DDP), None, 2),
}


@dataclass
class Campaign:
    """Trajectories in ``folder``; results of undisturbed work are kept there."""

    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def here(self) -> Path:
        """Where all work is done, so that paths in results are the same."""
        return self.folder / "now"

    def begin(self, kind: str) -> None:
        """An empty working folder, or one with what the kind starts from."""
        shutil.rmtree(self.here, ignore_errors=True)
        given = KINDS[kind].given
        if given is None:
            self.here.mkdir()
        else:
            shutil.copytree(self.whole(given), self.here)

    def whole(self, kind: str) -> Path:
        """What undisturbed work leaves."""
        folder = self.folder / kind
        if not folder.exists():
            given = KINDS[kind].given
            if given is not None:
                self.whole(given)
            self.begin(kind)
            for _ in range(1 + (kind == "evaluate_image")):  # the judge of images is trained once for all
                start = time.monotonic()
                codes = self.ended(self.start(kind))
            self.seconds[kind] = time.monotonic() - start
            if any(codes):
                raise RuntimeError(f"{kind} ended with {codes}; see {self.folder / 'log'}")
            self.here.rename(folder)
        return folder

    def start(self, kind: str) -> list[int]:
        """Processes at work."""
        port = free_port()
        return [self.fork(kind, rank, port) for rank in range(KINDS[kind].processes)]

    def fork(self, kind: str, rank: int, port: int) -> int:
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            os.chdir(self.here)
            log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if KINDS[kind].processes > 1:
                as_rank(rank, KINDS[kind].processes, port)
            code = KINDS[kind].work() or 0
        finally:
            sys.stdout.flush()
            os._exit(code)

    def ended(self, processes: list[int]) -> list[int]:
        """Exit codes, in the end."""
        return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]

    def kill(self, kind: str, after: float, draw: random.Random) -> int | None:
        """Work that is killed after so many seconds; how many did not end then by themselves, or None if all had ended.

        Raises:
            RuntimeError: they ended badly before.
        """
        processes = self.start(kind)
        time.sleep(after)
        if any(os.waitid(os.P_PID, p, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None for p in processes):
            if any(codes := self.ended(processes)):
                raise RuntimeError(f"{kind} ended with {codes}; see {self.folder / 'log'}")
            self.seconds[kind] = min(self.seconds[kind], after)  # it took longer on a machine that was busy
            return None
        victim = draw.choice(processes)
        os.kill(victim, signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        others = [p for p in processes if p != victim]
        while others and time.monotonic() < until:
            others = [p for p in others if os.waitid(os.P_PID, p, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None]
            time.sleep(0.05)
        for process in others:
            os.kill(process, signal.SIGKILL)
        self.ended(processes)
        return len(others)

    def trajectory(self, kind: str, draw: random.Random) -> dict[str, Any]:
        """Begun, killed again and again, finished and compared."""
        whole = self.whole(kind)
        self.begin(kind)
        wanted, kills, hung = draw.randint(1, 3), 0, 0
        for _ in range(wanted):
            left = self.kill(kind, draw.uniform(0, self.seconds[kind] / wanted**0.5), draw)
            if left is None:
                break
            kills, hung = kills + 1, hung + left
        finished = left is None or not any(self.ended(self.start(kind)))
        return {"kills": kills, "hung": hung, "finished": finished, "differences": differences(whole, self.here)}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def as_rank(rank: int, processes: int, port: int) -> None:
    """This process is one of several, as torchrun starts them."""
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "RANK": str(rank)}
    os.environ |= here | {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0"}
    os.environ["TORCHELASTIC_RUN_ID"] = "kills"
    rank_zero_only.rank = rank  # type: ignore[attr-defined]  # which Lightning reads when it is imported


def differences(whole: Path, other: Path) -> list[str]:
    """Files that one has and the other lacks, and those that are not the same."""
    one, two = ({str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()} for f in (whole, other))
    found = [f"{name} is missing" for name in sorted(one - two)] + [f"{name} is too many" for name in sorted(two - one)]
    return found + [f"{name} differs" for name in sorted(one & two) if not same(whole / name, other / name)]


def same(one: Path, other: Path) -> bool:
    if one.read_bytes() == other.read_bytes():
        return True
    if one.parent.name == "resume":
        a, b = load_file(one), load_file(other)
        return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    if one.name == "study.json":
        return bool(timeless(json.loads(one.read_text())) == timeless(json.loads(other.read_text())))
    return False


def timeless(value: Any) -> Any:
    """Without what is a time."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if "seconds" not in name}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=[kind for kind in KINDS if kind != "world"], choices=KINDS)
    parser.add_argument(
        "--folder", type=Path, default=None, help="a new folder that is kept; by default one that is not"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    matplotlib.use("Agg")
    kept = args.folder or Path(tempfile.mkdtemp())
    os.environ |= {"REFINE_CACHE": str(kept / "cache"), "OMP_NUM_THREADS": "1"}
    os.environ.pop("REFINE_DATA", None)
    kept.mkdir(parents=True, exist_ok=True)
    campaign, draw = Campaign(kept.resolve()), random.Random(args.seed)
    rows = {kind: {"trajectories": 0, "kills": 0, "identical": 0, "finished": 0, "hung": 0} for kind in args.kinds}
    losses: list[str] = []
    while sum(row["kills"] for row in rows.values()) < args.kills:
        kind = min(rows, key=lambda name: rows[name]["kills"])
        found = campaign.trajectory(kind, draw)
        row = rows[kind]
        row["trajectories"] += 1
        row["identical"] += not found["differences"]
        for name in ("kills", "finished", "hung"):
            row[name] += found[name]
        losses += [f"{kind}: {difference}" for difference in found["differences"]]
        figures = {"seed": args.seed, **{name: sum(r[name] for r in rows.values()) for name in row}, "losses": losses}
        print(f"{figures['kills']} kills; {kind}: {found}", flush=True)
        figures |= {"by_kind": rows, "seconds_undisturbed": {k: round(s, 1) for k, s in campaign.seconds.items()}}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "kills.json").write_text(json.dumps(figures | {"machine": machine()}, indent=2) + "\n")
    table = Table("kind", *next(iter(rows.values())), title=f"{figures['kills']} kills")
    for kind, row in rows.items():
        table.add_row(kind, *map(str, row.values()))
    Console(width=140).print(table)
    if args.folder is None:
        shutil.rmtree(kept)


if __name__ == "__main__":
    main()
