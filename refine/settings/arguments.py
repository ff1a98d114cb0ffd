"""How commands take their arguments: as keys of the configuration, or as options of their own."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from refine.errors import RefineError, require
from refine.settings.config import TRAINING

if TYPE_CHECKING:
    from refine.settings.config import Config

SECTIONS = {
    "train": TRAINING,
    "sample": ("sample", "sampler", "trainer", "seed", "run"),
    "inpaint": ("inpaint", "sampler", "trainer", "seed", "run"),
    "evaluate": ("evaluate", "ensemble", "sampler", "trainer", "seed", "run"),
    "ensemble": ("ensemble", "sampler", "trainer", "seed", "run"),
}
"""The parts of the configuration that each command accepts."""


class KeysCommand(click.Command):
    """A command that takes keys of the configuration, not options of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave the arguments as they are: which flags take a value is known once the domain is."""
        ctx.params["arguments"] = [a for a in args if a not in ("-h", "--help")]
        if len(ctx.params["arguments"]) < len(args):
            click.echo(self.get_help(ctx))
            ctx.exit()
        return []

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["[KEY=VALUE | --KEY VALUE] ..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The groups and keys that the command uses; a domain's too if the arguments name one."""
        for title, rows in key_help(str(self.name), ctx.params["arguments"]).items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=40)


def key_help(command: str, arguments: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """What a command accepts, as (key=value, explanation) rows by section; values are those under ``arguments``."""
    from refine.settings.compose import accepted_groups, config_keys, group_files
    from refine.settings.overrides import take

    domain, config = take(arguments, ["domain"])[0].get("domain"), None
    if arguments:
        with contextlib.suppress(RefineError):  # then the help is all the more wanted
            config = configure(command, arguments)
            domain = config.domain_name
    sections = SECTIONS[command]
    groups = [(f"{group}=", " | ".join(group_files(group))) for group in accepted_groups(sections)]
    out = {"Files of settings": [(name, files) for name, files in groups if files]}
    for key in config_keys(domain, sections).values():
        section, dot, _ = key.name.partition(".")
        title = f"Keys of {section}" if dot else "Keys of the run"
        now = key if config is None else replace(key, default=operator.attrgetter(key.name)(config))
        out.setdefault(title, []).append((f"{key.name}={now.default_text}", key.help or key.type_name))
    if domain is None and "domain" in sections:
        out["Keys of domain and model"] = [("domain.*, model.*", "see: refine train domain=NAME --help")]
    return out


def configure(command: str, arguments: Sequence[str]) -> Config:
    """The configuration of a command: its arguments over that of the run that is meant, if there is one."""
    from refine.registry import starter
    from refine.settings.compose import compose
    from refine.settings.overrides import take
    from refine.storage.runs import CONFIG, find, load_run_config

    named = take(arguments, ("run", "domain"))[0]
    run, domain = named.get("run"), named.get("domain")
    if command == "train":
        resumed = run is not None and (Path(run).expanduser() / CONFIG).is_file()
        base = load_run_config(Path(str(run)).expanduser()) if resumed else None
    elif folder := find(run, domain):
        base = load_run_config(folder)
    elif domain is not None:
        base = load_run_config(starter(domain))
        base.run = None  # what ships with a package is read, not written to
    else:
        base = None
    return compose(arguments, base, SECTIONS[command])


class FlagsCommand(click.Command):
    """A command with options of its own, which may be written key=value as well."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make flags of them."""
        names = tuple(f"{p.name}=" for p in self.params if isinstance(p, click.Option))
        return super().parse_args(ctx, [f"--{a}" if a.startswith(names) else a for a in args])


def whole(key: str, value: str, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        RefineError: it is another number, or none.
    """
    number = int(value) if value.isascii() and value.isdigit() else 0
    accepted = f"{key}={value!r} is not accepted; accepted: whole numbers from {least} to {most}"
    require(least <= number <= most, accepted)
    return number
