"""The results of a study as Markdown and as curves."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from refine.storage.files import atomic_write
from refine.studies.paper.tables import Cell, Claim, Table
from refine.studies.paper.training import BATCH, TARGET
from refine.studies.store import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Seeds = Sequence[Mapping[str, Figures]]
"""Of each seed, figures by experiment."""

Value = float | None

WITHOUT_TRAINING = {
    "mean_image": "the mean image",
    "noisy_input": "the noisy input as it is",
    "clamped_input": "the noisy input clamped to [0, 1]",
    "clamped_input_shifted": "the same at sigma .30",
    "projection": "the noisy input projected on 64 principal components",
    "projection_shifted": "the same at sigma .30",
    "wiener": "linear Wiener filter of the 784 pixels",
    "wiener_shifted": "the same at sigma .30, filter of .20",
    "wiener_latent": "linear Wiener filter in the latent of 64 principal components",
    "wiener_latent_shifted": "the same at sigma .30, filter of .20",
    "pca_16": "floor of a linear latent of 16 dimensions",
    "pca_32": "... of 32",
    "pca_64": "... of 64",
    "pca_128": "... of 128",
    "pca_256": "... of 256",
    "kmeans_64": "floor of one of 64 centroids of that latent of 64",
    "kmeans_256": "... of 256 centroids (8 bits)",
    "product_16x64": "... of 16 sub-vectors with 64 centroids each",
    "product_32x64": "... of 32 sub-vectors with 64 centroids each",
}


def markdown(tables: Mapping[str, Table], seeds: Seeds, train_size: int) -> str:
    """All that was measured, table by table."""
    parts = [f"# Tables {', '.join(tables)} of arXiv 2510.02826, {train_size:,} training images, {len(seeds)} seeds"]
    for number, table in tables.items():
        parts.append(f"## Table {number}. {table.title}")
        parts.append(
            rows_table(["", "", "paper", "measured", "floor", "reproduced?"], [_cell(c, seeds) for c in table.cells])
        )
        parts.append(
            rows_table(["claim", "paper", "measured", "reproduced?"], [_claim(c, seeds) for c in table.claims])
        )
        beside = [[name, text([q(figures) for figures in seeds])] for name, q in table.beside.items()]
        parts += [rows_table(["beside", "measured"], beside)] if beside else []
    if any("closed_forms" in table.experiments for table in tables.values()):
        rows = [
            [words, text([float(figures["closed_forms"][name]) for figures in seeds])]
            for name, words in WITHOUT_TRAINING.items()
        ]
        parts += ["## Without any training", rows_table(["of the test images", "MSE"], rows)]
    return "\n\n".join(parts) + "\n"


def verdicts(tables: Mapping[str, Table], seeds: Seeds) -> list[list[str]]:
    """Table, cell or claim, paper, measured, verdict: what a terminal shows."""
    rows = []
    for number, table in tables.items():
        for what, column, paper, measured, _, verdict in (_cell(c, seeds) for c in table.cells):
            rows.append([number, f"{what}: {column}", paper, measured, verdict])
        rows += [[number, *_claim(c, seeds)] for c in table.claims]
    return rows


def rows_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(cell: Cell, seeds: Seeds) -> list[str]:
    values = [cell.quantity(figures) for figures in seeds]
    floor = "" if cell.floor is None else f"{text([cell.floor[1](f) for f in seeds], spread=False)} ({cell.floor[0]})"
    paper = f"{cell.paper:g}" + ("" if cell.spread is None else f" ± {cell.spread:g}")
    return [cell.row, cell.column, paper, text(values), floor, cell.verdict(values)]


def _claim(claim: Claim, seeds: Seeds) -> list[str]:
    below, above = ([q(figures) for figures in seeds] for q in (claim.below, claim.above))
    sign = {"yes": "<", "reversed": ">", "no difference": "="}.get(verdict := claim.verdict(below, above), "?")
    sides = [text(side, spread=False) for side in (below, above)]
    if all(side.startswith("-") for side in sides):  # of what should be large, the negative is compared
        sides, sign = [side.removeprefix("-") for side in sides], {"<": ">", ">": "<"}.get(sign, sign)
    return [claim.text, claim.paper, f"{sides[0]} {sign} {sides[1]}", verdict]


def text(values: Sequence[Value], spread: bool = True) -> str:
    """Mean and standard deviation of a quantity over seeds; whole numbers one by one."""
    if any(v is None or isinstance(v, int) for v in values):
        return ", ".join("never" if v is None else str(v) for v in values)
    known = [v for v in values if v is not None]
    mean = statistics.fmean(known)
    deviation = f" ± {number(statistics.stdev(known), mean)}" if spread and len(set(known)) > 1 else ""
    return number(mean) + deviation


def number(value: float, like: float | None = None) -> str:
    """A number with the decimals that suit ``like``, or itself: two of what is large, five of errors, powers of ten
    below."""
    size = abs(value if like is None else like)
    if size == 0 or size >= 0.5:
        return f"{value:.2f}" if value % 1 or like is not None else f"{value:.0f}"
    return f"{value:.5f}" if size >= 5e-4 else f"{value:.1e}"


NAMES = {
    "pixel": "Pixel-MLP, S = 1",
    "latent": "Latent-MLP, regression",
    "softmax": "Softmax-64",
    "bitwise": "Bitwise-8",
    "cascade_2": "S = 2",
    "cascade_3": "S = 3",
}
PANELS = {
    "setup A": ["pixel", "latent"],
    "setup A, MSE minus the model's floor": ["pixel", "latent"],
    "setup B": ["latent", "softmax", "bitwise"],
    "setup C and depth": ["pixel", "cascade_2", "cascade_3"],
}


def plot(seeds: Seeds, path: Path, train_size: int) -> Path:
    """Draw test errors against updates for the models measured, and what they are above their floor: the pixel model
    has none, the latent model that of the autoencoder.

    Lines are means over seeds, bands reach from the least to the largest. Up to update 480 the error is that of the
    first 2,000 test images.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {title: [name for name in names if name in seeds[0]] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names and ("latent" in names or "A" not in title)}
    rows = -(-len(panels) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3.6 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, names) in zip(axes.flat, panels.items(), strict=False):
        above = "minus" in title
        for name in names:
            floors = [f["autoencoder"]["mse"] if above and name == "latent" else 0.0 for f in seeds]
            curves = [_points(f[name], train_size, floor) for f, floor in zip(seeds, floors, strict=True)]
            _curve(axis, curves, NAMES[name])
        if not above:
            _levels(axis, seeds, names)
        axis.set(title=title, xlabel="updates", ylabel="test MSE", xscale="log", yscale="log")
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3, which="both")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=80)
    plt.close(figure)
    return path


def _levels(axis: Axes, seeds: Seeds, names: Sequence[str]) -> None:
    """The paper's target, and the floors of the models."""
    axis.axhline(TARGET, color="grey", linestyle=":", linewidth=1, label="the paper's target, .018")
    floors = [
        ("latent", "autoencoder", "autoencoder's floor", "--"),
        ("softmax", "codebook", "floor of 64 centroids", "-."),
    ]
    for name, experiment, label, style in floors:
        if name in names:
            level = statistics.fmean(f[experiment]["mse"] for f in seeds)
            axis.axhline(level, color="black", linestyle=style, linewidth=1, label=label)


def _points(figures: Figures, train_size: int, floor: float) -> list[tuple[int, float]]:
    """(updates, error above the floor): the early ones, then the ends of epochs."""
    epoch = -(-train_size // BATCH)
    ends = [(epoch * i, error) for i, error in enumerate(figures["mse_by_epoch"], 1)]
    early = [(update, error) for update, error in figures["early"]]
    points = early + [end for end in ends if not early or end[0] > early[-1][0]]
    return [(update, error - floor) for update, error in points]


def _curve(axis: Axes, curves: list[list[tuple[int, float]]], label: str) -> None:
    updates = [update for update, _ in curves[0]]
    errors = list(zip(*([error for _, error in curve] for curve in curves), strict=True))
    (line,) = axis.plot(updates, [statistics.fmean(e) for e in errors], label=label)
    axis.fill_between(updates, [min(e) for e in errors], [max(e) for e in errors], color=line.get_color(), alpha=0.2)
