"""Keys that name places: what a file of a run may say of them, and what only the command line may."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
import yaml

from refine.cli import main
from refine.errors import RefineError
from refine.kinds import DOMAINS
from refine.models.model import Model
from refine.settings.compose import compose, from_values, section_types, to_yaml
from refine.settings.places import PLACE, Place, guarded, leads_off, named, opened, places_of, plainly
from refine.storage.checkpoint import save_checkpoint
from refine.storage.runs import load_run_config


@dataclass
class Options:
    """What a stranger's domain may have."""

    folder: Place = None  # where the data are
    more: Annotated[list[str] | None, PLACE] = None  # further ones
    text: str = "a://b"  # no place


@pytest.mark.parametrize(
    "value", ["https://x/y", "s3://b", "simplecache::file.zip", "//host/share", "\\\\host\\x", "a/b"]
)
def test_what_leads_off_this_machine(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert leads_off(value)
    held = guarded(Options(folder=value, more=["here.zarr", value]))
    with pytest.raises(RefineError, match=r"domain\.folder=.* is not opened: only a file of the run names it"):
        opened(str(held.folder), "domain.folder")
    assert held.more is not None and held.more[0] == "here.zarr" and held.text == "a://b"
    assert "folder" not in named(held)
    assert plainly(asdict(held)) == {"folder": value, "more": ["here.zarr", value], "text": "a://b"}
    assert guarded(held, {"folder": value, "text": "no place"}).folder == value


def test_what_is_here_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("owner/name").mkdir(parents=True)
    for value in ("/data/x.zarr", "owner/name", "mnist", "years/*.nc", "~/pictures", "TUDataset:ENZYMES"):
        assert not leads_off(value) and guarded(Options(folder=value)).folder == value == opened(value, "key")


def test_every_key_that_names_a_place_says_so() -> None:
    found = set()
    for name in ("image", "graph", "weather"):
        domain = DOMAINS.load(name)
        sections = section_types(domain) | {"domain": domain.Config}
        found |= {f"{section}.{key}" for section, cls in sections.items() for key in places_of(cls)}
    own = {"domain.data", "domain.folder", "domain.pyg", "domain.static", "train.init", "sample.out", "inpaint.out"}
    own |= {"inpaint.image", "inpaint.mask", "ensemble.fields", "ensemble.out", "ensemble.scheduler"}
    assert found >= own | {"evaluate.export", "evaluate.forecast"}


def test_a_runs_file_says_nothing_of_places_to_write_to_or_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    values = yaml.safe_load(to_yaml(compose(["domain=weather"])))
    for section, key in (("ensemble", "scheduler"), ("ensemble", "out"), ("sample", "out"), ("evaluate", "export")):
        values[section][key] = "tcp://127.0.0.1:1"
    values["domain"]["data"], values["train"]["init"] = "https://somewhere/x.zarr", "owner/name"
    config = from_values(values, saved=True)
    assert (config.ensemble.scheduler, config.ensemble.out, config.sample.out, config.evaluate.export) == (None,) * 4
    assert "ensemble.scheduler" in (said := " ".join(capsys.readouterr().err.split())) and "command line only" in said
    for value in (config.domain.data, config.train.init):
        with pytest.raises(RefineError, match="is not opened"):
            opened(value, "key")
    assert yaml.safe_load(to_yaml(config))["domain"]["data"] == "https://somewhere/x.zarr"  # what was said is kept
    again = compose(["data=https://somewhere/x.zarr", "ensemble.scheduler=tcp://here:1"], config)
    assert again.domain.data == "https://somewhere/x.zarr" and again.ensemble.scheduler == "tcp://here:1"


def test_training_keeps_no_places_of_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "domain=image", "sample.out=elsewhere"])
    assert "sample.out='elsewhere' is not accepted by refine train; give it to refine sample" in capsys.readouterr().err


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server that nobody may ask."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


def hostile(folder: Path, server: socket.socket, **options: Any) -> str:
    """A checkpoint of the weather domain whose data are at ``server``."""
    url = f"http://127.0.0.1:{server.getsockname()[1]}/x.zarr"
    header = {"domain": "weather", "domain_config": {"data": url, **options}, "model": {}, "info": {}}
    save_checkpoint(folder, header, {"a": torch.zeros(1)})
    return url


@pytest.mark.parametrize("command", ["inspect", "ensemble", "evaluate"])
@pytest.mark.parametrize("complete", [True, False])
def test_a_header_asks_nobody(
    command: str, complete: bool, listening: socket.socket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"variables": ["geopotential_500"], "grid": "gaussian:8x16", "statics": []} if complete else {}
    hostile(tmp_path / "run", listening, **options)
    with pytest.raises(SystemExit) as end:
        main([command, f"run={tmp_path / 'run'}"])
    assert end.value.code == 2 or (command == "inspect" and not complete), capsys.readouterr().err
    with pytest.raises(TimeoutError):
        listening.accept()


def test_data_that_only_the_checkpoint_names_are_asked_for_by_name(listening: socket.socket, tmp_path: Path) -> None:
    from refine.models.saved import domain_of
    from refine.storage.checkpoint import read_header

    options = {"variables": ["geopotential_500"], "grid": "gaussian:8x16", "statics": []}
    url = hostile(tmp_path / "run", listening, **options)
    header = read_header(tmp_path / "run")
    with pytest.raises(RefineError, match=r"domain\.data='http.* To have it opened name it yourself: domain\.data="):
        domain_of(tmp_path / "run", header).fields()
    assert domain_of(tmp_path / "run", header, {"data": url}).config.data == url


def test_headers_keep_what_was_said(tmp_path: Path) -> None:
    from refine.domain import starter

    model = Model.from_pretrained(starter("image"), places={"data": "folder", "folder": str(tmp_path)})
    assert model.domain.config.folder == str(tmp_path)
    model.domain.config = guarded(model.domain.config, {"folder": "refused://https://a/b"})
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["domain_config"]["folder"] == "https://a/b"


def test_config_yaml_of_own_runs_keeps_its_folder(tmp_path: Path) -> None:
    config = compose(["domain=image", f"folder={tmp_path}", "size=8", "classes=[a,b]"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_run_config(tmp_path).domain.folder == str(tmp_path)
