"""Stages with a learner of their own: trained, finished once, published once, whatever happens on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from learners import SizedDomain, install_sized
from processes import die, killed

from refine.errors import RefineError
from refine.models.model import Model
from refine.settings.compose import compose
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics

STEPS = 12
TINY = [
    *("domain=sized", "domain.items=30", "trainer.accelerator=cpu", "train.val_every=5", "train.save_every=5"),
    *(f"train.{stage}.{option}" for stage in ("mean", "predictor") for option in (f"steps={STEPS}", "batch_size=6")),
    *("train.mean.lr=1", "train.mean.warmup=1", "train.mean.ema=0.5", "train.predictor.ema=0"),
]


@pytest.fixture(scope="module", autouse=True)
def sized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The made-up domain as an installed one, here and in every process that is started."""
    folder = install_sized(tmp_path_factory.mktemp("installed"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        paths = [str(folder), str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        yield


def train(run: Path, *arguments: str) -> Path:
    """``refine train`` in this process, without pictures; the diary lies beside the run."""
    from refine.learning import train as training

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_pictures", lambda *_: None)
        torch.set_num_threads(1)
        return training.train(compose([*TINY, f"domain.diary={run.parent / 'diary'}", *arguments, f"run={run}"]))


def train_and_die(run: Path, arguments: list[str], stage: str, step: int) -> None:
    """Killed at the validation after a step."""
    from refine.learning.modules import StageModule

    before = StageModule.on_validation_start

    def dies(self: Any, *args: Any) -> None:
        if (self.name, self.global_step) == (stage, step):
            die()
        before(self, *args)

    StageModule.on_validation_start = dies  # type: ignore[method-assign]
    train(run, *arguments)


def diary(run: Path) -> list[str]:
    path = run.parent / "diary"
    return path.read_text().split() if path.exists() else []


@pytest.fixture(scope="module")
def finished(once: Any) -> Path:
    folder: Path = once("sized-finished", lambda folder: train(folder / "run"))
    return folder / "run"


def assert_same(run: Path, finished: Path) -> None:
    (one, tensors), (other, others) = load_checkpoint(run), load_checkpoint(finished)
    assert one["info"] == other["info"]
    assert all(torch.equal(tensors[name], others[name]) for name in others)


def test_a_stage_trains_its_learner_by_its_own_loss(finished: Path) -> None:
    rows = read_metrics(finished)
    squares = [row["val_square"] for row in rows if "val_square" in row]
    assert len(squares) == 2 and max(squares) < 6  # the mean square of a size is 15
    assert {row["stage"] for row in rows if "val_nll" in row} == {"predictor"}
    model: Any = Model.from_pretrained(finished)
    sizes = [len(model.domain.dataset("train")[i].letters) for i in range(30)]
    assert model.sizes.mean.item() == pytest.approx(sum(sizes) / 30, abs=1.5)
    assert model.logits.abs().max() > 0


def test_it_ends_once_and_what_it_found_is_published(finished: Path) -> None:
    assert diary(finished) == ["mean", "predictor"]
    model: Any = Model.from_pretrained(finished)
    done = {stage: {"steps": STEPS, "of": STEPS} for stage in ("mean", "predictor")}
    summary = {"mean": model.sizes.mean.item(), "predictor": model.logits.max().item()}  # of the published weights
    assert model.info == done | {"summary": summary}


def test_nothing_is_published_as_finished_before_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[int, bool]] = []
    save = Model.save_pretrained

    def spied(self: Any, *args: Any) -> None:
        published.append((self.info["mean"]["steps"], "mean" in self.info.get("summary", {})))
        save(self, *args)

    monkeypatch.setattr(Model, "save_pretrained", spied)
    train(tmp_path / "run", "stage=mean")
    assert published == [(5, False), (10, False), (STEPS, True)]


@pytest.mark.parametrize("stage", ["mean", "predictor"])
def test_killed_between_the_last_step_and_publication(stage: str, finished: Path, tmp_path: Path) -> None:
    """The last validation is not run again, the end of the stage is."""
    run = tmp_path / "run"
    options = ["train.val_every=6", "train.save_every=6"]  # so that a resume file of the last step is there
    whole = train(tmp_path / "whole" / "run", *options)
    killed(train_and_die, run, options, stage, STEPS)
    assert diary(run) == (["mean"] if stage == "predictor" else [])
    assert Model.from_pretrained(run).info[stage]["steps"] < STEPS
    train(run, *options)
    assert diary(run) == ["mean", "predictor"]
    assert_same(run, whole)
    train(run, *options)
    assert diary(run) == ["mean", "predictor"]  # what is finished is not finished again


def test_killed_while_it_ends(finished: Path, tmp_path: Path) -> None:
    """The stage ends again, and its result is published whole."""
    run = tmp_path / "run"
    killed(train, run, "domain.die=mean")
    assert diary(run) == ["mean"]
    assert Model.from_pretrained(run).info["mean"]["steps"] < STEPS
    train(run, "domain.die=mean")
    assert diary(run) == ["mean", "mean", "predictor"]
    assert_same(run, finished)


def test_a_stage_of_its_own_leaves_the_rest_alone(finished: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", "stage=mean")
    model: Any = Model.from_pretrained(run)
    assert torch.equal(model.logits, torch.zeros(3))
    train(run, "stage=predictor")
    assert_same(run, finished)


def test_a_stage_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefineError, match="stage='tokenizer' is not accepted; accepted: mean, predictor"):
        train(tmp_path / "run", "stage=tokenizer")
    assert not (tmp_path / "run").exists()
    assert SizedDomain.name == "sized"
