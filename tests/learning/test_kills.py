"""Trainings that are killed, told to end, or short of disk at chosen moments: nothing is lost, nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from processes import die, finished, killed, start

from refine.errors import RefineError
from refine.learning import callbacks, checkpoint_io
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.children import Children
from refine.learning.modules import StageModule
from refine.models.model import Model
from refine.storage import files
from refine.storage.locks import LOCK, alone
from refine.storage.runs import METRICS, forget_metrics, log_metrics, read_metrics

from .test_training import tiny, train  # noqa: F401  the former is a fixture

posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


@pytest.fixture(scope="module")
def whole(once: Any) -> Path:
    """A run that nothing disturbed."""
    run: Path = once("tiny-finished", lambda folder: train(f"run={folder}"))
    return run


def within_the_first_file() -> None:
    """Die before the folder is a run."""
    files.sync = lambda path: die()


def before_the_figures(stage: str, step: int, what: str) -> None:
    """Die when the state after a step is written and its figures are not yet."""
    clean = callbacks.log_metrics

    def dies(run: Path, figures: dict[str, Any]) -> None:
        if (figures["stage"], figures["step"]) == (stage, step) and what in figures:
            die()
        clean(run, figures)

    callbacks.log_metrics = dies  # type: ignore[assignment]


def within_a_file(stage: str, number: int) -> None:
    """Die in the middle of writing a state."""
    clean, count = checkpoint_io.save_file, [0]

    def dies(tensors: Any, path: Path, metadata: Any) -> None:
        clean(tensors, path, metadata=metadata)
        count[0] += stage in path.name
        if count[0] == number:
            os.truncate(path, 100)
            die()

    checkpoint_io.save_file = dies


def after_publication(stage: str, step: int) -> None:
    """Die when a checkpoint is published and the figures of its validation are not yet written."""
    clean = Model.save_pretrained

    def dies(self: Model, *args: Any, **options: Any) -> None:
        clean(self, *args, **options)
        if self.info.get(stage, {}).get("steps") == step:
            die()

    Model.save_pretrained = dies  # type: ignore[method-assign]


def train_and_die(run: Path, how: Any, *given: Any) -> None:
    how(*given)
    train(f"run={run}")


def assert_nothing_lost(whole: Path, run: Path) -> None:
    """The same files; figures line by line, weights byte by byte."""
    names = [sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) for folder in (whole, run)]
    assert names[0] == names[1]
    for name in (METRICS, "model.safetensors", "config.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


@posix
def test_killed_between_state_figures_and_publication_no_line_is_lost(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for how in (
        (within_the_first_file,),
        (within_a_file, "tokenizer", 1),  # before the first step
        (after_publication, "tokenizer", 4),  # the first of all
        (before_the_figures, "tokenizer", 11, "val_reconstruction"),
        (within_a_file, "tokenizer", 2),
        (before_the_figures, "predictor", 3, "val_nll"),
        (after_publication, "predictor", 4),
        (within_a_file, "predictor", 2),
        (before_the_figures, "predictor", 19, "val_nll"),
        (after_publication, "predictor", 20),
    ):
        killed(train_and_die, run, *how)
    train(f"run={run}")
    assert_nothing_lost(whole, run)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_told_to_end_it_goes_on_from_that_step(
    number: int,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, handler = tmp_path / "run", signal.getsignal(number)
    clean = {cls: cls.training_step for cls in StageModule.__subclasses__()}
    for stage, step in (("tokenizer", 6), ("predictor", 15)):

        def told(self: Any, *args: Any, at: Any = (stage, step)) -> Any:
            if (self.name, self.global_step) == at:
                os.kill(os.getpid(), number)
            return clean[type(self)](self, *args)

        with monkeypatch.context() as patch:
            for cls in clean:
                patch.setattr(cls, "training_step", told)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                train(f"run={run}")
        state = SafetensorsIO().load_checkpoint(run / "resume" / f"{stage}.safetensors")
        assert state["global_step"] == step + 1
        assert not (run / LOCK).exists() and signal.getsignal(number) == handler
    train(f"run={run}")
    assert_nothing_lost(whole, run)


def test_a_run_is_trained_by_one_process_at_a_time(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    message = rf"^run='{run}' is being trained by process {os.getpid()}"
    with alone(run / LOCK, "it is being trained"), pytest.raises(RefineError, match=message):
        train("train.predictor.steps=24", f"run={run}")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def short_of_disk(run: Path) -> None:
    """No file may have more than 20 kB."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with pytest.raises(RefineError) as error:
        train(f"run={run}")
    (run.parent / "said").write_text(str(error.value))


@posix
def test_a_full_disk_is_said_with_the_file(tmp_path: Path) -> None:
    finished(start(short_of_disk, tmp_path / "run"))
    said = (tmp_path / "said").read_text()
    assert re.match(rf"{re.escape(str(tmp_path / 'run'))}/[./a-z]*safetensors cannot be written: .*too large", said), (
        said
    )
    assert not [path for path in (tmp_path / "run").rglob(".*")]


def watch(folder: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    sys.stderr = (folder / "said").open("w")
    children = Children(folder / "my run")
    children.begin(SimpleNamespace(procs=[child]))
    child.kill()
    assert children.watch is not None
    children.watch.join()


@posix
def test_a_child_that_died_ends_the_training_with_one_line(tmp_path: Path) -> None:
    process = start(watch, tmp_path)
    process.join()
    said = (tmp_path / "said").read_text()
    run = f"refine train run='{tmp_path / 'my run'}'"
    assert (process.exitcode, said) == (
        2,
        f"error: process 1 of the training ended with code -9; continue with: {run}\n",
    )


def test_lines_of_steps_that_are_done_again_go_and_others_stay(tmp_path: Path) -> None:
    for stage, step in (("a", 0), ("a", 1), ("b", 5), ("a", 2)):
        log_metrics(tmp_path, {"stage": stage, "step": step})
    with (tmp_path / METRICS).open("a") as file:
        file.write('[1]\n{"stage": "a", "st')
    forget_metrics(tmp_path, "a", 1)
    assert (tmp_path / METRICS).read_text() == ('{"stage": "a", "step": 0}\n{"stage": "b", "step": 5}\n[1]\n')
    before = (tmp_path / METRICS).stat().st_mtime_ns
    forget_metrics(tmp_path, "a", 1)
    assert (tmp_path / METRICS).stat().st_mtime_ns == before and len(read_metrics(tmp_path)) == 2
    forget_metrics(tmp_path / "nowhere", "a", 0)
