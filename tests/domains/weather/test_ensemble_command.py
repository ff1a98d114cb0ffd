"""`refine ensemble` as a person meets it: the default, keys, what it prints, and what it refuses."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from strangers import install, install_toy

from refine.cli import main
from refine.domains.weather.config import WeatherConfig
from refine.domains.weather.domain import WeatherDomain
from refine.domains.weather.ensemble_command import domain_of
from refine.domains.weather.ensembles.store import open_forecast
from refine.domains.weather.pictures import forecast_pictures, report
from refine.errors import RefineError
from refine.settings.compose import compose, to_yaml
from refine.storage.locks import alone, lock_beside

from . import toy_forecaster
from .clusters import local_cluster
from .toy_forecaster import toy_fields

Run = Callable[..., tuple[int, str, str]]

DOMAIN = '''
"""Waves that travel eastward, as a domain of its own."""
from dataclasses import dataclass

import torch
from weather.toy_forecaster import ToyForecaster

from refine import Domain
from refine.capabilities import Forecasts
from refine.domains.weather.ensemble_command import run_ensemble
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.fields.sources import open_fields
from refine.models.model import Model


@dataclass
class WavesConfig:
    data: str = "fields.nc"
    train: str | None = None
    val: str | None = None
    test: str | None = None


@dataclass
class WavesModelConfig:
    decay: float = 0.9


class WavesModel(ToyForecaster, Model):
    def __init__(self, domain, config):
        Model.__init__(self, domain, config)
        ToyForecaster.__init__(self, Grid.parse("gaussian:4x8"))
        self.channels = ["geopotential_500", "2m_temperature"]
        self.weight = torch.nn.Parameter(torch.zeros(1))

    num_levels = 1

    def sample(self, *a, **k): ...
    def training_items(self, *a): ...
    def training_loss(self, *a): ...
    def score(self, *a): ...


class Waves(Domain, Forecasts):
    name, Config, ModelConfig = "waves", WavesConfig, WavesModelConfig

    def dataset(self, split): ...

    def model(self, config):
        return WavesModel(self, config)

    def fields(self, split=None):
        ds = open_fields(self.config.data)
        return ds.isel(time=slice(6, None)) if split == "test" else ds

    def static(self):
        return self.fields()[[]]

    def ensemble(self, model, source, config, folder):
        return run_ensemble(model, source, config, folder)

    def verify(self, model, source, config, folder):
        return {}
'''


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data and a run of the domain ``waves``, which is installed."""
    folder = tmp_path_factory.mktemp("waves")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        patch.syspath_prepend(install(folder / "site", "refine_waves", DOMAIN, "waves = refine_waves:Waves"))
        patch.syspath_prepend(install_toy(folder / "toy"))
        patch.chdir(folder)
        toy_fields(20).to_netcdf("fields.nc")
        from refine import load_domain

        domain = load_domain("waves", data="fields.nc")
        domain.model(domain.ModelConfig()).save_pretrained(folder / "runs" / "first")
        yield folder


@pytest.fixture
def cli(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in a copy of that folder: exit code, standard output, standard error."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    shutil.copy(home / "fields.nc", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["ensemble", *arguments])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures and no report, which take most of the time and are looked at elsewhere."""
    monkeypatch.setattr(forecast_pictures, "forecast_pictures", lambda *_, **__: [])
    monkeypatch.setattr(report, "report_forecast", lambda *given: given[3] / "report.html")


def test_the_default(cli: Run) -> None:
    code, out, err = cli("domain=waves", "--members", "6", "--lead", "3d", "--at", "-51.5,-0.1")
    assert code == 0, err
    target = Path("runs/first/forecasts/2021-01-17T00-6x72h.zarr")  # the last that can be verified
    ds = open_forecast(target)
    assert dict(ds.sizes) == {"number": 6, "time": 1, "prediction_timedelta": 3, "latitude": 4, "longitude": 8}
    assert "refine" in ds.attrs["source"] and "seed 0" in ds.attrs["source"]
    assert str(target) in out and re.search(r"3 d.*5\d{4} ± \d", out) and "spread" in out
    pictures = {path.name for path in target.with_suffix("").iterdir()}
    assert "plume.png" in pictures and len(pictures) > 3
    report = target.with_suffix("") / "report.html"
    assert f"{report}, pictures" in out
    text = report.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|<link|url\(|@import", text)
    sources = re.findall(r'src="(.{40})', text)
    assert len(sources) == len(pictures) - 1 and all(source.startswith("data:image/") for source in sources)
    shown = {"geopotential_500", "2m_temperature", str(target), "model", "seed 0", "error of the mean", "3 d"}
    assert not [word for word in shown if word not in text]
    errors = re.search(r"3 d</td>.*", text).group()  # type: ignore[union-attr]
    assert re.fullmatch(r"3 d</td>(<td>[\d.]+ ± [\d.]+ \([\d.]+\)</td>){2}</tr>", errors)
    code, out, err = cli("domain=waves", "--members", "6", "--lead", "3d")  # the same again: another store
    assert code == 0 and "2021-01-17T00-6x72h-2.zarr" in out
    assert open_forecast(target).load().equals(open_forecast(str(target).replace(".zarr", "-2.zarr")).load())


def test_keys(cli: Run) -> None:
    keys = "--start every:4d --members 3 --batch-size 2 --seed 9 --out mine.zarr --netcdf temperature=0.5"
    Path("mine").mkdir()
    Path("mine/report.html").write_text("kept")
    code, out, err = cli("run=runs/first", *keys.split(), "lead=48h")
    assert code == 0 and "mine-2/report.html" in out, err
    assert Path("mine/report.html").read_text() == "kept" and len(list(Path("mine").iterdir())) == 1
    assert "3, 2021-01-07T00:00 to 2021-01-15T00:00; the first is shown" in Path("mine-2/report.html").read_text()
    ds = open_forecast("mine.zarr")
    assert [str(t)[:10] for t in ds["time"].values] == ["2021-01-07", "2021-01-11", "2021-01-15"]
    assert open_forecast("mine.nc").load().equals(ds.load())
    code, _, err = cli("run=runs/first", *keys.split(), "lead=48h")
    assert code == 2 and "ensemble.netcdf=true is not accepted: mine.nc is there already" in err
    assert cli("run=runs/first", "out=mine.zarr")[0] == 2
    assert open_forecast("mine.zarr").load().equals(ds.load())


@pytest.mark.usefixtures("undrawn")
def test_interrupted_and_gone_on_with(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["run=runs/first", "members=5", "batch_size=2", "lead=2d"]
    noise, calls = toy_forecaster.ToyForecaster._noise, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 4:  # the second part, near its end
            raise KeyboardInterrupt
        return noise(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("weather.toy_forecaster.ToyForecaster._noise", interrupted)
        code, _, err = cli(*keys)
    assert code == 130 and "run the same command again to continue" in err
    code, out, err = cli(*keys)
    assert code == 0 and "1 of 3 parts are done" in err and "2021-01-18T00-5x48h.zarr" in out
    assert [p.name for p in Path("runs/first/forecasts").glob("*zarr*")] == ["2021-01-18T00-5x48h.zarr"]


@pytest.mark.parametrize("out", [["out=f.zarr"], []])
def test_killed_while_it_draws_the_same_command_makes_what_is_missing(
    cli: Run, out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ["run=runs/first", "members=5", "batch_size=2", "lead=2d", "netcdf=true", *out]
    store = Path("f.zarr" if out else "runs/first/forecasts/2021-01-18T00-5x48h.zarr").absolute()

    def begun(store: Path, folder: Path, **_: Any) -> Any:
        folder.mkdir()
        (folder / "maps.png").write_text("half")
        raise KeyboardInterrupt

    def drawn(store: Path, folder: Path, **_: Any) -> list[Path]:
        (folder / "maps.png").write_text("whole")
        return [folder / "maps.png"]

    with monkeypatch.context() as patch:
        patch.setattr(forecast_pictures, "forecast_pictures", begun)
        assert cli(*keys)[0] == 130
    before = {path: path.stat().st_mtime_ns for path in [*store.rglob("*"), store.with_suffix(".nc")]}
    assert store.is_dir() and cli(*keys, "seed=1", f"out={store}")[0] == 2  # another plan
    monkeypatch.setattr(forecast_pictures, "forecast_pictures", drawn)
    monkeypatch.setattr(report, "report_forecast", lambda *given: given[3] / "report.html")
    code, said, err = cli(*keys)
    assert code == 0 and "3 of 3 parts are done" in err and f"{store.with_suffix('') / 'report.html'}, pict" in said, (
        err
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.name for path in store.parent.iterdir()} >= {store.name, store.stem, f"{store.stem}.nc"}
    assert not [path for path in store.parent.iterdir() if path.suffix in (".partial", ".lock")]
    assert [path.read_text() for path in store.with_suffix("").iterdir()] == ["whole"]
    assert not store.with_name(f"{store.stem}-2").exists()


@pytest.mark.usefixtures("undrawn")
def test_one_process_a_store(cli: Run) -> None:
    with alone(lock_beside(Path("f.zarr")), "f.zarr is being made"):
        code, _, err = cli("run=runs/first", "members=2", "lead=1d", "out=f.zarr")
    assert code == 2 and f"f.zarr is being made by process {os.getpid()}" in err
    assert not list(Path().glob("*f.zarr*"))


@pytest.mark.usefixtures("undrawn")
def test_on_a_cluster_whose_workers_are_in_another_folder(
    cli: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with local_cluster(1) as cluster:
        monkeypatch.chdir(here)
        keys = ["run=runs/first", "members=5", "batch_size=2", "lead=2d", "start=[2021-01-05,2021-01-07]"]
        code, _, err = cli(*keys, "out=there.zarr", "--scheduler", cluster.scheduler_address)
        assert code == 0, err
    assert cli(*keys, "out=here.zarr")[0] == 0
    assert open_forecast("here.zarr").load().identical(open_forecast("there.zarr").load())


@pytest.mark.usefixtures("undrawn")
def test_other_data(cli: Run) -> None:
    toy_fields(5, first=20).isel(latitude=slice(None, None, -1)).to_netcdf("later.nc")
    code, _, err = cli("run=runs/first", "fields=later.nc", "start=2021-01-23", "lead=1d", "out=f.zarr")
    assert code == 0, err
    assert str(open_forecast("f.zarr")["time"].values[0])[:10] == "2021-01-23"


def test_messages_name_the_key_that_named_the_data(tmp_path: Path) -> None:
    fields = toy_fields(5)
    fields.to_netcdf(tmp_path / "good.nc")
    fields.isel(time=[0, 1, 1]).to_netcdf(tmp_path / "twice.nc")
    domain = WeatherDomain(WeatherConfig(data=str(tmp_path / "good.nc")))
    other = domain_of(SimpleNamespace(domain=domain), str(tmp_path / "twice.nc"))
    with pytest.raises(RefineError, match=r"^ensemble\.fields='.*twice\.nc': times that are there more than once: 1"):
        other.fields()
    assert domain.fields().sizes["time"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("start=2021-01-01", "ensemble.start='2021-01-01' is not accepted: a forecast needs the field one step before"),
        ("start=2031-01-01", "forecasts can start from 2021-01-02T00:00 to 2021-01-20T00:00"),
        ("start=none", "ensemble.start='none' is not accepted; accepted: a date such as 2021-01-31"),
        ("start=[2021-01-05,soon]", "is not accepted; accepted: a date such as 2021-01-31"),
        ("start=2021-02-31T25", "is not accepted; accepted: a date such as 2021-01-31"),
        ("start=every:0d", "is not accepted; accepted: a date such as 2021-01-31"),
        ("temperature=[1,1]", "sampler.temperature"),
        ("top_k=[5,5]", "sampler.top_k"),
        ("strategies=[none]", "strateg"),
        ("lead=5h", "ensemble.lead='5h' is not accepted; accepted: whole steps of 24 h"),
        ("members=0", "ensemble.members=0"),
        ("members=many", "accepted: whole numbers from 1 to"),
        ("out=f.nc", "ensemble.out='f.nc' is not accepted; accepted: a zarr store such as forecast.zarr"),
        ("at=London", "at='London'"),
        ("fields=nothing.nc", "nothing.nc"),
        ("membres=3", "Did you mean 'ensemble.members'"),
    ],
)
def test_what_is_not_accepted(cli: Run, arguments: str, message: str) -> None:
    code, _, err = cli("run=runs/first", arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
    assert not Path("runs/first/forecasts").exists()


def test_domains_that_do_not_forecast_name_those_that_do(cli: Run) -> None:
    from refine import load_domain

    domain = load_domain("toy")
    domain.model(domain.ModelConfig()).save_pretrained("runs/toy")
    code, _, err = cli("run=runs/toy")
    assert code == 2 and "domain 'toy' does not forecast; accepted: " in err and "waves" in err


def test_help(cli: Run) -> None:
    code, out, _ = cli("--help")
    assert code == 0 and "ensemble.lead=10d" in out and "240h" in out


def test_a_scheduler_that_a_runs_file_names_is_not_asked(cli: Run, undrawn: None) -> None:
    """Whoever answers may run code here, so only the command line names one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        text = to_yaml(compose(["domain=waves"]))
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        named = text.replace("  scheduler: null", f"  scheduler: {address}")
        assert named != text
        Path("runs/first/config.yaml").write_text(named)
        code, _, err = cli("run=runs/first", "members=1", "lead=1d", "out=here.zarr")
        assert code == 0 and Path("here.zarr").is_dir(), err
        assert "because places count from the command line only: ensemble.scheduler" in err
        with pytest.raises(TimeoutError):
            server.accept()
