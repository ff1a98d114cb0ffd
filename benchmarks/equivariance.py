"""What scales on the sphere keep of weather fields, and how far they are from commuting with rotations.

    python benchmarks/equivariance.py

Fields of the test year of ``speedy`` (REFINE_DATA), every eighth day, band-limited at T31, go down to a scale and up
again by the resamplers that the weather domain uses. ``kept`` is the share of their variance over the globe that comes
back; ``error`` is the norm of what rotating after instead of before changes, relative to what comes back, mean of four
rotations at random. Degree 0 is left out: every scale has it. Prints and writes ``results/equivariance.json``.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from common import RESULTS
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation
from torch import Tensor

from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.sphere.harmonics import HarmonicTransform, at_points
from refine.domains.weather.sphere.resamplers import HarmonicResampler, NestedResampler, SphereResampler

DEGREE, EVERY, ROTATIONS = 31, 8, 4
TRUNCATIONS, NSIDES = [2, 4, 8, 12, 16, 21, DEGREE], [1, 2, 4, 8, 16]
FIELDS = {"z500": ("geopotential_500", 0), "dz500": ("geopotential_500", 1), "dt850": ("temperature_850", 1)}


def fields() -> dict[str, Tensor]:
    """Coefficients (D, days) of z500, and of the changes of z500 and of t850 within 24 h."""
    domain = WeatherDomain(WeatherConfig(data="speedy", variables=["geopotential_500", "temperature_850"]))
    ds, transform, found = domain.fields("test"), HarmonicTransform(domain.grid, DEGREE), {}
    days = np.arange(0, ds.sizes["time"] - 1, EVERY)
    for name, (channel, later) in FIELDS.items():
        x = ds[channel].isel(time=days + later).to_numpy().astype(np.float64)
        x = x - ds[channel].isel(time=days).to_numpy() if later else x
        found[name] = transform.analyse(torch.from_numpy(x)).T
        found[name][0] = 0
    return found


def measure(resampler: SphereResampler, names: list[str], c: dict[str, Tensor], turns: list[Tensor]) -> list[dict]:
    """A row for each scale but those that have all."""
    last = resampler.num_levels - 1
    values = torch.from_numpy(at_points(resampler.points[last], DEGREE))
    inverse = torch.linalg.solve(values.T @ values, values.T)

    def there_and_back(x: Tensor, k: int) -> Tensor:
        latent = (values @ x).T[..., None]
        return inverse @ resampler.up(resampler.down(latent, last, k), k, last)[..., 0].T

    rows = []
    for k, name in enumerate(names):
        row = {"scale": name, "sites": resampler.num_sites(k), "degrees": resampler.degrees(k)}
        for field, x in c.items():
            known = there_and_back(x, k)
            errors = [there_and_back(turn @ x, k) - turn @ known for turn in turns]
            row[f"kept_{field}"] = 1 - float((x - known).square().sum() / x.square().sum())
            row[f"error_{field}"] = float(torch.stack([e.norm() for e in errors]).mean() / known.norm())
        rows.append(row)
    return rows


def main() -> None:
    torch.set_default_dtype(torch.float64)
    c, grid = fields(), WeatherDomain(WeatherConfig(data="speedy", variables=["geopotential_500"])).grid
    harmonic = HarmonicResampler(TRUNCATIONS, "healpix", 1.3, grid)
    nested = NestedResampler([*NSIDES, 2 * NSIDES[-1]], grid)
    sites = harmonic.points[-1]
    back = harmonic.get_buffer(f"analysis_{len(TRUNCATIONS) - 1}")
    rotations = Rotation.random(ROTATIONS, random_state=0).as_matrix()
    turns = [back @ torch.from_numpy(at_points(sites @ r, DEGREE)) for r in rotations]  # f(x) to f(R^-1 x)
    rows = measure(nested, [f"HEALPix nside {n}" for n in NSIDES], c, turns)
    rows += measure(harmonic, [f"T{t}" for t in TRUNCATIONS[:-1]], c, turns)
    table = Table("scale", "sites", *(f"{what} {field}" for field in c for what in ("kept", "error")))
    for row in rows:
        figures = [f"{row[f'{what}_{field}']:.2g}" for field in c for what in ("kept", "error")]
        table.add_row(row["scale"], str(row["sites"]), *figures)
    Console(width=120).print(table)
    text = json.dumps({"rows": rows, "rotations": ROTATIONS, "days": next(iter(c.values())).shape[1]}, indent=2)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "equivariance.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
