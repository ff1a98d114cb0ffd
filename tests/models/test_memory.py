"""What a model is made of is counted while it is made, and refused before memory is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from toy import TinyConfig, TinyDomain

from refine.errors import RefineError
from refine.models.memory import AtMost, largest, made, memory
from refine.settings.config import ModelConfig, PredictorConfig


def test_every_weight_counts_and_random_numbers_are_the_same() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 6), nn.Conv2d(2, 3, 3), nn.LayerNorm(7))

    free = build()
    with AtMost(10**6, "key=1") as counted:
        held = build()
    assert counted.made == sum(p.numel() for p in free.parameters()) == 3 * 4 + 4 + 30 + 54 + 3 + 14
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), held.parameters(), strict=True))


@pytest.mark.parametrize("size", [(10**6, 10**6), (2**62, 2**62), (10**30,), (-1,)])
def test_one_that_is_too_many_is_not_made(size: tuple[int, ...]) -> None:
    with (
        pytest.raises(RefineError, match=r"^width=9 is not accepted: .* more than 1,000 numbers"),
        AtMost(1000, "width=9"),
    ):
        torch.empty(size)


def test_the_sum_counts_in_every_spelling_of_a_size() -> None:
    with AtMost(26, "key") as counted:
        torch.zeros(2, 3), torch.ones([5]), torch.randn(size=(4,)), torch.empty(torch.Size([1, 6])), torch.rand(5)
    assert counted.made == 26
    with pytest.raises(RefineError), AtMost(25, "key"):
        torch.zeros(2, 3), torch.ones([5]), torch.randn(size=(4,)), torch.empty(torch.Size([1, 6])), torch.rand(5)


def test_a_configuration_asks_for_no_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**20 < memory() < 2**62
    monkeypatch.setattr("refine.models.memory.memory", lambda: 2**26)  # less than there is, so that it is soon reached
    domain, model = TinyDomain(TinyConfig()), ModelConfig(predictor=PredictorConfig(width=10**9, heads=1))
    with pytest.raises(RefineError) as error:
        made(domain, model)
    assert str(error.value).startswith(
        "model.predictor.width=1000000000 is not accepted: the model would have more than"
    )


def test_the_largest_number_is_named() -> None:
    assert largest(model={"a": {"b": [3, 70]}, "c": True}, domain={"d": 5.5, "e": "x"}) == "model.a.b=70"
