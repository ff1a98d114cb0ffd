"""What training cannot know of itself: errors on days that were not learned from, and the spread that matches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from refine.codes.laws import ScaleSampler
from refine.domains.weather.forecaster.codec import smooth_latitudes
from refine.domains.weather.forecaster.one_step import OneStep
from refine.items import in_batches, spread
from refine.noise import Noise
from refine.progress import track
from refine.settings.config import Config, SamplerConfig
from refine.types import Codes, Condition, Step

TEMPERATURES = (0.8, 0.9, 1.0, 1.1, 1.25, 1.4)
DAYS = 48  # of the validation split, at most
MEMBERS = 8


@torch.no_grad()
def relative_errors(model: OneStep, items: int) -> dict[str, Any]:
    """Mean square error of the mean forecast relative to that of persistence, on training and validation days.

    How much larger the second is says how far the errors that are learned from are those of a fit.
    """
    model.eval()
    out: dict[str, Any] = {}
    for split in ("train", "val"):
        sums, count = torch.zeros(len(model.channels)), 0
        for batch in in_batches(spread(model.domain.dataset(split), items), 32):
            batch = {name: t.to(model.device) for name, t in batch.items()}
            change, _ = model.known(batch["before"], batch["now"], batch["forcing"])
            target = (batch["after"] - batch["now"]) / model.mean.change
            sums += ((change - target).square() * model.mean.area).mean((2, 3)).sum(0).cpu()
            count += len(target)
        by_channel = sums / count
        out[split] = {"relative_mse": float(by_channel.mean())} | {
            f"rmse_{c}": float(r)
            for c, r in zip(model.channels, model.mean.rmse(by_channel.to(model.device)), strict=True)
        }
    return out


@torch.no_grad()
def calibrate(model: OneStep, config: Config) -> dict[str, Any]:
    """The temperature of each scale under which codes of validation days are likeliest, and the factor of its gain with
    which draws spread as far as those days lie from what is expected.

    Coarser scales are given as they were, so that scales are independent problems and one pass serves them all; spread
    and error are compared in the band of degrees that the scale adds to, white in degree and channel, errors of new
    days as :meth:`refine.domains.weather.forecaster.new_days.NewDays.white` has them.

    Returns:
        ``temperature`` and ``gain`` by scale, ``spread_skill`` by scale as it was before that gain, and ``days``.
    """
    model.eval()
    wanted = min(DAYS, config.train.val_items)
    tried = len(TEMPERATURES)
    nats, spreads, errors = (torch.zeros(model.num_levels, tried) for _ in range(3))
    days = 0
    for batch in track(in_batches(spread(model.domain.dataset("val"), wanted), 8), "Calibrating"):
        batch = {name: t.to(model.device) for name, t in batch.items()}
        found = _compared(model, batch, Noise(config.seed, range(days, days + len(batch["now"]))))
        nats, spreads, errors = nats + found[0], spreads + found[1], errors + found[2]
        days += len(batch["now"])
    best = nats.argmin(1, keepdim=True)
    ratio = (spreads / errors.clamp_min(1e-30)).gather(1, best)[:, 0].sqrt().clamp_min(1e-3)
    temperatures = [TEMPERATURES[int(i)] for i in best[:, 0]]
    return {
        "temperature": temperatures,
        "gain": (1 / ratio).tolist(),
        "spread_skill": ratio.tolist(),
        "days": days,
    }


@torch.no_grad()
def spread_to_error(model: OneStep, config: Config) -> tuple[Tensor, Tensor]:
    """By which factors draws of one step have to grow to spread as far as days lie from their mean: (D, C) by harmonic,
    and (C, H, 1) by latitude what that leaves.

    On days of the validation split: what quantisation and sampling lose is in it, too, and that errors are not
    isotropic. A member and the truth are to be exchangeable, so the squared error of the mean of M members is
    (M + 1) / M times their variance.
    """
    model.eval()
    wanted, members = min(DAYS, config.train.val_items), MEMBERS
    codec, new, sampler = model.codec, model.new_days, model.calibrated(SamplerConfig(gain="auto"))
    draws, truths, days = list[Tensor](), list[Tensor](), 0
    for batch in track(in_batches(spread(model.domain.dataset("val"), wanted), 8), "Calibrating"):
        batch = {name: t.to(model.device) for name, t in batch.items()}
        change, condition = model.known(batch["before"], batch["now"], batch["forcing"])
        noise = Noise(config.seed, range(days * members, (days + len(change)) * members))
        draws.append(model.white_draw(condition.map(lambda t: t.repeat_interleave(members, 0)), noise, sampler))
        truths.append(model.error(batch, change))
        days += len(change)
    drawn, truth = torch.cat(draws), torch.cat(truths)
    by_harmonic = _to_error(drawn, new.white(codec, truth), lambda x: codec.transform.smooth(x.sum(0)))
    fields = new.colour(codec, drawn * by_harmonic)
    return by_harmonic, _to_error(fields, truth, lambda x: smooth_latitudes(x.mean(3).sum(0)))[..., None]


def _to_error(drawn: Tensor, truth: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """The factor by which draws (B M, ...) of M members have to grow, from totals of squares of B truths (B, ...)."""
    members = len(drawn) // len(truth)
    drawn = drawn.unflatten(0, (-1, members))
    error, variance = total((drawn.mean(1) - truth).square()), total(drawn.var(1))
    return (error / variance.clamp_min(1e-30) * members / (members + 1)).sqrt()


def _compared(model: OneStep, batch: dict[str, Tensor], noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
    """By scale and temperature, (K, temperatures) each: nats of the true codes, squared deviations of drawn values from
    expected ones, and squared errors of those."""
    tokenizer, head = model.tokenizer, model.head
    pyramid, quantizer = tokenizer.pyramid, tokenizer.quantizer
    change, condition = model.known(batch["before"], batch["now"], batch["forcing"])
    x = model.codec.colour(model.new_days.white(model.codec, model.error(batch, change)))
    target = pyramid.target(tokenizer.codec.encode(x))
    nats, spreads, errors = (torch.zeros(model.num_levels, len(TEMPERATURES)) for _ in range(3))
    for (step, logits), before in _teacher(model, tokenizer.encode(x), condition):
        k = step.k
        residual = pyramid.residual(target, before, step.context, k)
        uniform = noise.uniform(k, (step.codes.shape[1], head.draws), logits.device)
        for i, temperature in enumerate(TEMPERATURES):
            sampler = ScaleSampler(temperature=temperature)
            law = head.law(logits, sampler)
            expected = quantizer.expected(law.probabilities(), k)
            drawn = quantizer.embed(head.draw(law, uniform), k)
            nats[k, i] = -head.log_prob(logits / temperature, step.codes).sum()
            spreads[k, i] = _size(model, (drawn - expected) * pyramid.gain(k), k)
            errors[k, i] = _size(model, residual - expected, k)
    return nats, spreads, errors


def _teacher(model: OneStep, codes: Codes, condition: Condition) -> Iterator[tuple[tuple[Step, Tensor], Any]]:
    """Each scale given the true coarser ones, its logits, and the state before it."""
    state = model.tokenizer.pyramid.start(len(codes[0]))
    steps = list(model.tokenizer.replay(codes))
    for pair in zip(steps, model.logits(codes, condition), strict=True):
        yield pair, state
        state = pair[0].state


def _size(model: OneStep, values: Tensor, k: int) -> float:
    """Summed squares of what values of scale k alone add to the fields, white in degree and channel: of what redundant
    sites of the finest scale hold beside the truncation, nothing is decoded."""
    pyramid, codec = model.tokenizer.pyramid, model.codec
    state = pyramid.refine(pyramid.start(len(values)), torch.zeros_like(values), values, k)
    return float((codec.analysis @ pyramid.latent(state, k)).square().sum())
