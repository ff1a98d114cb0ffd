"""Training from Python: callbacks and loggers of Lightning, accumulated batches, and weights to start from."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from bags import BagDomain
from lightning.pytorch.loggers import CSVLogger
from ragged import changed, composed, registered
from torch import Tensor
from toy import TinyDomain, tiny_refiner

import refine
from refine.errors import RefineError
from refine.learning import train as training
from refine.learning.start import start_from
from refine.models.refiner import Refiner
from refine.settings.compose import compose
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig
from refine.storage.checkpoint import load_checkpoint
from refine.storage.runs import read_metrics

TINY = [
    *("domain=tiny", "domain.shapes=[[1],[2],[4]]", "domain.learned=true", "domain.classes=2", "domain.items=48"),
    *("model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2", "model.quantizer.size=6"),
    *("train.tokenizer.steps=8", "train.tokenizer.batch_size=8", "train.tokenizer.warmup=2", "train.fit_after=4"),
    *("train.predictor.steps=8", "train.predictor.batch_size=8", "train.predictor.warmup=2"),
    *("train.val_items=16", "train.val_every=4", "train.save_every=4", "train.log_every=2"),
    *("train.predictor.ema=0.9", "trainer.accelerator=cpu"),
]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(training, "draw_pictures", lambda *_: None)
    with registered(tiny=TinyDomain, bags=BagDomain):
        yield


class Seen(pl.Callback):
    """Which items each stage has seen, batch by batch."""

    def __init__(self) -> None:
        self.batches: dict[str, list[list[int]]] = {}

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self.batches.setdefault(module.name, []).append(batch["index"].tolist())

    def items(self, stage: str) -> list[int]:
        return [i for batch in self.batches[stage] for i in batch]


class Dies(pl.Callback):
    """Ends a stage before a batch, as an error would."""

    def __init__(self, stage: str, batch: int) -> None:
        self.stage, self.batch, self.count = stage, batch, 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if module.name == self.stage:
            if self.count == self.batch:
                raise EOFError
            self.count += 1


def train(folder: Path, *options: str, callbacks: Any = ()) -> Path:
    return refine.train(changed(composed(*TINY), f"run={folder}", *options), callbacks=callbacks)


def weights(run: Path) -> dict[str, Tensor]:
    return load_checkpoint(run)[1]


def assert_same(a: Path, b: Path) -> None:
    one, other = weights(a), weights(b)
    assert one.keys() == other.keys() and [n for n in one if not torch.equal(one[n], other[n])] == []


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with registered(tiny=TinyDomain), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "draw_pictures", lambda *_: None)
        return train(tmp_path_factory.mktemp("runs") / "first")


def test_callbacks_and_loggers_go_beside_ours_and_change_nothing(tmp_path: Path) -> None:
    seen, logger = Seen(), CSVLogger(tmp_path / "logs", name="mine", version="one")
    config = changed(composed(*TINY), f"run={tmp_path / 'run'}")
    run = refine.train(config, callbacks=[seen], loggers=[logger])
    assert {name: len(b) for name, b in seen.batches.items()} == {"tokenizer": 8, "predictor": 8}
    assert sorted(seen.items("tokenizer")[:48]) == list(range(48))  # every item once before any comes again
    with (tmp_path / "logs" / "mine" / "one" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    ours = [row for row in read_metrics(run) if row["stage"] == "predictor" and "val_nll" in row]
    theirs = [float(row["val_nll"]) for row in rows if row.get("val_nll")]
    assert ours and theirs == pytest.approx([row["val_nll"] for row in ours], rel=1e-5)
    assert_same(run, train(tmp_path / "plain"))


def test_tensorboard_is_a_logger(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path / "board", name="", version="")
    run = refine.train(changed(composed(*TINY), "stage=tokenizer", f"run={tmp_path / 'run'}"), loggers=[logger])
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    ours = [row["val_reconstruction"] for row in read_metrics(run) if "val_reconstruction" in row]
    assert [e.value for e in found.Scalars("val_reconstruction")] == pytest.approx(ours, rel=1e-5)
    assert not (run / "lightning_logs").exists()


def test_an_early_stop_is_a_callbacks_to_make(tmp_path: Path) -> None:
    class Enough(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            trainer.should_stop = module.name == "predictor" and trainer.global_step >= 6

    run = train(tmp_path / "run", callbacks=[Enough()])
    info = Refiner.from_pretrained(run).info
    assert info["tokenizer"]["steps"] == 8 and info["predictor"] == {"steps": 6, "of": 8}
    train(tmp_path / "run")
    assert Refiner.from_pretrained(run).info["predictor"]["steps"] == 8


# -- accumulated batches -----------------------------------------------------------------------------------------------

FOUR = ["train.tokenizer.batch_size=4", "train.predictor.batch_size=4", "trainer.accumulate_grad_batches=2"]


def test_accumulated_batches_are_a_larger_one(tmp_path: Path) -> None:
    """The same items, step by step; and where nothing is random, the same weights."""
    whole, halves, calm = Seen(), Seen(), ["model.predictor.condition_dropout=0", "train.predictor.ema=0"]
    one = train(tmp_path / "one", *calm, callbacks=[whole])
    two = train(tmp_path / "two", *calm, *FOUR, callbacks=[halves])
    for stage in ("tokenizer", "predictor"):
        assert len(halves.batches[stage]) == 16 and {len(b) for b in halves.batches[stage]} == {4}
        pairs = zip(halves.batches[stage][::2], halves.batches[stage][1::2], strict=True)
        assert [a + b for a, b in pairs] == whole.batches[stage]
    a, b = weights(one), weights(two)
    for name in ("tokenizer.codec.encoder.weight", "tokenizer.codec.decoder.weight"):
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-3)
    steps = [[r["step"] for r in read_metrics(run) if "val_nll" in r] for run in (one, two)]
    assert steps[0] == steps[1] and len(steps[0]) == 2


@pytest.mark.parametrize("stage", ["tokenizer", "predictor"])
def test_accumulated_batches_go_on_where_they_stopped(stage: str, tmp_path: Path, trained: Path) -> None:
    """To the bit, whether a step was whole or half done."""
    rest = [f"stage={stage}"] if stage == "tokenizer" else [f"stage={stage}", f"train.init={trained}"]
    whole = train(tmp_path / "whole", *FOUR, *rest)
    for batch in (11, 3):  # of those that are left
        with pytest.raises(EOFError):
            train(tmp_path / "run", *FOUR, *rest, callbacks=[Dies(stage, batch)])
    seen = Seen()
    assert_same(whole, train(tmp_path / "run", *FOUR, *rest, callbacks=[seen]))
    assert len(seen.batches[stage]) == 8


# -- weights to start from ---------------------------------------------------------------------------------------------

STILL = ["train.predictor.lr=0", "train.predictor.steps=1", "train.predictor.ema=0", "stage=predictor"]


def test_a_training_starts_from_the_weights_of_another(trained: Path, tmp_path: Path) -> None:
    """On other data; and where nothing is learned the weights stay what they are."""
    run = train(tmp_path / "run", "domain.items=30", f"train.init={trained}", *STILL)
    assert_same(trained, run)
    with pytest.raises(RefineError, match=r"domain\.items=48"):
        train(trained, "domain.items=30")
    tuned = train(tmp_path / "tuned", "domain.items=30", f"train.init={trained}")
    before, after = weights(trained), weights(tuned)
    assert not torch.equal(before["head.linears.0.weight"], after["head.linears.0.weight"])
    assert Refiner.from_pretrained(tuned).info["tokenizer"]["steps"] == 8


def test_a_run_goes_on_without_what_it_started_from(trained: Path, tmp_path: Path, capsys: Any) -> None:
    copy = tmp_path / "copy"
    Refiner.from_pretrained(trained).save_pretrained(copy)
    run = train(tmp_path / "run", f"train.init={copy}", *STILL)
    assert f"Started from {copy}" in " ".join(capsys.readouterr().err.split())
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()
    train(run, f"train.init={copy}", *STILL[:1], "train.predictor.steps=2", *STILL[2:])
    assert "Started from" not in capsys.readouterr().err
    with pytest.raises(RefineError, match=r"copy does not exist"):
        train(tmp_path / "other", f"train.init={copy}")
    assert not (tmp_path / "other").exists()


def small(**options: Any) -> ModelConfig:
    predictor = PredictorConfig(width=16, depth=1, heads=2)
    return ModelConfig(quantizer=QuantizerConfig(size=6), predictor=replace(predictor, **options))


FULL: dict[str, Any] = {"shapes": [[1], [2], [4]], "classes": 2, "learned": True}


def test_a_head_of_another_size_is_new_and_so_is_what_it_is_of(trained: Path, capsys: Any, tmp_path: Path) -> None:
    other = replace(small(), quantizer=QuantizerConfig(size=9))
    model = tiny_refiner(other, **FULL)
    head, books = (model.state_dict()[n].clone() for n in ("head.linears.1.weight", "tokenizer.quantizer.codebooks.1"))
    model.tokenizer.quantizer.fitted.fill_(False)
    start_from(model, str(trained))
    said = " ".join(capsys.readouterr().err.split())
    assert f"Started from {trained}: " in said and "new are head.linears, tokenizer.quantizer" in said
    before, after = weights(trained), model.state_dict()
    assert torch.equal(after["predictor.context.weight"], before["predictor.context.weight"])
    assert torch.equal(after["tokenizer.codec.encoder.weight"], before["tokenizer.codec.encoder.weight"])
    assert torch.equal(after["head.linears.1.weight"], head)
    assert torch.equal(after["tokenizer.quantizer.codebooks.1"], books)
    assert not model.tokenizer.quantizer.fitted  # whose codebooks were not taken over
    with pytest.raises(RefineError, match=r"stage=predictor needs a trained tokenizer"):
        train(tmp_path / "run", "model.quantizer.size=9", f"train.init={trained}", *STILL)
    again = train(tmp_path / "both", "model.quantizer.size=9", f"train.init={trained}", "train.predictor.steps=1")
    assert Refiner.from_pretrained(again).tokenizer.quantizer.fitted


def test_a_new_network_keeps_the_tokenizer(trained: Path) -> None:
    model = tiny_refiner(small(width=24, heads=3), **FULL)
    model.tokenizer.quantizer.fitted.fill_(False)
    start_from(model, str(trained))
    before, after = weights(trained), model.state_dict()
    assert all(torch.equal(after[n], before[n]) for n in after if n.startswith("tokenizer"))
    assert model.tokenizer.quantizer.fitted


def test_where_nothing_fits_the_start_is_refused(trained: Path, tmp_path: Path) -> None:
    nothing = tiny_refiner(
        replace(small(width=24, heads=3, depth=2), quantizer=QuantizerConfig(kind="bitwise")),
        **FULL | {"channels": 3, "classes": 3, "shapes": [[1], [2], [4], [8]]},
    )
    with pytest.raises(RefineError, match=r"none of its weights fits this model"):
        start_from(nothing, str(trained))
    with pytest.raises(RefineError, match=r"is a model of domain 'tiny', not 'bags'"):
        refine.train(compose(["domain=bags", f"train.init={trained}", f"run={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RefineError, match="does not exist"):
        start_from(nothing, str(tmp_path / "nowhere"))
