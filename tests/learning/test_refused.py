"""What is refused leaves no trace: no folder of a new run, and not a byte of another in one that is there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest

from learning.test_training import TINY, tiny, train  # noqa: F401
from refine.errors import RefineError
from refine.learning import train as training
from refine.settings.compose import compose


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


@pytest.fixture(scope="module")
def trained(once: Any) -> Path:
    folder: Path = once("refused-trained", lambda folder: train(f"run={folder / 'run'}", "train.predictor.steps=2"))
    return folder / "run"


REFUSED = [
    ("trainer.devices=x", r"trainer\.devices='x' is not accepted"),
    ("trainer.devices=0", r"trainer\.devices=0 is not accepted; accepted: whole numbers from 1"),
    ("trainer.strategy=foo", r"trainer\.strategy='foo' is not accepted by Lightning"),
    ("trainer.max_time=soon", r"trainer\.max_time='soon' is not accepted by Lightning"),
    ("trainer.options.limit_val_batches=-1", r"trainer\.options\.limit_val_batches=-1 is not accepted by Lightning"),
    ("trainer.accelerator=tpu", r"trainer\.accelerator='tpu' is not accepted by Lightning"),
    ("train.predictor.optimizer=sgd", r"train\.predictor\.optimizer='sgd' is not accepted"),
    ("sampler.temperature=[1]", r"sampler\.temperature=\[1\] is not accepted"),
    ("sample.label=99", r"sample\.label=99 is not accepted"),
    ("sample.size=5", r"sample\.size=5 is not accepted"),
    ("stage=nothing", r"stage='nothing' is not accepted"),
]


@pytest.mark.parametrize(("argument", "message"), REFUSED)
def test_nothing_is_left_of_a_new_run(argument: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=message) as error:
        train(f"run={tmp_path / 'deep' / 'run'}", argument)
    assert "\n" not in str(error.value)
    assert not content(tmp_path)


@pytest.mark.parametrize(("argument", "message"), REFUSED[:3])
def test_a_run_that_is_there_stays_as_it_is_and_goes_on(
    argument: str, message: str, trained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = content(run)
    with pytest.raises(RefineError, match=message):
        train(f"run={run}", "train.predictor.steps=3", argument)
    assert content(run) == before


def test_a_damaged_resume_file_is_found_before_the_configuration_is_written(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    (run / "resume" / "predictor.safetensors").write_bytes(b"garbage")
    before = content(run)
    with pytest.raises(RefineError, match=r"predictor\.safetensors"):
        train(f"run={run}", "train.predictor.steps=3")
    assert content(run) == before


def test_a_failure_before_the_first_step_takes_the_run_back(tmp_path: Path) -> None:
    class Refuses(pl.Callback):
        def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
            raise RefineError("not like this")

    with pytest.raises(RefineError, match="not like this"):
        training.train(compose([*TINY, f"run={tmp_path / 'run'}"]), callbacks=[Refuses()])
    assert not content(tmp_path)


def test_too_few_steps_to_fit_the_quantizer_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=r"train\.tokenizer\.steps=20 is not accepted: .* train\.fit_after=20"):
        train(f"run={tmp_path / 'run'}", "train.tokenizer.steps=20", "train.fit_after=20")
    assert not content(tmp_path)
