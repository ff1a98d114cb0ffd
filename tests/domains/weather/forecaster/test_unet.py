"""The network of the mean: it goes round the globe and over the poles, and turns with the globe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from refine.domains.weather.forecaster.unet import Conv, SphericalPad, UNet
from refine.domains.weather.sphere.grids import Grid
from refine.domains.weather.sphere.harmonics import HarmonicTransform
from refine.errors import RefineError

from ..rotations import precision


def pad(x: Tensor) -> Tensor:
    return SphericalPad.apply(x)  # type: ignore[no-untyped-call, no-any-return]


def stirred(inputs: int = 3, outputs: int = 2, shape: tuple[int, int] = (8, 16), blocks: int = 1) -> UNet:
    """Without zeros of the initialisation, and without features of latitudes."""
    torch.manual_seed(0)
    net = UNet(inputs, outputs, shape, [8, 16], blocks)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(0.3 * torch.randn_like(p) if name != "rows" else torch.zeros_like(p))
    return net


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 1, 2, 2), (1, 2, 6, 8)])
def test_padding_has_the_gradient_it_should_have(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pad, x)
    assert torch.autograd.gradcheck(lambda x: pad(x.permute(0, 1, 2, 3) * 2).square(), x)


def test_padding_goes_round_the_globe_and_over_the_poles() -> None:
    x = torch.arange(24.0).view(1, 1, 4, 6)
    out = pad(x)[0, 0]
    assert torch.equal(out[1:-1, 1:-1], x[0, 0])
    assert torch.equal(out[1:-1, 0], x[0, 0, :, -1]) and torch.equal(out[1:-1, -1], x[0, 0, :, 0])
    for edge, row in ((0, 0), (-1, -1)):
        over = x[0, 0, row].roll(3)  # half the globe away
        assert torch.equal(out[edge, 1:-1], over)
        assert out[edge, 0] == over[-1] and out[edge, -1] == over[0]


@pytest.mark.parametrize("name", ["gaussian:24x48", "regular:24x48"])
def test_a_smooth_field_stays_smooth_across_the_poles(name: str) -> None:
    """Second differences over the edge of the map are as small as within it; with zeros or mirrors they are not."""
    grid = Grid.parse(name)
    with precision(torch.float64):
        turn = HarmonicTransform(grid, 4)
        field = turn.synthesise(torch.randn(1, 1, 25, generator=torch.Generator().manual_seed(1)))
        slope = turn.synthesise(torch.eye(25)[3].view(1, 1, 25))  # straight over the poles
    padded = pad(field)[0, 0]

    def bend(x: Tensor) -> float:
        return float((x[2:] - 2 * x[1:-1] + x[:-2]).abs().max())

    within = bend(field[0, 0])
    assert bend(padded[:3]) < 1.5 * within and bend(padded[-3:]) < 1.5 * within
    assert bend(padded[:, -3:].T) < 1.5 * float((field.diff(dim=-1).diff(dim=-1)).abs().max())
    flat = torch.ones_like(slope)
    for x, wall in ((slope, slope[0, 0, :1]), (flat, 0 * flat[0, 0, :1])):  # the doubles: a mirror, and an abyss
        assert bend(torch.cat([wall, x[0, 0]])[:3]) > 1.5 * bend(pad(x)[0, 0, :3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_turning_the_globe_turns_the_result(dtype: torch.dtype) -> None:
    net, x = stirred(blocks=2).to(dtype), torch.randn(2, 3, 8, 16, dtype=dtype)
    with torch.no_grad():
        y, features = net(x)
        assert y.shape == (2, 2, 8, 16) and features.shape == (2, 8, 4, 8)
        atol = 1e-4 if dtype == torch.float32 else 1e-11
        for columns in (4, 8, 12):
            turned, turned_features = net(x.roll(columns, -1))
            torch.testing.assert_close(turned, y.roll(columns, -1), rtol=0, atol=atol)
            torch.testing.assert_close(turned_features, features.roll(columns // 2, -1), rtol=0, atol=atol)
        odd, _ = net(x.roll(1, -1))  # cells of 2 x 2 are joined: other turns are another map
        assert (odd - y.roll(1, -1)).abs().max() > 1e-2
        net.rows.normal_()  # features of latitudes turn with the globe, too
        torch.testing.assert_close(net(x.roll(4, -1))[0], net(x)[0].roll(4, -1), rtol=0, atol=atol)
        assert (net(x)[0] - y).abs().max() > 1e-2


def test_features_of_longitudes_would_not_turn() -> None:
    """The double: one feature that knows where 0 E is."""
    net, x = stirred(), torch.randn(1, 3, 8, 16)
    with torch.no_grad():
        x[:, 2] = torch.linspace(0, 1, 16)
        moved = x.roll(4, -1)
        moved[:, 2] = torch.linspace(0, 1, 16)
        assert (net(moved)[0] - net(x)[0].roll(4, -1)).abs().max() > 1e-2


def test_it_begins_with_nothing_to_say() -> None:
    net = UNet(3, 2, (8, 16), [8], 1)
    y, features = net(torch.randn(1, 3, 8, 16))
    assert torch.equal(y, torch.zeros_like(y)) and features.abs().max() > 0
    y.sum().backward()
    assert net.leave.weight.grad is not None and net.leave.weight.grad.abs().max() > 0


def test_every_weight_is_used() -> None:
    net = stirred()
    y, _ = net(torch.randn(2, 3, 8, 16))
    y.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_convolutions_are_torchs_on_the_padded_field() -> None:
    conv, x = Conv(3, 4), torch.randn(2, 3, 6, 8)
    weight = conv.weight.detach().view(4, 3, 3, 3).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.conv2d(pad(x), weight, conv.bias)
    torch.testing.assert_close(conv(x), wanted)
    assert conv.weight.dim() == 2
    np.testing.assert_allclose(Conv(16, 64).weight.detach().std().item(), 1 / (9 * 16) ** 0.5, rtol=0.1)


@pytest.mark.parametrize(
    ("shape", "widths", "message"),
    [
        ((8, 12), [8, 8, 8], r"widths=\[8, 8, 8\] halve the grid 3 times: 8x12 is not accepted; .*multiples of 8"),
        ((7, 16), [8], "multiples of 2"),
        ((8, 16), [], "widths"),
        ((8, 16), [12], r"widths=\[12\] is not accepted; accepted: multiples of 8"),
        ((8, 16), [0], "multiples of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, int], widths: list[int], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        UNet(3, 2, shape, widths, 1)
