"""``refine regrid``: gridded data on another grid, by the domain that knows grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refine.domain import Domain
from refine.errors import RefineError
from refine.registry import all_domains


def run(source: str, out: str, grid: str) -> dict[str, dict[str, Any]]:
    """Write ``source`` on ``grid`` to ``out``, and show what that did to each field.

    Returns:
        What was shown, by field.

    Raises:
        RefineError: no domain with grids, a grid that is none, a place that is taken, or data that cannot be read.
    """
    figures = _able().regrid(source, Path(out).expanduser(), grid)
    columns = {name: None for row in figures.values() for name in row}
    table = Table("field", *(name.replace("_", " ") for name in columns), title=f"{source} on {grid}")
    for field, row in figures.items():
        table.add_row(escape(field), *(_text(row.get(name, "")) for name in columns))
    console = Console()
    console.print(table)
    console.print(f"Written: {out}", highlight=False, soft_wrap=True)
    return figures


def _able() -> type[Domain]:
    """The first domain that regrids."""
    broken = []
    for name, domain in all_domains():
        if isinstance(domain, RefineError):
            broken.append(f"{name} does not load: {domain.__cause__ or domain}")
        elif domain.regrid.__func__ is not Domain.regrid.__func__:  # type: ignore[attr-defined]
            return domain
    raise RefineError("; ".join(["no installed domain has grids to go between", *broken]))


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else escape(str(value))
