"""Sampling MNIST in Markov mode against prefix mode: the same weights, the same batch, in turn.

    python benchmarks/markov_vs_prefix.py [--batch 64] [--repeats 7] [--guidance 1]

The models: the shipped one (five scales), and some of its depth on VAR's kind of schedule (ten scales, in three widths;
random weights, since cost does not depend on them). Both modes have the same parameters, so the same weights serve
both. What differs is attention alone: a Markov scale sees itself, a prefix scale all coarser ones as well, through a
key-value cache. Drawing codes is timed apart from the whole sample, which adds the decoder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from common import compare, report

import refine
from refine.drawing.draw import Draw
from refine.drawing.sampler import build_sampler
from refine.noise import Noise
from refine.scales.walk import walk

TEN = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14]


@torch.no_grad()
def draw_codes(model: refine.Refiner, condition: refine.Condition, sampler: refine.SamplerConfig) -> None:
    """The walk of `Refiner.sample` without the decoder."""
    batch = len(condition.label)
    choose = Draw(model, condition, Noise(0, range(batch)), build_sampler(sampler, model.num_levels))
    pyramid = model.tokenizer.pyramid
    for _ in walk(pyramid, model.tokenizer.quantizer, pyramid.start(batch), choose):
        pass


def with_attention(model: refine.Refiner, attention: str) -> refine.Refiner:
    """The same weights under the other kind of attention."""
    config = replace(model.config, predictor=replace(model.config.predictor, attention=attention))
    other = refine.Refiner(model.domain, config)
    other.load_state_dict(model.state_dict())
    return other.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--guidance", type=float, default=1.0)
    args = parser.parse_args()
    condition = refine.Condition(label=torch.arange(args.batch) % 10)
    sampler = refine.SamplerConfig(guidance=args.guidance)
    shipped = refine.Refiner.from_pretrained(refine.starter("image"))
    torch.manual_seed(0)
    domain = refine.load_domain("image", data="mnist", factor=2, latent=4, scales=TEN)
    models = {"5_scales_width_128": shipped}
    for width in (128, 64, 32):
        predictor = replace(shipped.config.predictor, width=width, heads=width // 32)
        models[f"10_scales_width_{width}"] = refine.Refiner(domain, replace(shipped.config, predictor=predictor))
    for name, model in models.items():
        cases = {}
        for attention in ("prefix", "markov"):
            this = with_attention(model, attention)
            cases[f"{attention}, codes only"] = lambda m=this: draw_codes(m, condition, sampler)
            cases[f"{attention}, whole sample"] = lambda m=this: m.sample(args.batch, condition, sampler=sampler)
        seconds = compare(cases, args.repeats)
        predictor = model.config.predictor
        ratios = {
            part: seconds[f"prefix, {part}"]["median"] / seconds[f"markov, {part}"]["median"]
            for part in ("codes only", "whole sample")
        }
        extra = {
            "batch": args.batch,
            "guidance": args.guidance,
            "sites": [model.tokenizer.pyramid.num_sites(k) for k in range(model.num_levels)],
            "width": predictor.width,
            "depth": predictor.depth,
            "markov_times_faster": ratios,
        }
        report(f"markov_vs_prefix_{name}", seconds, "prefix, whole sample", extra)


if __name__ == "__main__":
    main()
