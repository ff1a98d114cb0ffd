"""Conditions as the network reads them: one vector for each item, one token for each site."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refine.linear import Linear
from refine.types import Condition, ConditionSpec


class ConditionEmbedding(nn.Module):
    """Conditions as one vector per sample (labels, vectors) and one token per site (fields), each with a null."""

    def __init__(self, spec: ConditionSpec, width: int) -> None:
        super().__init__()
        self.spec, self.width = spec, width
        self.null = nn.Parameter(torch.zeros(width))
        if spec.num_classes:
            self.label = nn.Embedding(spec.num_classes + 1, width)  # the last row is "no label"
        if spec.vector:
            self.vector = Linear(spec.vector, width)
        if spec.field:
            self.field = Linear(spec.field, width)
            self.field_null = nn.Parameter(torch.zeros(width))

    def forward(self, condition: Condition, batch: int, drop: Tensor | None) -> Tensor:
        """(B, D); ``drop`` (B, 3) says of which samples the label, the vector or the field is withheld."""
        out = self.null.expand(batch, -1)
        if self.spec.num_classes:
            none = self.spec.num_classes
            label = condition.label
            label = torch.full((batch,), none, device=out.device) if label is None else label
            out = out + self.label(label.long() if drop is None else torch.where(drop[:, 0], none, label.long()))
        if self.spec.vector and condition.vector is not None:
            vector = self.vector(condition.vector.to(out.dtype))
            out = out + (vector if drop is None else torch.where(drop[:, 1, None], 0.0, vector))
        return out

    def withheld(self, batch: int, share: float) -> Tensor:
        """(B, 3) a draw of what training withholds: everything of a ``share`` of the items and, where there are several
        kinds of condition, each of them alone of as large a share, so that every combination is learned."""
        device, spec = self.null.device, self.spec
        # at no dropout too: every weight is in every graph
        drop = (torch.rand(batch, device=device) < share)[:, None].expand(-1, 3)
        if share > 0 and sum(n > 0 for n in (spec.num_classes, spec.vector, spec.field)) > 1:
            drop = drop | (torch.rand(drop.shape, device=device) < share)
        return drop

    def site_tokens(self, field: Tensor | None, drop: Tensor | None) -> Tensor | None:
        """A field at one scale (B, N, F) as tokens (B, N, D)."""
        if not self.spec.field:
            return None
        if field is None:
            return self.field_null
        tokens = self.field(field.to(self.null.dtype))
        return tokens if drop is None else torch.where(drop[:, 2, None, None], self.field_null, tokens)
