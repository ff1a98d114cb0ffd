"""The example package of the documentation: a domain, five kinds of parts and a command, of which refine knows nothing.

They work once the package is installed, each is refused by name once it is not, and check_domain refuses what is
broken.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import refine
from refine import Condition, Domain, FieldsDataset, GridResampler, Samples, Symmetry
from refine.cli import main
from refine.kinds import NETWORKS
from refine.network.predictor import Predictor
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig, SamplerConfig
from refine.storage.runs import load_run_config
from refine.testing import CheckError, check_domain
from refine.testing.check_latents import fit_quantizer

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "signals"
SMALL = {"length": 16, "items": 48, "channels": 2, "scales": [1, 2, 4, 8]}
CHECKS = [
    "splits", "items", "codec", "levels", "reconstruction", "set_structure", "symmetry", "likelihood", "decoding",
    "conditions", "settings", "training", "sampling", "asking", "files", "figures", "pictures",
]  # fmt: skip
PARTS = [
    "quantizer.kind=ternary", "model.quantizer.options.levels=3", "pyramid.kind=leaky", "pyramid.options.keep=0.8",
    "predictor.kind=mlp", "predictor.options.width=16", "objective.kind=context_noise", "objective.options.share=0.2",
    "sampler.strategies=[redraw]", "sampler.options.redraw.below=0.05",
]  # fmt: skip
SHORT = [
    "tokenizer.steps=6",
    "predictor.steps=3",
    "train.fit_after=2",
    "train.val_items=16",
    "log_every=1",
    "sample.num=16",
]


def load_example() -> list[Any]:
    """The modules of the example, without installing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        return [importlib.import_module(name) for name in ("signals", "signal_parts", "signal_hello")]


signals, parts, hello = load_example()


def small(cls: type[Domain]) -> Domain:
    """A domain of the example's kind with few sites and items."""
    return cls(signals.SignalConfig(**SMALL))


def test_is_short() -> None:
    assert len((EXAMPLE / "signals.py").read_text().splitlines()) <= 82


# -- installed, through its entry points -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the example."""
    folder = tmp_path_factory.mktemp("signals")
    shutil.copytree(
        EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__")
    )  # a build leaves files there
    install = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", folder / "site"]
    subprocess.run([sys.executable, "-m", *install, folder / "source"], check=True)
    return folder / "site"


@pytest.fixture
def installed(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example is installed, and the working directory is empty."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command line and gives its exit code and all that it printed."""

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(words)
        printed = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, printed.out + printed.err

    return run


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run with every part of the example; only to be read."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    options = [f"domain.{name}={value}" for name, value in SMALL.items()]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.syspath_prepend(site)
        main(["train", "domain=signal", *options, *PARTS, *SHORT, "hello.num=8", f"run={folder}"])
    assert stop.value.code == 0
    return folder


def test_works_in_a_process_of_its_own(site: Path, tmp_path: Path) -> None:
    code = f"""
import refine
from refine.cli import main
from refine.testing import check_domain
print(*check_domain(refine.load_domain("signal", **{SMALL})))
main(["domains"])
"""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    checks, table = done.stdout.split("\n", 1)
    assert checks.split() == CHECKS
    said = [
        "ECG-like beats, conditioned on the kind of rhythm.",
        "symmetry: none: time has a direction",
        "also: refine hello",
        "from signals",
    ]
    assert " ".join(said) in " ".join(table.split())


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(quantizer=QuantizerConfig(kind="ternary", options={"levels": 4})),
        ModelConfig(quantizer=QuantizerConfig(size=8), pyramid=PyramidConfig(kind="leaky", options={"keep": 0.7})),
        ModelConfig(quantizer=QuantizerConfig(size=8), predictor=PredictorConfig(kind="mlp", options={"width": 16})),
    ],
    ids=["ternary", "leaky", "mlp"],
)
def test_parts_pass_the_checks(config: ModelConfig, installed: None) -> None:
    if config.predictor.kind == "transformer":
        config.predictor = PredictorConfig(width=32, depth=2, heads=2)
    assert check_domain(small(signals.SignalDomain), config=config) == CHECKS


def test_training_leaves_a_run(trained: Path) -> None:
    assert (trained / "pictures" / "signals.png").stat().st_size > 0
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert any("disturbed_nll" in row for row in metrics) and any("val_nll" in row for row in metrics)


def test_commands_of_a_run(
    trained: Path, installed: None, command: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    code, _ = command("sample", f"run={trained}", "num=8", "label=flat T wave", "seed=3", "out=drawn")
    assert code == 0 and sorted(path.name for path in Path("drawn").iterdir()) == ["samples.npz", "signals.png"]
    code, _ = command("evaluate", f"run={trained}", "evaluate.items=20", "evaluate.samples=20")
    figures = json.loads((trained / "evaluate-test.json").read_text())
    assert code == 0 and figures["likelihood"] == "exact" and len(figures["kept_variance_by_scale"]) == 4
    code, printed = command("inspect", str(trained))
    assert code == 0 and "[9, 9, 9, 9]" in printed and "kind=ternary" in printed and "keep=0.8" in printed
    code, printed = command("hello", f"run={trained}", "num=5")
    assert code == 0 and "5 hearts beat" in printed
    assert "8 hearts beat" in command("hello", f"run={trained}")[1]  # kept by the training


def test_loads_in_python_and_draws_the_same(trained: Path, installed: None, tmp_path: Path) -> None:
    model, sampler = refine.Refiner.from_pretrained(trained), load_run_config(trained).sampler
    made_of = (model.quantizer, model.pyramid, model.predictor)
    assert [type(part) for part in made_of] == [parts.Ternary, parts.LeakyPyramid, parts.SiteMLP]
    assert sampler.strategies == ["redraw"]
    condition = model.domain.ask(8, "flat T wave")
    first = model.sample_many(8, condition, seed=3, sampler=sampler)
    with pytest.raises(SystemExit):
        main(["sample", f"run={trained}", "num=8", "label=flat T wave", "seed=3", "out=drawn"])
    np.testing.assert_array_equal(np.load("drawn/samples.npz")["items"], first.items.numpy())
    model.save_pretrained(tmp_path / "again")
    again = refine.Refiner.from_pretrained(tmp_path / "again").sample_many(8, condition, seed=3, sampler=sampler)
    assert torch.equal(again.items, first.items)


def test_goes_on(trained: Path, installed: None, tmp_path: Path, command: Callable[..., tuple[int, str]]) -> None:
    shutil.copytree(trained, tmp_path / "run")
    code, printed = command("train", "run=run", "predictor.steps=5")
    assert code == 0 and "tokenizer: trained already" in printed
    assert refine.Refiner.from_pretrained("run").info["predictor"] == {"steps": 5, "of": 5}
    code, _ = command("train", "run=run", "predictor.steps=6", "objective.kind=likelihood", "sampler.strategies=[]")
    config = load_run_config(Path("run"))  # options went with the parts that they are of
    assert code == 0 and config.train.objective.options == config.sampler.options == {}
    code, printed = command("train", "run=run", "quantizer.options.levels=4")
    assert code == 2 and "was started with model.quantizer.options.levels=3 (now 4)" in printed


# -- help and messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["--help"], ["refine hello domain=signal   how fast the hearts", "hello      Draw signals and say how fast"]),
        (["hello", "--help"], ["refine hello run=runs/ecg label=fast", "hello.num=64      signals that are drawn"]),
        (["train", "domain=signal", "--help"], ["an installed kind; installed: ternary", "hello.num=64"]),
        (
            ["train", "domain=signal", "model.quantizer.kind=ternary", "quantizer.options.levels=5", "--help"],
            ["model.quantizer.options.levels=5       values of a channel, from -a to a (2 to 65,536)"],
        ),
        (
            ["train", "domain=signal", "pyramid.kind=leaky", "predictor.kind=mlp", "quantizer.kind=nope", "--help"],
            ["model.pyramid.options.keep=0.9", "model.predictor.options.width=64"],
        ),
        (
            ["train", "domain=signal", "objective.kind=context_noise", "sampler.strategies=[redraw]", "--help"],
            ["train.objective.options.share=0.1", "sampler.options.redraw.below=0.01  codes less probable than this"],
        ),
    ],
    ids=["all", "hello", "installed", "ternary", "unknown", "others"],
)
def test_help(
    words: list[str],
    lines: list[str],
    installed: None,
    command: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, printed = command(*words)
    text = " ".join(printed.split())
    assert code == 0 and all(" ".join(line.split()) in text for line in lines), printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["quantizer.kind=ternery"],
            "model.quantizer.kind='ternery' is not accepted; accepted: bitwise, fsq, none, tern",
        ),
        (["quantizer.kind=ternary", "quantizer.options.level=3"], "Did you mean 'model.quantizer.options.levels'?"),
        (
            ["quantizer.kind=ternary", "quantizer.options.levels=a"],
            "model.quantizer.options.levels='a' is not accepted; accepted: whole numbers from 2 to 65,536",
        ),
        (
            ["quantizer.kind=ternary", "quantizer.options.levels=1"],
            "levels=1 is not accepted; accepted: whole numbers from 2",
        ),
        (["quantizer.kind=ternary", "quantizer.options.levels=99"], "makes 96059601 codes of 4 channels"),
        (["quantizer.options.levels=3"], "options.levels is not accepted for model.quantizer.kind=vq"),
        (["pyramid.kind=leaky", "pyramid.options.kep=1"], "Did you mean 'model.pyramid.options.keep'?"),
        (["pyramid.kind=leaky", "pyramid.options.keep=2"], "keep=2.0 is not accepted; accepted: (0, 1]"),
        (
            ["predictor.kind=mlp", "predictor.options.width=[1]"],
            "width=[1] is not accepted; accepted: finite",
        ),
        (["objective.kind=noise"], "train.objective.kind='noise' is not accepted; accepted: context_noise, likelihood"),
        (
            ["objective.kind=context_noise", "objective.options.share=a"],
            "options.share='a' is not accepted; accepted: finite numbers",
        ),
        (["objective.options.share=0.1"], "'train.objective.options.share' is not a key. There are none here"),
        (["sampler.strategies=[redrow]"], "sampler.strategies='redrow' is not accepted; accepted: redraw"),
        (["sampler.strategies=redraw"], "sampler.strategies='redraw' is not accepted; accepted: lists of"),
        (
            ["sampler.strategies=[redraw]", "sampler.options.redraw.belo=1"],
            "Did you mean 'sampler.options.redraw.below'?",
        ),
        (
            ["sampler.options.redraw.below=0.1"],
            "sampler.options.redraw is not accepted: sampler.strategies=[] does not",
        ),
        (["hello.nun=3"], "'hello.nun' is not a key. Did you mean 'hello.num'?"),
    ],
    ids=lambda v: v[-1] if isinstance(v, list) else "",
)
def test_what_is_wrong_is_one_message(
    words: list[str], message: str, installed: None, tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    code, printed = command("train", "domain=signal", *words)
    assert code == 2 and message in printed and printed.count("\n") == 1, printed
    assert not any(tmp_path.iterdir())


def test_messages_of_the_command(trained: Path, installed: None, command: Callable[..., tuple[int, str]]) -> None:
    assert command("hello", "domain=image") == (2, "error: domain 'image' has no heartbeat; accepted: signal\n")
    assert "ships no starter checkpoint" in command("hello", "domain=signal")[1]
    assert (
        "hello.label='slow' is not accepted; accepted: 0, 1, 2, normal"
        in command("hello", f"run={trained}", "label=slow")[1]
    )


# -- not installed any more --------------------------------------------------------------------------------------------


def test_without_the_package(trained: Path, command: Callable[..., tuple[int, str]]) -> None:
    assert "command='hello' is not accepted; accepted: domains" in command("hello", f"run={trained}")[1]
    assert "domain='signal' is not accepted; accepted: graph, image, weather" in command("sample", f"run={trained}")[1]


@pytest.mark.parametrize(
    ("group", "words", "message"),
    [
        ("quantizers", ["sample"], "model.quantizer.kind='ternary' is not accepted; accepted: bitwise, fsq, none, vq."),
        ("pyramids", ["sample"], "model.pyramid.kind='leaky' is not accepted; accepted: laplacian, residual."),
        ("networks", ["sample"], "model.predictor.kind='mlp' is not accepted; accepted: transformer."),
        ("strategies", ["sample"], "sampler.strategies='redraw' is not accepted; accepted: nothing."),
        ("objectives", ["train"], "train.objective.kind='context_noise' is not accepted; accepted: likelihood."),
        ("commands", ["hello"], "command='hello' is not accepted; accepted: domains"),
    ],
    ids=lambda v: v if isinstance(v, str) and v.isalpha() else "",
)
def test_without_an_entry_point(
    group: str,
    words: list[str],
    message: str,
    site: Path,
    trained: Path,
    tmp_path: Path,
    command: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(site, tmp_path / "site")
    (file,) = tmp_path.glob("site/*.dist-info/entry_points.txt")
    sections = file.read_text().split("\n\n")
    file.write_text("\n\n".join(s for s in sections if f"[refine.{group}]" not in s))
    monkeypatch.syspath_prepend(tmp_path / "site")
    code, printed = command(*words, f"run={trained}", *(["predictor.steps=9"] if words == ["train"] else []))
    assert code == 2 and message in printed and "Traceback" not in printed
    if group in ("strategies", "objectives", "commands"):  # what does not need it works
        others = ["sampler.strategies=[]"] if group == "strategies" else []
        assert command("sample", f"run={trained}", "num=2", f"out={tmp_path / 'drawn'}", *others)[0] == 0
    if group == "commands":
        assert "hello" in (trained / "config.yaml").read_text()
        assert "hello" not in load_run_config(trained).commands


# -- the parts themselves ----------------------------------------------------------------------------------------------


def fitted(**config: Any) -> refine.Refiner:
    """A small model of random weights, whose quantizer is fitted."""
    torch.manual_seed(0)
    config.setdefault("predictor", PredictorConfig(width=16, depth=1, heads=2))
    model = refine.Refiner(small(signals.SignalDomain), ModelConfig(quantizer=QuantizerConfig(size=8), **config)).eval()
    with torch.no_grad():
        for parameter in [*model.predictor.parameters(), *model.head.parameters()]:
            parameter.add_(0.2 * torch.randn_like(parameter))
    fit_quantizer(model)
    return model


def test_heart_rate_of_the_data() -> None:
    domain = signals.SignalDomain(signals.SignalConfig())
    data = domain.dataset("test").tensors
    rates = domain.heart_rate(data["x"]).float()
    means = [float(rates[data["label"] == label].mean()) for label in range(3)]
    assert means == pytest.approx([60, 90, 60], abs=3)


def test_ternary_has_a_zero_and_its_own_size_of_each_channel() -> None:
    quantizer = parts.Ternary(1, 2, parts.Ternary.Options())
    x = torch.randn(4096, 2) * torch.tensor([1.0, 10.0])
    quantizer.fit(x, 0)
    values = quantizer.embed(torch.arange(9), 0)
    assert sorted(set((values / quantizer.a[0]).flatten().tolist())) == [-1, 0, 1]
    error = (quantizer.embed(quantizer.encode(x, 0), 0) - x).square().mean(0) / x.square().mean(0)
    assert error.tolist() == pytest.approx([0.19, 0.19], abs=0.02)  # the best three values of a Gaussian leave 0.19
    assert torch.equal(quantizer.encode(values, 0), torch.arange(9))


def test_leaky_pyramid_reconstructs_from_a_base() -> None:
    pyramid = parts.LeakyPyramid(GridResampler([(1,), (3,), (8,)]), 2, parts.LeakyPyramid.Options(keep=0.6))
    latent, base = torch.randn(2, 5, 8, 2)
    state, target = pyramid.start(5, base), pyramid.target(latent, base)
    for k in range(3):
        context = pyramid.context(state, k)
        state = pyramid.refine(state, context, pyramid.residual(target, state, context, k), k)
    torch.testing.assert_close(pyramid.latent(state, 2), latent)
    first = pyramid.take(state, torch.tensor([3]))
    torch.testing.assert_close(pyramid.latent(first, 2), latent[3:4])


def test_mlp_is_guided(installed: None) -> None:
    model = fitted(predictor=PredictorConfig(kind="mlp", options={"width": 16}))
    label = Condition(label=torch.arange(3))
    plain, guided = (model.sample(3, label, sampler=SamplerConfig(guidance=g)).codes[-1] for g in (1.0, 3.0))
    assert not torch.equal(plain, guided)


@pytest.mark.parametrize("network", [{}, {"attention": "prefix"}, {"rounds": 2}], ids=["markov", "prefix", "rounds"])
def test_redraw(network: dict[str, Any], installed: None) -> None:
    model = fitted(predictor=PredictorConfig(width=16, depth=1, heads=2, **network))

    def draw(below: float, num: int = 6, first: int = 0, guidance: float = 1.0) -> list[Tensor]:
        options = {"strategies": ["redraw"], "options": {"redraw": {"below": below}}, "guidance": guidance}
        labels = Condition(label=torch.arange(first, first + num) % 3)
        return model.sample(num, labels, seed=5, first=first, sampler=SamplerConfig(**options)).codes

    def same(a: list[Tensor], b: list[Tensor]) -> bool:
        return all(map(torch.equal, a, b))

    labels = Condition(label=torch.arange(6) % 3)
    for guidance in (1.0, 2.0):
        plain = model.sample(6, labels, seed=5, sampler=SamplerConfig(guidance=guidance)).codes
        assert same(draw(0, guidance=guidance), plain)
        assert not same(draw(0.5, guidance=guidance), plain)
    assert same(draw(0.5, 1, first=2), [codes[2:3] for codes in draw(0.5)])


def test_redraw_leaves_alone_what_is_kept(installed: None) -> None:
    model = fitted()
    given = model.sample(4, Condition(label=torch.zeros(4, dtype=torch.int64)), seed=1).codes
    keep = torch.arange(8)[None] < 4
    sampler = SamplerConfig(strategies=["redraw"], options={"redraw": {"below": 0.9}})
    drawn = model.inpaint(given, keep, seed=2, sampler=sampler).codes
    assert torch.equal(drawn[-1][:, :4], given[-1][:, :4]) and not torch.equal(drawn[-1], given[-1])


def test_context_noise(installed: None) -> None:
    model = fitted()
    items = [model.domain.dataset("train")[i] for i in range(8)]
    batch = model.training_items("train", 0).collate(items)
    settings = refine.TrainConfig()
    loss = {
        share: parts.ContextNoise(parts.ContextNoise.Options(share))(model, batch, settings)[0] for share in (0, 0.5)
    }
    torch.testing.assert_close(loss[0], model.training_loss(batch, settings)[0])
    assert loss[0.5] != loss[0] and torch.isfinite(loss[0.5])
    unquantised = refine.Refiner(small(signals.SignalDomain), ModelConfig(quantizer=QuantizerConfig(kind="none")))
    with pytest.raises(refine.RefineError, match="context_noise needs codes"):
        parts.ContextNoise(parts.ContextNoise.Options())(unquantised, batch, settings)


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


def test_check_passes_what_the_doubles_break() -> None:
    assert check_domain(small(signals.SignalDomain)) == CHECKS


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
    monkeypatch.setattr(NETWORKS, "_registered", {})
    refine.register("counts-sites", CountsSites)
    config = ModelConfig(quantizer=QuantizerConfig(size=8), predictor=PredictorConfig(32, 2, 2, kind="counts-sites"))
    with pytest.raises(CheckError, match="renumbering sites: relative equivariance error"):
        check_domain(small(signals.SignalDomain), config=config)
