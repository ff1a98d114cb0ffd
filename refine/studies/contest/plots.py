"""The pictures of a study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from refine.storage.files import atomic_write
from refine.studies.contest.results import (
    GROUPS,
    SERIES,
    TASKS,
    Point,
    Results,
    mean_and_deviation,
)
from refine.studies.contest.variants import REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which differ for colour-blind readers too
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    *("#222222", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"),
)
OTHERS = (BLUE, GREEN, PURPLE, ORANGE)
GREY = "#666666"


class Style(NamedTuple):
    """How a series is drawn: colour, marker, and dashes."""

    color: str
    marker: str
    line: str


STYLES = {
    "scales": Style(VERMILION, "o", "-"),
    "latent_diffusion-ddim": Style(BLUE, "s", "-"),
    "latent_diffusion-dpm": Style(BLUE, "D", "--"),
    "latent_velocity-ddim": Style(ORANGE, "p", "-"),
    "latent_velocity-dpm": Style(ORANGE, "h", "--"),
    "pixel_diffusion-ddim": Style(GREEN, "^", "-"),
    "pixel_diffusion-dpm": Style(GREEN, "v", "--"),
    "absorbing": Style(PURPLE, "X", "-."),
}


def plot_frontier(results: Results, path: Path) -> Path:
    """Draw Fréchet distance against seconds an image and against network evaluations: means over seeds, with sample
    standard deviations. Dashed are the floor of the reference's codes, and real training images. What has no place on
    a logarithmic axis, or no place at all, is left out."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    figure, axes = figure_of(1, 2, (10, 5.4), sharey=True)
    (left, right), points = axes[0], {series: list(filter(_has_place, results.points(series))) for series in SERIES}
    for series, name in SERIES.items():
        _series(left, points[series], "seconds_per_image", series, name)
        _series(right, points[series], "passes", series, name)
    _number_of_steps(left, [p for series, of in points.items() if series != "scales" for p in of])
    floor, real = results.values(REFERENCE, "floor", "frechet"), results.about_number("of_train", "frechet")
    _level(axes[0], floor, "floor of the codes", (0, (6, 3)))
    _level(axes[0], [] if real is None else [real], "real training images", (0, (2, 2)))
    plain = StrMethodFormatter("{x:g}")
    for axis in (left, right):
        axis.set(xscale="log", yscale="log")
        axis.margins(x=0.13, y=0.08)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(LogLocator(10, (1, 2, 5)))
            side.set_major_formatter(plain)
            side.set_minor_formatter(NullFormatter())
    left.xaxis.set_major_locator(LogLocator(10, (1, 3)))
    left.xaxis.set_major_formatter(EngFormatter("s", sep=" "))
    left.set(ylabel="Fréchet distance: lower is better", xlabel="CPU time an image takes")
    right.set_xlim(left=0.505)
    right.set(xlabel="evaluations of the network an image takes")
    figure.suptitle(
        f"S scales or T steps? {results.about.get('data', '')}: the same Transformer, {results.updates:,} updates",
        fontsize=12,
    )
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


def _has_place(point: Point) -> bool:
    values = [point.figures[name] for name in ("frechet", "passes", "seconds_per_image")]
    return all(v and 0 < mean_and_deviation(v)[0] < math.inf for v in values)


def _series(axis: Axes, points: Sequence[Point], cost: str, series: str, name: str) -> None:
    """One series, from few steps to many; scales are told beside their points."""
    if not points:
        return
    style, scales = STYLES[series], series == "scales"
    x = [mean_and_deviation(p.figures[cost])[0] for p in points]
    y, deviations = zip(*(mean_and_deviation(p.figures["frechet"]) for p in points), strict=True)
    below = [max(0.0, min(deviation, 0.9 * mean)) for mean, deviation in zip(y, deviations, strict=True)]
    axis.errorbar(x, y, [below, deviations], fmt="none", color=style.color, linewidth=1.2, capsize=2.5, zorder=3)
    (line,) = axis.plot(x, y, style.line, color=style.color, marker=style.marker, label=name, zorder=4 + scales)
    line.set(linewidth=2.4 if scales else 1.5, markersize=9 if scales else 6.5)
    line.set(markeredgecolor="white", markeredgewidth=0.7)
    for i, (point, at) in enumerate(zip(points, zip(x, y, strict=True), strict=True) if scales else ()):
        axis.annotate(
            _told("S", point.steps, i), at, (-7, -3), textcoords="offset points", ha="right", va="top", zorder=6,
            color=style.color, fontsize=10, fontweight="bold",
        )  # fmt: skip


def _told(name: str, steps: int, place: int) -> str:
    return f"{name}={steps}" if place == 0 else str(steps)


def _number_of_steps(axis: Axes, points: Sequence[Point]) -> None:
    """T, once for each, above the worst of its points: all take about the same time."""
    worst: dict[int, tuple[float, float]] = {}
    for point in points:
        seconds, mean = (mean_and_deviation(point.figures[name])[0] for name in ("seconds_per_image", "frechet"))
        if point.steps not in worst or mean > worst[point.steps][1]:
            worst[point.steps] = (seconds, mean)
    for i, (steps, at) in enumerate(sorted(worst.items())):
        axis.annotate(_told("T", steps, i), at, (3, 7), textcoords="offset points", color=GREY, fontsize=9, zorder=6)


def _level(axes: Sequence[Axes], values: Sequence[float], label: str, dashes: tuple[int, tuple[int, int]]) -> None:
    """A horizontal line at the mean, told in the first of the axes."""
    if not values:
        return
    level = mean_and_deviation(values)[0]
    for axis in axes:
        axis.axhline(level, color=GREY, linestyle=dashes, linewidth=1.1, zorder=2)
    axes[0].annotate(
        label, (0.01, level), (0, 3), color=GREY, fontsize=9,
        xycoords=axes[0].get_yaxis_transform(), textcoords="offset points",
    )  # fmt: skip


def plot_hypotheses(results: Results, path: Path) -> Path | None:
    """Draw Fréchet distances as bars by hypothesis (down) and task (across), with deviations over seeds and the floor
    of the codes as a mark. None if there are none."""
    groups = _groups(results, ("tasks", "generation", "frechet"))
    if not groups:
        return None
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    sizes = [len(group) for group in groups.values()]
    figure, axes = figure_of(len(groups), len(TASKS), (10, 1.4 + 0.4 * sum(sizes)), sizes, sharex="col")
    for row, (title, group) in zip(axes, groups.items(), strict=True):
        row[0].text(-0.04, 1.0, title, transform=row[0].transAxes, ha="right", va="bottom", fontweight="bold")
        for axis, task in zip(row, TASKS, strict=True):
            _bars(axis, results, group, task)
            axis.tick_params(labelleft=axis is row[0])
    for axis, name in zip(axes[-1], TASKS.values(), strict=True):
        axis.set(xlabel=f"Fréchet distance, {name}")
    marks = [
        Patch(color=VERMILION, label="the reference: " + ", ".join(group[REFERENCE] for group in GROUPS.values())),
        Patch(color=SKY, label="one thing changed"),
        Line2D(
            [], [], color=BLACK, marker="|", markersize=12, markeredgewidth=2, linestyle="", label="floor of the codes"
        ),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


def _bars(axis: Axes, results: Results, group: Mapping[str, str], task: str) -> None:
    for place, name in enumerate(group):
        if values := results.values(name, "tasks", task, "frechet"):
            mean, deviation = mean_and_deviation(values)
            color = VERMILION if name == REFERENCE else SKY
            axis.barh(place, mean, 0.7, color=color, xerr=deviation, error_kw={"linewidth": 1.2, "ecolor": BLACK})
            axis.annotate(
                f"{mean:#.3g}", (mean + deviation, place), (4, 0), textcoords="offset points", va="center", fontsize=9
            )
        if floor := results.values(name, "floor", "frechet"):
            level = mean_and_deviation(floor)[0]
            axis.plot([level, level], [place - 0.42, place + 0.42], color=BLACK, linewidth=2)
    axis.set_yticks(range(len(group)), group.values())
    axis.set_ylim(len(group) - 0.4, -0.6)
    axis.margins(x=0.2)
    axis.grid(visible=False, axis="y")


def plot_curves(results: Results, path: Path) -> Path | None:
    """Draw validation losses against updates, a panel for each hypothesis: lines are means over seeds, bands reach from
    the least to the largest. None if there are none."""
    groups = {t: [n for n in group if results.curve(n)] for t, group in GROUPS.items()}
    groups = {t: names for t, names in groups.items() if names}
    if not groups:
        return None
    rows = -(-len(groups) // 2)
    figure, axes = figure_of(rows, 2, (10, 3.4 * rows))
    for axis in axes.flat[len(groups) :]:
        axis.remove()
    for axis, (title, names) in zip(axes.flat, groups.items(), strict=False):
        others = iter(OTHERS)
        for name in names:
            color = VERMILION if name == REFERENCE else next(others)
            curve = results.curve(name)
            means = [mean_and_deviation(losses)[0] for losses in curve.values()]
            axis.plot(list(curve), means, color=color, label=GROUPS[title][name])
            least, largest = ([f(losses) for losses in curve.values()] for f in (min, max))
            axis.fill_between(list(curve), least, largest, color=color, alpha=0.2, linewidth=0)
        axis.set(title=title, xlabel="updates", ylabel="validation loss, each in its own unit")
        axis.legend(fontsize="small", frameon=False)
    return save(figure, path)


def _groups(results: Results, where: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """The hypotheses with those of their variants that have been drawn from."""
    found = {t: {n: label for n, label in g.items() if results.values(n, *where)} for t, g in GROUPS.items()}
    return {title: group for title, group in found.items() if group}


def figure_of(
    rows: int, columns: int, size: tuple[float, float], ratios: Sequence[int] | None = None, **shared: Any
) -> tuple[Figure, Any]:
    """A figure of ``size`` inches with axes in rows and columns, of heights in these ratios."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=size,
        layout="constrained",
        squeeze=False,
        height_ratios=ratios,
        **shared,
    )
    for axis in figure.axes:
        axis.grid(alpha=0.25)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path, **options: Any) -> Path:
    """Write a figure, and forget it."""
    import matplotlib.pyplot as plt

    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=160, **options)
    plt.close(figure)
    return path
