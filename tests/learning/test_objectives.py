"""What the predictor is trained for: an objective of one's own, weights of the scales; validation is the likelihood."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ragged import changed, composed, registered
from torch import Tensor
from toy import TinyDomain

from refine.errors import RefineError
from refine.learning import train as training
from refine.learning.modules import LearnerModule
from refine.learning.objectives import Likelihood, Objective, build_objective
from refine.models.encoding import batch_codes
from refine.models.refiner import Refiner
from refine.settings.config import ObjectiveConfig, TrainConfig
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics
from refine.types import Condition

TINY = [
    *("domain=tiny", "domain.shapes=[[1],[2],[4]]", "domain.classes=2", "domain.items=48", "train.predictor.ema=0"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "model.quantizer.size=6"),
    *("train.tokenizer.steps=4", "train.tokenizer.batch_size=8", "train.tokenizer.warmup=2", "train.fit_after=2"),
    *("train.predictor.steps=6", "train.predictor.batch_size=8", "train.predictor.warmup=2"),
    *("train.val_items=16", "train.val_every=3", "train.save_every=3", "train.log_every=2", "trainer.accelerator=cpu"),
]


@dataclass
class SmoothedOptions:
    """Of :class:`Smoothed`."""

    share: float = 0.0  # of codes that are replaced


class Smoothed(Objective):
    """Codes of a share of sites are shown, and asked for, as random ones."""

    Options = SmoothedOptions

    def __call__(self, model: Any, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        codes = batch_codes(batch)
        noisy = [torch.where(torch.rand(c.shape) < self.options.share, torch.randint_like(c, 6), c) for c in codes]
        loss, _ = model.loss(noisy, Condition.from_batch(batch))
        return loss, {"smoothed": loss, "training": torch.tensor(float(model.training))}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "draw_pictures", lambda *_: None)
    with registered(tiny=TinyDomain, smoothed=Smoothed):
        yield


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tokenizer, from which predictors are trained."""
    with registered(tiny=TinyDomain), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_pictures", lambda *_: None)
        run = tmp_path_factory.mktemp("runs") / "one"
        return training.train(changed(composed(*TINY), "stage=tokenizer", f"run={run}"))


def train(tokenizer: Path, folder: Path, *options: str) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    start = ["stage=predictor", f"train.init={tokenizer}", f"run={folder}"]
    run = training.train(changed(composed(*TINY), *start, *options))
    return load_checkpoint(run)[1], read_metrics(run)


def test_an_objective_changes_training_and_not_validation(tokenizer: Path, tmp_path: Path) -> None:
    kind = "train.objective.kind=smoothed"
    runs = {
        "likelihood": train(tokenizer, tmp_path / "a"),
        "smoothed 0": train(tokenizer, tmp_path / "b", kind),
        "smoothed 1": train(tokenizer, tmp_path / "c", kind, "train.objective.options={share: 1.0}"),
    }
    names = [n for n in runs["likelihood"][0] if n.startswith("predictor")]

    def equal(a: str, b: str) -> bool:
        return all(torch.equal(runs[a][0][n], runs[b][0][n]) for n in names)

    assert not equal("likelihood", "smoothed 1") and not equal("smoothed 0", "smoothed 1")
    for name, folder in zip(runs, ("a", "b", "c"), strict=True):
        rows = runs[name][1]
        first = "nll" if name == "likelihood" else "smoothed"
        assert any(first in row for row in rows)
        assert all(row["training"] == 1 for row in rows if "training" in row)
        last = [row for row in rows if "val_nll" in row][-1]
        assert not any(key.startswith("val_smoothed") for row in rows for key in row)
        model = Refiner.from_pretrained(tmp_path / folder)
        index = torch.linspace(0, 47, 16).long()
        val = {n: t[index] for n, t in model.domain.dataset("val").tensors.items()}
        loss, by_scale = model.loss(model.tokenizer.encode(val["x"]), Condition.from_batch(val))
        assert last["val_nll"] == pytest.approx(loss.item(), rel=1e-4)
        for k, nll in enumerate(by_scale):
            assert last[f"val_nll_{k}"] == pytest.approx(nll.item(), rel=1e-4)


def test_the_objective_that_ships_is_the_models_own_loss(tokenizer: Path) -> None:
    model = Refiner.from_pretrained(tokenizer)
    items = model.training_items("train", 0)
    batch = items.collate([items[i] for i in range(6)])  # type: ignore[attr-defined]
    objective = build_objective(ObjectiveConfig())
    assert isinstance(objective, Likelihood)
    found, wanted = objective(model, batch, TrainConfig()), model.training_loss(batch, TrainConfig())
    assert torch.equal(found[0], wanted[0]) and found[1].keys() == wanted[1].keys()


def test_weights_of_scales_are_for_learning(tokenizer: Path) -> None:
    """A weighted loss in training; the mean over all sites in validation."""
    model = Refiner.from_pretrained(tokenizer)
    model.predictor.config.condition_dropout = 0.0
    items = model.training_items("train", 0)
    batch, settings = items.collate([items[i] for i in range(6)]), TrainConfig(scale_weights=[3.0, 1.0, 0.0])  # type: ignore[attr-defined]
    codes, condition = batch_codes(batch), Condition.from_batch(batch)
    plain, by_scale = model.loss(codes, condition)
    val, figures = model.training_loss(batch, settings)
    torch.testing.assert_close(val, plain)
    model.train()
    learned, figures = model.training_loss(batch, settings)
    torch.testing.assert_close(learned, (3 * by_scale[0] + by_scale[1]) / 4)
    torch.testing.assert_close(torch.stack([figures[f"nll_{k}"] for k in range(3)]), by_scale)


def test_a_scale_without_weight_learns_nothing_of_its_own(tokenizer: Path, tmp_path: Path) -> None:
    before = load_checkpoint(tokenizer)[1]
    after, _ = train(tokenizer, tmp_path / "run", "train.scale_weights=[1,0,2]", "train.predictor.weight_decay=0")
    moved = [not torch.equal(before[f"head.linears.{k}.weight"], after[f"head.linears.{k}.weight"]) for k in range(3)]
    assert moved == [True, False, True]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("train.objective.kind=smoothd", r"train\.objective\.kind='smoothd' is not accepted; accepted: lik.*smoothed"),
        ("train.objective.options={share: 1}", r"train\.objective\.options\.share"),
        ("train.scale_weights=[1,1]", r"train\.scale_weights=\[1.*accepted: 3 numbers"),
        ("train.scale_weights=[0,0,0]", r"train\.scale_weights=\[0.*accepted: 3 numbers"),
        ("sampler.strategies=[nothing]", r"sampler\.strategies='nothing' is not accepted"),
        ("sampler.options={nothing: {a: 1}}", r"sampler\.options\.nothing is not accepted"),
    ],
)
def test_what_comes_late_is_refused_early(option: str, message: str, tmp_path: Path) -> None:
    """Before the tokenizer is trained, and before there is a folder."""
    with pytest.raises(RefineError, match=message):
        training.train(changed(composed(*TINY), f"run={tmp_path / 'run'}", option))
    assert not (tmp_path / "run").exists()


def test_options_are_typed() -> None:
    assert build_objective(ObjectiveConfig("smoothed", {"share": 0.5})).options == SmoothedOptions(0.5)
    for options, message in (({"shar": 1.0}, "options.shar"), ({"share": "much"}, "share='much' is not accepted")):
        with pytest.raises(RefineError, match=message):
            build_objective(ObjectiveConfig("smoothed", options))


def test_other_stages_learn_by_their_own_loss() -> None:
    """An objective is the predictor's."""
    from bags import BagConfig, BagDomain, BagModelConfig

    model = BagDomain(BagConfig()).model(BagModelConfig())
    settings = TrainConfig()
    settings.objective.kind = "smoothed"
    assert isinstance(LearnerModule(model, "predictor", settings.predictor, 0, settings).learns_by, Smoothed)
    assert isinstance(LearnerModule(model, "mean", settings.predictor, 0, settings).learns_by, Likelihood)
