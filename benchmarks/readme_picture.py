"""The picture at the top of README: the three shipped models, coarse to fine.

    python benchmarks/readme_picture.py

Everything in it is drawn by the models that ship with refine, from the seeds below. It needs the extras image, graph
and weather, and takes less than a minute on a CPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

import refine
from refine.domains.graph.pictures.drawings import EDGE, _scenes
from refine.domains.weather.pictures.forecast_pictures import Maps
from refine.domains.weather.pictures.looks import DIFFERENCE, limits, look_of
from refine.items import collate_of
from refine.noise import Noise
from refine.storage.runs import load_run_config

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "three-domains.png"
COLUMNS = 5
INK, GREY = "#20242a", "#5d6670"
DIGITS = (2, 3, 6, 7)  # which samples of seed 0
GRAPH = 2  # likewise
CHANNEL = "geopotential_500"


def digits() -> list[tuple[Any, str]]:
    """Four digits side by side, decoded after every scale: those that ``refine sample domain=image`` draws first."""
    model = refine.Refiner.from_pretrained(refine.starter("image"))
    sampler = load_run_config(refine.starter("image")).sampler
    samples = model.sample(10, refine.Condition(label=torch.arange(10)), seed=0, sampler=sampler, trail=True)
    shapes = model.domain.resampler().shapes
    pictures = []
    for items, shape in zip(samples.trail, shapes, strict=True):
        four = np.pad(
            ((items.clamp(-1, 1) + 1) / 2)[list(DIGITS), 0].numpy(), ((0, 0), (0, 1), (0, 1)), constant_values=1
        )
        pictures.append(
            (np.block([[four[0], four[1]], [four[2], four[3]]])[:-1, :-1], f"{shape[0]} × {shape[1]} sites")  # noqa: RUF001
        )
    return pictures


def graphs() -> list[tuple[Any, str]]:
    """One planar graph at its last scales."""
    model = refine.Model.from_pretrained(refine.starter("graph"))
    samples = model.sample(GRAPH + 1, seed=0, trail=True)
    trail = [step[GRAPH] for step in samples.trail]
    scenes = _scenes(trail, [g.parent for g in trail[1:] if g.parent is not None], ())
    return [(scene, f"{scene.graph.num_nodes} nodes") for scene in scenes[-COLUMNS:]]


@torch.no_grad()
def forecast() -> tuple[list[tuple[Any, str]], Maps]:
    """The mean forecast of a day, and what each scale of codes adds to it."""
    model: Any = refine.Model.from_pretrained(refine.starter("weather"))
    pairs = model.domain.dataset("val")
    batch = collate_of(pairs)([pairs[len(pairs) - 1]])
    fields, mean = model.refinement(batch, Noise(0, [0]), refine.SamplerConfig(gain="auto"))
    c, look = model.channels.index(CHANNEL), look_of(CHANNEL)
    mean = look.drawn(mean[0, c].numpy())
    shown = [(mean, "mean forecast")]
    shown += [
        (look.drawn(x[0, c].numpy()) - mean, f"+ {name}")
        for x, name in zip(fields, model.domain.scale_names(), strict=True)
    ]
    return shown, Maps(model.grid, model.domain.static())


def main() -> None:
    """Draw it."""
    figure = Figure((9, 5.5), dpi=200, facecolor="white")
    left, right, top = 0.125, 0.995, 0.905
    width = (right - left) / COLUMNS
    heights = [0.31, 0.31, 0.205]
    edges = [top - 0.31, top - 0.645, top - 0.885]
    rows: list[list[tuple[Any, str]]] = [digits(), graphs()]
    maps_row, maps = forecast()
    rows.append(maps_row)

    figure.text(left, 0.955, "coarse", fontsize=11, color=GREY, va="center")
    figure.text(right, 0.955, "fine", fontsize=11, color=GREY, va="center", ha="right")
    arrow = FancyArrowPatch(
        (left + 0.075, 0.954), (right - 0.048, 0.954), transform=figure.transFigure,
        arrowstyle="-|>", mutation_scale=11, color="#aab2bb", linewidth=1.2,
    )  # fmt: skip
    figure.patches.append(arrow)
    names = ("Images", "Graphs", "Weather")
    notes = ("four digits,\nscale by scale", "nodes split\nin two", "a mean, and\nwhat codes add")
    for r, (row, bottom, height) in enumerate(zip(rows, edges, heights, strict=True)):
        middle = bottom + height / 2 + 0.012
        figure.text(0.008, middle + 0.035, names[r], fontsize=12, weight="bold", color=INK, va="center")
        figure.text(0.008, middle - 0.022, notes[r], fontsize=9, color=GREY, va="center", linespacing=1.25)
        norm = limits([x for x, _ in row[1:]], centred=True) if r == 2 else None
        for i, (what, caption) in enumerate(row):
            ax = figure.add_axes((left + i * width + 0.004, bottom + 0.03, width - 0.008, height - 0.034))
            if r == 0:
                ax.imshow(what, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                ax.set_xticks([]), ax.set_yticks([])
                for spine in ax.spines.values():
                    spine.set_visible(False)
            elif r == 1:
                draw_graph(ax, what)
            elif i == 0:
                look = look_of(CHANNEL)
                maps.draw(ax, what, limits([what]), look.colours, look.contour)
            else:
                maps.draw(ax, what, norm, DIFFERENCE)
            figure.text(
                left + (i + 0.5) * width,
                bottom + (0.012 if r else 0.008),
                caption,
                fontsize=9,
                color=GREY,
                ha="center",
                va="center",
            )
    figure.savefig(OUT, dpi=200)
    print(OUT)


def draw_graph(ax: Any, scene: Any) -> None:
    """A graph of the trail, where and in what colours the last one says."""
    from matplotlib.collections import EllipseCollection, LineCollection

    ends = scene.place[scene.graph.edges.T.numpy()]
    ax.add_collection(LineCollection(ends, linewidths=max(0.7, 3.4 / np.sqrt(len(scene.place))), colors=EDGE, zorder=1))
    side = 2 * scene.radius
    discs = EllipseCollection(
        side, side, np.zeros(len(side)), units="xy", offsets=scene.place, offset_transform=ax.transData,
        facecolors=scene.colours, edgecolors="white", linewidths=0.6, zorder=2,
    )  # fmt: skip
    ax.add_collection(discs)
    ax.set(xlim=(-1.14, 1.14), ylim=(-1.14, 1.14), aspect="equal")
    ax.set_axis_off()


if __name__ == "__main__":
    main()
