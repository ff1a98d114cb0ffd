"""The graph domain: which graphs, which model; samples as files and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from refine.domains.graph.config import GraphConfig, GraphModelConfig, GraphSampleConfig
from refine.domains.graph.graphs.data import GraphData
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.asked import asked_errors
from refine.domains.graph.metrics.metrics import graph_metrics
from refine.domains.graph.model import GraphModel
from refine.domains.graph.pictures.asked import Asked
from refine.domains.graph.pictures.drawings import plot_animation, plot_grid, plot_strip
from refine.domains.graph.pictures.files import GraphFiles
from refine.types import Samples

if TYPE_CHECKING:
    from refine.commands.evaluate import EvaluateConfig

SHOWN = 24  # graphs in a picture


class GraphDomain(GraphData):
    """Graphs without an order of nodes."""

    name = "graph"
    packages = ("networkx", "rustworkx", "scipy")
    group = "permutations of the nodes"
    Config = GraphConfig
    ModelConfig = GraphModelConfig
    sections: ClassVar[Mapping[str, type]] = {"sample": GraphSampleConfig}
    stages = GraphModel.stages

    def model(self, config: GraphModelConfig) -> GraphModel:
        return GraphModel(self, config)

    def describe(self, config: GraphModelConfig) -> dict[str, Any]:
        nodes, edges = self.label_counts
        return {"codes": {"node token": 3, "edge pattern": 15, "kinds of nodes": nodes, "kinds of edges": edges}}

    def save(self, samples: Samples, folder: Path, strip: int = 8, gif: bool = False, **options: Any) -> list[Path]:
        """``graphs.npz``, GraphML files, ``graphs.png``, the strip ``refinement.png``, and files of molecules;
        ``asked.csv`` where graphs have labels or vectors."""
        return self.save_batches([samples], len(samples.items), folder, strip, gif)

    def save_batches(
        self,
        batches: Iterable[Samples],
        num: int,
        folder: Path,
        strip: int = 8,
        gif: bool = False,
        pictures: bool = True,
        **options: Any,
    ) -> list[Path]:
        """What :meth:`save` writes, batch by batch."""
        names, shown, told = self.labels[0], list[Graph](), list[Samples]()
        asked = Asked(self.class_names(), self.config.vector or [])
        with GraphFiles(folder, num, *self.labels) as files:
            for samples in batches:
                files.add(samples.items)
                asked.add(samples.condition)
                shown += samples.items[: SHOWN - len(shown)]
                if samples.trail:
                    told.append(samples)
            paths = files.finish().paths + asked.finish(folder)
        if pictures:
            paths.append(plot_grid(shown, folder / "graphs.png", node_kinds=names, captions=asked.rows))
        if told:
            trails = [list(trail) for trail in zip(*Samples.join(told).trail, strict=True)]
            parents = [[g.parent for g in trail[1:] if g.parent is not None] for trail in trails]
            if strip:
                paths.append(plot_strip(trails[:strip], folder / "refinement.png", parents[:strip], names))
            if gif:
                paths.append(plot_animation(trails[0], folder / "refinement.gif", parents[0], names))
        return paths

    def metrics(self, model: Any, samples: Samples, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        reference, train = self.dataset(config.split), self.dataset("train")
        figures = graph_metrics(samples.items, reference, train, self.kind, *self.labels)
        asked = samples.condition.vector
        if asked is not None:
            figures |= asked_errors(samples.items, asked.numpy(), self.config.vector or [], *self.labels)
        return figures

    def starter(self) -> Path | None:
        """The planar model; its ``config.yaml`` names the command that made it."""
        folder = Path(__file__).parent / "starter"
        return folder if (folder / "config.json").is_file() else None
