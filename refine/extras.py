"""Packages that are optional: which of them are missing, and which extra of which distribution brings them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from types import TracebackType

from refine.errors import RefineError

DISTRIBUTION = "refine-var"
OTHER_NAMES = {
    "PIL": "pillow",
    "netCDF4": "netcdf4",
    "polygraph": "polygraph-benchmark",
    "sklearn": "scikit-learn",
}
"""Of packages whose distribution is called otherwise."""


class MissingPackageError(RefineError):
    """A package is missing that an extra brings; the message has the command.

    Attributes:
        command: that installs it.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command


def absent(packages: Sequence[str]) -> list[str]:
    """Those of ``packages`` that cannot be imported; none is."""
    return [name for name in packages if not _there(name)]


def _there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def called(package: str) -> str:
    """The name under which a package is installed."""
    return OTHER_NAMES.get(package, package.replace("_", "-").lower())


def install_command(package: str, distribution: str | None = DISTRIBUTION, extra: str | None = None) -> str:
    """The command that brings a package.

    Args:
        package: as it is imported.
        distribution: whose extras are looked through.
        extra: the one that is named if it brings the package; else the first that does.
    """
    found = [name for name, wanted in _extras(distribution) if wanted == called(package)]
    if not found:
        return f"pip install {called(package)}"
    return f"pip install '{distribution}[{extra if extra in found else found[0]}]'"


def brings(distribution: str, package: str) -> bool:
    """Whether an extra of a distribution brings a package."""
    return called(package) in [wanted for _, wanted in _extras(distribution)]


def _extras(distribution: str | None) -> list[tuple[str, str]]:
    """Extras of a distribution, and a package for each time that one is named in them."""
    try:
        lines = requires(distribution) or [] if distribution else []
    except PackageNotFoundError:
        return []
    out = []
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if name and extra:
            out.append((extra.group(1), name.group().replace("_", "-").lower()))
    return out


def missing(
    what: str, packages: Sequence[str], distribution: str | None = DISTRIBUTION, extra: str | None = None
) -> MissingPackageError:
    """The error for packages that cannot be imported.

    Args:
        what: needs them.
        packages: as they are imported; one or more.
        distribution: as in :func:`install_command`.
        extra: as in :func:`install_command`.
    """
    commands = dict.fromkeys(install_command(p, distribution, extra) for p in packages)
    names, are = " and ".join(map(called, packages)), "is" if len(packages) == 1 else "are"
    command = " && ".join(commands)
    return MissingPackageError(f"{what} needs {names}, which {are} not installed; install with: {command}", command)


def how_to_install(error: ModuleNotFoundError) -> str:
    """What to do about an import that failed, in words, with the command; the extra of the domain whose code wanted the
    package, if it brings that."""
    package = (error.name or "").partition(".")[0]
    command = install_command(package, extra=_domain_in(error.__traceback__))
    return f"the package {called(package)} is not installed; install it with: {command}"


def _domain_in(traceback: TracebackType | None) -> str | None:
    """The last domain of refine whose code an error went through."""
    found = None
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if module.startswith("refine.domains."):
            found = module.split(".")[2]
        traceback = traceback.tb_next
    return found
