"""A convolutional U-Net on latitude-longitude grids of the whole sphere."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.errors import require

NHWC = torch.channels_last  # twice as fast as NCHW for convolutions on CPUs
GROUPS = 8


class SphericalPad(torch.autograd.Function):
    """One more cell all round (B, C, H, W): periodic in longitude; over a pole, the row half the globe away.

    Its own backward pass: cutting and joining slices with their generic ones costs more than the convolutions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        out = torch.empty(b, c, h + 2, w + 2, dtype=x.dtype, device=x.device, memory_format=NHWC)
        out[..., 1:-1, 1:-1] = x
        out[..., 0, 1:-1] = x[..., 0, :].roll(w // 2, -1)
        out[..., -1, 1:-1] = x[..., -1, :].roll(w // 2, -1)
        out[..., 0], out[..., -1] = out[..., -2], out[..., 1]
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (g,) = gradients
        w = g.shape[-1] - 2
        x = g[..., 1:-1].clone(memory_format=NHWC)
        x[..., -1] += g[..., 0]
        x[..., 0] += g[..., -1]
        out = x[..., 1:-1, :]
        out[..., 0, :] += x[..., 0, :].roll(-(w // 2), -1)
        out[..., -1, :] += x[..., -1, :].roll(-(w // 2), -1)
        return out.contiguous(memory_format=NHWC)


class Conv(nn.Module):
    """A convolution of 3 x 3 with spherical padding, or of 1 x 1; its weight is held as a matrix (Muon wants those)."""

    def __init__(self, inputs: int, outputs: int, size: int = 3, zero: bool = False) -> None:
        super().__init__()
        fan = inputs * size * size
        self.weight = nn.Parameter(torch.zeros(outputs, fan) if zero else torch.randn(outputs, fan) / fan**0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.size, self.inputs = size, inputs

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(-1, self.size, self.size, self.inputs).permute(0, 3, 1, 2)
        padded: Tensor = SphericalPad.apply(x) if self.size == 3 else x  # type: ignore[no-untyped-call]
        return F.conv2d(padded, weight, self.bias)


class Residual(nn.Module):
    """Norm, SiLU, convolution, SiLU, convolution; starts as the identity."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, inputs)
        self.conv1, self.conv2 = Conv(inputs, outputs), Conv(outputs, outputs, zero=True)
        self.skip = Conv(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.skip(x) + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))
        return out


def fold(x: Tensor) -> Tensor:
    """Cells of 2 x 2 become channels."""
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=NHWC)


def unfold(x: Tensor) -> Tensor:
    """Channels become cells of 2 x 2."""
    return F.pixel_shuffle(x, 2).contiguous(memory_format=NHWC)


class UNet(nn.Module):
    """Fields (B, inputs, H, W) to fields (B, outputs, H, W), zero at first, and hidden features at half resolution.

    Cells of 2 x 2 are joined at the door and between resolutions, so a rotation about the axis by a multiple of
    ``2 ** len(widths)`` columns rotates the result. ``rows`` are learned features of each latitude.

    Args:
        inputs: channels.
        outputs: channels.
        shape: (H, W) of the grid.
        widths: channels at each resolution, finest (H / 2) first; multiples of 8.
        blocks: residual blocks at each resolution and in each direction.

    Raises:
        RefineError: a grid that cannot be halved so often.
    """

    def __init__(self, inputs: int, outputs: int, shape: tuple[int, int], widths: list[int], blocks: int) -> None:
        super().__init__()
        factor = 2 ** len(widths)
        fits = all(n % factor == 0 for n in shape)
        require(
            fits and len(widths) > 0,
            f"model.mean.widths={widths} halve the grid {len(widths)} times: {shape[0]}x{shape[1]} is not accepted; "
            f"accepted: multiples of {factor} (see domain.grid)",
        )
        good = all(w > 0 and w % GROUPS == 0 for w in widths)
        require(good, f"model.mean.widths={widths} is not accepted; accepted: multiples of {GROUPS}")
        self.enter = Conv(4 * inputs, widths[0], 1)
        self.rows = nn.Parameter(torch.zeros(1, widths[0], shape[0] // 2, 1))
        self.down = nn.ModuleList(nn.ModuleList(Residual(w, w) for _ in range(blocks)) for w in widths)
        self.join = nn.ModuleList(Conv(4 * a, b, 1) for a, b in itertools.pairwise(widths))
        self.split = nn.ModuleList(Conv(b, 4 * a, 1) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(
            nn.ModuleList(Residual(2 * w if i == 0 else w, w) for i in range(blocks)) for w in widths[:-1]
        )
        self.leave = Conv(widths[0], 4 * outputs, 1, zero=True)
        self.fine1, self.fine2 = Conv(outputs + inputs, 32), Conv(32, outputs, zero=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output (B, outputs, H, W) and the features (B, widths[0], H / 2, W / 2) it was read from."""
        h = self.enter(fold(x)) + self.rows
        kept: list[Tensor] = []
        for depth, blocks in enumerate(self.down):
            if depth:
                kept.append(h)
                h = self.join[depth - 1](fold(h))
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h)
        for depth in reversed(range(len(self.up))):
            h = torch.cat([unfold(self.split[depth](h)), kept.pop()], 1).contiguous(memory_format=NHWC)
            for block in self.up[depth]:  # type: ignore[attr-defined]
                h = block(h)
        y = unfold(self.leave(h))
        return y + self.fine2(F.silu(self.fine1(torch.cat([y, x], 1).contiguous(memory_format=NHWC)))), h
