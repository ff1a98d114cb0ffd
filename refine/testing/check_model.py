"""What every domain has to satisfy, whichever model it has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refine.domain import Domain
from refine.errors import RefineError
from refine.items import Items, collate_of
from refine.models.model import Model
from refine.settings.config import TrainConfig
from refine.settings.typed import typed


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
    return bool(a == b)


def check_splits(domain: Domain) -> None:
    """Splits are there, and items do not change."""
    for split in ("train", "val", "test"):
        dataset = domain.dataset(split)
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
        check(asdict(again) == asdict(config), f"{name} is not the same when it is read back: {again}")


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
    """``save`` writes the files that it says it writes, inside the folder it was given."""
    samples = model.sample(*model.asked(model.domain.dataset("train"), batch), trail=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        written = model.domain.save(samples, folder)
        check(len(written) > 0, "save wrote no files")
        for path in written:
            check(path.is_file() and path.resolve().is_relative_to(folder), f"save did not write {path} in its folder")


RULES: Sequence[Callable[[Model, int], None]] = (
    check_settings,
    check_training,
    check_sampling,
    check_files,
)
