"""What the temperature does for the contestants of `refine study frontier`, chosen on validation images.

    python benchmarks/study_temperature.py study [--seeds 3] [--updates 4000]

Takes the trained contestants from the folder of a study. At every temperature each draws 1,000 samples for labels of
the validation split, which are compared with all validation images; the temperature with the least mean distance over
seeds is then measured on the test split, as the study does. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import statistics
from functools import cache
from pathlib import Path

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table

from refine.domains.image.data.pixels import to_uint8
from refine.domains.image.judging.classifier import predict
from refine.domains.image.judging.metrics import frechet_distance
from refine.domains.image.judging.study import ImageSubject
from refine.items import spread
from refine.studies.contest import measurements
from refine.studies.contest.contestant import Contestant
from refine.studies.contest.runner import SAMPLES, SCALED, Study, gathered
from refine.studies.contest.variants import VARIANTS
from refine.studies.contest.write_up import cell
from refine.studies.store import Store, StudyKey

TEMPERATURES = (1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2)
CASES = [(name, VARIANTS[name].scales, "") for name in SCALED] + [
    *(("absorbing", steps, "") for steps in (2, 10)),
    *(("latent_velocity", steps, "ddim") for steps in (2, 5, 10)),
    *((name, 5, "ddim") for name in ("latent_diffusion", "pixel_diffusion")),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=4000)
    args = parser.parse_args()
    study = Study(args.updates, args.folder)
    subject = study.subject
    assert isinstance(subject, ImageSubject)
    store = Store(RESULTS / "study_temperature.json", StudyKey)
    store.about |= {"judge": subject.judge, "samples": SAMPLES, "updates": args.updates, "machine": machine()}
    asked = {"val": gathered(spread(subject.items("val"), SAMPLES)), "test": study.test}
    real = {split: predict(subject.classifier, subject.domain.images(split).pixels)[0] for split in asked}

    @cache
    def contestant(name: str, seed: int) -> Contestant:
        return study.contestant(name, seed)[0]

    def measured(split: str, case: tuple[str, int, str], temperature: float, seed: int) -> dict[str, float]:
        name, steps, method = case
        key = StudyKey(f"{name}/{steps}, temperature {temperature}, {split}", seed, args.updates)
        if key not in store:
            x, label = asked[split]
            drawer = contestant(name, seed)
            told = measurements.told(drawer, x, label, subject.tasks[0])
            items, _, seconds = zip(
                *measurements.draw(drawer, told, len(x), seed, steps, method, temperature), strict=True
            )
            features, found = predict(subject.classifier, to_uint8(torch.cat(items)))
            agreement = float((found == label).float().mean())
            store.add(key, {"frechet": frechet_distance(real[split], features), "agreement": agreement}, sum(seconds))
        return store.figures(key)

    seeds = range(args.seeds)
    for seed in seeds:  # seed by seed, so that a study under way can be looked at
        for case in CASES:
            for t in TEMPERATURES:
                measured("val", case, t, seed)
    table = Table("", *(f"val, {t}" for t in TEMPERATURES), "chosen", "test: Fréchet", "agreement, %")
    for case in CASES:
        means = {t: statistics.fmean(measured("val", case, t, s)["frechet"] for s in seeds) for t in TEMPERATURES}
        chosen = min(means, key=means.__getitem__)
        tests = [measured("test", case, chosen, seed) for seed in seeds]
        distances, agreements = ([f[what] for f in tests] for what in ("frechet", "agreement"))
        validation = [f"{means[t]:.3g}" for t in TEMPERATURES]
        table.add_row(
            f"{case[0]}/{case[1]}", *validation, str(chosen), cell(distances), cell([100 * a for a in agreements])
        )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
