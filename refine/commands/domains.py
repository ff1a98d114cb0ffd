"""``refine domains``: which adapters are installed, and what is wrong with those that do not load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from refine.commands.command import Command
from refine.errors import RefineError
from refine.extras import MissingPackageError
from refine.kinds import COMMANDS, DOMAINS
from refine.progress import Plain
from refine.settings.keys import keys_of


class Domains(Command):
    """List the installed domains, broken ones too.

    Keys of a domain are explained by: refine train domain=NAME --help
    """

    of_a_model = False
    example = ("domains", "what there is to model")
    place = 10

    def run(self, config: None = None) -> None:
        """Print all domains: what each is, its symmetry, and the commands that not every domain is capable of."""
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        for name, domain in DOMAINS.all():
            ready = not isinstance(domain, RefineError) and _broken(domain) is None
            lines = [Text(name, style="bold" if ready else "red")]
            for text in _about(name, domain):
                table.add_row(lines.pop() if lines else "", text)
            table.add_row("", "")
        console = Plain()
        console.print(table)
        console.print("The keys of a domain: refine train domain=NAME --help")


def _about(name: str, domain: type[Any] | RefineError) -> Iterator[str]:
    """What is said of a domain, line by line."""
    if isinstance(domain, MissingPackageError):
        yield f"needs more: {domain.command}"
    elif isinstance(domain, RefineError):
        yield f"does not load: {domain}"
    elif why := _broken(domain):
        yield f"its Config is broken: {why}"
    else:
        if domain.__doc__:
            yield domain.__doc__.strip().partition("\n")[0]
        yield f"symmetry: {domain.group}"
        able = [n for n, c in COMMANDS.all() if isinstance(c, type) and c.needs and issubclass(domain, c.needs)]
        if able:
            yield f"also: refine {', '.join(able)}"
    yield f"from {DOMAINS.home(name).partition(':')[0]}"


def _broken(domain: type[Any]) -> Exception | None:
    """What is wrong with the options of a domain."""
    try:
        keys_of(domain.Config)
    except (RefineError, AttributeError, NameError) as error:
        return error
    return None
