"""Pictures of what the contestants of a study drew for the same test items, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refine.errors import RefineError, require
from refine.studies.contest.plots import figure_of, save
from refine.studies.contest.results import GROUPS, SERIES, TASKS, Results
from refine.studies.contest.variants import REFERENCE
from refine.studies.store import StudyKey, shown

PIXELS_AN_INCH = 110


def plot_frontier_samples(results: Results, path: Path) -> Path | None:
    """Generation by S scales, and by the fewest and the most of T steps. DPM-Solver++ is left out: it draws what DDIM
    draws, hardly otherwise. None if there is nothing to show."""
    rows = {f"next scale, S = {p.steps}": f"scales_{p.steps}/{p.steps}" for p in results.points("scales")}
    for series, name in SERIES.items():
        if series != "scales" and not series.endswith("dpm"):
            steps = [point.steps for point in results.points(series)]
            rows |= {f"{name}, T = {t}": f"{series}/{t}" for t in sorted({*steps[:1], *steps[-1:]})}
    return _sheet(results, rows, ["generation"], path)


def plot_hypotheses_samples(results: Results, path: Path) -> Path | None:
    """All tasks by the reference and its variants. None if there is nothing to show."""
    others = {label: name for group in GROUPS.values() for name, label in group.items() if name != REFERENCE}
    return _sheet(results, {"the reference": REFERENCE} | others, list(TASKS), path)


def _sheet(results: Results, rows: Mapping[str, str], tasks: Sequence[str], path: Path) -> Path | None:
    """A row for each experiment that its first seed has pictures of, below the real items.

    Raises:
        RefineError: a file that is no picture, or of another size.
    """
    import numpy as np

    folder = results.path.parent
    found = {"real": [shown(folder)] * len(tasks)}
    for label, experiment in rows.items():
        key = StudyKey(experiment, min(results.figures.get(experiment, {}), default=0), results.updates)
        found[label] = [shown(folder, key, task) for task in tasks]
    found = {label: paths for label, paths in found.items() if all(p.exists() for p in paths)}
    if len(found) < 2:
        return None
    strips = [[_picture(p) for p in paths] for paths in found.values()]
    for paths, row in zip(found.values(), strips, strict=True):
        for p, strip in zip(paths, row, strict=True):
            require(strip.shape == strips[0][0].shape, f"{p} is not accepted: it is of another size; move it away")
    columns = [np.concatenate(column) for column in zip(*strips, strict=True)]
    height = len(columns[0])
    inches = 2.5 + sum(column.shape[1] for column in columns) / PIXELS_AN_INCH, 0.4 + height / PIXELS_AN_INCH
    figure, axes = figure_of(1, len(tasks), inches)
    middles = height / len(found) * (np.arange(len(found)) + 0.5)
    for axis, column, task in zip(axes[0], columns, tasks, strict=True):
        axis.imshow(column)
        axis.set(title=TASKS[task], xticks=[], yticks=[])
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
    axes[0, 0].set_yticks(middles, found)
    axes[0, 0].tick_params(left=False)
    return save(figure, path, bbox_inches="tight")  # the layout leaves too little for labels of images


def _picture(path: Path) -> Any:
    """(height, width, channels)."""
    import matplotlib.pyplot as plt

    try:
        return plt.imread(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise RefineError(f"{path} is no picture ({error}); move it away") from None
