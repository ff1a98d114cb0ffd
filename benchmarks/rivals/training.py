"""Trains a rival's network for so many CPU seconds; a killed training goes on from its last minute."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.engine import ema
from refine.learning.optimizers import build_optimizer
from refine.settings.config import StageConfig
from rivals.known import Days

STAGE = StageConfig(optimizer="muon", lr=3e-3, weight_decay=0.05, grad_clip=1.0, ema=0.998)  # as the mean's
WARMUP = 0.03  # share of the time
VALIDATION = 48  # days of the validation split on which the average is scored at the end


def train(rival: Any, path: Path, minutes: float, seed: int = 0) -> dict[str, Any]:
    """Train ``rival.network`` on the errors of training days by ``rival.loss``; its weights become their average.

    Computing those errors once counts as training time.

    Args:
        rival: an :class:`~rivals.edm.EDM` or :class:`~rivals.one_pass.OnePass`.
        path: of the resume file.
        minutes: of CPU time of this process, one thread.
        seed: of everything.

    Returns:
        ``steps``, ``cpu_seconds``, ``parameters``, ``seed`` and ``validation_loss``, and the ``log`` of each minute.
    """
    start = time.process_time()
    torch.manual_seed(seed)
    model, network = rival.model.requires_grad_(False), rival.network
    days, area = Days(model, "train"), model.mean.area
    network.size.copy_((days.error.square() * area).mean((0, 2, 3)).sqrt()[:, None, None])
    average = copy.deepcopy(network)
    optimizer, rng = build_optimizer(network, STAGE), torch.Generator().manual_seed(seed)
    state: dict[str, Any] = {"step": 0, "log": []}
    if path.exists():
        state = SafetensorsIO().load_checkpoint(path)
        for part, key in ((network, "network"), (average, "average"), (optimizer, "optimizer")):
            part.load_state_dict(state[key])
        rng.set_state(state["rng"])
        start = time.process_time() - state["seconds"]
    budget, last, losses = 60 * minutes, time.monotonic(), list[float]()
    while (seconds := time.process_time() - start) < budget:
        for group in optimizer.param_groups:
            group["lr"] = STAGE.lr * rate(seconds / budget)
        losses.append(_step(rival, days, area, optimizer, rng))
        state["step"] += 1
        _follow(average, network, state["step"])
        if time.monotonic() - last > 60 or time.process_time() - start >= budget:
            state["log"].append([state["step"], round(seconds), sum(losses) / len(losses)])
            print("step {}, {} CPU s, loss {:.5f}".format(*state["log"][-1]), flush=True)
            state |= {"network": network.state_dict(), "average": average.state_dict(), "rng": rng.get_state()}
            state |= {"optimizer": optimizer.state_dict(), "seconds": time.process_time() - start}
            SafetensorsIO().save_checkpoint(state, path)
            last, losses = time.monotonic(), []
    network.load_state_dict(average.state_dict())
    return {
        "steps": state["step"],
        "cpu_seconds": round(state["seconds"], 1),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seed": seed,
        "validation_loss": validation_loss(rival, area),
        "log": state["log"],
    }


def rate(done: float) -> float:
    """Of the highest learning rate, after a share of the time: linear warm-up, then a cosine."""
    return min(1.0, (done + 1e-3) / WARMUP) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def _step(rival: Any, days: Days, area: Tensor, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> float:
    told, error = days.batch(torch.randint(len(days), (rival.rows,), generator=rng))
    loss: Tensor = rival.loss(told, error, area, rng)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(rival.network.parameters(), STAGE.grad_clip)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, updates: int) -> None:
    for a, p in zip(average.parameters(), network.parameters(), strict=True):
        a.copy_(ema(STAGE.ema, 0, a, p, updates))


@torch.no_grad()
def validation_loss(rival: Any, area: Tensor) -> float:
    """The loss on days of the validation split, always with the same noise."""
    rng, model = torch.Generator().manual_seed(0), rival.model
    days = Days(model, "val")
    rows = torch.linspace(0, len(days) - 1, min(VALIDATION, len(days))).long().split(rival.rows)
    losses = [float(rival.loss(*days.batch(part), area, rng)) for part in rows]
    return sum(losses) / len(losses)
