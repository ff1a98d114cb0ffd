"""An evaluation on a terminal: one table for each channel, the forecast beside references and published rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from refine.domains.weather.scores.bootstrap import FEWEST

SHOWN = ("1d", "3d", "5d", "10d")  # leads, where there are such
SCORES = ("crps", "rmse", "spread", "spread_skill", "acc", "energy")


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Tables of what ``evaluate_store`` returns: scores with intervals, references with what is significant."""
    columns = [result["leads"].index(lead) for lead in shown(result["leads"])]
    out = [_channel(result, name, columns) for name in result["variables"]]
    if "energy" in result["joint"]:
        out.append(_joint(result, columns))
    return out


def shown(leads: Sequence[str]) -> list[str]:
    """The usual leads of a forecast; all of them if it has none of those."""
    return [lead for lead in SHOWN if lead in leads] or list(leads)


def headline(result: Mapping[str, Any]) -> dict[str, float]:
    """A few figures by a name each: CRPS and spread/skill of every channel, joint energy, at the usual leads."""
    out: dict[str, float] = {}
    for lead in shown(result["leads"]):
        k = result["leads"].index(lead)
        for name, found in result["variables"].items():
            for score in ("crps", "spread_skill"):
                out[f"{score} {name} {lead}"] = found[score]["value"][k]
        if "energy" in result["joint"]:
            out[f"energy joint {lead}"] = result["joint"]["energy"]["value"][k]
    return {name: value for name, value in out.items() if value is not None}


def _channel(result: Mapping[str, Any], name: str, columns: list[int]) -> Table:
    found = result["variables"][name]
    floor = "" if found.get("floor") is None else f", quantisation floor {found['floor']:.3g}"
    table = _empty(f"{name} ({found['units']}){floor}" if found["units"] else f"{name}{floor}", result, columns)
    for score in SCORES:
        table.add_row("this forecast", score, *_cells(found[score], columns))
    for other, reference in result.get("references", {}).items():
        against = result["against"][other]["variables"].get(name, {})
        for score in ("crps", "rmse"):
            if name in reference["variables"]:
                marks = against.get(score, {})
                table.add_row(other, score, *_cells(reference["variables"][name][score], columns, marks))
    rows = result.get("published", {})
    for row, values in rows.get(name, {}).items():
        table.add_row(f"published, {rows['set']}", row, *(_number(values[k]) for k in columns))
    return table


def _joint(result: Mapping[str, Any], columns: list[int]) -> Table:
    table = _empty("joint energy score of all channels (climatological standard deviations)", result, columns)
    table.add_row("this forecast", "energy", *_cells(result["joint"]["energy"], columns))
    for other, reference in result.get("references", {}).items():
        marks = result["against"][other]["variables"].get("joint", {}).get("energy", {})
        table.add_row(other, "energy", *_cells(reference["joint"]["energy"], columns, marks))
    return table


def _empty(title: str, result: Mapping[str, Any], columns: list[int]) -> Table:
    times = len(result["initial_times"])
    stars = "* this forecast differs significantly"
    if times < FEWEST:
        stars = f"too few to call a difference significant, which takes {FEWEST}"
    count = f"{times} initial time{'s' * (times != 1)}, {result['members']} members"
    caption = f"{count}; 95 % intervals over initial times; {stars}"
    table = Table("forecast", "score", title=title, caption=caption)
    for k in columns:
        table.add_column(result["leads"][k], justify="right")
    return table


def _cells(score: Mapping[str, Any], columns: list[int], marks: Mapping[str, Any] | None = None) -> list[str]:
    """Values with their intervals; of a reference instead a star where the forecast differs significantly."""
    if marks is not None:
        sure = marks.get("significant") or [False] * len(score["value"])
        return [_number(score["value"][k]) + (" *" if sure[k] else "") for k in columns]
    out = []
    for k in columns:
        text, low, high = (_number(score[part][k]) for part in ("value", "low", "high"))
        out.append(text if score["low"][k] is None else f"{text} [{low}, {high}]")
    return out


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
