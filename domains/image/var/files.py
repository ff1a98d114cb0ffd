"""The options of ``refine import var``: which files become a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class VARFiles:
    """Weights of VAR, of any depth and schedule of scales.

      refine import var --vae vae_ch160v4096z32.pth --var var_d16.pth --to runs/var-d16
      refine sample run=runs/var-d16 --label 207

    Files of torch.save or safetensors, also training checkpoints of VAR; only tensors and plain data are read from
    them. Both are checked tensor by tensor before anything is written.
    """

    vae: str  # the tokenizer: vae_ch160v4096z32.pth
    var: str  # the transformer: var_d16.pth ... var_d36.pth
    scales: str | None = None  # sides of the scales, where the file of the transformer does not tell: 1,2,3,4
    folder: str | None = None  # images to evaluate or train with, in a subfolder for each class
