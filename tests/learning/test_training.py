"""Training: every batch once, codes computed once, and nothing that happens on the way changes the result."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import die, killed, start
from torch import Tensor
from toy import LinearCodec, install_tiny

from refine.errors import RefineError
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.engine import ema
from refine.learning.modules import LearnerModule, TokenizerModule
from refine.models.refiner import Refiner
from refine.settings.compose import compose
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics

TINY = [
    *("domain=tiny", "domain.shapes=[[1],[2],[4]]", "domain.learned=true", "domain.classes=2", "domain.items=48"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "model.quantizer.size=6"),
    *("train.tokenizer.steps=20", "train.tokenizer.batch_size=8", "train.tokenizer.warmup=5", "train.fit_after=6"),
    *("train.predictor.steps=20", "train.predictor.batch_size=8", "train.predictor.warmup=5"),
    *("train.val_items=16", "train.val_every=4", "train.save_every=10", "train.log_every=2"),
    *("train.predictor.ema=0.9", "trainer.accelerator=cpu"),
]


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The made-up domain as an installed one, here and in every process that is started."""
    folder = install_tiny(tmp_path_factory.mktemp("installed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        paths = [str(folder), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield


@pytest.fixture(scope="module")
def finished(once: Any) -> Path:
    """A run that nothing disturbed."""
    run: Path = once("tiny-finished", lambda folder: train(f"run={folder}"))
    return run


def train(*arguments: str) -> Path:
    """``refine train`` in this process; pictures are tested elsewhere."""
    from refine.learning import train as training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_pictures", lambda *_: None)
        torch.set_num_threads(1)
        return training.train(compose([*TINY, *arguments]))


def train_and_die(arguments: list[str], stage: str, step: int, moment: str) -> None:
    """The same, killed at a moment of a step: before the batch, or before the validation that follows."""
    from refine.learning.modules import StageModule

    hook = {"batch": "on_train_batch_start", "validation": "on_validation_start"}[moment]
    before = getattr(StageModule, hook)

    def dies(self: Any, *args: Any) -> None:
        if (self.name, self.global_step) == (stage, step):
            die()
        before(self, *args)

    setattr(StageModule, hook, dies)
    train(*arguments)


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run)[1]


def assert_same_run(a: Path, b: Path) -> None:
    """Both ended with the same weights, to the bit."""
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    assert load_checkpoint(a)[0]["info"] == load_checkpoint(b)[0]["info"]


MOMENTS = [
    ("tokenizer", 2, "batch"),  # nothing was written yet
    ("tokenizer", 5, "batch"),  # a checkpoint was published, save_every not reached
    ("tokenizer", 8, "validation"),  # the quantizer was fitted meanwhile
    ("tokenizer", 14, "batch"),
    ("tokenizer", 20, "validation"),  # trained to the end, not published
    ("predictor", 5, "batch"),
    ("predictor", 14, "batch"),
    ("predictor", 20, "validation"),
]


def test_killed_again_and_again_it_ends_with_the_same_weights(finished: Path, tmp_path: Path) -> None:
    for moment in MOMENTS:
        killed(train_and_die, [f"run={tmp_path / 'run'}"], *moment)
    train(f"run={tmp_path / 'run'}")
    assert_same_run(finished, tmp_path / "run")


def test_killed_at_random_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Averages in the other stage than above, a resume file after every step, several rounds in a scale."""
    options = ["train.tokenizer.ema=0.9", "train.predictor.ema=0", "train.save_every=1"]
    options += ["model.predictor.rounds=[1,2,3]"]
    train(*options, f"run={tmp_path / 'one'}")
    run, times = tmp_path / "other", random.Random()
    for stage in ("tokenizer", "predictor"):
        process = start(train, *options, f"run={run}")
        while process.is_alive() and not (run / "resume" / f"{stage}.safetensors").exists():
            time.sleep(0.005)
        time.sleep(times.uniform(0, 0.5))
        process.kill()
        process.join()
    train(*options, f"run={run}")
    assert_same_run(tmp_path / "one", run)


def test_muon_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    options = ["train.tokenizer.optimizer=muon", "train.predictor.optimizer=muon", "train.save_every=4"]
    options += ["model.quantizer.stages=2", "model.quantizer.groups=[[0],[1]]"]
    whole, run = train(*options, f"run={tmp_path / 'whole'}"), tmp_path / "run"
    for moment in [("tokenizer", 14, "batch"), ("predictor", 14, "batch"), ("predictor", 20, "validation")]:
        killed(train_and_die, [*options, f"run={run}"], *moment)
    train(*options, f"run={run}")
    assert_same_run(whole, run)
    state = SafetensorsIO().load_checkpoint(run / "resume" / "predictor.safetensors")["optimizer_states"][0]["state"]
    assert {tuple(sorted(s)) for s in state.values()} == {("momentum_buffer",), ("exp_avg", "exp_avg_sq", "step")}


def test_more_steps_later_go_on_where_the_run_stood(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    train("train.predictor.steps=24", f"run={run}")
    before, after = weights(finished), weights(run)
    assert load_checkpoint(run)[0]["info"]["predictor"] == {"steps": 24, "of": 24}
    assert [row["step"] for row in read_metrics(run) if "val_nll" in row][-2:] == [19, 23]
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("tokenizer"))
    assert not torch.equal(before["head.linears.0.weight"], after["head.linears.0.weight"])


def test_a_finished_run_is_not_trained_or_encoded_again(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")}
    assert {p.parent.name for p in before} == {"run", "cache", "resume"}
    train(f"run={run}")
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*.safetensors")} == before


def test_a_run_says_how_it_went(finished: Path) -> None:
    rows = read_metrics(finished)
    for stage, key in (("tokenizer", "val_reconstruction"), ("predictor", "val_nll")):
        curve = [row[key] for row in rows if row["stage"] == stage and key in row]
        assert len(curve) == 5
        assert curve[-1] < curve[0]
    (*_, last) = [row for row in rows if "usage_2" in row]
    assert 0 < last["usage_2"] <= 1
    assert 1 <= last["perplexity_2"] <= 6
    refiner = Refiner.from_pretrained(finished)
    assert refiner.info == {"tokenizer": {"steps": 20, "of": 20}, "predictor": {"steps": 20, "of": 20}}
    assert bool(refiner.tokenizer.quantizer.fitted)


def test_each_stage_trains_its_own_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout, of conditions too, is on in what learns and off in what does not, validation in between or not."""
    seen: dict[str, set[tuple[bool, bool]]] = {"tokenizer": set(), "predictor": set()}
    for cls in (TokenizerModule, LearnerModule):

        def spied(self: Any, *args: Any, step: Any = cls.training_step) -> Tensor:
            parts = (m.training for n, m in self.named_modules() if n.endswith(("tokenizer", "predictor")))
            seen[self.name].add(tuple(parts))
            return step(self, *args)

        monkeypatch.setattr(cls, "training_step", spied)
    train(f"run={tmp_path / 'run'}")
    assert seen == {"tokenizer": {(True,)}, "predictor": {(False, True)}}


def test_codebooks_learn_where_nothing_else_does(tmp_path: Path) -> None:
    """No latent space: the codec has no weights, and the tokenizer stage is the quantizer's alone."""
    option = ["domain.learned=false", "stage=tokenizer"]
    fitted, learned = (
        weights(train(*option, f"train.tokenizer.steps={n}", f"run={tmp_path / str(n)}")) for n in (7, 20)
    )
    assert fitted["tokenizer.quantizer.fitted"] and learned["tokenizer.quantizer.fitted"]
    books = [name for name in learned if "codebooks" in name]
    assert books and not any(torch.equal(fitted[name], learned[name]) for name in books)


def test_averaging_is_published_and_disturbs_nothing(finished: Path, tmp_path: Path) -> None:
    """What is published is the average; what is trained is what a run without averaging trains."""
    resume = SafetensorsIO().load_checkpoint(finished / "resume" / "predictor.safetensors")
    published, plain = weights(finished), weights(train(f"run={tmp_path / 'plain'}", "train.predictor.ema=0"))
    for name, tensor in published.items():
        assert torch.equal(resume["state_dict"][f"model.{name}"], tensor)
        assert torch.equal(resume["current_model_state"][f"model.{name}"], plain[name])
    assert not torch.equal(published["head.linears.0.weight"], plain["head.linears.0.weight"])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_averages_remember_at_most_their_decay(decay: float) -> None:
    average = ema(decay, 5, torch.full([1], torch.nan), torch.zeros(1), 5)  # what was before it began is forgotten
    for n in range(1, 50):
        kept = min(decay, (1 + n) / (10 + n))
        expected = kept * average + (1 - kept)
        average = ema(decay, 5, average, torch.ones(1), 5 + n)
        torch.testing.assert_close(average, expected)


@pytest.mark.parametrize("pyramid", ["laplacian", "residual"])
def test_mixed_precision_trains_to_the_same_place(pyramid: str, tmp_path: Path) -> None:
    options = [f"model.pyramid.kind={pyramid}", "model.pyramid.phi=2"]
    exact = train(f"run={tmp_path / 'exact'}", *options)
    mixed = train(f"run={tmp_path / 'mixed'}", *options, "trainer.precision=bf16-mixed")
    for key in ("val_reconstruction", "val_nll"):
        curves = [[row[key] for row in read_metrics(run) if key in row] for run in (exact, mixed)]
        assert curves[0] == pytest.approx(curves[1], rel=0.05)
    assert all(t.dtype != torch.bfloat16 for t in weights(mixed).values())


@pytest.mark.parametrize("fit_after", [0, 19])
def test_an_item_that_is_no_number_stops_training(fit_after: int, tmp_path: Path) -> None:
    """Whether the encoder meets it first or the quantizer's start does."""
    run = tmp_path / "run"
    arguments = [f"run={run}", "domain.nan_item=33", "train.save_every=1", "train.val_every=1"]
    with pytest.raises(RefineError, match=r"tokenizer.*step \d+.*items \[.*\b33\b.*\]") as error:
        train(*arguments, f"train.fit_after={fit_after}")
    if fit_after:
        assert "last good checkpoint is kept" in str(error.value)
        assert all(torch.isfinite(t).all() for t in weights(run).values())
        Refiner.from_pretrained(run)


@pytest.mark.parametrize("stage", ["tokenizer", "predictor"])
def test_an_absurd_learning_rate_stops_training(stage: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    every = ["train.save_every=1", "train.val_every=1"]
    with pytest.raises(RefineError, match=rf"{stage}.*step \d+.*items \[.*lower train.{stage}.lr"):
        train(f"run={run}", f"train.{stage}.lr=1e9", f"train.{stage}.warmup=1", *every)
    assert all(torch.isfinite(t).all() for t in weights(run).values())
    resume = SafetensorsIO().load_checkpoint(run / "resume" / f"{stage}.safetensors")
    assert all(torch.isfinite(t).all() for t in resume["state_dict"].values())


def test_gradients_that_are_no_numbers_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss was finite, its gradient was not: weights are broken after the step, the files are not."""
    clean, steps = LinearCodec.reconstruction_loss, [0]

    def sharp(self: LinearCodec, output: Tensor, x: Tensor) -> Tensor:
        steps[0] += torch.is_grad_enabled()
        loss = clean(self, output, x)
        return loss if steps[0] <= 10 else loss + 0 * (output - output.detach()).abs().sqrt().sum()

    monkeypatch.setattr(LinearCodec, "reconstruction_loss", sharp)
    run = tmp_path / "run"
    with pytest.raises(RefineError, match="tokenizer"):
        train(f"run={run}", "train.save_every=1", "train.val_every=1")
    assert all(torch.isfinite(t).all() for t in weights(run).values())
    resume = SafetensorsIO().load_checkpoint(run / "resume" / "tokenizer.safetensors")
    assert all(torch.isfinite(t).all() for t in resume["state_dict"].values())
    assert resume["global_step"] == 10


def refine(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "refine", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_two_processes_train_like_one(tmp_path: Path) -> None:
    """Twice the batch of half the size: the same losses, one checkpoint, every figure once."""
    one, two = tmp_path / "one", tmp_path / "two"
    same = ["model.predictor.condition_dropout=0", "model.quantizer.revive=0", "train.log_every=1"]
    train(*same, f"run={one}")
    halves = [f"train.{stage}.batch_size=4" for stage in ("tokenizer", "predictor")]
    ddp = ["trainer.devices=2", "trainer.strategy=ddp"]
    done = refine("train", *TINY, *same, *halves, *ddp, f"run={two}")
    assert done.returncode == 0, done.stderr
    rows = read_metrics(two)
    seen = [(row["stage"], row["step"], key) for row in rows for key in row if key not in ("stage", "step")]
    assert len(seen) == len(set(seen))
    for key in ("val_reconstruction", "val_nll"):
        curves = [[row[key] for row in read_metrics(run) if key in row] for run in (one, two)]
        assert curves[0] == pytest.approx(curves[1], rel=1e-3)
    assert {p.name for p in two.iterdir()} == {p.name for p in one.iterdir()} | {"pictures"}
    assert json.loads((two / "config.json").read_text())["info"]["predictor"] == {"steps": 20, "of": 20}
    assert len(list((two / "cache").iterdir())) == 2
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(two)[name], tensor, rtol=0.05, atol=0.01, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("argument", "message"),
    [("trainer.strategy=magic", "magic"), ("trainer.precision=7", "7"), ("stage=both", "accepted: tokenizer")],
)
def test_what_lightning_refuses_is_said_in_one_line(argument: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=message):
        train(argument, f"run={tmp_path / 'run'}")


def test_what_cannot_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefineError, match="bitwise, fsq, none, vq"):
        train("model.quantizer.kind=magic")
    assert not (tmp_path / "runs").exists()


def test_a_sampler_that_does_not_fit_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(RefineError, match="one number for each of 3 scales"):
        train("sampler.temperature=[1,1]", f"run={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()
