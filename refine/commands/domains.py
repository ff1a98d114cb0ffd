"""``refine domains``: which adapters are installed, and what is wrong with those that do not load."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from refine.commands.command import Command
from refine.errors import RefineError
from refine.kinds import COMMANDS, DOMAINS
from refine.settings.keys import keys_of


class Domains(Command):
    """List the installed domains, broken ones too.

    Keys of a domain are explained by: refine train domain=NAME --help
    """

    of_a_model = False
    example = ("domains", "what there is to model")
    place = 10

    def run(self, config: None = None) -> None:
        """Print a table of all domains, with the commands that each is capable of."""
        table = Table("domain", "commands of its own", "symmetry group", "keys")
        for name, domain in DOMAINS.all():
            if isinstance(domain, RefineError):
                table.add_row(name, "-", "-", f"does not load: {domain}", style="red")
                continue
            able = [n for n, c in COMMANDS.all() if isinstance(c, type) and c.needs and issubclass(domain, c.needs)]
            try:
                keys = ", ".join(key.rpartition(".")[2] for key in keys_of(domain.Config))
            except (RefineError, AttributeError, NameError) as error:
                table.add_row(name, ", ".join(able), domain.group, f"its Config is broken: {error}", style="red")
                continue
            table.add_row(name, ", ".join(able) or "-", domain.group, keys)
        Console().print(table)
