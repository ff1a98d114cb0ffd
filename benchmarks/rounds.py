"""What rounds inside the two finest scales buy on the embedded digits: the same tokenizer, steps and data, three seeds.

    python benchmarks/rounds.py [--samples 500] [--seeds 3]

One tokenizer is trained with the settings of `refine train domain=image`; on its codes, each seed trains one small
predictor for each number of rounds. Held-out bits are of the test split: exact for one round, the mean over 8 random
orders (a bound) otherwise. Samples are drawn without guidance or truncation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table

import refine
from refine.commands.evaluate import EvaluateConfig
from refine.commands.train import run as train
from refine.items import in_batches
from refine.learning.engine import fit
from refine.models.encoding import batch_codes
from refine.settings.compose import compose
from refine.settings.config import Config

ROUNDS: list[Any] = [1, [1, 1, 4, 4]]
ORDERS = range(8)
SETTINGS = ["domain=image", "accelerator=cpu", "model.predictor.width=64", "depth=2", "predictor.batch_size=32"]
SETTINGS += ["predictor.lr=4e-3", "predictor.warmup=50", "predictor.steps=600", "train.val_every=600"]


def predictor(tokenizer: refine.Tokenizer, config: Config, rounds: Any, folder: Path) -> refine.Refiner:
    """A model with that tokenizer, and a predictor trained with that many rounds."""
    settings = replace(config.model, predictor=replace(config.model.predictor, rounds=rounds))
    torch.manual_seed(config.seed)
    model = refine.load_domain("image", **vars(config.domain)).model(settings)
    model.tokenizer.load_state_dict(tokenizer.state_dict())
    folder.mkdir()
    fit(model, config, folder, "predictor")
    return refine.Refiner.from_pretrained(folder)


def bits(model: refine.Refiner) -> tuple[float, list[float]]:
    """Bits per dimension of the test split: in all, and by scale."""
    parts = []
    for batch in in_batches(model.training_items("test", 0), 100):
        condition = refine.Condition.from_batch(batch)
        parts.append(model.log_prob(batch_codes(batch), condition, ORDERS, sum(map(len, parts))).bits_per_dim)
    by_scale = torch.cat(parts).mean(0)
    return float(by_scale.sum()), by_scale.tolist()


def draw(model: refine.Refiner, num: int) -> dict[str, float]:
    """Figures of samples of all classes in turn, and how long they took."""
    condition = refine.Condition(label=torch.arange(num) % 10)
    start = time.perf_counter()
    samples = model.sample_many(num, condition, seed=0, batch_size=100)
    seconds = time.perf_counter() - start
    figures = model.domain.metrics(model, samples, EvaluateConfig(features="classifier"), Path())
    kept = model.score(model.domain.dataset("test"), samples, 100)["kept_variance_by_scale"]
    wanted = ("class_agreement", "frechet_distance", "precision", "recall")
    own = {n.replace("_", " "): figures[n] for n in wanted}
    return own | {"kept variance, finest scale": kept[-1], "ms a sample": 1000 * seconds / num}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, list[dict[str, Any]]] = {str(rounds): [] for rounds in ROUNDS}
    with tempfile.TemporaryDirectory() as folder:
        run = train(compose([*SETTINGS, "stage=tokenizer", f"run={folder}/tokenizer"]))
        tokenizer = refine.Refiner.from_pretrained(run).tokenizer
        for seed in range(args.seeds):
            config = compose([*SETTINGS, f"seed={seed}"])
            for rounds in ROUNDS:
                model = predictor(tokenizer, config, rounds, Path(folder) / f"{seed}-{rounds}")
                total, by_scale = bits(model)
                row: dict[str, Any] = {"seed": seed, "bits per dimension": total, "bits by scale": by_scale}
                figures[str(rounds)].append(row | draw(model, args.samples))
                Console().print(rounds, figures[str(rounds)][-1])
    table = Table("figure", *figures, title=f"mean over {args.seeds} seeds (lowest to highest)")
    for name in (n for n, v in figures[str(ROUNDS[0])][0].items() if isinstance(v, float)):
        columns = [[row[name] for row in rows] for rows in figures.values()]
        table.add_row(name, *(f"{statistics.mean(c):.4f} ({min(c):.4f} to {max(c):.4f})" for c in columns))
    Console(width=140).print(table)
    out = {"samples": args.samples, "orders": len(ORDERS), "rows": figures, "machine": machine()}
    (RESULTS / "rounds.json").write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
