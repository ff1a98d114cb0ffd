"""What zarr stores may say of themselves: chunks that are not there, codecs that run code, servers that fail."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from refine.domains.weather.fields.sources import open_fields
from refine.domains.weather.fields.whole import whole_times
from refine.errors import RefineError

from ..made_up_fields import make_fields


def with_tiles(path: Path, name: str, units: str, fill: float) -> np.ndarray:
    """A store of 2 m temperature and another field, which is ``fill`` in the west on all four days; its values."""
    ds = make_fields(4)[["2m_temperature"]]
    x = (0.5 + 0 * ds["2m_temperature"]).where(ds["longitude"] >= 180, fill)
    ds[name] = x.astype("float32").assign_attrs(units=units)
    encoding = {name: {"chunks": (2, 8, 8), "_FillValue": None}}
    ds.to_zarr(path, zarr_format=3, consolidated=False, encoding=encoding)
    text = json.loads((path / name / "zarr.json").read_text())
    (path / name / "zarr.json").write_text(json.dumps(text | {"fill_value": "NaN" if fill != fill else fill}))
    for chunk in (path / name / "c").glob("*/0/0"):
        chunk.unlink(missing_ok=True)  # as zarr leaves them out
    return np.asarray(ds[name].values)


@pytest.mark.parametrize(("name", "units"), [("snow_depth", "m"), ("sea_ice_cover", "1"), ("tp", "m"), ("mine", "")])
def test_tiles_of_the_fill_value_are_read_as_that_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, units: str
) -> None:
    values = with_tiles(tmp_path / "a.zarr", name, units, 0.0)
    found = open_fields(tmp_path / "a.zarr")
    channel = "total_precipitation" if name == "tp" else name
    np.testing.assert_array_equal(found[channel].values, values)
    said = capsys.readouterr().err
    assert f"2 of 4 chunks of {name} are not in the store and are read as 0.0" in said and said.count("\n") == 1


def test_tiles_that_are_missing_values_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_tiles(tmp_path / "a.zarr", "t2m_max", "K", np.nan)
    found = open_fields(tmp_path / "a.zarr")
    assert "2 of 4 chunks of t2m_max are not in the store and are read as missing" in capsys.readouterr().err
    with pytest.raises(RefineError, match="t2m_max: 256 of 512 values are missing"):
        whole_times(found, "domain.train")


def test_tiles_of_a_field_that_is_never_constant_are_a_store_that_was_cut_off(tmp_path: Path) -> None:
    with_tiles(tmp_path / "a.zarr", "u10", "m s-1", 0.0)
    with pytest.raises(RefineError, match=r"chunks of u10 that are missing: 2 of 4; is it cut off\?"):
        open_fields(tmp_path / "a.zarr")


# -- code --------------------------------------------------------------------------------------------------------------

PICKLED = b"cbuiltins\nprint\n(Vran\ntR."  # a pickle that prints


@pytest.mark.parametrize("place", ["filters", "compressor"])
@pytest.mark.parametrize("name", ["split", "2m_temperature"])
def test_a_codec_that_runs_code_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, name: str
) -> None:
    """Before anything of the array is read, whatever the installed codecs would make of it."""
    path = tmp_path / "a.zarr"
    ds = make_fields(4)[["2m_temperature"]].assign_coords(split=("time", np.zeros(4, int)))
    ds.to_zarr(path, zarr_format=2, consolidated=False)
    meta = json.loads((path / name / ".zarray").read_text())
    codec = {"id": "pickle", "protocol": 5}
    objects = {"dtype": "|O", "fill_value": None, "filters": [{"id": "vlen-utf8"}]} if name == "split" else {}
    meta |= objects
    meta[place] = [*(meta["filters"] or []), codec] if place == "filters" else codec
    (path / name / ".zarray").write_text(json.dumps(meta))
    for chunk in (path / name).glob("[0-9]*"):
        chunk.write_bytes(PICKLED)
    by_name = "array 'split' is refused: it decodes through 'pickle', which can run code"
    with pytest.raises(RefineError, match=by_name if name == "split" else r"^domain\.data='.*pickle"):
        open_fields(path)
    assert "ran" not in capsys.readouterr().out


def test_a_codec_of_version_3_that_runs_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    make_fields(4)[["2m_temperature"]].to_zarr(path, zarr_format=3, consolidated=False)
    meta = json.loads((path / "2m_temperature" / "zarr.json").read_text())
    meta["codecs"].insert(0, {"name": "numcodecs.pickle", "configuration": {"protocol": 5}})
    (path / "2m_temperature" / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(RefineError, match=r"^domain\.data='.*pickle"):
        open_fields(path)


# -- network -----------------------------------------------------------------------------------------------------------


class _Failing(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, but fails at chunks of the latitude."""

    def do_GET(self) -> None:
        if "/latitude/c/" in self.path or "/latitude/0" in self.path:
            self.send_error(500, "out of order")
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(_Failing, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("version", [2, 3])
def test_coordinates_that_a_server_does_not_give_are_one_message(tmp_path: Path, failing: str, version: int) -> None:
    make_fields(3)[["2m_temperature"]].to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    with pytest.raises(RefineError) as error:
        open_fields(f"{failing}/a.zarr")
    assert str(error.value).startswith(f"domain.data='{failing}/a.zarr' cannot be read as zarr (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", [2, 3])
def test_coordinates_that_are_damaged_are_one_message(tmp_path: Path, version: int) -> None:
    ds = make_fields(3)[["2m_temperature"]].assign_coords(branch=("time", np.ones(3, int)))
    for name in ("time", "longitude", "branch"):
        path = tmp_path / f"{name}.zarr"
        ds.to_zarr(path, zarr_format=version, consolidated=False)
        (path / name / ("0" if version == 2 else "c/0")).write_bytes(b"no chunk")
        with pytest.raises(RefineError, match="cannot be read as zarr"):
            open_fields(path)
