"""The checker for domains: what every adapter has to satisfy, proven on a small untrained model.

Call :func:`check_domain` from the tests of your own domain.
"""

from __future__ import annotations

from typing import Any

import torch

from refine.domain import Domain
from refine.models.refiner import Refiner
from refine.testing import check_latents, check_model
from refine.testing.check_latents import cast_level, equivariance_error, permute_level
from refine.testing.check_model import CheckError

__all__ = ["CheckError", "cast_level", "check_domain", "equivariance_error", "permute_level"]


def check_domain(domain: Domain, batch: int = 4, seed: int = 0, config: Any = None) -> list[str]:
    """Check a domain from its data to its files.

    Args:
        domain: an instance with options small enough to run in seconds.
        batch: items that are looked at.
        seed: of everything random.
        config: of the model; by default the one that the domain's ``ModelConfig`` has, a small one for latents.

    Returns:
        The names of the checks that ran; a model that is no :class:`refine.Refiner` has no
            latents to check.

    Raises:
        CheckError: the first rule that does not hold.
        RefineError: the domain's parts do not fit together.
    """
    torch.manual_seed(seed)
    check_model.check_splits(domain)
    latents = domain.ModelConfig is type(check_latents.SMALL)
    model = domain.model(config or (check_latents.SMALL if latents else domain.ModelConfig())).eval()
    if isinstance(model, Refiner):
        check_latents.check_rows(model, batch)
    check_model.check_stages(model, batch)
    if isinstance(model, Refiner):
        check_latents.fit_quantizer(model)
    fixed = {id(p) for part in model.frozen() for p in part.parameters()}
    with torch.no_grad():  # every weight is random, so that nothing is hidden by zeros of the initialisation
        for parameter in model.parameters():
            if id(parameter) not in fixed and parameter.is_floating_point():
                parameter.add_(0.2 * torch.randn_like(parameter))
    ran = [check_model.check_splits.__name__]
    if isinstance(model, Refiner):
        items = check_latents.some_items(model, "train", batch)
        for rule in check_latents.RULES:
            rule(model, items)
            ran.append(rule.__name__)
    for general in check_model.RULES:
        general(model, batch)
        ran.append(general.__name__)
    return [name.removeprefix("check_") for name in ran]
