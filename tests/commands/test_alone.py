"""Commands that make a file or a folder: a second process is refused in one line, and a dead one locks nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bags import BagConfig, BagDomain, BagModelConfig, install_bags
from processes import start

from refine.cli import main
from refine.storage.locks import LOCK, alone
from refine.studies.contest import runner
from refine.studies.paper import mnist as paper_data
from refine.studies.paper import reproduction

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


def hold(lock: Path) -> None:
    """As a process that is at work, and killed in the end."""
    with alone(lock, "it is being made"):
        lock.with_name("held").touch()
        time.sleep(60)


def evaluate(patch: pytest.MonkeyPatch) -> tuple[list[str], str, str]:
    patch.syspath_prepend(str(install_bags(Path("site"))))
    BagDomain(BagConfig(items=30)).model(BagModelConfig()).save_pretrained(Path("run"))
    arguments = ["evaluate", "run=run", "samples=5", "items=5"]
    return arguments, "run/.evaluate-test.json.lock", "run/evaluate-test.json is being made"


def regrid(_: pytest.MonkeyPatch) -> tuple[list[str], str, str]:
    np, xr = pytest.importorskip("numpy"), pytest.importorskip("xarray")
    from refine.domains.weather.sphere.grids import Grid

    grid = Grid.parse("gaussian:4x8")
    field = ("time", "latitude", "longitude"), np.full((2, 4, 8), 280, "f4"), {"units": "K"}
    days = np.datetime64("2001-01-01", "ns") + np.arange(2) * np.timedelta64(1, "D")
    coords = {"time": days, "latitude": grid.latitude, "longitude": grid.longitude}
    xr.Dataset({"2m_temperature": field}, coords).to_netcdf("in.nc")
    return ["regrid", "in.nc", "out.nc", "--grid", "healpix:2"], ".out.nc.lock", "OUT='out.nc' is being made"


def study(patch: pytest.MonkeyPatch) -> tuple[list[str], str, str]:
    """Nothing is measured."""
    patch.setattr(runner, "_measured", lambda setting, *_: setting.folder / "study.json")
    patch.setattr("refine.studies.contest.write_up.write_report", lambda *_: [])
    return ["study", "hypotheses"], f"study/{LOCK}", "out='study' is being measured"


def reproduce(patch: pytest.MonkeyPatch) -> tuple[list[str], str, str]:
    """Nothing is measured."""
    patch.setattr(paper_data, "mnist", lambda: None)
    patch.setattr(reproduction, "measure", lambda *_: [])
    patch.setattr("refine.studies.paper.report.markdown", lambda *_: "")
    patch.setattr("refine.studies.paper.report.verdicts", lambda *_: [])
    patch.setattr("refine.studies.paper.report.plot", lambda *given: given[1])
    return ["reproduce", "table=1"], f"reproduction/{LOCK}", "out='reproduction' is being measured"


@pytest.mark.parametrize("command", [evaluate, regrid, study, reproduce])
def test_one_process_at_a_time(
    command: Callable[..., tuple[list[str], str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, lock, what = command(monkeypatch)
    process = start(hold, tmp_path / lock)
    while not (tmp_path / lock).with_name("held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        main(arguments)
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.count("\n") == 1
    assert f"error: {what} by process {process.pid} on " in err and "; wait until that has ended" in err
    assert sorted(tmp_path.rglob("*")) == before
    process.kill()
    process.join()
    assert (tmp_path / lock).exists()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0, capsys.readouterr().err
    assert not (tmp_path / lock).exists()
