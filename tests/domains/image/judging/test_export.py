"""Samples for ADM's evaluator: layout, order, and no file lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from refine.cli import main
from refine.domains.image import ImageDomain
from refine.domains.image.data.pixels import to_float
from refine.domains.image.judging import metrics
from refine.domains.image.judging.export import export
from refine.errors import RefineError
from refine.models.refiner import Refiner

from ..tiny_runs import model


@pytest.mark.parametrize("channels", [1, 3])
def test_the_layout_is_adms(channels: int, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (2300, channels, 2, 3), dtype=torch.uint8)
    export(to_float(pixels), tmp_path / "new" / "samples.npz")
    export(to_float(pixels), tmp_path / "again.npz")
    with np.load(tmp_path / "new" / "samples.npz") as file, np.load(tmp_path / "again.npz") as again:
        assert file.files == ["arr_0"]
        found = file["arr_0"]
        assert np.array_equal(found, again["arr_0"])
    assert (found.shape, found.dtype) == ((2300, 2, 3, 3), np.uint8)
    if channels == 1:
        assert (found == found[..., :1]).all()
    rows = pixels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).reshape(2300, -1).numpy()
    flat = found.reshape(2300, -1)
    assert np.array_equal(*(a[np.lexsort(a.T)] for a in (rows, flat)))  # the same images
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["samples.npz"]


def test_classes_are_shuffled_evenly(tmp_path: Path) -> None:
    """Of 20 classes that lie one after another, every tenth of the file has all, as the Inception Score needs it."""
    label = torch.arange(20).repeat_interleave(100)
    export(to_float(label.to(torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)), tmp_path / "samples.npz")
    with np.load(tmp_path / "samples.npz") as file:
        tenths = file["arr_0"][:, 0, 0, 0].reshape(10, 200)
    assert all(len(np.unique(part)) == 20 for part in tenths)


def test_what_cannot_be_exported_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there.npz").write_text("precious")
    broken = torch.zeros(1200, 3, 2, 2)
    broken[1100, 1, 0, 1] = torch.nan
    with pytest.raises(RefineError, match="images have numbers that are not finite: nothing is exported"):
        export(broken, tmp_path / "there.npz")
    with pytest.raises(RefineError, match=r"samples.npy is not accepted; accepted: a path that ends in \.npz"):
        export(broken[:5], tmp_path / "samples.npy")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["precious"]


def test_features_that_cannot_be_had_are_refused_before_anything_is_drawn_or_trained(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(metrics, "_inception", lambda _: Path("nowhere").stat())
    monkeypatch.delattr(metrics, "trained_classifier")
    monkeypatch.delattr(Refiner, "sample")
    assert command(f"run={run}", "features=inception") == 2
    err = capsys.readouterr().err
    assert err.startswith("error: features=inception cannot be used. Inception is not at hand") and err.count("\n") == 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model("laplacian", tmp_path_factory.mktemp("model") / "run")


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, arguments)])
    return int(end.value.code or 0)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("judge")
def test_evaluate_exports_what_it_scores(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = [f"run={run}", "samples=400", "items=20", "features=classifier", "--balanced"]
    with monkeypatch.context() as patch:  # ended while it scores: the same command can be given again
        patch.setattr(ImageDomain, "metrics", interrupted)
        assert command(*given, "--export", "new/samples.npz") == 130
    assert command(*given, "--export", "new/samples.npz") == 0
    with np.load("new/samples.npz") as file:
        found = file["arr_0"]
    figures = json.loads((run / "evaluate-test.json").read_text())
    assert figures["balanced"] is True and figures["samples"] == len(found) == 400  # the test split has 360
    from refine import Condition
    from refine.domains.image.data.pixels import to_uint8

    drawn = Refiner.from_pretrained(run).sample(400, Condition(label=torch.arange(400) % 10), seed=0).items
    expected = to_uint8(drawn).permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy().reshape(400, -1)
    found = found.reshape(400, -1)
    difference = expected[np.lexsort(expected.T)].astype(int) - found[np.lexsort(found.T)]
    assert (np.abs(difference) <= 1).mean() > 0.99


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export=there.npz"], "evaluate.export='there.npz' is not accepted: it is there already; give a new name"),
        (["export=samples.npy"], "evaluate.export='samples.npy' is not accepted; accepted: a path that ends in .npz"),
        (["export=there.npz/a.npz"], "there.npz cannot be written to"),
        (["domain=graph", "export=a.npz"], "domain 'graph' has no form that other evaluators read; accepted: image"),
        (["domain=graph", "--balanced"], "evaluate.balanced=true is not accepted: this model is not conditioned on"),
    ],
)
def test_what_is_refused_before_anything_is_drawn(
    run: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.npz").write_text("precious")
    named = any(a.startswith("domain=") for a in arguments)
    assert command(*([] if named else [f"run={run}"]), "samples=5", *arguments) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert [p.name for p in Path().iterdir()] == ["there.npz"] and Path("there.npz").read_text() == "precious"
