"""What every malformed input is put through: a command in a process and a folder of its own, with bounds on memory and
time.

A case is good if it ends with exit code 2 and one line on standard error, within its bounds, and leaves the folder as
it was. ``python tests/malformed`` runs all cases; tests run some of them.
"""

from __future__ import annotations

import hashlib
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import start

LONGEST = 1300  # characters that a message may have
MEMORY, SECONDS = 3 * 2**30, 60  # bytes beyond those of the process that is forked, and seconds of CPU time
ENDLESS = 300  # seconds after which a process that does nothing is ended


@dataclass(frozen=True)
class Case:
    """A command that has to be refused.

    Attributes:
        name: what is wrong with it.
        arguments: of ``refine``; the working folder is the case's own.
        prepare: makes in that folder what the command is about; None for nothing.
        says: what the message has to contain.
    """

    name: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], Any] | None = field(default=None, repr=False)
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        code: the exit code; negative for a signal.
        err: standard error.
        changed: what is new, gone or different in the folder.
    """

    code: int
    err: str
    changed: list[str]

    def complaints(self, case: Case) -> list[str]:
        """What is not as it should be."""
        lines = self.err.strip().splitlines()
        found = []
        if self.code != 2:
            found.append(f"ends with {self.code}, not 2")
        if len(lines) != 1 or not lines[0].startswith("error: "):
            found.append(f"says {len(lines)} lines, not one")
        if len(self.err) > LONGEST:
            found.append(f"says {len(self.err)} characters")
        found += [f"does not say {text!r}" for text in case.says if text not in self.err]
        if self.changed:
            found.append(f"leaves {', '.join(self.changed[:5])}")
        return found


def run(case: Case, memory: int = MEMORY, seconds: int = SECONDS) -> Outcome:
    """A case in a process of its own (:mod:`processes`)."""
    with tempfile.TemporaryDirectory() as home:
        folder, out = Path(home) / "here", Path(home) / "out"
        folder.mkdir()
        if case.prepare is not None:
            case.prepare(folder)
        before = _content(folder)
        process = start(_child, case.arguments, folder, out, memory, seconds)
        process.join(ENDLESS)
        if process.is_alive():
            process.kill()
            process.join()
        after = _content(folder)
        changed = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
        return Outcome(process.exitcode or 0, out.read_text(errors="replace"), changed)


def bad(cases: Iterable[Case]) -> list[str]:
    """A line for each case that is not good: its name, what is not as it should be, and what it said."""
    found = []
    for case in cases:
        outcome = run(case)
        if complaints := outcome.complaints(case):
            found.append(f"{case.name}: {'; '.join(complaints)}: {outcome.err.strip()[-300:]!r}")
    return found


def _child(arguments: tuple[str, ...], folder: Path, out: Path, memory: int, seconds: int) -> None:
    """The forked process; it never returns."""
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        error, nothing = os.open(out, os.O_WRONLY | os.O_CREAT, 0o600), os.open(os.devnull, os.O_RDWR)
        for number, stream in enumerate((nothing, nothing, error)):
            os.dup2(stream, number)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        from refine.cli import main

        main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _content(folder: Path) -> dict[str, str]:
    """Every path below a folder, with the hash of what it holds."""
    found = {}
    for path in folder.rglob("*"):
        is_file = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
    return found
