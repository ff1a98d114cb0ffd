"""``refine regrid``: gridded data on another grid, by the domain that knows grids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from refine.capabilities import Regrids
from refine.commands.command import Command
from refine.progress import Plain
from refine.settings.bounds import Text


@dataclass
class RegridConfig:
    """Keys of ``refine regrid``."""

    source: Annotated[str, Text(least=1)]  # zarr or netCDF: a path, a URL, a glob in quotes, or the name of a set
    out: Annotated[str, Text(least=1)]  # ends in .zarr or .nc; one that is there already is never replaced
    grid: str  # healpix:NSIDE, gaussian:HxW or regular:HxW


class Regrid(Command):
    """Bring fields or forecasts onto another grid.

    Each cell of the new grid becomes the mean of what it covers, by area: constants stay, and so does the mean over the
    sphere. Memory holds one chunk at a time. What the way there and back loses is shown for every field.

    \b
      refine regrid era5_week week.zarr --grid healpix:16
      refine regrid "years/*.nc" small.zarr --grid gaussian:48x96
      refine regrid week.zarr week.nc --grid regular:181x360

    IN is zarr or netCDF: a path, a URL, a glob in quotes, or the name of a set. OUT ends in .zarr or .nc; one that is
    there already is never replaced.

    \b
    GRID is one of
      healpix:16               12 * 16**2 cells of equal area, in nested order
      gaussian:48x96           48 Gauss-Legendre latitudes, 96 longitudes
      regular:180x360          equal steps; an odd number of latitudes (181x360) has rows at the poles
      regular:720x1440:-89.75..90:0.5   other first and last latitudes, another first longitude
    """

    Options = RegridConfig
    needs = Regrids
    of_a_model = False
    positional = ("source", "out")
    example = ("regrid IN OUT --grid healpix:16", "gridded data on another grid")
    place = 70

    def run(self, config: RegridConfig) -> dict[str, dict[str, Any]]:
        """Write ``config.source`` on ``config.grid`` to ``config.out``, and show what that did to each field.

        Returns:
            What was shown, by field.

        Raises:
            RefineError: no domain with grids, a grid that is none, a place that is taken, or data that cannot be read.
        """
        domain: Any = Regrids.anyone()
        figures: dict[str, dict[str, Any]] = domain.regrid(config.source, Path(config.out).expanduser(), config.grid)
        columns = {name: None for row in figures.values() for name in row}
        titles = [name.replace("_", " ") for name in columns]
        table = Table("field", *titles, title=f"{config.source} on {config.grid}")
        for field, row in figures.items():
            table.add_row(field, *(_text(row.get(name, "")) for name in columns))
        console = Plain()
        console.print(table)
        console.print(f"Written: {config.out}", soft_wrap=True)
        return figures


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
