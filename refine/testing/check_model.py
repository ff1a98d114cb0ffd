"""What every domain has to satisfy, whichever model it has."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refine.domain import Domain
from refine.errors import RefineError
from refine.items import Items, collate_of
from refine.kinds import COMMANDS
from refine.models.model import Model
from refine.settings.config import TrainConfig
from refine.settings.typed import typed

SPLITS = ("train", "val", "test")
FIGURES_OF = 64  # samples that ``metrics`` is given; fewer are too few for many figures


class CheckError(AssertionError):
    """A domain breaks a rule; the message names the rule and what was found."""


def check(condition: bool, message: str) -> None:
    """Raise :class:`CheckError` unless ``condition`` holds."""
    if not condition:
        raise CheckError(message)


def same(a: Any, b: Any) -> bool:
    """Whether two items are equal: tensors, and containers and records of them."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b)
    if is_dataclass(a) and type(a) is type(b):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b)) if isinstance(a, np.ndarray) else bool(a == b)


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Have whatever goes wrong in a domain's method named as what it is, with the error as its cause."""
    try:
        yield
    except CheckError:
        raise
    except Exception as error:
        raise CheckError(f"{what} fails: {type(error).__name__}: {error}") from error


def check_splits(domain: Domain) -> None:
    """Splits are there, and items do not change."""
    for split in SPLITS:
        with in_words(f"dataset({split!r})"):
            dataset = domain.dataset(split)
        sized = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
        check(sized, f"dataset({split!r}) is {dataset!r:.60}, not something with a length and items")
        check(len(dataset) > 0, f"dataset({split!r}) is empty")  # type: ignore[arg-type]
        check(same(dataset[0], dataset[0]), f"item 0 of dataset({split!r}) is not the same when it is read again")


def check_stages(model: Model, batch: int) -> None:
    """Parts that are trained before tokenizer and predictor have a finite loss; most learn sizes of data from it."""
    for stage in model.stages:
        part = model.learner(stage)
        if part is model or stage == "tokenizer":
            continue
        loss, _ = part.train().training_loss(_batch(part.training_items("train", 0), batch), TrainConfig())
        check(bool(torch.isfinite(loss)), f"the loss of stage {stage!r} is {loss}, not a finite number")
        part.eval()


def check_settings(model: Model, batch: int) -> None:
    """Configurations are plain data that a checkpoint can hold."""
    for name, config in (("Config", model.domain.config), ("ModelConfig", model.config)):
        cls = getattr(model.domain, name)
        try:
            again = typed(cls, asdict(config), name)
        except RefineError as error:
            raise CheckError(f"{name} cannot be read back from plain data: {error}") from error
        read, given = (json.dumps(asdict(c), default=repr) for c in (again, config))  # tuples are lists in files
        check(read == given, f"{name} is not the same when it is read back: {again}")


def check_training(model: Model, batch: int) -> None:
    """The loss is a finite number that every weight of the predictor stage has a part in."""
    frozen = {id(p) for part in model.frozen() for p in part.parameters()}
    weights = {name: p for name, p in model.named_parameters() if id(p) not in frozen}
    for split in ("val", "train"):
        rows = _batch(model.training_items(split, 0), batch)
        model.train(split == "train")
        for part in model.frozen():
            part.eval()
        loss, figures = model.training_loss(rows, TrainConfig())
        good = loss.dim() == 0 and bool(torch.isfinite(loss))
        check(good, f"training_loss on {split!r} is {loss}, not a finite number")
        check(len(figures) > 0, "training_loss has no figures to log")
    loss.backward()
    model.eval()
    idle = [name for name, p in weights.items() if p.requires_grad and p.grad is None]
    model.zero_grad()
    check(not idle, f"{idle[:5]} have no part in training_loss; training on several machines needs all weights in it")


def _batch(items: Items, batch: int) -> Any:
    size = min(batch, len(items))  # type: ignore[arg-type]
    check(size > 0, "training_items is empty")
    return collate_of(items)([items[i] for i in range(size)])


def check_sampling(model: Model, batch: int) -> None:
    """As many samples as were asked for, each scale on their trail, and sample 1 the same alone and in company."""
    num, condition = model.asked(model.domain.dataset("train"), batch)
    samples = model.sample(num, condition, seed=1, trail=True)
    check(len(samples.items) == num, f"{len(samples.items)} samples were drawn, not {num}")
    levels = len(samples.trail)
    check(levels >= model.num_levels, f"the trail has {levels} scales, the model {model.num_levels}")
    if num > 1:
        alone = model.sample(1, condition[1:2], seed=1, first=1)
        # codes, where there are some: decoders add up in another order in batches of another size
        found, wanted = ([c[i] for c in s.codes] or s.items[i] for s, i in ((alone, 0), (samples, 1)))
        check(same(found, wanted), "sample 1 differs when it is drawn alone")


def check_files(model: Model, batch: int) -> None:
    """``save`` writes the files that it says it writes, inside the folder it was given; it takes the options that
    commands give it."""
    samples = model.sample(*model.asked(model.domain.dataset("train"), batch), trail=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with in_words("save"):
            written = model.domain.save(samples, folder, gif=False, strip=1)
        check(len(written) > 0, "save wrote no files")
        check_written("save", written, folder)


def check_written(method: str, written: Sequence[Path], folder: Path) -> None:
    """What a method says that it wrote is there, inside the folder it was given."""
    for path in written:
        inside = path.exists() and path.resolve().is_relative_to(folder)
        check(inside, f"{method} did not write {path} in its folder")


def check_asking(model: Model, batch: int) -> None:
    """Every class has a name, and conditions that ``refine sample`` asks for are those that the domain announces."""
    domain, classes = model.domain, model.domain.condition.num_classes
    names = domain.class_names()
    check(len(names) == classes, f"class_names gives {len(names)} names for {classes} classes")
    if not domain.unconditional:
        return
    for label in [None, 0] if classes else [None]:
        with in_words(f"ask({batch}, label={label!r})"):
            condition = domain.ask(batch, label)
            domain.condition.check(condition, batch)
        count = len(model.sample(batch, condition, seed=1).items)
        check(count == batch, f"{count} samples were drawn for what ask({batch}, label={label!r}) gives")


def check_figures(model: Model, batch: int) -> None:
    """``metrics`` gives plain figures of a few samples of an untrained model."""
    domain = model.domain
    num, condition = model.asked(domain.dataset("test"), FIGURES_OF)
    samples = model.sample(num, condition, seed=1).cpu()
    config = domain.sections.get("evaluate", COMMANDS.load("evaluate").Options)(items=num, samples=num)
    with in_words("check_metrics"):
        domain.check_metrics(model, config)
    with tempfile.TemporaryDirectory() as name, in_words("metrics"):
        figures = domain.metrics(model, samples, config, Path(name))
        check(isinstance(figures, dict), f"metrics gives {figures!r:.60}, not a dict of figures by name")
        json.dumps(figures)
    for key, value in figures.items():
        lists = not key.endswith("_by_scale") or (isinstance(value, list) and len(value) == model.num_levels)
        check(lists, f"metrics gives {key} = {value!r:.60}, not one number for each of {model.num_levels} scales")


def check_pictures(model: Model, batch: int) -> None:
    """``plot_training`` writes what it says it writes, inside the folder it was given."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        with in_words("plot_training"):
            written = list(model.domain.plot_training(model, folder))
        check_written("plot_training", written, folder)


RULES: Sequence[Callable[[Model, int], None]] = (
    check_settings,
    check_training,
    check_sampling,
    check_asking,
    check_files,
    check_figures,
    check_pictures,
)
