"""The official graphs of the field's benchmarks, with the field's splits.

Planar, SBM and community_small are SPECTRE's (Martinkus et al., arXiv 2204.01613), tree is HSpectre's (Bergmeister et
al., arXiv 2312.11529); both repositories are MIT, and the graphs ship with this package. Their split is the one of
SPECTRE, HSpectre and all tables that compare with them (DiGress draws another one from the same graphs). Ego_small,
enzymes and grid come with GDSS (Jo et al., arXiv 2202.02514), which states no licence: they are read from
``REFINE_DATA`` only. They have no validation split; a tenth of their training graphs is held out as one, the same on
every machine, and test stays as published. Enzymes is what the tables compare: structure without the kinds of nodes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from refine.domains.graph.graphs.archive import SPLITS, read_npz
from refine.domains.graph.graphs.packed import Array, PackedGraphs
from refine.errors import RefineError, require
from refine.storage.downloads import local_file

SHIPPED = Path(__file__).parents[1] / "benchmark_sets"
ELSEWHERE = {
    "ego_small": "ego graphs of your own: domain.folder=PATH",
    "enzymes": "the proteins from their source, with kinds of nodes and another split: domain.pyg=TUDataset:ENZYMES",
    "grid": "grids made by the same recipe: domain.generate=100",
}
BENCHMARKS = ("planar", "sbm", "tree", "community_small", *ELSEWHERE)
HELD_OUT = 10  # one of so many training graphs is for validation where none was published
AT_MOST = 10000


def read_benchmark(name: str, split: str) -> PackedGraphs:
    """One split of a published set: from ``REFINE_DATA/graphs``, else from this package.

    Raises:
        RefineError: it is in neither, or its file is damaged.
    """
    path = local_file("graphs", f"{name}.npz") or SHIPPED / f"{name}.npz"
    if name in ELSEWHERE and not path.is_file():
        raise RefineError(
            f"domain.data={name} has no licence that lets it ship with refine; put {name}.npz into graphs/ of a folder "
            f"that the environment variable REFINE_DATA names, or have {ELSEWHERE[name]}"
        )
    graphs, numbers = read_npz(path)
    require(numbers is not None, f"{path} has no split")
    assert numbers is not None
    if not (numbers == SPLITS.index("val")).any():
        numbers = numbers.copy()
        numbers[hold_out(np.flatnonzero(numbers == 0))] = SPLITS.index("val")
    return replace(graphs.structure().select(numbers == SPLITS.index(split)), origin=f"{name} ({split})")


def hold_out(rows: Array) -> Array:
    """Which of the training items are for validation: a tenth, 10,000 at most, drawn once and for all."""
    drawn = np.random.default_rng(len(rows)).permutation(rows)
    return np.sort(drawn[: min(len(rows) // HELD_OUT, AT_MOST)])
