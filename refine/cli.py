"""The command line: ``refine COMMAND [key=value ...] [--flag ...]``. What a command does is imported when it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from refine.commands.command import Command
from refine.errors import RefineError, one_line, out_of_memory
from refine.extras import how_to_install
from refine.kinds import COMMANDS
from refine.version import __version__

ABOUT = """Next-scale generation: train, sample and score coarse-to-fine models of images, graphs, weather, your data.

\b
{examples}

key=value and --key value mean the same, in any order. A key may be written by its last part where no other key has it:
num=64 is sample.num=64. Every command explains itself: refine COMMAND --help. With domain=NAME the help also shows the
keys of that domain.

Shell completion of commands: eval "$(_REFINE_COMPLETE=bash_source refine)"

Environment: REFINE_DEBUG=1 (or --debug anywhere) shows tracebacks.
"""


class StoppedError(Exception):
    """Ctrl-C, with what to do next."""


class Line(click.Command):
    """One command of the line, made of its :class:`refine.commands.command.Command`."""

    def __init__(self, name: str, command: type[Command]) -> None:
        super().__init__(name, help=command.__doc__, callback=self._run)
        self.command = command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave the arguments as they are: which flags take a value is known once the domain is."""
        ctx.params["arguments"] = [a for a in args if a not in ("-h", "--help")]
        if len(ctx.params["arguments"]) < len(args):
            click.echo(self.get_help(ctx))
            ctx.exit()
        return []

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*(name.upper() for name in self.command.positional), "[KEY=VALUE | --KEY VALUE] ..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The groups and keys that the command uses; a domain's too if the arguments name one."""
        from refine.commands.configure import key_help

        for title, rows in key_help(str(self.name), self.command, ctx.params["arguments"]).items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=40)

    def _run(self, arguments: Sequence[str]) -> None:
        from refine.commands.configure import configure

        command = self.command()
        config = configure(str(self.name), self.command, arguments)
        try:
            command.run(config)
        except (KeyboardInterrupt, SystemExit) as error:
            if not _interrupted(error):
                raise
            raise StoppedError(command.stopped(config)) from error


class Group(click.Group):
    """Every installed command, in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in _in_order()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        return Line(cmd_name, COMMANDS.load(cmd_name))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [command.example for _, command in _in_order() if command.example[0]]
        examples = "\n".join(f"  refine {line:<48} {words}" for line, words in rows)
        self.help = ABOUT.format(examples=examples)
        super().format_help_text(ctx, formatter)


def _in_order() -> list[tuple[str, type[Command]]]:
    found: list[tuple[str, Any]] = [(name, cls) for name, cls in COMMANDS.all() if isinstance(cls, type)]
    return sorted(found, key=lambda pair: (pair[1].place, pair[0]))


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="refine")
@click.pass_context
def cli(context: click.Context) -> None:
    """See ABOUT."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _interrupted(error: BaseException) -> bool:
    """Whether it is Ctrl-C, of which Lightning makes an exit."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """What a library would be warned of is one line each, said once."""
    before, said = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        text = one_line(str(message))
        if not issubclass(category, UserWarning):
            before(message, category, *where, **options)
        elif text not in said:
            said.add(text)
            click.echo(f"warning: {text}", err=True)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Exit code 0; 2 for what the user can mend, with one message; 130 after Ctrl-C, SIGTERM."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or os.environ.get("REFINE_DEBUG", "0") not in ("", "0")
    try:
        with _terminated_as_interrupted(), _warnings_in_lines():
            code = cli.main([a for a in arguments if a != "--debug"], prog_name="refine", standalone_mode=False)
    except (RefineError, click.ClickException, OSError) as error:
        if debug:
            raise
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {one_line(text)}", err=True)
        code = 2
    except (MemoryError, RuntimeError) as error:
        if debug or not out_of_memory(error):
            raise
        click.echo(f"error: memory ran out; smaller batches or models need less: {one_line(str(error))}", err=True)
        code = 2
    except ModuleNotFoundError as error:
        if debug or error.name is None or error.name.startswith("refine."):
            raise
        click.echo(f"error: {how_to_install(error)}", err=True)
        code = 2
    except (StoppedError, click.Abort, KeyboardInterrupt) as error:
        if debug:
            raise
        text = str(error) if isinstance(error, StoppedError) else "stopped"
        if text:
            click.echo(text, err=True)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
