"""The items of a training: graphs, of which each is read many times with another pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from refine.domains.graph.config import GraphModelConfig
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.domains.graph.network.examples import Scales, random_examples


class PyramidItems(Dataset[tuple[Graph, int]]):
    """Graphs, each many times with another number, from which its pyramid and its rounds are drawn."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        times: int,
        seed: int,
        config: GraphModelConfig,
        deepest: int | None = None,
        again: int = 0,
    ) -> None:
        self.graphs, self.times, self.seed, self.config = graphs, times, seed, config
        self.deepest, self.again = deepest, again

    def __len__(self) -> int:
        return len(self.graphs) * self.times

    def __getitem__(self, index: int) -> tuple[Graph, int]:
        return self.graphs[index % len(self.graphs)], index

    def collate(self, rows: list[tuple[Graph, int]]) -> dict[str, Any]:
        """One round of every scale of every graph, and ``again`` more of the coarse ones."""
        rngs = [np.random.default_rng([self.seed, i]) for _, i in rows]
        scales = Scales.of([g for g, _ in rows], rngs, self.config, self.again)
        generator = torch.Generator().manual_seed(self.seed * 0x9E3779B97F4A7C15 + rows[0][1] & (1 << 63) - 1)
        told = PackedGraphs.collate([g for g, _ in rows])
        return {"examples": random_examples(scales, self.config, generator, self.deepest), **told}
