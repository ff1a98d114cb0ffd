"""What a study measures of a trained contestant."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from refine.models.inference import inference
from refine.noise import Noise
from refine.studies.contest.contestant import Contestant
from refine.types import Condition

AT_ONCE = 100
GRADIENTS, GRADIENT_ITEMS = 64, 64


def told(contestant: Contestant, x: Tensor, label: Tensor, task: str) -> Condition:
    """The conditions of items under one task."""
    number = contestant.subject.tasks.index(task)
    return contestant.subject.condition(x, label, torch.full_like(label, number))


def draw(
    contestant: Contestant,
    condition: Condition,
    num: int,
    seed: int,
    steps: int,
    method: str = "",
    temperature: float = 1.0,
) -> Iterator[tuple[Tensor, float, float]]:
    """Items for ``num`` conditions, batch by batch, with the passes that their samples took together, and CPU seconds,
    decoding included."""
    for first in range(0, num, AT_ONCE):
        stop = min(first + AT_ONCE, num)
        start = time.process_time()
        with torch.no_grad():
            noise = Noise(seed, range(first, stop))
            latent, passes = contestant.draw(noise, condition[first:stop], steps, method, temperature)
            items = contestant.codec.decode(latent)
        yield items, passes * len(items), time.process_time() - start


@inference
def bits(contestant: Contestant, x: Tensor, label: Tensor, task: str) -> float | None:
    """Mean bits of a dimension of an item given its condition, or a bound of them, its random draws always the same."""
    total, condition = torch.zeros(()), told(contestant, x, label, task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for first in range(0, len(x), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            nats = contestant.nats(contestant.codec.encode(x[part]), condition[part])
            if nats is None:
                return None
            total = total + nats.sum()
    return float(total) / (x.numel() * math.log(2))


@inference
def floor(contestant: Contestant, x: Tensor, label: Tensor) -> dict[str, Any] | None:
    """Figures of items that went through the codes and back; None without codes."""
    parts = []
    for part in x.split(AT_ONCE):
        latent = contestant.quantised(contestant.codec.encode(part))
        if latent is None:
            return None
        parts.append(contestant.codec.decode(latent))
    return contestant.subject.score(contestant.subject.tasks[-1], torch.cat(parts), x, label)


def gradient_noise(contestant: Contestant, x: Tensor, label: Tensor) -> float:
    """tr(cov g) / |mean g|^2 of the gradients g of mini-batches, the weights being frozen.

    The batches, and the tasks in them, are the same for every contestant. Both parts are estimated without bias: of the
    squared mean, the average over pairs of different batches.
    """
    contestant.eval()
    learning = [p for p in contestant.parameters() if p.requires_grad]
    shares = torch.tensor(contestant.subject.shares)
    total: list[Tensor] = []
    squares = 0.0
    for number in range(GRADIENTS):
        generator = torch.Generator().manual_seed(number)
        rows = torch.randint(len(x), (GRADIENT_ITEMS,), generator=generator)
        task = torch.multinomial(shares, GRADIENT_ITEMS, replacement=True, generator=generator)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            with torch.no_grad():
                latent = contestant.codec.encode(x[rows])
                condition = contestant.subject.condition(x[rows], label[rows], task)
            grads = torch.autograd.grad(contestant.loss(latent, condition), learning, allow_unused=True)
        held = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, learning, strict=True)]
        squares += sum(float(g.double().square().sum()) for g in held)
        total = held if not total else [a + b for a, b in zip(total, held, strict=True)]
    of_sum = sum(float(t.double().square().sum()) for t in total)
    mean_squared = (of_sum - squares) / (GRADIENTS * (GRADIENTS - 1))
    covariance = (squares - of_sum / GRADIENTS) / (GRADIENTS - 1)
    return covariance / mean_squared
