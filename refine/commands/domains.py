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
        table = Table("domain", "symmetry group", "commands of its own", "from")
        for name, domain in DOMAINS.all():
            if isinstance(domain, RefineError):
                table.add_row(name, "", f"does not load: {domain}", DOMAINS.home(name), style="red")
                continue
            try:
                keys_of(domain.Config)
            except (RefineError, AttributeError, NameError) as error:
                table.add_row(name, domain.group, f"its Config is broken: {error}", DOMAINS.home(name), style="red")
                continue
            able = [n for n, c in COMMANDS.all() if isinstance(c, type) and c.needs and issubclass(domain, c.needs)]
            table.add_row(name, domain.group, ", ".join(able) or "-", DOMAINS.home(name).partition(":")[0])
        Console().print(table)
        Console().print("The keys of a domain: refine train domain=NAME --help", highlight=False)
