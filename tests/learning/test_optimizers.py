"""Optimisers of a stage: which parameters go where, and that two in one are just those two."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refine.errors import RefineError
from refine.learning.optimizers import Joined, build_optimizer
from refine.settings.config import StageConfig

MUON = StageConfig(optimizer="muon", lr=0.02, weight_decay=0.1)


class Mixed(nn.Module):
    """Matrices, vectors, a kernel, and something that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 4)
        self.kernel = nn.Parameter(torch.randn(2, 4, 4))
        self.fixed = nn.Parameter(torch.ones(4), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(torch.relu(self.first(x))) * self.fixed
        return out @ self.kernel[0] + torch.sin(out @ self.kernel[1])


def descend(model: Mixed, optimizers: list[Any], steps: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
        loss = (model(x) - torch.sin(3 * x[:, :4])).square().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return losses


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_it_is_torchs_muon_and_torchs_adamw() -> None:
    both, apart = Mixed(), Mixed()
    options: Any = {"lr": MUON.lr, "weight_decay": MUON.weight_decay}
    matrices, vectors = [apart.first.weight, apart.second.weight], [apart.first.bias, apart.second.bias]
    optimizers = [
        torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw", **options),
        torch.optim.AdamW([apart.kernel], betas=(0.9, 0.99), **options),
        torch.optim.AdamW(vectors, lr=MUON.lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    losses = descend(both, [build_optimizer(both, MUON)], 30)
    assert losses == descend(apart, optimizers, 30)
    assert equal(both, apart)
    assert sum(losses[-5:]) < sum(losses[:5])
    assert torch.equal(both.fixed, torch.ones(4))


def test_updates_of_matrices_are_orthogonal() -> None:
    """One step of a matrix has all singular values about the same; AdamW's has not."""
    spread = {}
    for kind in ("muon", "adamw"):
        model = Mixed()
        before = model.first.weight.detach().clone()
        stage = StageConfig(optimizer=kind, lr=0.02, weight_decay=0.0)
        descend(model, [build_optimizer(model, stage)], 1)
        size = torch.linalg.svdvals(model.first.weight.detach() - before)
        spread[kind] = float(size[0] / size[-1])
    assert spread["muon"] < 3 < spread["adamw"]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_schedule_reaches_every_part(kind: str) -> None:
    model = Mixed()
    optimizer = build_optimizer(model, StageConfig(optimizer=kind))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step > 0))
    before = copy.deepcopy(model)
    descend(model, [optimizer], 1)
    assert equal(model, before)  # the rate was zero for all of them
    schedule.step()
    descend(model, [optimizer], 1)
    learned = [(p, q) for p, q in zip(model.parameters(), before.parameters(), strict=True) if p.requires_grad]
    assert all(not torch.equal(p, q) for p, q in learned)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_goes_on_from_a_saved_state_as_if_nothing_had_been(kind: str) -> None:
    stage = StageConfig(optimizer=kind, lr=0.02)
    whole = Mixed()
    descend(whole, [build_optimizer(whole, stage)], 12)
    half = Mixed()
    optimizer = build_optimizer(half, stage)
    descend(half, [optimizer], 7)
    again = copy.deepcopy(half)
    other = build_optimizer(again, stage)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(again, [other], 5, first=7)
    assert equal(whole, again)
    forgetful = build_optimizer(half, stage)  # without its state it is another run
    descend(half, [forgetful], 5, first=7)
    assert not equal(whole, half)


def test_weight_decay_is_of_matrices_only() -> None:
    for kind in ("adamw", "muon"):
        optimizer = build_optimizer(Mixed(), StageConfig(optimizer=kind, weight_decay=0.3))
        for group in optimizer.param_groups:
            assert {p.dim() >= 2 for p in group["params"]} == {group["weight_decay"] == 0.3}


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4)])
def test_a_model_may_have_one_kind_of_parameter_only(shape: tuple[int, ...]) -> None:
    model = nn.ParameterList([nn.Parameter(torch.randn(shape))])
    before = model[0].detach().clone()
    optimizer = build_optimizer(model, MUON)
    assert isinstance(optimizer, Joined)
    (model[0] ** 2).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0], before)


def test_other_kinds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefineError, match=r"optimizer='sgd' is not accepted; accepted: adamw, muon"):
        build_optimizer(Mixed(), StageConfig(optimizer="sgd"))
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(RefineError, match=r"muon needs PyTorch 2\.9 or newer; accepted here: adamw"):
        build_optimizer(Mixed(), MUON)
