"""The tables of a study, in Markdown; with its pictures, whatever has been recorded so far.

A cell is the mean over seeds with the sample standard deviation, or a dash where nothing is recorded. The best of a
column is bold only if it is better than every other one by more than their two deviations together, which takes at
least two seeds of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from refine.errors import not_accepted, require
from refine.storage.files import write_text
from refine.studies.contest.plots import plot_curves, plot_frontier, plot_hypotheses
from refine.studies.contest.results import GROUPS, SERIES, TASKS, Results, Where, mean_and_deviation, read_results
from refine.studies.contest.samples import plot_frontier_samples, plot_hypotheses_samples
from refine.studies.paper.report import rows_table

MISSING = "-"
LOWER, HIGHER = -1, 1
LIKELIHOODS = {"exact": "exact", "bound": "upper bound", "density": "density"}

COLUMNS = """A band of the Laplacian pyramid of pixels goes by its size. In generation it is judged by how much its
energy is wrong, relative to that of real images, in other tasks by its mean squared error, of samples, as MSE is:
an average of all that fits has less of it than a sample that is right, so no best is marked. Floors are of
reconstructions through the codes. Gradient noise is the variance of the gradient over its squared mean, on the same
frozen weights."""

LIKELIHOOD = """Bits per dimension are of what a model draws, its codes or its values, given what the task tells.
Where codes differ they measure different things, a bound is not the likelihood itself, and a density is no
probability: no best is marked."""


def write_report(path: Path, out: Path, which: str) -> list[Path]:
    """Write the tables and pictures of one study from the file that recorded it.

    Args:
        path: of ``study.json``.
        out: a folder, made if need be.
        which: ``hypotheses`` or ``frontier``.

    Returns:
        What was written.

    Raises:
        RefineError: no such study, another file, or one without any of its results.
    """
    if which not in STUDIES:
        raise not_accepted("study", which, STUDIES)
    return STUDIES[which](read_results(path), out)


def _write_hypotheses(results: Results, out: Path) -> list[Path]:
    _require_any(results, any(name in results.figures for group in GROUPS.values() for name in group), "hypotheses")
    report = out / "hypotheses.md"
    write_text(report, hypotheses(results))
    drawn = [
        plot_hypotheses(results, out / "hypotheses.png"),
        plot_hypotheses_samples(results, out / "hypotheses-samples.png"),
        plot_curves(results, out / "curves.png"),
    ]
    return [report, *(path for path in drawn if path)]


def _write_frontier(results: Results, out: Path) -> list[Path]:
    _require_any(results, any(results.points(series) for series in SERIES), "the frontier")
    report = out / "frontier.md"
    write_text(report, frontier(results))
    drawn = [plot_frontier(results, out / "frontier.png"), plot_frontier_samples(results, out / "frontier-samples.png")]
    return [report, *(path for path in drawn if path)]


STUDIES: dict[str, Callable[[Results, Path], list[Path]]] = {
    "hypotheses": _write_hypotheses,
    "frontier": _write_frontier,
}
"""What can be studied, and what writes it."""


def _require_any(results: Results, found: bool, what: str) -> None:
    require(found, f"{results.path} has no results of {what} with {results.updates:,} updates")


def hypotheses(results: Results) -> str:
    """For each hypothesis what its variants are, and how they do in every task."""
    names = [name for group in GROUPS.values() for name in group]
    parts = ["# Three hypotheses", conditions(results, names)]
    for title, group in GROUPS.items():
        if any(name in results.figures for name in group):
            parts += [f"## {title}", _models(results, group), _quality(results, group)]
    return "\n\n".join([*parts, COLUMNS, LIKELIHOOD]) + "\n"


def frontier(results: Results) -> str:
    """Every point of the frontier, and likelihoods where there are any."""
    parts = ["# S scales or T steps", conditions(results, results.figures)]
    head = ["", "S or T", "network evaluations", "seconds an image", "Fréchet distance", "agreement, %", "seeds"]
    rows = []
    for series, name in SERIES.items():
        for point in results.points(series):
            f = point.figures
            rows.append(
                [
                    *(name, f"{'S' if series == 'scales' else 'T'} = {point.steps}"),
                    *(_passes(f["passes"]), cell(f["seconds_per_image"]), cell(f["frechet"])),
                    *(cell([100 * v for v in f["agreement"]]), str(len(f["frechet"]))),
                ]
            )
    names = {
        **{name: f"next scale, {label}" for name, label in GROUPS["Scales"].items()},
        "latent_diffusion": "latent diffusion",
        "latent_velocity": "latent diffusion of v",
        "pixel_diffusion": "pixel diffusion",
        "absorbing": SERIES["absorbing"],
    }
    likelihoods = [
        [name, *_likelihood(results, experiment)] for experiment, name in names.items() if experiment in results.figures
    ]
    parts += [rows_table(head, rows)]
    if likelihoods:
        parts += ["## Likelihoods of generation", rows_table(["", "bits/dim", "which is"], likelihoods), LIKELIHOOD]
    return "\n\n".join(parts) + "\n"


def conditions(results: Results, names: Iterable[str]) -> str:
    """What was the same for all, and what a perfect model would get."""
    about = results.about
    seeds, samples = results.seeds(names), results.about_number("samples")
    lines = [
        f"Data: {about.get('data', MISSING)}. {seeds} seed{'s' * (seeds > 1)}, {results.updates:,} updates, "
        f"{MISSING if samples is None else f'{samples:,.0f}'} samples of each; "
        f"{results.cpu_seconds / 3600:.1f} CPU hours in all.",
        f"Judge: {about.get('judge', MISSING)}.",
    ]
    if (distance := results.about_number("of_train", "frechet")) is not None:
        agreement = results.about_number("of_train", "agreement")
        share = "" if agreement is None else f", agreement {cell([100 * agreement])} %"
        lines.append(f"Real training images: Fréchet distance {cell([distance])}{share}.")
    if errors := results.values("codec", "mse"):
        lines.append(f"The autoencoder alone: MSE {cell(errors)}, PSNR {cell(results.values('codec', 'psnr'))} dB.")
    return "\n".join(lines)


def _models(results: Results, group: Mapping[str, str]) -> str:
    """What the variants of a hypothesis cost, and what their codes lose."""
    columns: dict[str, tuple[list[list[float]], int]] = {
        title: ([results.values(name, *where) for name in group], better)
        for title, where, better in (
            ("parameters", ("parameters",), 0),
            ("FLOPs of an update", ("flops_per_update",), 0),
            ("gradient noise", ("gradient_noise",), LOWER),
            ("floor: MSE", ("floor", "mse"), 0),
            ("floor: PSNR, dB", ("floor", "psnr"), 0),
            ("floor: Fréchet distance", ("floor", "frechet"), 0),
        )
    }
    cells = {title: column(values, better) for title, (values, better) in columns.items()}
    cells["parameters"] = [f"{v[0]:,.0f}" if v else MISSING for v in columns["parameters"][0]]
    return rows_table(
        ["", *cells], [[label, *row] for label, *row in zip(group.values(), *cells.values(), strict=True)]
    )


def _quality(results: Results, group: Mapping[str, str]) -> str:
    """How the variants of a hypothesis do, task by task."""
    bands = {band: None for name in group for task in TASKS for band in results.bands(name, task)}
    head = ["task", "", "Fréchet distance", "floor", "agreement, %", "bits/dim", "MSE", *(f"band {b}" for b in bands)]
    rows: list[list[str]] = []
    for task, title in TASKS.items():
        energy = LOWER if task == "generation" else 0

        def of(*where: Where, task: str = task, scale: float = 1.0) -> list[list[float]]:
            return [[scale * v for v in results.values(name, "tasks", task, *where)] for name in group]

        columns = [
            column(of("frechet"), LOWER),
            column([results.values(name, "floor", "frechet") for name in group]),
            column(of("agreement", scale=100), HIGHER),
            column(of("bits_per_dim")),
            column(of("mse")),
            *(column([results.bands(name, task).get(band, []) for name in group], energy) for band in bands),
        ]
        labels = [title] + [""] * (len(group) - 1)
        rows += [list(row) for row in zip(labels, group.values(), *columns, strict=True)]
    return rows_table(head, rows)


def _passes(values: Sequence[float]) -> str:
    return f"{mean_and_deviation(values)[0]:.3g}" if values else MISSING


def _likelihood(results: Results, experiment: str) -> list[str]:
    kind = results.words(experiment, "likelihood")
    bits = cell(results.values(experiment, "tasks", "generation", "bits_per_dim"))
    return [bits, MISSING if bits == MISSING or kind is None else LIKELIHOODS.get(kind, kind)]


def column(values: Sequence[Sequence[float]], better: int = 0) -> list[str]:
    """The cells of a column, the best in bold where it stands out.

    Args:
        values: those of the seeds, of each variant.
        better: -1 if lower is better, 1 if higher is, 0 if neither.
    """
    cells = [cell(v) for v in values]
    known = {i: mean_and_deviation(v) for i, v in enumerate(values) if v}
    if better == 0 or len(known) < 2 or any(len(values[i]) < 2 for i in known):
        return cells
    best = max(known, key=lambda i: better * known[i][0])
    mean, deviation = known.pop(best)
    if all(better * (mean - other) > deviation + spread for other, spread in known.values()):
        cells[best] = f"**{cells[best]}**"
    return cells


def cell(values: Sequence[float]) -> str:
    """Mean and sample standard deviation to three digits of the mean; a dash for no values."""
    if not values:
        return MISSING
    mean, deviation = mean_and_deviation(values)
    if not math.isfinite(mean) or mean == 0:
        return f"{mean:g}"
    size = math.floor(math.log10(abs(mean)))
    form = f".{max(0, 2 - size)}f" if -4 <= size < 6 else ".2e"
    return f"{mean:{form}}" + (f" ± {deviation:{form}}" if deviation else "")
