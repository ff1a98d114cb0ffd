"""One HTML file with everything in it: facts, tables, pictures. No scripts, no links, nothing from elsewhere."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from refine.domains.weather.ensembles.initial_times import stamps
from refine.domains.weather.pictures.curves import score_pictures
from refine.domains.weather.scores.verification import duration
from refine.domains.weather.sphere.grids import Grid
from refine.errors import RefineError
from refine.storage.files import write_text

if TYPE_CHECKING:
    import xarray as xr

LARGE = 300_000  # bytes of a picture
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 60px; color: #20242a; background: #ffffff;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 12px; font-size: 1.7rem; line-height: 1.25; }
h2 { margin: 44px 0 8px; padding-bottom: 4px; border-bottom: 1px solid #dde1e6; font-size: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0; font-size: .92rem; }
dt { color: #59616b; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 14px 0 34px; } figcaption, .note { color: #59616b; font-size: .9rem; margin: 6px 0 0; }
img { display: block; max-width: 100%; height: auto; border: 1px solid #e6e9ed; border-radius: 4px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px; border-bottom: 1px solid #e6e9ed; text-align: right; white-space: nowrap; }
th { color: #59616b; font-weight: 600; border-bottom-color: #b7bec7; }
th:first-child, td:first-child { padding-left: 2px; text-align: left; }
tbody tr:hover { background: #f4f7fa; }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
""".strip()


def write_report(
    folder: Path,
    title: str,
    pictures: Sequence[Path],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    facts: Mapping[str, Any],
) -> Path:
    """Write ``report.html`` into ``folder``.

    Args:
        folder: where it goes.
        title: its headline.
        pictures: PNG files in the order in which they are shown; titles and captions are those that they carry.
        tables: by heading, rows that each map column names to cells; a row may lack columns. What follows the first
            line of a heading is a note on the table.
        facts: what is good to know first: model, data, initial times, seed, and so on.

    Raises:
        RefineError: a picture cannot be read.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", _facts(facts) if facts else ""]
    parts += [_table(heading, rows) for heading, rows in tables.items() if rows]
    parts += [_figure(path) for path in pictures]
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    head += f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n</style>"
    body = "\n".join(part for part in parts if part)
    page = f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'
    write_text(folder / "report.html", page)
    return folder / "report.html"


def _facts(facts: Mapping[str, Any]) -> str:
    rows = (f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(_text(value))}</dd>" for name, value in facts.items())
    return "<dl>\n" + "\n".join(rows) + "\n</dl>"


def report_forecast(
    store: Path, forecast: xr.Dataset, tables: Sequence[Table], folder: Path, pictures: Sequence[Path]
) -> Path:
    """Write one initial time of a forecast up; returns ``report.html``.

    Args:
        store: where the forecast is.
        forecast: as :func:`refine.domains.weather.ensembles.store.open_forecast` gives it.
        tables: of figures.
        folder: where the report goes.
        pictures: of the forecast.
    """
    times, leads = stamps(forecast["time"].values), [duration(v) for v in forecast["prediction_timedelta"].values]
    facts = {
        "Store": store,
        "Made by": forecast.attrs.get("source"),
        "History": forecast.attrs.get("history"),
        "Members": forecast.sizes["number"],
        "Initial times": times[0]
        if len(times) == 1
        else f"{len(times)}, {times[0]} to {times[-1]}; the first is shown",
        "Leads": leads,
        "Grid": Grid.of(forecast).name,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    return write_report(folder, f"Forecast from {times[0]}", pictures, table_rows(tables), known)


def report_evaluation(result: Mapping[str, Any], folder: Path, pictures: Sequence[Path] = ()) -> list[Path]:
    """Draw an evaluation and write it up; returns ``report.html`` and the pictures.

    Args:
        result: what :func:`refine.domains.weather.scores.evaluation.evaluate_store` returns.
        folder: where everything goes.
        pictures: others that belong into the report, such as those of the forecast.
    """
    from refine.domains.weather.pictures.tables import tables

    times = result["initial_times"]
    facts = {
        "Forecast": result.get("store"),
        "Members": result["members"],
        "Initial times": times[0] if len(times) == 1 else f"{len(times)}, {times[0]} to {times[-1]}",
        "Leads": result["leads"],
        "Grid": result["grid"],
    }
    drawn = score_pictures(result, folder)
    known = {name: value for name, value in facts.items() if value is not None}
    path = write_report(folder, "Forecast and truth", [*drawn, *pictures], table_rows(tables(result)), known)
    return [path, *drawn]


def table_rows(tables: Sequence[Table]) -> dict[str, list[dict[str, str]]]:
    """Tables made for a terminal, as :func:`write_report` takes them."""

    def plain(cell: Any) -> str:
        return str(cell or "")

    found = {}
    for table in tables:
        names = [plain(column.header) for column in table.columns]
        rows = zip(*(map(plain, column.cells) for column in table.columns), strict=True)
        heading = "\n".join(filter(None, (plain(table.title), plain(table.caption))))
        found[heading] = [dict(zip(names, row, strict=True)) for row in rows]
    return found


def _table(heading: str, rows: Sequence[Mapping[str, Any]]) -> str:
    title, _, note = heading.partition("\n")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in columns)
    lines = ("".join(f"<td>{html.escape(_text(row.get(name)))}</td>" for name in columns) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    below = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return f'<h2>{html.escape(title)}</h2>\n<div class="table">{table}</div>{below}'


def _figure(path: Path) -> str:
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(path) as image:
            (width, height), told, kind = image.size, dict(image.info), "png"
            if len(data) > LARGE:  # maps: a quarter of the size, and no difference that can be seen
                packed = io.BytesIO()
                image.convert("RGB").save(packed, "webp", quality=90)
                data, kind = packed.getvalue(), "webp"
    except OSError as error:
        raise RefineError(f"picture {path} cannot be read: {error}") from error
    title = html.escape(str(told.get("Title", path.stem.replace("_", " "))))
    caption = html.escape(str(told.get("Description", "")))
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    shown = f'<img src="{source}" alt="{title}. {caption}" width="{width}" height="{height}">'
    return f"<figure>\n{shown}\n<figcaption>{caption}</figcaption>\n</figure>"


def _text(value: Any) -> str:
    """A cell: numbers with three or four digits, a dash for what is not there, lists with commas."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)
