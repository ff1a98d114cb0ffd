"""Going on from a resume file that may be damaged, foreign or made to harm: one message that names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from refine.errors import RefineError
from refine.learning.checkpoint_io import SafetensorsIO
from refine.storage.tensors import finite

FORM: dict[str, type] = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
TENSORS = ("state_dict", "current_model_state")  # averaged weights, and those that they are averages of
KNOWN = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"})  # what AdamW and Muon keep of a weight
PROGRESS = "epoch_loop.automatic_optimization.optim_progress"
REMEDY = "move it away to go on from the checkpoint"


def resume_file(run: Path, name: str) -> Path:
    """Where a stage of a run can be gone on from."""
    return run / "resume" / f"{name}.safetensors"


def read_resume(path: Path) -> dict[str, Any]:
    """The state in a resume file.

    Raises:
        RefineError: damaged, foreign, not the state of a training, or weights that are not finite.
    """
    state = SafetensorsIO().load_checkpoint(path)
    try:
        check_state(state)
    except (LookupError, TypeError, ValueError) as error:
        text = error.args[0] if error.args else type(error).__name__
        raise RefineError(f"{path} is not a resume file of refine, or is damaged: {text}") from None
    for name in TENSORS:
        finite(state.get(name, {}), path)
    return state  # type: ignore[no-any-return]


@contextmanager
def going_on_from(path: Path, underway: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Within it, errors of what a resume file says are one message; those of a training that is under way stay.

    Raises:
        RefineError: Lightning or PyTorch cannot use what the file says.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError) as error:
        if isinstance(error, torch.OutOfMemoryError) or underway():
            raise
        text = next(iter(str(error).splitlines()), "")
        raise RefineError(f"{path} cannot be gone on from ({type(error).__name__}: {text}); {REMEDY}") from error


def fits(state: Mapping[str, Any], module: nn.Module) -> None:
    """Make sure that the weights of a state are those of a module.

    Raises:
        ValueError: others, or of other shapes or types.
    """
    wanted = module.state_dict()
    for part in TENSORS:
        found = state.get(part, wanted)
        if others := sorted(found.keys() ^ wanted.keys()):
            raise ValueError(f"{part} has other weights than the model: {', '.join(map(str, others[:3]))}")
        for name, tensor in found.items():
            if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
                shape, expected = tuple(tensor.shape), tuple(wanted[name].shape)
                raise ValueError(f"{name} is {shape} of {tensor.dtype}; expected {expected} of {wanted[name].dtype}")


def fits_optimizer(state: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Make sure that the optimiser's part of a state is one of an optimiser, which it is loaded into.

    Raises:
        ValueError, LookupError, TypeError: other groups or weights, or what it knows of a weight is missing, or of
            another shape.
    """
    optimizer.load_state_dict(state["optimizer_states"][0])
    for weight, known in optimizer.state.items():
        if set(known) not in KNOWN:
            raise ValueError(f"the optimiser knows {', '.join(map(str, known))} of a weight")
        for name, value in known.items():
            right = isinstance(value, Tensor) and value.shape in ((), weight.shape)
            if not right or not torch.isfinite(value).all():
                raise ValueError(f"{name} of a weight is no tensor of its shape, or not finite")


def check_state(state: Any) -> None:
    """Make sure that a state has what a training goes on from, and that its step is that of its loops.

    Raises:
        ValueError, LookupError, TypeError: what is missing, or of a wrong type.
    """
    for name, kind in FORM.items():
        if not isinstance(state, dict) or type(state.get(name)) is not kind:
            raise ValueError(f"{name} is missing, or no {kind.__name__}")
    for name in TENSORS:
        tensors = state.get(name, {})
        if not (isinstance(tensors, dict) and all(isinstance(t, Tensor) for t in tensors.values())):
            raise ValueError(f"{name} has what is no tensor")
    for name in ("optimizer_states", "lr_schedulers"):
        if len(state[name]) != 1 or not isinstance(state[name][0], dict):
            raise ValueError(f"{name} is no list of one")
    if re.fullmatch(r"\d+(\.\w+){1,4}", state["pytorch-lightning_version"]) is None:
        raise ValueError("its version of Lightning is none")
    if not all(isinstance(held, dict) for held in state["callbacks"].values()):
        raise ValueError("callbacks keep what is no mapping")
    if any(".." in Path(text).parts for text in _texts(state["callbacks"])):  # Lightning removes files that it noted
        raise ValueError("its callbacks name files elsewhere")
    step, progress = state["global_step"], state["loops"]["fit_loop"][PROGRESS]
    if step < 0 or progress["optimizer"]["step"]["total"]["completed"] != step:
        raise ValueError(f"its step, {step}, is not that of its loops")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
