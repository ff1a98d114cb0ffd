"""What a study has recorded, as its tables and pictures read it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refine.errors import RefineError, require, shown
from refine.storage.files import regular
from refine.studies.contest.variants import REFERENCE
from refine.studies.store import Store, StudyKey

GROUPS: dict[str, dict[str, str]] = {
    "Latent or pixels": {REFERENCE: "latent", "pixel": "pixels"},
    "What a head predicts": {REFERENCE: "categorical", "bitwise": "bitwise", "gaussian": "Gaussian"},
    "Codes of a site": {REFERENCE: "single codebook", "residual": "residual", "product": "product"},
    "Scales": {f"scales_{s}": f"S = {s}" for s in (1, 2, 3, 4, 6)},
}
"""The hypotheses: of each, the contestants by experiment."""

TASKS = {"generation": "generation", "super_resolution": "super-resolution 4x", "inpainting": "in-painting of a half"}

SERIES: dict[str, str] = {
    "scales": "next scale, S scales",
    "absorbing": "absorbing state, the same codes",
    "latent_diffusion-ddim": "latent diffusion, DDIM",
    "latent_diffusion-dpm": "latent diffusion, DPM-Solver++",
    "latent_velocity-ddim": "latent diffusion of v, DDIM",
    "latent_velocity-dpm": "latent diffusion of v, DPM-Solver++",
    "pixel_diffusion-ddim": "pixel diffusion, DDIM",
    "pixel_diffusion-dpm": "pixel diffusion, DPM-Solver++",
}
"""What the frontier compares; all but the first take T steps."""

Where = str | int


@dataclass(frozen=True)
class Point:
    """One way to draw, on the frontier.

    Attributes:
        steps: S or T.
        figures: ``frechet``, ``agreement``, ``passes`` and ``seconds_per_image``, each for every seed.
    """

    steps: int
    figures: dict[str, list[float]]


@dataclass(frozen=True)
class Results:
    """Figures by experiment and seed, of one number of updates.

    Attributes:
        path: where they were read.
        updates: of every training.
        about: data, judge, number of samples, and figures of real training images.
        figures: by experiment, then by seed.
        cpu_seconds: what all of it took.
    """

    path: Path
    updates: int
    about: Mapping[str, Any]
    figures: Mapping[str, Mapping[int, Mapping[str, Any]]]
    cpu_seconds: float

    def values(self, experiment: str, *where: Where) -> list[float]:
        """A figure for every seed that has it, by the keys and places that lead to it.

        Raises:
            RefineError: it is no number.
        """
        found = (self._number(f"{experiment}, seed {seed}", figures, where) for seed, figures in self._of(experiment))
        return [value for value in found if value is not None]

    def about_number(self, *where: Where) -> float | None:
        """The same of what it is about."""
        return self._number("about", self.about, where)

    def words(self, experiment: str, *where: Where) -> str | None:
        """A text of the first seed that has it."""
        found = (_at(figures, where) for _, figures in self._of(experiment))
        return next((str(value) for value in found if value is not None), None)

    def bands(self, experiment: str, task: str) -> dict[str, list[float]]:
        """Errors by the name of the band, finest first.

        Raises:
            RefineError: they have another form.
        """
        out: dict[str, list[float]] = {}
        for seed, figures in self._of(experiment):
            for band in self._list(f"{experiment}, seed {seed}", figures, ("tasks", task, "bands")):
                error = self._number(f"{experiment}, seed {seed}, bands of {task}", band, ("error",))
                out.setdefault(str(_at(band, ("name",))), []).extend([] if error is None else [error])
        return out

    def curve(self, experiment: str) -> dict[float, list[float]]:
        """Validation losses of the seeds by update.

        Raises:
            RefineError: they have another form.
        """
        out: dict[float, list[float]] = {}
        for seed, figures in self._of(experiment):
            what = f"{experiment}, seed {seed}, curve"
            for record in self._list(what, figures, ("curve",)):
                update, loss = self._number(what, record, (0,)), self._number(what, record, (1,))
                if update is not None and loss is not None:
                    out.setdefault(update, []).append(loss)
        return dict(sorted(out.items()))

    def points(self, series: str) -> list[Point]:
        """The points of a series of the frontier, from few steps to many.

        Raises:
            RefineError: a figure is no number.
        """
        found = []
        for experiment in self.figures:
            name, _, steps = experiment.partition("/")
            own = name.startswith("scales_") if series == "scales" else name == series
            if own and steps.isdecimal() and len(steps) < 10:
                names = ("frechet", "agreement", "passes", "seconds_per_image")
                found.append(Point(int(steps), {figure: self.values(experiment, figure) for figure in names}))
        return sorted(found, key=lambda point: point.steps)

    def seeds(self, experiments: Iterable[str]) -> int:
        """How many seeds the one of ``experiments`` with most of them has."""
        return max((len(self.figures.get(name, ())) for name in experiments), default=0)

    def _of(self, experiment: str) -> list[tuple[int, Mapping[str, Any]]]:
        return sorted(self.figures.get(experiment, {}).items())

    def _number(self, what: str, figures: Any, where: Sequence[Where]) -> float | None:
        value = _at(figures, where)
        if value is None:
            return None
        number = type(value) is float or (type(value) is int and abs(value) < 2**63)
        name = ".".join(map(str, where))
        require(number, f"{self.path}: {name}={shown(value)} of {what} is not accepted; accepted: a number or null")
        return float(value)

    def _list(self, what: str, figures: Any, where: Sequence[Where]) -> list[Any]:
        value = _at(figures, where)
        accepted = "accepted: a list or null"
        require(
            value is None or isinstance(value, list),
            f"{self.path}: {shown(value)} of {what} is not accepted; {accepted}",
        )
        return value or []


def read_results(path: Path) -> Results:
    """What ``study.json`` holds of the number of updates that it says it is about.

    Raises:
        RefineError: it cannot be read, or is another file.
    """
    regular(path)
    store = Store(path, StudyKey)
    updates = store.about.get("updates")
    if type(updates) is not int:
        raise RefineError(f"{path} is not a file of refine study: about.updates={shown(updates)} is no whole number")
    figures: dict[str, dict[int, Mapping[str, Any]]] = {}
    seconds = 0.0
    for key, record in store.records.items():
        if key.experiment == "codec" or key.updates == updates:
            figures.setdefault(key.experiment, {})[key.seed] = record["figures"]
            seconds += float(record.get("cpu_seconds", 0))
    return Results(path, updates, store.about, figures, seconds)


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; of a single value it is 0."""
    mean = statistics.fmean(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))


def _at(figures: Any, where: Sequence[Where]) -> Any:
    """What keys and places lead to; None where they lead nowhere."""
    for part in where:
        if isinstance(part, int):
            figures = figures[part] if isinstance(figures, list) and part < len(figures) else None
        else:
            figures = figures.get(part) if isinstance(figures, Mapping) else None
    return figures
