"""The graph domain: which graphs, which model; samples as files and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from refine.capabilities import Inpaints
from refine.domains.graph.config import GraphConfig, GraphInpaintConfig, GraphModelConfig, GraphSampleConfig
from refine.domains.graph.graphs.data import GraphData
from refine.domains.graph.graphs.folder import read_graph
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.metrics.asked import asked_errors
from refine.domains.graph.metrics.metrics import graph_metrics
from refine.domains.graph.model import GraphModel
from refine.domains.graph.pictures.asked import Asked
from refine.domains.graph.pictures.drawings import plot_animation, plot_grid, plot_strip
from refine.domains.graph.pictures.files import GraphFiles
from refine.drawing.asking import sizes_of, vectors_of
from refine.errors import require
from refine.progress import track
from refine.settings.places import opened
from refine.types import Condition, Samples

if TYPE_CHECKING:
    from refine.commands.evaluate import EvaluateConfig
    from refine.settings.config import Config as RunConfig

SHOWN = 24  # graphs in a picture


class GraphDomain(GraphData, Inpaints):
    """Graphs without an order of nodes."""

    name = "graph"
    packages = ("networkx", "rustworkx", "scipy")
    group = "permutations of the nodes"
    Config = GraphConfig
    ModelConfig = GraphModelConfig
    sections: ClassVar[Mapping[str, type]] = {"sample": GraphSampleConfig, "inpaint": GraphInpaintConfig}
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
        given: int = 0,
        **options: Any,
    ) -> list[Path]:
        """What :meth:`save` writes, batch by batch; pictures mark the first ``given`` nodes."""
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
            paths.append(plot_grid(shown, folder / "graphs.png", node_kinds=names, captions=asked.rows, given=given))
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

    def inpaint(self, model: GraphModel, config: RunConfig, folder: Path) -> list[Path]:
        """Graphs that have the one of ``inpaint.graph`` as a part; written as samples are, with that part marked.

        Raises:
            RefineError: no such file, not one graph in it, or settings that are not accepted.
        """
        wanted = config.inpaint
        require(wanted.graph is not None, "refine inpaint needs graph=FILE, a file with the graph that is kept")
        require(wanted.keep_scales == 0, "inpaint.keep_scales is not accepted: of graphs a part is kept, graph=FILE")
        given = read_graph(opened(wanted.graph, "inpaint.graph"), Reading.of(self.config), *self.labels)
        labels = self.labels_of(wanted.label, wanted.num, "inpaint.label") if wanted.label is not None else None
        condition = Condition(
            label=labels,
            vector=vectors_of(wanted.vector, wanted.num, self.condition.vector, "inpaint.vector"),
            size=sizes_of(wanted.size, wanted.num, True, "inpaint.size"),
        )

        def draw(first: int) -> Samples:
            count = min(wanted.batch_size, wanted.num - first)
            part = condition[first : first + count]
            return model.sample(count, part, config.seed, first, config.sampler, given=given).cpu()

        drawn = map(draw, track(range(0, wanted.num, wanted.batch_size), f"Drawing {wanted.num} graphs"))
        begun = chain([next(drawn)], drawn)  # what cannot be drawn leaves no folder
        folder.mkdir(parents=True, exist_ok=True)
        return self.save_batches(begun, wanted.num, folder, given=given.num_nodes)

    def starter(self) -> Path | None:
        """The planar model; its ``config.yaml`` names the command that made it."""
        folder = Path(__file__).parent / "starter"
        return folder if (folder / "config.json").is_file() else None
