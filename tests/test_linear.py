"""Products by oneDNN are torch's, wherever they may be taken at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import refine.linear
from refine.linear import LARGE, Linear, linear

available = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Turns oneDNN on, whatever the processor, and notes when torch's own product is taken."""
    taken: list[str] = []
    plain = torch.nn.functional.linear

    def noted(*args: Tensor) -> Tensor:
        taken.append("torch")
        return plain(*args)

    monkeypatch.setattr(refine.linear, "ONEDNN", True)
    monkeypatch.setattr(refine.linear.F, "linear", noted)
    return taken


def layer(bias: bool = True) -> Linear:
    torch.manual_seed(0)
    return Linear(192, LARGE // 128, bias)


@available
@pytest.mark.parametrize("shape", [(1,), (7,), (2, 1), (4, 33)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_onednn_computes_the_same(calls: list[str], shape: tuple[int, ...], bias: bool) -> None:
    module, x = layer(bias), torch.randn(*shape, 192)
    out = module(x)
    assert calls == []
    exact = x.double() @ module.weight.double().T + (module.bias.double() if bias else 0)
    assert out.shape == exact.shape and out.dtype == torch.float32
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-5)


@available
@torch.no_grad()
def test_a_row_does_not_depend_on_the_others(calls: list[str]) -> None:
    module, x = layer(), torch.randn(40, 192)
    torch.testing.assert_close(torch.cat([module(row[None]) for row in x]), module(x), rtol=1e-5, atol=1e-6)
    assert calls == []


@pytest.mark.parametrize("case", ["gradients", "small", "double", "bfloat16", "autocast", "no parameter"])
def test_all_else_is_left_to_torch(calls: list[str], case: str) -> None:
    module, x = layer(), torch.randn(5, 192)
    if case == "gradients":
        module(x).sum().backward()
        assert module.weight.grad is not None and module.weight.grad.abs().sum() > 0
    with torch.no_grad():
        if case == "small":
            small = Linear(192, 16)
            torch.testing.assert_close(small(x), x @ small.weight.T + small.bias)
        elif case == "double":
            assert module.double()(x.double()).dtype == torch.float64
        elif case == "bfloat16":
            assert module.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
        elif case == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                assert module(x).dtype == torch.bfloat16
        elif case == "no parameter":  # weights of libraries that quantise are tensors of their own kind
            linear(x, module.weight.detach(), module.bias)
    assert calls == ["torch"]


def test_a_linear_is_torchs() -> None:
    assert isinstance(layer(), nn.Linear)
    assert layer().state_dict().keys() == nn.Linear(2, 3).state_dict().keys()


def test_it_is_made_of_no_inputs_without_a_word(recwarn: pytest.WarningsRecorder) -> None:
    """Sites may have positions of no numbers; torch warns of weights without elements."""
    assert torch.equal(Linear(0, 3)(torch.empty(2, 0)), torch.zeros(2, 3))
    assert not recwarn.list
