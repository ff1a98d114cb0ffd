"""What guidance and truncation buy the shipped MNIST model, on the validation split: how its sampler was chosen.

    python benchmarks/guidance.py [--samples 2000]

Each setting draws samples 0, 1, ... of seed 0 for the labels of the first validation images; features and judge are the
classifier of `refine evaluate`.
"""

from __future__ import annotations

import argparse
import json

from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from torch.utils.data import Subset

import refine
from refine.domains.image.data.pixels import to_uint8
from refine.domains.image.judging.classifier import accuracy
from refine.domains.image.judging.metrics import _classifier, _extractor, distances

SETTINGS = [
    {},
    {"guidance": 1.5},
    {"guidance": 2.0},
    {"guidance": 1.5, "top_p": 0.95},
    {"guidance": 2.0, "top_p": 0.95},
    {"guidance": 2.0, "top_p": 0.9},
    {"guidance": 2.5, "top_p": 0.9},
    {"guidance": 2.0, "temperature": [1.0, 1.0, 0.9, 0.8, 0.7]},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    args = parser.parse_args()
    model = refine.Refiner.from_pretrained(refine.starter("image"))
    judge = _classifier(model.domain, model.device)
    name, extract, _ = _extractor("classifier", judge, model.device)
    asked = model.asked(Subset(model.domain.dataset("val"), range(args.samples)), args.samples)
    real = extract(model.domain.images("val").pixels)
    rows = []
    for setting in SETTINGS:
        samples = model.sample_many(*asked, seed=0, sampler=refine.SamplerConfig(**setting), batch_size=100)
        pixels = to_uint8(samples.items)
        agreement = float(accuracy(judge, pixels, samples.condition.label))
        rows.append({"sampler": setting, "class_agreement": agreement, **distances(real, extract(pixels))})
    table = Table(*rows[0], title=f"{args.samples} samples; {name}")
    for row in rows:
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=140).print(table)
    figures = {"samples": args.samples, "feature_extractor": name, "rows": rows, "machine": machine()}
    (RESULTS / "guidance.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
