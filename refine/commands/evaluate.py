"""`refine evaluate`: what a checkpoint is worth on held-out data, as a table and as json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from refine.capabilities import Exports, Forecasts
from refine.commands.command import ANEW, GOES_ON, Command
from refine.errors import require
from refine.progress import console
from refine.settings.bounds import SPLITS, whole
from refine.settings.config import Config
from refine.settings.places import Place
from refine.version import __version__


@dataclass
class EvaluateConfig:
    """Keys of ``refine evaluate`` in every domain."""

    split: Annotated[str, SPLITS] = "test"  # train | val | test
    items: Annotated[int, whole(1)] = 10000  # items of the split that are scored
    # drawn samples; of a conditional model, one for the condition of each of as many items
    samples: Annotated[int, whole(1, 1_000_000)] = 10000
    balanced: bool = False  # as many samples of every class, whatever the split has
    batch_size: Annotated[int, whole(1, 1_000_000)] = 100  # items at once
    export: Place = None  # an .npz to write the samples to, as the evaluator of the field reads them


class Evaluate(Command):
    """Score a trained model on held-out data.

    That is run=FOLDER, else the newest run of the domain, else the model that ships with it. Figures are shown, and
    written as evaluate-SPLIT.json.

    \b
      refine evaluate run=runs/mnist
      refine evaluate domain=graph --samples 128 --split val
    """

    Options = EvaluateConfig
    kept = True
    uses = ("ensemble", "sampler", "trainer", "seed", "run")
    example = ("evaluate run=runs/mnist", "figures on held-out data")
    place = 50

    def run(self, config: Config) -> dict[str, Any]:
        """Score the checkpoint on ``evaluate.split`` and write ``evaluate-SPLIT.json``.

        Returns:
            The figures, by scale where they have one for each, coarsest first.

        Raises:
            RefineError: nothing to evaluate, a split that is none, or a file that another process is making. What can
                be refused is refused before anything is drawn.
        """
        from refine.storage.locks import alone, lock_beside

        settings = config.evaluate
        export = None if settings.export is None else _new_npz(settings.export)
        if export is not None:
            Exports.of(config.domain_name)
        model, source, run_folder = self.loaded(config)
        balanced = not settings.balanced or model.domain.condition.num_classes > 0
        require(balanced, "evaluate.balanced=true is not accepted: this model is not conditioned on classes")
        model.domain.check_metrics(model, settings)
        path = (run_folder or Path("samples")) / f"evaluate-{settings.split}.json"
        with alone(lock_beside(path), f"{path} is being made"):
            return self._scored(model, source, config, export, path)

    def _scored(self, model: Any, source: Path, config: Config, export: Path | None, path: Path) -> dict[str, Any]:
        """Figures, written to ``path``; samples to ``export``."""
        from refine.items import spread
        from refine.storage.files import write_text

        settings, out = config.evaluate, path.parent
        domain, dataset = model.domain, model.domain.dataset(settings.split)
        verified = domain.verify(model, source, config, out) if isinstance(domain, Forecasts) else {}
        if settings.balanced:
            num = settings.samples
            condition = domain.ask(num, domain.class_names(), split=settings.split)
        else:
            num, condition = model.asked(dataset, settings.samples)
        samples = model.sample_many(num, condition, config.seed, config.sampler, batch_size=settings.batch_size)
        figures = {"checkpoint": str(source), "split": settings.split, "seed": config.seed, "refine": __version__}
        figures |= model.score(spread(dataset, settings.items), samples, settings.batch_size)
        figures |= {"samples": len(samples.items), "balanced": settings.balanced}
        figures |= domain.metrics(model, samples, settings, out)
        figures |= verified
        write_text(path, json.dumps(figures, indent=2) + "\n")
        if export is not None:  # last: an export that is there would refuse the command that goes on after a kill
            domain.export(samples, export)
        show(figures)
        console.print(f"Written: {path}" + (f", {export}" if export is not None else ""), soft_wrap=True)
        return figures

    def stopped(self, config: Config) -> str:
        kept = config.domain_name in Forecasts.domains()  # its ensemble
        return GOES_ON if kept else ANEW


def _new_npz(given: str) -> Path:
    """The path of an export, which is not there yet.

    Raises:
        RefineError: another extension, a file that is there, or a place that cannot be a folder.
    """
    from refine.storage.files import require_writable

    path = Path(given).expanduser()
    key = f"evaluate.export={given!r} is not accepted"
    require(path.suffix == ".npz", f"{key}; accepted: a path that ends in .npz")
    require(not path.exists(), f"{key}: it is there already; give a new name")
    require_writable(path, key)
    return path


def show(figures: dict[str, Any]) -> None:
    """Two tables: figures by scale, and the rest."""
    by_scale = {n.removesuffix("_by_scale"): v for n, v in figures.items() if n.endswith("_by_scale")}
    table = Table(title="By scale, coarsest first")
    table.add_column("scale", justify="right")
    for name in by_scale:
        table.add_column(name.replace("_", " "), justify="right")
    for k, row in enumerate(zip(*by_scale.values(), strict=True)):
        table.add_row(str(k), *(f"{v:.4g}" for v in row))
    rest = Table("figure", "value", title="Overall")
    for name, value in figures.items():
        if not name.endswith("_by_scale"):
            rest.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    console.print(*([table] if by_scale else []), rest)
