"""The cut of the SPEEDY data that ships with the package, from the whole store.

    python benchmarks/embedded_weather.py [--source speedy_t31.zarr] [--static speedy_t31_static.nc] [--out FILE]

Four variables, 540 training days in one run (1.5 years), 70 validation and 90 test days in two seasons each, with the
static fields; every value as in the store. Packed to int16 with the store's own step sizes, differences between
neighbours along a circle of latitude, bzip2: 11 kB a day, where netCDF's deflate takes 17. One zip file, and the
same bytes each time.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import xarray as xr
from numcodecs import BZ2, Delta

from refine.domains.weather.fields.sources import EMBEDDED, locate, open_fields, open_static
from refine.storage.files import atomic_write

STEPS = {  # of the packing, as in the store
    "geopotential_500": 10.0,
    "temperature_850": 0.05,
    "u_component_of_wind_850": 0.2,
    "v_component_of_wind_850": 0.2,
}
PIECES = [  # first and last day
    ("2001-01-01", "2002-06-24"),  # training
    ("2020-04-01", "2020-05-05"),  # validation: spring, autumn
    ("2020-10-01", "2020-11-04"),
    ("2021-01-01", "2021-02-14"),  # test: winter, summer
    ("2021-07-01", "2021-08-14"),
]
LICENSE = "CC0-1.0"


def cut(source: str, static: str) -> xr.Dataset:
    """The days and fields that ship, in memory."""
    fields = open_fields(source, list(STEPS))
    fields = xr.concat([fields.sel(time=slice(first, last)) for first, last in PIECES], "time").load()
    resting = open_static(static).load()
    ds = fields.merge(resting, combine_attrs="override")
    ds.attrs = {
        "Conventions": "CF-1.10",
        "title": "A cut of daily fields at 00 UTC of the SPEEDY T31 model on the 48 x 96 Gaussian grid",
        "source": "own simulation with jcm 3.0.0 (SPEEDY physics, climatological boundary conditions); synthetic",
        "license": LICENSE,
        "references": "Molteni (2003), Climate Dynamics 20, 175-191",
        "comment": "Calendar labels are nominal. Never pair days across a gap or a change of branch.",
    }
    return ds


def write(ds: xr.Dataset, out: Path) -> None:
    """One zip file with a zarr store (format 2, which every version of zarr reads)."""
    delta = {"filters": [Delta("<i2")], "compressors": BZ2(9), "dtype": "int16", "_FillValue": -32768}
    encoding = {
        name: delta | {"scale_factor": float(np.float32(step)), "chunks": (30, *ds[name].shape[1:])}
        for name, step in STEPS.items()
    }
    encoding["time"] = {"units": "days since 2001-01-01", "calendar": "proleptic_gregorian", "dtype": "int32"}
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "cut.zarr"
        ds.chunk(time=30).to_zarr(store, zarr_format=2, consolidated=True, encoding=encoding)
        with atomic_write(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(p for p in store.rglob("*") if p.is_file()):
                archive.writestr(zipfile.ZipInfo(path.relative_to(store).as_posix()), path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default=None, help="the whole store; default: speedy of REFINE_DATA")
    parser.add_argument("--static", default="speedy", help="its static fields")
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    given = parser.parse_args()
    ds = cut(given.source or locate("speedy"), given.static)
    write(ds, given.out)
    days = np.bincount(ds["split"].to_numpy())
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB; train, validation, test: {days.tolist()} days")


if __name__ == "__main__":
    main()
