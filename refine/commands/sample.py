"""``refine sample``: draw items from a trained model and write them as files."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from refine.domain import Domain
from refine.errors import RefineError, not_accepted, require
from refine.models.model import Model
from refine.registry import starter
from refine.settings.config import Config, TrainerConfig
from refine.storage.runs import find_run, timestamp, unused
from refine.types import Condition


def run(config: Config) -> Path:
    """Draw from ``config.run``, else from the newest run of the domain, else from the checkpoint that ships with it.

    Returns:
        The folder that was written: ``sample.out``, else a new one under ``samples/`` of the run.

    Raises:
        RefineError: no model, a label that it does not have, or a folder that is in use.
    """
    folder = find_run(config)
    source = folder or starter(config.domain_name)
    model = load_model(source, config.trainer)
    free = model.domain.unconditional
    require(
        free, f"domain {model.domain.name!r} draws only from what is known: refine ensemble domain={model.domain.name}"
    )
    out = new_folder("sample.out", config.sample.out, folder, config.domain_name)
    paths = draw_samples(model, config, out)
    shown = [p.name for p in paths if p.parent == out]
    text = f"{config.sample.num} samples of {source} (seed {config.seed}): {out} ({', '.join(shown)})"
    Console().print(text, highlight=False, soft_wrap=True)
    return out


def draw_samples(model: Model, config: Config, folder: Path) -> list[Path]:
    """Draw ``sample.num`` items and have the domain write them into ``folder``.

    Returns:
        The files.
    """
    wanted = config.sample
    for name in ("num", "batch_size"):
        value = getattr(wanted, name)
        require(value > 0, f"sample.{name}={value} is not accepted; accepted: 1 or more")
    labels = choose_labels(wanted.label, wanted.num, model.domain)
    condition = Condition(label=labels, size=choose_sizes(wanted.size, wanted.num, model.domain))
    trail = wanted.gif or wanted.strip > 0
    samples = model.sample_many(wanted.num, condition, config.seed, config.sampler, trail, wanted.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    return model.domain.save(samples, folder, gif=wanted.gif, strip=wanted.strip)


def choose_labels(label: Any, num: int, domain: Domain, key: str = "sample.label") -> torch.Tensor | None:
    """(num,) labels: the given class, the given classes in turn, or all in turn; None where the domain has no classes.

    A class is its number or its name.

    Raises:
        RefineError: no such class.
    """
    classes, names = domain.condition.num_classes, domain.class_names()
    if not classes:
        require(label is None, f"{key}={label!r} is not accepted: this model is not conditioned on classes")
        return None
    accepted = [*range(classes), *(name for name in names if not name.isdecimal())]
    numbers = []
    for item in range(classes) if label is None else label if isinstance(label, list) else [label]:
        if isinstance(item, bool) or item not in accepted:
            raise not_accepted(key, item, accepted)
        numbers.append(names.index(item) if isinstance(item, str) else int(item))
    require(bool(numbers), f"{key}=[] is not accepted; accepted: a class, a list of classes, or null")
    return torch.tensor(list(islice(cycle(numbers), num)))


def choose_sizes(size: Any, num: int, domain: Domain) -> torch.Tensor | None:
    """(num,) sizes: the given one, or the given ones in turn; None where none is asked for.

    Raises:
        RefineError: no sizes, or a domain whose items have but one.
    """
    if size is None:
        return None
    require(domain.condition.size, f"sample.size={size!r} is not accepted: items of this model have one size")
    sizes = size if isinstance(size, list) else [size]
    good = bool(sizes) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes)
    require(good, f"sample.size={size!r} is not accepted; accepted: a number of sites, a list of them, or null")
    return torch.tensor(list(islice(cycle(sizes), num)))


HELD = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


def load_model(source: str | Path, trainer: TrainerConfig) -> Model:
    """The model of a run on the device, and with the weights held in the precision, that the trainer's words ask for;
    what is mixed in training is float32."""
    return Model.from_pretrained(source, best_device(trainer.accelerator), HELD.get(trainer.precision))


def best_device(accelerator: str) -> str:
    """The device that Lightning's ``trainer.accelerator`` stands for."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    if accelerator in ("auto", "cpu"):
        return "cpu"
    raise RefineError(f"trainer.accelerator={accelerator!r} is not available here; accepted: auto, cpu")


def new_folder(key: str, given: str | None, run: Path | None, domain: str) -> Path:
    """The folder to write to: the one that is ``given``, else a new one under ``samples/`` of the run, or of here.

    Raises:
        RefineError: it is there already and not empty.
    """
    if given is None:
        return unused(Path("samples", f"{domain}-{timestamp()}") if run is None else run / "samples" / timestamp())
    out = Path(given).expanduser()
    free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    require(free, f"{key}={given!r} is not accepted: it is there already; give a new or an empty folder")
    return out
