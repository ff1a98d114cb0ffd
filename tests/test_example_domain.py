"""The example domain of the documentation works once it is installed, and check_domain refuses what is broken in it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import refine.models.refiner
from refine import Domain, FieldsDataset, GridResampler, Samples, Symmetry
from refine.network.predictor import Predictor
from refine.testing import CheckError, check_domain

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "signals"
SMALL = {"length": 16, "items": 48, "channels": 2, "scales": [1, 2, 4, 8]}


def load_example() -> Any:
    """The example as a module, without installing it."""
    spec = importlib.util.spec_from_file_location("signals", EXAMPLE / "signals.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["signals"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


signals = load_example()


def test_is_short() -> None:
    assert len((EXAMPLE / "signals.py").read_text().splitlines()) <= 80


# -- installed, through its entry point --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs Python in a folder of its own, where the example is installed, and gives what it printed."""
    folder = tmp_path_factory.mktemp("signals")
    shutil.copytree(EXAMPLE, folder / "source")  # a build leaves files beside the sources
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", folder / "site"]
    subprocess.run([sys.executable, "-m", *install, folder / "source"], check=True)
    path = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_is_listed(run: Callable[..., str]) -> None:
    listed = run("-m", "refine", "domains")
    assert "signals:SignalDomain" in listed and "none: time has a direction" in listed


def test_passes_the_checks(run: Callable[..., str]) -> None:
    code = f"""
import refine
from refine.testing import check_domain
print(*check_domain(refine.load_domain("signal", **{SMALL})))
"""
    assert run("-c", code).split() == [
        "splits", "items", "codec", "levels", "reconstruction", "set_structure", "symmetry", "likelihood", "decoding",
        "settings", "training", "sampling", "files",
    ]  # fmt: skip


def test_trains_and_samples(run: Callable[..., str], tmp_path: Path) -> None:
    options = [f"domain.{name}={value}" for name, value in SMALL.items()]
    short = ["tokenizer.steps=6", "predictor.steps=3", "train.fit_after=2", "train.val_items=16", "width=16"]
    short += ["quantizer.size=8"]
    trained = tmp_path / "run"
    run("-m", "refine", "train", "domain=signal", *options, *short, "depth=1", "heads=2", "num=16", f"run={trained}")
    assert (trained / "pictures" / "signals.png").stat().st_size > 0
    out = tmp_path / "drawn"
    run("-m", "refine", "sample", f"run={trained}", "num=8", "label=flat T wave", f"out={out}")
    assert sorted(path.name for path in out.iterdir()) == ["samples.npz", "signals.png"]


# -- broken doubles ----------------------------------------------------------------------------------------------------


class Unstrided(signals.SignalCodec):
    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x).repeat_interleave(2, dim=1)


class LatentOfWrongShape(signals.SignalDomain):
    def codec(self) -> Any:
        return Unstrided(self.config.channels)


class WideCodec(signals.SignalCodec):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.channels = channels + 1


class WrongChannels(signals.SignalDomain):
    def codec(self) -> Any:
        return WideCodec(self.config.channels)


class Noisy(FieldsDataset):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        return {**item, "x": item["x"] + 0.01 * torch.randn_like(item["x"])}


class RandomItems(signals.SignalDomain):
    def dataset(self, split: str) -> FieldsDataset:
        return Noisy(**super().dataset(split).tensors)


class LabelsOutOfRange(signals.SignalDomain):
    def dataset(self, split: str) -> FieldsDataset:
        tensors = super().dataset(split).tensors
        return FieldsDataset(x=tensors["x"], label=tensors["label"] + len(signals.RHYTHMS))


class NoLabels(signals.SignalDomain):
    def dataset(self, split: str) -> FieldsDataset:
        return FieldsDataset(x=super().dataset(split).tensors["x"])


class AlwaysSmoothing(GridResampler):
    """Smooths also where source and target are the same scale, so that the finest details are lost for good.

    Any other pair of down and up reconstructs: the finest residual holds whatever the coarser scales lack.
    """

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        x = super().up(x, source, target)
        return (x + x.roll(1, dims=1)) / 2


class LosesInformation(signals.SignalDomain):
    def resampler(self) -> GridResampler:
        return AlwaysSmoothing([(n,) for n in self.config.scales])


class ClaimsASymmetry(signals.SignalDomain):
    def symmetries(self) -> list[Symmetry]:
        return [Symmetry("time runs backwards", [torch.arange(n).flip(0) for n in self.config.scales])]


class SymmetryOfOtherSites(signals.SignalDomain):
    def symmetries(self) -> list[Symmetry]:
        return [Symmetry("shift", [(torch.arange(n) + 1) % max(1, n - 1) for n in self.config.scales])]


class SavesElsewhere(signals.SignalDomain):
    def save(self, samples: Samples, folder: Path, **options: Any) -> list[Path]:
        (folder.parent / "samples.txt").write_text("not here")
        return [*super().save(samples, folder), folder / ".." / "samples.txt"]


class SavesNothing(signals.SignalDomain):
    def save(self, samples: Samples, folder: Path, **options: Any) -> list[Path]:
        return [folder / "samples.png"]


BROKEN = [
    pytest.param(
        LatentOfWrongShape,
        r"codec\.encode gives \(.*, 16, 2\), not \(B, N, C\) = \(.*, 8, 2\)",
        id="LatentOfWrongShape",
    ),
    pytest.param(
        WrongChannels,
        r"codec\.encode gives \(.*, 8, 2\), not \(B, N, C\) = \(.*, 8, 3\)",
        id="WrongChannels",
    ),
    pytest.param(RandomItems, "item 0 of dataset.* is not the same when it is read again", id="RandomItems"),
    pytest.param(LabelsOutOfRange, r"labels 3\.\.5 are outside \[0, 3\)", id="LabelsOutOfRange"),
    pytest.param(NoLabels, "items have no 'label'", id="NoLabels"),
    pytest.param(LosesInformation, "the pyramid reconstructs its latent with relative error", id="LosesInformation"),
    pytest.param(ClaimsASymmetry, "time runs backwards: relative equivariance error", id="ClaimsASymmetry"),
    pytest.param(SymmetryOfOtherSites, "shift: .* is no permutation of 2 sites", id="SymmetryOfOtherSites"),
    pytest.param(SavesElsewhere, r"save did not write .*samples\.txt in its folder", id="SavesElsewhere"),
    pytest.param(SavesNothing, r"save did not write .*samples\.png in its folder", id="SavesNothing"),
]


def small(cls: type[Domain]) -> Domain:
    """A domain of the example's kind with few sites and items."""
    return cls(signals.SignalConfig(**SMALL))


def test_check_passes_what_the_doubles_break() -> None:
    assert len(check_domain(small(signals.SignalDomain))) == 17


@pytest.mark.parametrize(("cls", "message"), BROKEN)
def test_check_refuses(cls: type[Domain], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # what a double writes elsewhere goes away with the test
    with pytest.raises(CheckError, match=message):
        check_domain(small(cls))


class CountsSites(Predictor):
    """Knows the order in which sites are given, as a table of positions in a sequence would."""

    def forward(self, contexts: Any, *rest: Any, **options: Any) -> list[Tensor]:
        numbered = [c + torch.linspace(0, 1, c.shape[1], dtype=c.dtype)[:, None] for c in contexts]
        return super().forward(numbered, *rest, **options)


def test_check_refuses_a_predictor_that_counts_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine.models.refiner, "Predictor", CountsSites)
    with pytest.raises(CheckError, match="renumbering sites: relative equivariance error"):
        check_domain(small(signals.SignalDomain))
