"""``refine domains``: which adapters are installed, and what is wrong with those that do not load."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from refine.errors import RefineError
from refine.registry import all_domains, entry_point_domains
from refine.settings.keys import keys_of


def run() -> None:
    """Print a table of all domains."""
    table = Table("domain", "adapter", "symmetry group", "keys (refine train domain=NAME --help explains them)")
    announced = entry_point_domains()
    for name, domain in all_domains():
        if isinstance(domain, RefineError):
            table.add_row(name, announced[name].value, "-", f"does not load: {domain.__cause__ or domain}", style="red")
            continue
        try:
            keys = ", ".join(key.rpartition(".")[2] for key in keys_of(domain.Config))
        except (RefineError, AttributeError, NameError) as error:
            table.add_row(name, announced[name].value, domain.group, f"its Config is broken: {error}", style="red")
            continue
        table.add_row(name, announced[name].value, domain.group, keys)
    Console().print(table)
