"""From the header of a checkpoint to its domain and model. The header may be anybody's: it asks nobody, and it does not
make a model that is larger than the weights beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from refine.errors import require
from refine.kinds import DOMAINS
from refine.models.memory import AtMost, largest
from refine.settings.places import guarded
from refine.settings.typed import typed
from refine.storage.checkpoint import CONFIG, WEIGHTS
from refine.storage.downloads import offline

SLACK = 2**22  # numbers that constructors may make beside the weights


def domain_of(folder: Path, header: Mapping[str, Any], places: Mapping[str, Any] | None = None) -> Any:
    """The domain that a header describes.

    Args:
        folder: of the checkpoint.
        header: its content, as :func:`refine.storage.checkpoint.read_header` gives it.
        places: options of the domain that name places, in place of the header's.

    Raises:
        RefineError: a domain that is not installed, options that it does not accept, or a header that leaves something
            to data which would have to be fetched.
    """
    options, _ = options_of(folder, header)
    with offline(f"the {CONFIG} of {folder} leaves to the data what it should say"):
        return DOMAINS.load(header["domain"])(guarded(options, places))


def options_of(folder: Path, header: Mapping[str, Any]) -> tuple[Any, Any]:
    """The options of the domain and of the model that a header describes.

    Raises:
        RefineError: a domain that is not installed, or options that it or its models do not accept.
    """
    cls = DOMAINS.load(header["domain"])
    return (
        typed(cls.Config, cls.older(header["domain_config"]), f"{folder / CONFIG} domain"),
        typed(cls.ModelConfig, header["model"], f"{folder / CONFIG} model"),
    )


def numbers_in(weights: Any) -> int:
    """How many numbers an open file of weights holds, from its header."""
    return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118  no dict


@contextmanager
def no_larger(folder: Path, header: Mapping[str, Any], weights: Any) -> Iterator[AtMost]:
    """Within it, what the header asks for may have the numbers that the weights have, and :data:`SLACK`.

    Args:
        weights: the open file of the checkpoint.

    Raises:
        RefineError: something has more.
    """
    held = numbers_in(weights)
    asked = largest(domain_config=header["domain_config"], model=header["model"])
    reason = f"{WEIGHTS} beside it has {held:,}"
    with AtMost(held + SLACK, f"{folder / CONFIG}: {asked}", reason) as counted:
        yield counted


def model_of(folder: Path, header: Mapping[str, Any], weights: Any, places: Mapping[str, Any] | None = None) -> Any:
    """A fresh model as the header describes it, which the weights fit; none of them is read.

    Args:
        folder: of the checkpoint.
        header: its content.
        weights: the open file.
        places: as :func:`domain_of` takes them.

    Raises:
        RefineError: what :func:`domain_of` refuses, or weights that are not those of such a model.
    """
    with no_larger(folder, header, weights):
        domain = domain_of(folder, header, places)
        model = domain.model(options_of(folder, header)[1])
    expected, found = model.state_dict(), set(weights.keys())
    missing, extra = sorted(expected.keys() - found), sorted(found - expected.keys())
    require(not (missing or extra), f"{folder}: missing weights {missing[:5]}, unexpected weights {extra[:5]}")
    for name, tensor in expected.items():
        wanted, shape = tuple(tensor.shape), tuple(weights.get_slice(name).get_shape())
        require(wanted == shape, f"{folder}: {name} has shape {shape}; expected {wanted}")
    return model


def fill(model: Any, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Give a model its weights.

    Raises:
        RefineError: real numbers where others are expected, or the other way round; of real ones any precision will do.
    """
    for name, wanted in model.state_dict().items():
        found = tensors[name]
        real = found.is_floating_point() and wanted.is_floating_point()
        right = real or found.dtype == wanted.dtype
        require(right, f"{folder}: {name} is of type {found.dtype}; expected {wanted.dtype}")
    model.load_state_dict(tensors)
