"""Tables 1 to 4 of the paper: its cells and claims, beside the figures that answer them.

A *quantity* is a function of the figures of one seed, by experiment. Verdicts follow two rules. A cell is reproduced if
the mean over seeds is within the spread that the paper gives, or within 5 % where it gives none. A claim that one
quantity is below another is reproduced if it is so for every seed, and reversed if the opposite is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from refine.studies.paper.training import TARGET, epochs_to
from refine.studies.store import Figures

SHARE = 0.05
"""How far a mean may be from a cell without a spread."""

Quantity = Callable[[Mapping[str, Figures]], float | None]


def of(experiment: str, figure: str) -> Quantity:
    """A figure of an experiment."""
    return lambda figures: float(figures[experiment][figure])


def ratio(experiment: str, upper: str, lower: str) -> Quantity:
    """One figure over another of the same experiment."""
    return lambda figures: float(figures[experiment][upper] / figures[experiment][lower])


def epochs(experiment: str) -> Quantity:
    """Epochs to the paper's target; None: never."""
    return lambda figures: epochs_to(TARGET, figures[experiment]["mse_by_epoch"])


def gradient_variance(experiment: str) -> Quantity:
    """Of the norms of the mini-batches' gradients in the last epoch."""
    return lambda figures: float(figures[experiment]["gradient_variance"][-1])


def gradient_noise(experiment: str) -> Quantity:
    """The same over the squared mean norm: it does not depend on the unit of the loss."""
    return lambda figures: (
        figures[experiment]["gradient_variance"][-1] / float(figures[experiment]["gradient_mean"][-1]) ** 2
    )


def overtaken(ahead: str, behind: str) -> Quantity:
    """The first recorded update at which the one that was ahead no longer is; None: not within those recorded."""

    def find(figures: Mapping[str, Figures]) -> float | None:
        pairs = zip(figures[ahead]["early"], figures[behind]["early"], strict=True)
        return next((update for (update, a), (_, b) in pairs if b < a), None)

    return find


def relative(experiment: str, other: str) -> Quantity:
    """The error of an experiment over that of another."""
    return lambda figures: float(figures[experiment]["mse"] / figures[other]["mse"])


@dataclass(frozen=True)
class Cell:
    """A number of the paper.

    Attributes:
        row: the model.
        column: the metric.
        paper: its value.
        spread: the paper's own, or None.
        quantity: what answers it.
        floor: what no such model can pass, and its name.
        judged: whether the two numbers have the same unit, and neither is one by definition.
    """

    row: str
    column: str
    paper: float
    spread: float | None
    quantity: Quantity
    floor: tuple[str, Quantity] | None = None
    judged: bool = True

    def verdict(self, values: Sequence[float | None]) -> str:
        """yes, no, or a dash where there is nothing to judge."""
        if not self.judged:
            return "-"
        known = [v for v in values if v is not None]
        if len(known) < len(values):
            return "no"
        tolerance = SHARE * self.paper if self.spread is None else self.spread
        return "yes" if abs(statistics.fmean(known) - self.paper) <= tolerance * (1 + 1e-9) else "no"


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper that says of two quantities which is below the other.

    Attributes:
        text: the sentence.
        paper: the two numbers it rests on.
        below, above: the quantities.
    """

    text: str
    paper: str
    below: Quantity
    above: Quantity

    def verdict(self, below: Sequence[float | None], above: Sequence[float | None]) -> str:
        """yes (for every seed), reversed (for every seed), no difference (in any seed), or no (seeds differ)."""
        pairs = [
            (math.inf if b is None else b, math.inf if a is None else a) for b, a in zip(below, above, strict=True)
        ]
        if all(b < a for b, a in pairs):
            return "yes"
        if all(b > a for b, a in pairs):
            return "reversed"
        return "no difference" if all(b == a for b, a in pairs) else "no"


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: what it compares.
        cells, claims: see there.
        beside: further quantities worth knowing, by name.
        experiments: which ones it needs.
    """

    title: str
    cells: list[Cell]
    claims: list[Claim]
    beside: dict[str, Quantity]
    experiments: list[str]
