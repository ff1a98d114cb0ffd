"""The backbone of all that is learned here: the U-Net of the mean, smaller, told of noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refine.domains.weather.forecaster.model import Forecaster
from refine.domains.weather.forecaster.unet import NHWC, Conv, Residual, UNet
from rivals.known import Known

WIDTHS, BLOCKS = [56, 104, 120], 1  # 1.14 million parameters, as many as the predictor of the codes has


class Told(nn.Module):
    """A layer whose result is changed by something that comes from outside the U-Net, put here before each pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.by: Tensor | None = None


class Modulated(Told):
    """A norm whose scale and shift depend on a vector (B, V)."""

    def __init__(self, norm: nn.GroupNorm, vector: int) -> None:
        super().__init__(norm)
        self.reads = nn.Linear(vector, 2 * norm.num_channels)
        nn.init.zeros_(self.reads.weight)
        nn.init.zeros_(self.reads.bias)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.reads(self.by)[..., None, None].chunk(2, 1)
        out: Tensor = self.layer(x) * (1 + scale) + shift
        return out


class Joined(Told):
    """A convolution to half the resolution, and one of features (B, F, H / 2, W / 2) that are there already."""

    def __init__(self, conv: Conv, features: int, width: int) -> None:
        super().__init__(conv)
        self.reads = Conv(features, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) + self.reads(self.by)
        return out


class ErrorNetwork(nn.Module):
    """Fields of errors (B, C, H, W), in units of ``size``, from what is known, noisy fields and a vector.

    Attributes:
        size: (C, 1, 1) root mean square of the training errors, in units of ``mean.change``.

    Args:
        model: the forecaster whose mean it completes.
        noisy: channels of the noisy fields.
        vector: V, numbers that modulate every block.
    """

    size: Tensor

    def __init__(self, model: Forecaster, noisy: int, vector: int) -> None:
        super().__init__()
        channels = len(model.channels)
        inputs = model.mean.unet.enter.inputs // 4 + channels + noisy
        self.unet = UNet(inputs, channels, model.grid.shape, WIDTHS, BLOCKS)
        self.unet.enter = Joined(self.unet.enter, model.mean.num_features, WIDTHS[0])  # type: ignore[assignment]
        for module in self.unet.modules():
            if isinstance(module, Residual):
                module.norm = Modulated(module.norm, vector)  # type: ignore[assignment]
        self.register_buffer("size", torch.ones(channels, 1, 1))

    def forward(self, told: Known, noisy: Tensor, vector: Tensor) -> Tensor:
        for module in self.modules():
            if isinstance(module, Told):
                module.by = told.features if isinstance(module, Joined) else vector
        x = torch.cat([noisy, told.change, told.fields], 1).contiguous(memory_format=NHWC)
        with torch.autocast(x.device.type, torch.bfloat16):
            out, _ = self.unet(x)
        return out.float()
