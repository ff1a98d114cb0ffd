"""The command line as a person meets it: help, exit codes, messages, and each command on a small domain."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strangers import install, install_toy

import refine
from refine.cli import main
from refine.storage.runs import load_run_config

TINY = "width=16 depth=1 heads=2 model.quantizer.size=8 fit_after=2 val_every=4 tokenizer.steps=4 predictor.steps=4"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that the toy domain is installed in."""
    with pytest.MonkeyPatch.context() as patch:
        path = install_toy(tmp_path_factory.mktemp("toy") / "site")
        patch.syspath_prepend(path)
        yield path


@pytest.fixture(scope="module")
def trained(site: Path, once: Any) -> Path:
    """A run of the toy domain, made by the command."""

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.chdir(folder)
            main(["train", "domain=toy", *TINY.split(), "--run", "runs/first", "strip=0"])
        assert end.value.code == 0

    folder: Path = once("toy-trained", train)
    return folder / "runs" / "first"


@pytest.fixture
def cli(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(arguments)
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def test_help_teaches_by_example_and_is_quick_to_load(cli: Run) -> None:
    for arguments in (["--help"], ["-h"]):
        code, out, err = cli(*arguments)
        assert (code, err) == (0, "")
        assert "refine sample domain=image --num 64 --label 7" in out
        commands = [out.index(f"\n  {name} ") for name in ("domains", "train", "sample", "evaluate", "inspect")]
        assert commands == sorted(commands)
    code = "import sys, refine.cli\ntry: refine.cli.main(['-h'])\nfinally: sys.exit(int('torch' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_of_a_command_lists_its_keys_defaults_and_choices(cli: Run) -> None:
    out = cli("train", "--help")[1]
    assert "train.predictor.steps=1000" in out and "optimiser steps" in out
    assert "experiment=" in out and "mnist" in out
    assert "domain.length" not in out and "model.quantizer" not in out and "refine train domain=NAME --help" in out
    out = cli("train", "domain=toy", "-h")[1]
    assert "domain.length=8" in out and "model.quantizer.kind=vq" in out and "vq | fsq | bitwise" in out
    out = cli("--debug", "sample", "--help")[1]
    assert "sample.num=64" in out and "sampler.temperature=1.0" in out and "train." not in out


def test_version(cli: Run) -> None:
    assert cli("--version") == (0, f"refine, version {refine.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampel"], "command='sampel' is not accepted; accepted: domains, ensemble, "),
        (["--what"], "No such option"),
        (["train"], "domain= is missing; accepted: graph, image, toy"),
        (["train", "domain=graphs"], "domain='graphs' is not accepted"),
        (["train", "domain=toy", "steps=3"], "write one of train.tokenizer.steps, train.predictor.steps"),
        (["train", "domain=toy", "stage=both"], "stage='both' is not accepted; accepted: tokenizer"),
        (["sample", "domain=toy"], "domain 'toy' ships no starter checkpoint"),
        (["sample", "domain=toy", "run=null"], "domain 'toy' ships no starter checkpoint"),
        (["sample"], "domain= is missing"),
        (["sample", "run=nowhere"], "nowhere does not exist"),
        (["evaluate", "--run", "nowhere"], "nowhere does not exist"),
        (["inspect", "nowhere"], "nowhere does not exist"),
        (["inspect"], "say which: refine inspect RUN"),
        (["inspect", "a", "b"], "'b' is not understood; write key=value or --key value"),
        (["domains", "all"], "'all' is not accepted: refine domains takes no arguments"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(cli: Run, arguments: list[str], message: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_debug_shows_the_traceback(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(refine.RefineError):
        main(["train", "--debug"])
    monkeypatch.setenv("REFINE_DEBUG", "1")
    with pytest.raises(refine.RefineError):
        main(["train"])


def test_domains_lists_broken_ones_with_the_reason(cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "a", "refine_bad", "import nowhere", "bad = refine_bad:X"))
    monkeypatch.syspath_prepend(install(tmp_path / "b", "refine_odd", "X = 3", "odd = refine_odd:X"))
    code, out, _ = cli("domains")
    assert code == 0
    rows = {part.split()[0]: " ".join(part.split()) for part in re.split(r"\n\s*\n", out)}
    assert "none at all" in rows["toy"]
    assert "does not load" in rows["bad"] and "No module named 'nowhere'" in rows["bad"]
    assert "not a subclass of refine.Domain" in rows["odd"]


def test_train_leaves_a_run(trained: Path) -> None:
    present = {p.name for p in trained.iterdir()}
    assert present >= {"config.yaml", "config.json", "model.safetensors", "metrics.jsonl"}
    assert load_run_config(trained).model.predictor.width == 16


def test_training_goes_on_by_the_run_alone(cli: Run, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    assert cli("train", "run=copy", "predictor.steps=6", "--strip", "0")[0] == 0
    assert refine.Refiner.from_pretrained("copy").info["predictor"]["steps"] == 6
    assert load_run_config(tmp_path / "copy").model.predictor.width == 16
    code, _, err = cli("train", "run=copy", "domain.length=4")
    assert code == 2 and "was started with domain.length=8 (now 4)" in err


def samples(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "samples.npz") as file:
        return dict(file)


def test_sample_is_the_same_in_any_batch(cli: Run, trained: Path) -> None:
    assert cli("sample", f"run={trained}", "num=5", "--out", "a", "--seed", "3")[0] == 0
    assert cli("sample", "--run", str(trained), "--num=9", "batch_size=2", "--out=b", "seed=3")[0] == 0
    assert cli("sample", f"run={trained}", "num=5", "out=c", "seed=4")[0] == 0
    a, b, c = (samples(Path(name)) for name in "abc")
    assert a["items"].shape == (5, 8, 1) and b["items"].shape == (9, 8, 1)
    for key in a:
        np.testing.assert_allclose(a[key], b[key][:5], atol=1e-5)
    assert any((a[key] != c[key]).any() for key in a if key.startswith("codes"))


def test_sample_finds_the_newest_run_and_writes_into_it(cli: Run, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "runs" / "second")
    for arguments in (["domain=toy"], []):
        code, out, _ = cli("sample", *arguments, "--num", "3")
        assert code == 0 and str(Path("runs/second/samples")) in out
    made = list((tmp_path / "runs/second/samples").iterdir())
    assert len(made) == 2 and all((folder / "samples.npz").is_file() for folder in made)


def test_labels_of_samples(trained: Path) -> None:
    domain = refine.Refiner.from_pretrained(trained).domain
    for label, expected in [(None, [0, 1, 2, 0]), (2, [2] * 4), ([2, 0], [2, 0, 2, 0]), ("faster", [2] * 4)]:
        labels = domain.labels_of(label, 4)
        assert labels is not None and labels.tolist() == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label=3"], "sample.label=3 is not accepted; accepted: 0, 1, 2, slow, fast, faster"),
        (["label=-1"], "sample.label=-1 is not accepted"),
        (["label=true"], "sample.label=True is not accepted"),
        (["label=[0,fats]"], "Did you mean 'fast'?"),
        (["label=[]"], "sample.label=[] is not accepted"),
        (["label=1.5"], "sample.label=1.5 is not accepted"),
        (["num=0"], "sample.num=0 is not accepted"),
        (["batch_size=-2"], "sample.batch_size=-2 is not accepted"),
        (["out=full"], "sample.out='full' is not accepted: it is there already"),
        (["length=4"], "'length' is not a key"),
        (["domain=image"], "the run is of domain 'toy'"),
        (["accelerator=abacus"], "trainer.accelerator='abacus' is not accepted; accepted: auto, cpu"),
    ],
)
def test_what_sample_refuses(cli: Run, trained: Path, arguments: list[str], message: str) -> None:
    Path("full").mkdir()
    Path("full/cat.png").write_text("cat")
    code, out, err = cli("sample", f"run={trained}", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert [p.name for p in Path("full").iterdir()] == ["cat.png"]


def test_inspect_tells_what_a_run_is_without_its_domain(
    cli: Run, trained: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = cli("inspect", str(trained))
    assert code == 0
    for part in (
        "toy",
        "[1, 2, 4, 8]",
        "[8, 8, 8, 8]",
        "tokenizer.quantizer:",
        "steps=4",
        "val_nll",
        "model.safetensors",
    ):
        assert part in out, part
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(site)])
    code, out, _ = cli("inspect", f"run={trained}")
    assert code == 0 and "domain='toy' is not accepted" in out and "tokenizer.quantizer:" in out


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_going_on_works(cli: Run, site: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "refine", "train"]
    first = [
        *command,
        "domain=toy",
        *TINY.split(),
        "run=my run",
        "predictor.steps=1000000",
        "log_every=1",
        "save_every=5",
    ]
    environment = os.environ | {"PYTHONPATH": str(site)}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
    with subprocess.Popen(
        first, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        resume = tmp_path / "my run" / "resume" / "predictor.safetensors"
        while process.poll() is None and not resume.exists():
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "stopped; continue with: refine train run='my run'"
    assert cli("train", "run=my run", "stage=tokenizer")[0] == 0


def test_a_warning_is_one_line_said_once(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        for word in ("first", "second\nline", "first"):
            warnings.warn(f"the {word}", stacklevel=1)

    monkeypatch.setattr("refine.commands.domains.Domains.run", run)
    assert cli("domains") == (0, "", "warning: the first\nwarning: the second line\n")
