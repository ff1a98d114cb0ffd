"""Matrix products of inference by the library that is fastest for the processor, which is not always torch's choice."""

from __future__ import annotations

import platform
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGE = 2**16  # weights of a matrix from which oneDNN's share of overhead is small, whatever the rows


def onednn_pays() -> bool:
    """Whether float32 products should go to oneDNN: torch gives them to MKL, which leaves AMD's AVX-512 unused."""
    cpuinfo = Path("/proc/cpuinfo")
    vendor = cpuinfo.read_text() if cpuinfo.exists() else platform.processor()
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # not public
    return wide and "AuthenticAMD" in vendor and there


ONEDNN = onednn_pays()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(..., n) to (..., m) by ``weight`` (m, n) and ``bias`` (m,), as :func:`torch.nn.functional.linear`.

    Which library computes it depends on the weight alone, so that a row does not depend on the others of its batch.
    """
    plain = torch.is_grad_enabled() or x.dtype != torch.float32 or x.device.type != "cpu"
    if not ONEDNN or plain or type(weight) is not nn.Parameter or weight.numel() < LARGE:
        return F.linear(x, weight, bias)
    if torch.is_autocast_enabled("cpu") or weight.dtype != torch.float32 or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")
    return out


class Linear(nn.Linear):
    """:class:`torch.nn.Linear` by :func:`linear`; of no inputs too."""

    def reset_parameters(self) -> None:
        if self.in_features:
            super().reset_parameters()
        elif self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
