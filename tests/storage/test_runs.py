"""Run folders: new, resumed, refused and found; their configuration and metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from strangers import install_toy

from refine.errors import RefineError
from refine.settings.compose import compose
from refine.settings.config import Config
from refine.storage.checkpoint import save_checkpoint
from refine.storage.runs import CONFIG, METRICS, find, find_run, load_run_config, log_metrics, new_run, read_metrics


@pytest.fixture(autouse=True)
def _toy_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install_toy(tmp_path / "site"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def toy(*arguments: str) -> Config:
    return compose(["domain=toy", *arguments])


def add_checkpoint(folder: Path, domain: str = "toy", age: float = 0) -> Path:
    """A checkpoint of ``domain`` that is ``age`` seconds old."""
    header = {"domain": domain, "domain_config": {"length": 4}, "model": {"commitment": 0.5}, "info": {}}
    save_checkpoint(folder, header, {"a": torch.zeros(1)})
    os.utime(folder / "config.json", (1e9 - age, 1e9 - age))
    return folder


def test_new_runs_are_named_by_domain_data_and_time_and_never_shared() -> None:
    configs = [toy("seed=4"), toy("seed=4"), toy("data=a/../b")]
    first, second, odd = (new_run(c) for c in configs)
    assert first.parent == odd.parent == Path("runs")
    assert first.name.startswith("toy-waves-20") and odd.name.startswith("toy-20")
    assert first != second
    assert configs[0].run == str(first)
    assert load_run_config(first) == configs[0]


def test_a_named_run_is_made_then_gone_on_with() -> None:
    first = new_run(toy("run=deep/a", "width=32"))
    assert first == Path("deep/a")
    (first / METRICS).write_text("kept\n")
    longer = toy("run=deep/a", "width=32", "predictor.steps=9", "seed=3")
    assert new_run(longer) == first
    assert load_run_config(first).train.predictor.steps == 9
    assert (first / METRICS).read_text() == "kept\n"


def test_a_run_of_another_model_is_refused_and_kept() -> None:
    run = new_run(toy("run=a"))
    before = (run / CONFIG).read_text()
    with pytest.raises(
        RefineError, match=r"run='a' was started with domain\.length=8 \(now 4\), model\.predictor\.width="
    ):
        new_run(toy("run=a", "length=4", "predictor.width=64"))
    with pytest.raises(RefineError, match=r"was started with domain_name='toy' \(now 'image'\)"):
        new_run(compose(["domain=image", "run=a"]))
    assert (run / CONFIG).read_text() == before


def test_a_folder_with_something_else_is_refused() -> None:
    Path("photos").mkdir()
    Path("photos/cat.png").write_text("cat")
    Path("file").write_text("x")
    Path("empty").mkdir()
    for name in ("photos", "file", "photos/cat.png"):
        with pytest.raises(RefineError, match="it is there already, and is not a run"):
            new_run(toy(f"run={name}"))
    assert new_run(toy("run=empty")) == Path("empty")


def test_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert new_run(toy("run=~/r")) == tmp_path / "r"
    add_checkpoint(tmp_path / "r")
    assert find_run(toy("run=~/r")) == tmp_path / "r"


def test_the_newest_readable_run_of_the_domain_is_found() -> None:
    assert find_run(toy()) is None
    add_checkpoint(Path("runs/z-old"), age=100)
    newest = add_checkpoint(Path("runs/a-new"), age=10)
    other = add_checkpoint(Path("runs/b-image"), "image", age=1)
    (add_checkpoint(Path("runs/c-broken")) / "config.json").write_text("{")
    new_run(toy("run=runs/d-unfinished"))
    Path("runs/notes.txt").write_text("")
    assert find_run(toy()) == newest
    assert find(None, None) == other
    assert find("runs/z-old", "image") == Path("runs/z-old")
    with pytest.raises(RefineError, match="holds no checkpoint"):
        find_run(toy("run=runs/d-unfinished"))
    with pytest.raises(RefineError, match="does not exist"):
        find_run(toy("run=runs/nowhere"))


def test_configuration_of_a_bare_checkpoint() -> None:
    config = load_run_config(add_checkpoint(Path("c")))
    assert (config.domain_name, config.domain.length, config.model.commitment, config.run) == ("toy", 4, 0.5, "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- 3", "is not a configuration"),
        ("{}", "names no domain"),
        ("domain_name: toy\nmodel:\n  depth: 3", "'model.depth' is not a key"),
        ("domain_name: toy\ndomain:\n  _target_: os.system", "is not accepted"),
        ("domain_name: toy\nseed: ${oc.env:HOME}", "not interpolated"),
        ("domain_name: !!python/object/apply:os.system [ls]", "has the tag"),
        ("domain_name: nothing", "domain='nothing' is not accepted"),
    ],
)
def test_damaged_or_hostile_configuration(text: str, message: str) -> None:
    Path(CONFIG).write_text(text)
    with pytest.raises(RefineError, match=message):
        load_run_config(Path())


def test_metrics_survive_a_torn_line() -> None:
    folder = Path()
    assert read_metrics(folder) == []
    log_metrics(folder, {"step": 1, "loss": 0.5})
    log_metrics(folder, {"step": 2, "loss": float("nan")})
    content = Path(METRICS).read_bytes()
    for cut in (1, 5, len(content) - 30):
        Path(METRICS).write_bytes(content[:-cut])
        read_metrics(folder)
        log_metrics(folder, {"step": 3})
        rows = read_metrics(folder)
        assert rows[0] == {"step": 1, "loss": 0.5}
        assert rows[-1] == {"step": 3}
        assert len(rows) == (3 if cut == 1 else 2)
    Path(METRICS).write_text('{"step": 1}\n[2]\n{"step"')
    assert read_metrics(folder) == [{"step": 1}]
