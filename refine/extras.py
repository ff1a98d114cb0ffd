"""Packages that are optional: which extra of which distribution brings the one that is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

DISTRIBUTION = "refine-var"
OTHER_NAMES = {
    "PIL": "pillow",
    "netCDF4": "netcdf4",
    "polygraph": "polygraph-benchmark",
    "sklearn": "scikit-learn",
    "torch_geometric": "torch-geometric",
}
"""Of packages whose distribution is called otherwise."""


def how_to_install(package: str, distribution: str = DISTRIBUTION) -> str:
    """What to do about an import that failed, in words, with the command.

    Args:
        package: that could not be imported.
        distribution: whose extras are looked through.
    """
    wanted = OTHER_NAMES.get(package, package).replace("_", "-").lower()
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if name and extra and name.group().replace("_", "-").lower() == wanted:
            return f"the package {package} is missing; install it with: pip install '{distribution}[{extra.group(1)}]'"
    return f"the package {package} is missing; install it with: pip install {wanted}"
