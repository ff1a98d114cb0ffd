"""``refine import``: a run of weights that others published, by the domain that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from refine.domain import Domain
from refine.errors import RefineError
from refine.registry import all_domains


def run(kind: str, to: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Write the run ``to``, and show what the files hold.

    Args:
        kind: whose weights.
        to: a folder, new or empty.
        given: files and options by name.

    Returns:
        What was shown.

    Raises:
        RefineError: no domain imports weights, or the files cannot be used.
    """
    facts = _able(kind).import_weights(kind, Path(to).expanduser(), given)
    table = Table("", show_header=False, title=f"{kind}: {', '.join(str(v) for v in given.values() if v)}")
    for name, value in facts.items():
        table.add_row(name, escape(str(value)))
    console = Console()
    console.print(table)
    console.print(f"Written: {to}", highlight=False, soft_wrap=True)
    return facts


def _able(kind: str) -> type[Domain]:
    """The first domain that imports such weights."""
    broken = []
    for name, domain in all_domains():
        if isinstance(domain, RefineError):
            broken.append(f"{name} does not load: {domain.__cause__ or domain}")
        elif kind in domain.imports:
            return domain
    raise RefineError("; ".join([f"no installed domain imports weights of {kind}", *broken]))
