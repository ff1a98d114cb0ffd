"""The scale-step Transformer psi of eq. 18: a set network; geometry enters through :class:`refine.types.Level` only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.errors import require
from refine.linear import Linear
from refine.network.attention import Attention, KVCache, RelationBias, Relations
from refine.network.conditions import ConditionEmbedding
from refine.network.network import Network, by_kind
from refine.settings.bounds import check
from refine.settings.by_scale import by_scale
from refine.settings.config import PredictorConfig
from refine.types import Condition, ConditionSpec, Known, Level

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"silu": nn.SiLU, "gelu": partial(nn.GELU, approximate="tanh")}


POSITIONS = ("coordinates", "learned")


class Block(nn.Module):
    """Attention and MLP, each modulated and gated by the condition (adaptive LayerNorm, VAR's order of terms)."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.attention = Attention(width, config.heads, config.attention == "prefix")
        activation = ACTIVATIONS[config.activation]()
        self.mlp = nn.Sequential(Linear(width, hidden), activation, Linear(hidden, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        terms: BlockTerms,
        lengths: list[int],
        relations: list[Relations],
        cache: KVCache | None,
        block: int,
    ) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        gate1, gate2, scale1, scale2, shift1, shift2 = terms.modulation.unsqueeze(2).unbind(1)
        h = self.attention(modulate(x, scale1, shift1), lengths, relations, cache, block, terms.attention)
        x = torch.addcmul(x, self.dropout(h), gate1)
        return torch.addcmul(x, self.dropout(self.mlp(modulate(x, scale2, shift2))), gate2)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """LayerNorm without weights of its own, then scale and shift from the condition."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class BlockTerms(NamedTuple):
    """What a block knows before it sees a token.

    Attributes:
        modulation: (B, 6, D) from the condition: two gates, two scales, two shifts.
        attention: from the weights: :meth:`refine.network.attention.Attention.constants`.
    """

    modulation: Tensor
    attention: tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Conditioned:
    """A condition as the network uses it at every scale (:meth:`Predictor.conditioned`).

    Attributes:
        vector: (B, D).
        drop: (B, 3) true where the label, the vector or the field is withheld, or None for nowhere.
        blocks: of each block.
        final: (B, 2, D) scale and shift of the last LayerNorm.
    """

    vector: Tensor
    drop: Tensor | None
    blocks: list[BlockTerms]
    final: Tensor

    def first(self, batch: int) -> Conditioned:
        """Of the first ``batch`` samples."""
        drop = None if self.drop is None else self.drop[:batch]
        blocks = [b._replace(modulation=b.modulation[:batch]) for b in self.blocks]
        return Conditioned(self.vector[:batch], drop, blocks, self.final[:batch])


class Predictor(Network):
    """The Transformer: from contexts to hidden states whose linear image are the logits (:mod:`refine.codes.head`).

    Args:
        config: sizes and the kind of attention.
        sites: N_k of each of the K scales.
        channels: C of contexts.
        spec: the conditions.
        level: an example of the domain's levels, for the numbers of its features.
    """

    def __init__(
        self, config: PredictorConfig, sites: Sequence[int], channels: int, spec: ConditionSpec, level: Level
    ) -> None:
        super().__init__()
        num_levels = len(sites)
        check(config, "model.predictor")
        good = config.width % config.heads == 0
        require(good, f"model.predictor.width={config.width} must be a multiple of heads={config.heads}")
        width = self.width = config.width
        hidden = int(width * config.mlp_ratio) > 0
        require(
            hidden, f"model.predictor.mlp_ratio={config.mlp_ratio} is not accepted: of width {width} nothing is left"
        )
        self.config, self.prefix = config, config.attention == "prefix"
        name = "model.predictor.rounds"
        self.rounds = [int(r) for r in by_scale(name, config.rounds, num_levels)]
        fits = max(self.rounds) == 1 or not self.prefix
        require(fits, f"{name}={config.rounds} needs model.predictor.attention=markov; accepted here: 1")
        all_sites = not (self.prefix and spec.mask)
        require(all_sites, "model.predictor.attention=prefix needs items with all sites; accepted here: markov")
        self.condition = ConditionEmbedding(spec, width)
        self.context = Linear(channels, width)
        if config.positions == "learned":
            self.sites = nn.ParameterList(nn.Parameter(torch.empty(n, width)) for n in sites)
        else:
            self.position = Linear(level.pos.shape[-1], width, bias=False)
        self.scale = nn.Embedding(num_levels, width)
        if max(self.rounds) > 1:
            self.known = Linear(channels, width)
            self.unknown = nn.Parameter(torch.zeros(width))
        pair = level.edge_features if level.pair is None else level.pair
        self.relations = RelationBias(0 if pair is None else pair.shape[-1], config.heads)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.modulation = nn.ModuleList(
            Linear(width, 6 * width) for _ in range(1 if config.shared_adaln else config.depth)
        )
        self.offset = nn.Parameter(torch.randn(config.depth, 6, width) / width**0.5) if config.shared_adaln else None
        self.final = Linear(width, 2 * width)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """VAR's initialisation: truncated normals of std sqrt(1 / 3D), blocks close to the identity."""
        std = (1 / (3 * self.config.width)) ** 0.5
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(module.weight, std=std)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    nn.init.zeros_(module.bias)
        for sites in getattr(self, "sites", []):
            nn.init.trunc_normal_(sites, std=std)
        for block in self.blocks:
            assert isinstance(block, Block)
            for last in (block.attention.proj, cast(nn.Linear, block.mlp[-1])):
                last.weight /= (2 * max(1, self.config.depth)) ** 0.5
        for linear in self.modulation:
            weight = cast(nn.Linear, linear).weight
            weight[: 2 * self.config.width] *= 1e-3  # the two gates
            weight[2 * self.config.width :] *= 0.5
        if self.offset is not None:
            self.offset[:, :2] *= 1e-3

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of all that is computed from a scale's context on."""
        return self.context.weight.dtype

    def new_cache(self, batch: int, tokens: int) -> KVCache:
        """A cache for sampling in prefix mode."""
        shape = (batch, self.config.heads, tokens, self.config.width // self.config.heads)
        return KVCache(self.config.depth, shape, self.context.weight)

    def conditioned(self, condition: Condition, batch: int, drop: Tensor | None = None) -> Conditioned:
        """All that does not depend on the tokens, so that sampling computes it once and not at every scale.

        Args:
            condition: labels and vectors of the batch.
            batch: B.
            drop: (B,) true where the condition is withheld, or (B, 3) where the label, the vector or the field is; None
                in training draws it (condition dropout), and withholds nothing otherwise.
        """
        if drop is None and self.training:
            drop = self.condition.withheld(batch, self.config.condition_dropout)
        drop = by_kind(drop)
        vector = self.condition(condition, batch, drop)
        c = F.silu(vector)
        each = [linear(c).unflatten(1, (6, -1)) for linear in self.modulation]
        modulations = each if self.offset is None else [each[0] + offset for offset in self.offset]
        constants = [cast(Block, block).attention.constants() for block in self.blocks]
        blocks = [BlockTerms(m, a) for m, a in zip(modulations, constants, strict=True)]
        return Conditioned(vector, drop, blocks, self.final(c).unflatten(1, (2, -1)))

    def forward(
        self,
        contexts: Sequence[Tensor],
        levels: Sequence[Level],
        scales: Sequence[int],
        condition: Condition | Conditioned,
        fields: Sequence[Tensor | None] | None = None,
        drop: Tensor | None = None,
        cache: KVCache | None = None,
        known: Sequence[Known | None] | None = None,
    ) -> list[Tensor]:
        """Hidden states (B, N_k, D) for each scale given.

        Args:
            contexts: (B, N_k, C) for each scale.
            levels: their geometry.
            scales: which scales these are.
            condition: labels and vectors of the batch; or what :meth:`conditioned` made of them, for many calls.
            fields: (B, N_k, F) condition fields seen at each scale.
            drop: as in :meth:`conditioned`.
            cache: in prefix mode, keys and values of the scales before these.
            known: codes of each scale that are known already, where a scale has several rounds; None for none.

        Raises:
            RefineError: prefix attention over levels that have a mask, pair features or edges.
        """
        batch, lengths = contexts[0].shape[0], [level.num_sites for level in levels]
        if self.prefix and any(x is not None for v in levels for x in (v.mask, v.pair, v.edges)):
            require(False, "model.predictor.attention=prefix takes levels of positions only; accepted here: markov")
        given = condition if isinstance(condition, Conditioned) else self.conditioned(condition, batch, drop)
        tokens = []
        for i, (context, level, k) in enumerate(zip(contexts, levels, scales, strict=True)):
            learned = self.config.positions == "learned"
            position = self.sites[k] if learned else self.position(level.pos.to(self.dtype))
            x = self.context(context.to(self.dtype)) + position + self.scale.weight[k]
            site = self.condition.site_tokens(None if fields is None else fields[i], given.drop)
            x = x if site is None else x + site
            if self.rounds[k] > 1:
                x = x + self._revealed(None if known is None else known[i])
            tokens.append(x + given.vector[:, None] if k == 0 else x)  # VAR starts from the condition itself
        x = tokens[0] if len(tokens) == 1 else torch.cat(tokens, dim=1)
        relations = [self.relations(level) for level in levels]
        for i, (block, terms) in enumerate(zip(self.blocks, given.blocks, strict=True)):
            x = block(x, terms, lengths, relations, cache, i)
        if cache is not None:
            cache.length += x.shape[1]
        scale, shift = given.final.unsqueeze(2).unbind(1)
        return list(modulate(x, scale, shift).split(lengths, dim=1))

    def _revealed(self, known: Known | None) -> Tensor:
        """What is added to tokens (B, N, D): the value of a code that is known, or that it is not."""
        if known is None:
            return self.unknown
        return torch.where(known.mask[..., None], self.known(known.values.to(self.dtype)), self.unknown)
