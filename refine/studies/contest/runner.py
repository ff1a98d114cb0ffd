"""The experiments of `refine study`: what is trained, in which order, and what is measured of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refine.domain import Domain
from refine.items import Items, spread
from refine.learning.engine import fit
from refine.models.refiner import Refiner
from refine.progress import console, track
from refine.settings.config import Config, StageConfig, TrainConfig
from refine.storage.checkpoint import load_checkpoint, read_header
from refine.storage.locks import LOCK, alone
from refine.storage.runs import begun, read_metrics, run_of
from refine.studies.contest import measurements
from refine.studies.contest.contestant import Contestant, Subject
from refine.studies.contest.diffusion import scheduler
from refine.studies.contest.variants import (
    REFERENCE,
    VARIANTS,
    domain_config,
    domain_of,
    fit_codes,
    matched,
    model_config,
    operations,
    parameters,
)
from refine.studies.store import Store, StudyKey, shown

SAMPLES = 1000
SHOWN = 10
FIT_ITEMS = 6000
VAL_ITEMS = 512
CODEC = StageConfig(steps=1500, batch_size=64, lr=2e-3, ema=0.0)
CODEC_FIT_AFTER = 400
OPTIMIZER, LR = "muon", 1e-2
STEPS = (2, 5, 10, 25, 50, 100, 250)
SOLVERS = {
    "latent_diffusion": ("ddim", "dpm"),
    "latent_velocity": ("ddim", "dpm"),
    "pixel_diffusion": ("ddim", "dpm"),
    "absorbing": ("",),
}
ITERATIVE = tuple(SOLVERS)
SCALED = tuple(name for name in VARIANTS if name.startswith("scales_"))
HYPOTHESES = tuple(name for name in VARIANTS if name not in ITERATIVE)
FRONTIER = (*SCALED, *ITERATIVE)


@dataclass(frozen=True)
class Study:
    """One study: its data, and where its runs are kept.

    Attributes:
        updates: of every contestant's training.
        folder: of ``study.json``, and of a run for each contestant and seed, from which a training that was killed
            goes on.
    """

    updates: int
    folder: Path

    @cached_property
    def domain(self) -> Domain:
        """Of the reference."""
        return domain_of(VARIANTS[REFERENCE])

    @cached_property
    def subject(self) -> Subject:
        """What the domain brings."""
        domain: Any = self.domain
        subject: Subject = domain.subject()
        return subject

    @cached_property
    def test(self) -> tuple[Tensor, Tensor]:
        """Test items and labels that everything is measured on, spread over the split."""
        return gathered(spread(self.subject.items("test"), SAMPLES))

    def codec(self, seed: int) -> Refiner:
        """The tokenizer that all share the codec of: trained with the codes of the reference, once for a seed."""
        config = Config(
            domain=domain_config(VARIANTS[REFERENCE]),
            domain_name=self.domain.name,
            model=model_config(VARIANTS[REFERENCE]),
            train=TrainConfig(tokenizer=CODEC, fit_after=CODEC_FIT_AFTER),
            stage="tokenizer",
            seed=seed,
            run=str(self.folder / f"codec-{seed}"),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Refiner(self.domain, config.model)
        self._train(model, config, "tokenizer", CODEC.steps)
        return model

    def contestant(self, name: str, seed: int) -> tuple[Contestant, int]:
        """A trained contestant, and the items of its batches."""
        train = self.subject.items("train")
        contestant, batch = matched(name, self.subject, self.codec(seed).tokenizer.codec, seed)
        fit_codes(contestant, gathered(spread(train, FIT_ITEMS))[0], seed)
        stage = StageConfig(steps=self.updates, batch_size=batch, optimizer=OPTIMIZER, lr=LR)
        every = max(1, self.updates // 10)
        config = Config(
            domain=domain_config(VARIANTS[name]),
            domain_name=self.domain.name,
            model=contestant.config,
            train=TrainConfig(predictor=stage, val_every=every, save_every=every, val_items=VAL_ITEMS),
            seed=seed,
            run=str(self.run(name, seed)),
        )
        self._train(contestant, config, "predictor", self.updates)
        return contestant, batch

    def run(self, name: str, seed: int) -> Path:
        """The folder of a contestant's training."""
        return self.folder / f"{name}-{self.updates}-{seed}"

    def _train(self, model: Any, config: Config, stage: str, steps: int) -> None:
        """From where the run stands to its end; the weights are those of its checkpoint."""
        with run_of(config) as run:
            done = (run / "config.json").exists() and read_header(run)["info"].get(stage, {}).get("steps", 0) >= steps
            if not done:
                with begun(config):
                    fit(model, config, run, stage)
        model.load_state_dict(load_checkpoint(run)[1])
        model.eval()


def gathered(items: Items) -> tuple[Tensor, Tensor]:
    """Items and their labels."""
    rows = [items[i] for i in range(len(items))]  # type: ignore[arg-type]
    return torch.stack([r["x"] for r in rows]), torch.stack([r["label"] for r in rows])


def codec_figures(study: Study, seed: int) -> dict[str, Any]:
    """What the shared codec loses without any codes."""
    codec, (x, label) = study.codec(seed).tokenizer.codec, study.test
    with torch.no_grad():
        out = torch.cat([codec.decode(codec.encode(part)) for part in x.split(measurements.AT_ONCE)])
    return study.subject.score(study.subject.tasks[-1], out, x, label)


def draw(
    study: Study, contestant: Contestant, key: StudyKey, task: str, steps: int, method: str = ""
) -> tuple[dict[str, Any], dict[str, float]]:
    """Let a contestant draw for the test items, and keep a picture of the first.

    Returns:
        Figures of what it drew; and what a sample took, ``passes`` and CPU ``seconds_per_image``.
    """
    x, label = study.test
    condition = measurements.told(contestant, x, label, task)
    parts = measurements.draw(contestant, condition, len(x), key.seed, steps, method)
    items, passes, seconds = zip(*track(parts, f"{key.experiment}: {task}"), strict=True)
    drawn = torch.cat(items)
    study.subject.show(drawn[:SHOWN], shown(study.folder, key, task))
    cost = {"passes": sum(passes) / len(x), "seconds_per_image": sum(seconds) / len(x)}
    return study.subject.score(task, drawn, x, label), cost


def contestant_figures(study: Study, name: str, seed: int) -> dict[str, Any]:
    """Everything but the points of the frontier."""
    contestant, batch = study.contestant(name, seed)
    x, label = study.test
    tasks: dict[str, Any] = {}
    for task in study.subject.tasks:
        tasks[task] = {"bits_per_dim": measurements.bits(contestant, x, label, task)}
        if name not in ITERATIVE:
            key = StudyKey(name, seed, study.updates)
            tasks[task] |= draw(study, contestant, key, task, contestant.num_levels)[0]
    return {
        "parameters": parameters(contestant),
        "flops_per_update": batch * operations(contestant),
        "tokens": contestant.tokens,
        "batch": batch,
        "curve": curve(study.run(name, seed)),
        "floor": measurements.floor(contestant, x, label),
        "gradient_noise": measurements.gradient_noise(
            contestant, *gathered(spread(study.subject.items("train"), 5000))
        ),
        "likelihood": contestant.likelihood,
        "tasks": tasks,
    }


def curve(run: Path) -> list[list[float]]:
    """Pairs of update and validation loss."""
    found = {int(r["step"]): float(r["val_loss"]) for r in read_metrics(run) if "val_loss" in r}
    return [[step, loss] for step, loss in sorted(found.items())]


def points(name: str, seed: int) -> list[tuple[str, int, str]]:
    """(experiment, steps, sampler) of a contestant's points: all numbers of steps for the first seed, the ends of the
    range for the others."""
    if name in SCALED:
        scales = VARIANTS[name].scales
        return [(f"{name}/{scales}", scales, "")]
    steps = STEPS if seed == 0 else (STEPS[0], STEPS[-1])
    return [(f"{'-'.join(filter(None, (name, solver)))}/{t}", t, solver) for solver in SOLVERS[name] for t in steps]


def study(which: str, seeds: int, updates: int, out: Path) -> Path:
    """Run what has not been run yet of ``hypotheses`` or of the ``frontier``, and keep it in ``study.json``.

    Raises:
        RefineError: no data, a folder that holds something else, or one that another process measures in.
    """
    names = HYPOTHESES if which == "hypotheses" else FRONTIER
    return run_all(Study(updates, out), names, range(seeds), which == "frontier")


def run_all(setting: Study, names: Sequence[str], seeds: Sequence[int], with_points: bool) -> Path:
    """Contestants by name, each for every seed, and their points if asked for.

    The file then says that it is about this setting, even if all of it had been measured before another one.
    """
    if any(VARIANTS[name].kind == "diffusion" for name in names):
        scheduler("DDPMScheduler")  # so that a missing package is told now, not after the trainings before
    with alone(setting.folder / LOCK, f"out={str(setting.folder)!r} is being measured"):
        return _measured(setting, names, seeds, with_points)


def _measured(setting: Study, names: Sequence[str], seeds: Sequence[int], with_points: bool) -> Path:
    store = Store(setting.folder / "study.json", StudyKey)
    store.about |= about(setting)
    setting.subject.show(setting.test[0][:SHOWN], shown(setting.folder))
    for seed in seeds:
        _keep(store, StudyKey("codec", seed, CODEC.steps), codec_figures, setting, seed)
        for name in names:
            key = StudyKey(name, seed, setting.updates)
            _keep(store, key, contestant_figures, setting, name, seed)
    for seed in seeds if with_points else ():
        for name in (n for n in names if n in FRONTIER):
            lacking = [p for p in points(name, seed) if StudyKey(p[0], seed, setting.updates) not in store]
            contestant = setting.contestant(name, seed)[0] if lacking else None
            for experiment, steps, solver in lacking:
                key = StudyKey(experiment, seed, setting.updates)
                _keep(store, key, _point, setting, contestant, key, steps, solver)
    store.write()
    return store.path


def about(setting: Study) -> dict[str, Any]:
    """What all figures rest on; and what as many real training images would get."""
    x, label = gathered(spread(setting.subject.items("train"), SAMPLES))
    of_train = setting.subject.score(setting.subject.tasks[0], x, x, label)
    return {
        "data": setting.subject.data,
        "judge": setting.subject.judge,
        "samples": SAMPLES,
        "updates": setting.updates,
        "of_train": {name: of_train[name] for name in ("frechet", "agreement")},
        "threads": torch.get_num_threads(),
    }


def _point(setting: Study, contestant: Contestant, key: StudyKey, steps: int, solver: str) -> dict[str, Any]:
    """A point of the frontier: generation for the labels, and what it took."""
    figures, cost = draw(setting, contestant, key, setting.subject.tasks[0], steps, solver)
    return figures | cost


def _keep(store: Store[StudyKey], key: StudyKey, work: Callable[..., dict[str, Any]], *given: Any) -> None:
    """Do work, which returns figures, unless they are known."""
    if key in store:
        return
    console.print(f"{key.experiment}, seed {key.seed}")
    start = time.process_time()
    store.add(key, work(*given), time.process_time() - start)
