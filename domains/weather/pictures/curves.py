"""Curves of scores: CRPS and errors by lead against baselines, rank histograms, power spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refine.domains.weather.pictures.looks import Array, look_of, pretty_unit
from refine.domains.weather.pictures.sheets import GREY, Chart, columns_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, BAND, TRUTH, OTHER, GOOD = "#08519c", "#bdd7ee", "#20242a", "#d95f02", "#e5f5e0"
STYLES: tuple[tuple[str, Any], ...] = (  # Okabe and Ito's colours, which everybody can tell apart, with a line each
    ("#e69f00", (0, (5, 1.5))), ("#009e73", (0, (1, 1))), ("#cc79a7", (0, (5, 1, 1, 1))), ("#56b4e9", (0, (3, 1.5))),
    ("#8c6d31", (0, (8, 2))), ("#777777", (0, (2, 2))),
)  # fmt: skip
DASHED: Any = (0, (5, 1.5))
PHYSICS = {
    "crps": "physics_ensemble_crps_fair",
    "rmse": "physics_ensemble_ensmean_rmse",
    "spread_skill": "physics_ensemble_spread_skill_fair",
}
RATIO, POWER = (0.9, 1.1), (0.8, 1.2)  # good spread over error, good power over that of the truth
DAYS = (1, 5, 10)  # leads of histograms and spectra, where there are such
JUDGED = 25  # wavenumbers that decide how high an axis of spectra goes
WAVES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # written at the axis
PANEL = (3.5, 2.2)


def score_pictures(
    scores: Mapping[str, Any], folder: Path, others: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Path]:
    """Draw what there is of ``crps.png``, ``spread_skill.png``, ``rank_histograms.png`` and ``spectra.png``.

    Args:
        scores: as :func:`refine.domains.weather.scores.scores.score_forecast` gives them, or
            :func:`refine.domains.weather.scores.evaluation.evaluate`.
        folder: where the pictures go.
        others: the same of other forecasts (baselines, controls) by name, of which any score may be missing; by default
            the references in ``scores``, and the physics ensemble where its published scores are.
    """
    others = _references(scores) if others is None else others
    paths = []
    if _having(scores, "crps"):
        paths.append(plot_crps(scores, folder / "crps.png", others))
    if _having(scores, "rmse"):
        paths.append(plot_spread_skill(scores, folder / "spread_skill.png", others))
    if _having(scores, "ranks"):
        paths.append(plot_ranks(scores, folder / "rank_histograms.png"))
    if _having(scores, "spectra"):
        paths.append(plot_spectra(scores, folder / "spectra.png"))
    return paths


def plot_crps(scores: Mapping[str, Any], path: Path, others: Mapping[str, Mapping[str, Any]]) -> Path:
    """CRPS by lead, one panel a channel, with bootstrap intervals and the other forecasts."""
    channels = _having(scores, "crps")
    columns = columns_for(len(channels), 4)
    title, subtitle = "Continuous ranked probability score by lead", f"Fair CRPS; lower is better. {_shaded(scores)}"
    chart = Chart(-(-len(channels) // columns), columns, PANEL, title, subtitle)
    for channel, ax in zip(channels, chart.each(len(channels)), strict=True):
        _curves(ax, scores, channel, "crps", others)
        ax.set_title(f"{_name(channel)} ({_unit(scores, channel)})", loc="left", fontsize=10)
        ax.set_xlabel("lead in days", fontsize=8.5)
        ax.set_ylim(bottom=0)
    return chart.save(path, f"{subtitle}.")


def plot_spread_skill(scores: Mapping[str, Any], path: Path, others: Mapping[str, Mapping[str, Any]]) -> Path:
    """RMSE of the mean and spread by lead, and below them their ratio, with the other forecasts in both."""
    channels, several = _having(scores, "rmse"), scores.get("members", 2) > 1
    columns = min(len(channels), 5)
    title = "Spread and skill by lead" if several else "Error by lead"
    subtitle = "Above: error (RMSE) of the mean, and spread. Below: spread over error, 1 is calibrated"
    subtitle = f"{subtitle if several else 'RMSE; lower is better'}. {_shaded(scores)}"
    rows = -(-len(channels) // columns)
    chart = Chart(rows * (1 + several), columns, (2.9, 2.0), title, subtitle)
    blank = set(chart.axes.flat)
    for i, channel in enumerate(channels):
        row, column = divmod(i, columns)
        above = chart.axes[row * (1 + several), column]
        blank.discard(above)
        if several:
            days, spread = _days(scores), _values(scores, channel, "spread")
            above.plot(days, spread, color=OTHER, linestyle=DASHED, linewidth=2, label="spread", zorder=3, **_dot(days))
        _curves(above, scores, channel, "rmse", others, label="error of the mean" if several else "forecast")
        above.set_title(f"{_name(channel)} ({_unit(scores, channel)})", loc="left", fontsize=9)
        above.set_ylim(bottom=0)
        if not several:
            above.set_xlabel("lead in days", fontsize=8.5)
            continue
        below = chart.axes[2 * row + 1, column]
        blank.discard(below)
        below.axhspan(*RATIO, color=GOOD, zorder=0)
        below.axhline(1, color=GREY, linewidth=0.8)
        _curves(below, scores, channel, "spread_skill", others, label="")
        below.set_ylim(0, max(1.3, min(3.0, 1.1 * float(np.nanmax(_values(scores, channel, "spread_skill"))))))
        below.set_title("spread / error", loc="left", fontsize=9)
        below.set_xlabel("lead in days", fontsize=8.5)
    for ax in blank:
        ax.set_axis_off()
    return chart.save(path, "Where an ensemble is calibrated, its spread is as large as the error of its mean.")


def plot_ranks(scores: Mapping[str, Any], path: Path) -> Path:
    """How often the truth has each rank among the members, against what calibration gives."""
    from matplotlib.ticker import MaxNLocator

    channels, days = _having(scores, "ranks"), _days(scores)
    leads = _near(days)
    title = "Rank of the truth among the members"
    subtitle = "1: as often as in a calibrated ensemble. U-shaped: too little spread; dome: too much; slope: bias"
    chart = Chart(len(channels), len(leads), (3.4, 1.35), title, subtitle, sharey="row")
    for row, channel in zip(chart.axes, channels, strict=True):
        for ax, lead in zip(row, leads, strict=True):
            share = _array(scores["variables"][channel]["ranks"][lead])
            ax.bar(np.arange(len(share)), share / share.sum() * len(share), width=0.9, color=OURS, alpha=0.75)
            ax.axhline(1, color=OTHER, linewidth=1.4)
            ax.set_title(f"{_name(channel)}, day {days[lead]:g}", loc="left", fontsize=9)
            ax.set_xlim(-0.6, len(share) - 0.4)
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            ax.grid(axis="x", visible=False)
    for ax in chart.axes[-1]:
        ax.set_xlabel("members below the truth", fontsize=8.5)
    return chart.save(path, f"{subtitle}.")


def plot_spectra(scores: Mapping[str, Any], path: Path) -> Path:
    """Power by zonal wavenumber of truth, members and mean; then what share of the truth's power the others have."""
    channels, days = _having(scores, "spectra"), _days(scores)
    leads = _near(days)
    title = "Power by zonal wavenumber"
    subtitle = "First column: power. Others: power over that of the truth, good within the green band"
    chart = Chart(len(channels), 1 + len(leads), (2.7, 1.55), title, subtitle)
    lines: dict[str, tuple[str, Any]] = {"truth": (TRUTH, "-"), "members": (OURS, "-"), "mean": (OTHER, DASHED)}
    for row, channel in zip(chart.axes, channels, strict=True):
        spectra, unit = scores["variables"][channel]["spectra"], _unit(scores, channel)
        power = {name: _array(spectra[name])[:, 1:] for name in lines if name in spectra}
        waves = np.arange(1, power["truth"].shape[1] + 1)
        top = 2.0
        for name, values in power.items():
            colour, style = lines[name]
            row[0].loglog(waves, values[leads[-1]], color=colour, linestyle=style, linewidth=1.5, label=name)
            for ax, lead in zip(row[1:], leads, strict=True):
                with np.errstate(divide="ignore", invalid="ignore"):
                    share = values[lead] / power["truth"][lead]
                top = max(top, 1.1 * float(np.nan_to_num(share, posinf=0)[:JUDGED].max()))
                ax.semilogx(waves, share, color=colour, linestyle=style, linewidth=1.5)
        square = f"({unit})²" if " " in unit else f"{unit}²"
        row[0].set_title(f"{_name(channel)}, day {days[leads[-1]]:g}, in {square}", loc="left", fontsize=8.5)
        for ax, lead in zip(row[1:], leads, strict=True):
            ax.axhspan(*POWER, color=GOOD, zorder=0)
            ax.set(ylim=(0, min(top, 20.0)))
            ax.set_title(f"over the truth's, day {days[lead]:g}", loc="left", fontsize=8.5)
        for ax in row:
            ax.set_xticks([w for w in WAVES if w <= len(waves)], minor=False)
            ax.xaxis.set_major_formatter("{x:g}")
            ax.minorticks_off()
    for ax in chart.axes[-1]:
        ax.set_xlabel("zonal wavenumber", fontsize=8.5)
    return chart.save(path, "Less power than the truth is blur, more is noise; a mean of members is blurred by right.")


def _curves(
    ax: Axes,
    scores: Mapping[str, Any],
    channel: str,
    score: str,
    others: Mapping[str, Mapping[str, Any]],
    label: str = "forecast",
) -> None:
    """One score of one channel by lead, ours on top with its interval."""
    days, found = _days(scores), scores["variables"][channel][score]
    ax.plot(days, _array(found["value"]), color=OURS, linewidth=2.2, label=label, zorder=4, **_dot(days))
    if found.get("low") is not None:
        low, high = _array(found["low"]), _array(found["high"])
        if len(days) > 1:
            ax.fill_between(days, low, high, color=BAND, alpha=0.8, linewidth=0, zorder=2)
        else:
            ax.vlines(days, low, high, color=OURS, linewidth=1.2)
    for (name, other), (colour, line) in zip(others.items(), STYLES * len(others), strict=False):
        if channel in other["variables"] and score in other["variables"][channel]:
            days, values = _days(other), _values(other, channel, score)
            if np.nan_to_num(values).any():  # one member has no spread
                ax.plot(days, values, color=colour, linestyle=line, linewidth=1.6, label=name, **_dot(days))


def _references(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What :func:`refine.domains.weather.scores.evaluation.evaluate` has scored or found beside a forecast."""
    found: dict[str, Mapping[str, Any]] = dict(scores.get("references", {}))
    physics = {
        channel: {key: {"value": rows[name]} for key, name in PHYSICS.items() if name in rows}
        for channel, rows in scores.get("published", {}).items()
        if isinstance(rows, Mapping)
    }
    if any(physics.values()):
        found["physics ensemble"] = {"lead_hours": scores["lead_hours"], "variables": physics}
    return found


def _having(scores: Mapping[str, Any], score: str) -> list[str]:
    return [channel for channel, found in scores["variables"].items() if found.get(score)]


def _days(scores: Mapping[str, Any]) -> Array:
    return _array(scores["lead_hours"]) / 24


def _values(scores: Mapping[str, Any], channel: str, score: str) -> Array:
    return _array(scores["variables"][channel][score]["value"])


def _array(values: Any) -> Array:
    """Numbers, NaN for None."""
    return np.array(values, dtype=np.float64)


def _near(days: Array) -> list[int]:
    return sorted({int(abs(days - day).argmin()) for day in DAYS})


def _dot(days: Sequence[float] | Array) -> dict[str, Any]:
    """A single lead shows as a dot."""
    return {"marker": "o", "markersize": 6} if len(days) == 1 else {}


def _name(channel: str) -> str:
    """Scores are those of the stored field: geopotential, not the height that is drawn on maps."""
    title = look_of(channel).title.replace("geopotential height", "geopotential")
    return title[:1].upper() + title[1:]


def _unit(scores: Mapping[str, Any], channel: str) -> str:
    """In which a channel was scored."""
    return pretty_unit(str(scores["variables"][channel].get("units", ""))) or "unit of the data"


def _shaded(scores: Mapping[str, Any]) -> str:
    level = scores.get("interval", {}).get("level", 0.95)
    return f"Shaded: {level:.0%} interval over initial times"
