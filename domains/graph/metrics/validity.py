"""V.U.N.: how many graphs are valid, unlike each other, and unlike those of the training set."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from refine.domains.graph.graphs.graphs import Graph
from refine.progress import track

if TYPE_CHECKING:
    import networkx as nx

SBM_CHECK = Path(__file__).with_name("sbm_check.py")


class MissingError(Exception):
    """A figure needs what is not on this machine; the message says what."""


def valid_unique_novel(
    samples: Sequence[Graph], train: Sequence[Graph], reference: Sequence[Graph], kind: str
) -> dict[str, Any]:
    """Shares of the samples that are ``valid``, ``unique`` (no earlier sample is isomorphic), ``novel`` (no training
    graph is) and all three, ``vun``; and ``valid_of_reference``.

    ``validity`` says what was checked: a graph of ``planar`` is connected and planar, of ``tree`` a tree, of ``sbm``
    passes :mod:`refine.domains.graph.metrics.sbm_check`. Other kinds have no notion of valid, and ``sbm`` has none
    without graph_tool; then only ``unique`` and ``novel`` are there.
    """
    unique, novel = unique_and_novel(samples, train)
    out: dict[str, Any] = {"unique": _share(unique), "novel": _share(novel)}
    if kind not in VALIDITY:
        return out | {"validity": f"not defined for graphs of kind {kind}; unique and novel only"}
    name, check = VALIDITY[kind]
    try:
        valid, of_reference = check(samples), check(reference)
    except MissingError as error:
        return out | {"validity": f"valid and vun are missing: {error}"}
    vun = [all(verdicts) for verdicts in zip(valid, unique, novel, strict=True)]
    out |= {"valid": _share(valid), "vun": _share(vun), "valid_of_reference": _share(of_reference)}
    return out | {"validity": name}


def _share(verdicts: Sequence[bool]) -> float:
    return sum(verdicts) / len(verdicts)


def unique_and_novel(samples: Sequence[Graph], train: Sequence[Graph]) -> tuple[list[bool], list[bool]]:
    """For each sample, whether no sample before it is isomorphic to it, and whether no graph of ``train`` is.

    An isomorphism keeps the kinds of nodes and edges, where graphs have them.
    """
    known, seen = _Classes(), _Classes()
    for graph in track(train, "classes of the training graphs"):
        known.add(graph)
    return [seen.add(graph) for graph in track(samples, "unique samples")], [g not in known for g in samples]


class _Classes:
    """Isomorphism classes: graphs of one Weisfeiler-Lehman hash are compared pair by pair (VF2++)."""

    def __init__(self) -> None:
        self.members: dict[str, list[nx.Graph]] = defaultdict(list)

    def __contains__(self, graph: Graph) -> bool:
        return self._found(*_hashed(graph))

    def add(self, graph: Graph) -> bool:
        """Take up a graph; whether it is the first of its class."""
        key, coloured = _hashed(graph)
        if self._found(key, coloured):
            return False
        self.members[key].append(coloured)
        return True

    def _found(self, key: str, coloured: nx.Graph) -> bool:
        import networkx as nx

        others = self.members.get(key, ())
        return any(nx.vf2pp_is_isomorphic(coloured, other, node_label="kind") for other in others)


def _hashed(graph: Graph) -> tuple[str, nx.Graph]:
    """A hash that isomorphic graphs share, and a graph with kinds on its nodes only: an edge that has a kind becomes
    two edges with a node between them."""
    import networkx as nx

    n = graph.num_nodes
    kinds = [0] * n if graph.node_label is None else graph.node_label.tolist()
    coloured = nx.Graph()
    coloured.add_nodes_from((i, {"kind": f"node {kind}"}) for i, kind in enumerate(kinds))
    if graph.edge_label is None:
        coloured.add_edges_from(graph.edges.T.tolist())
    else:
        for e, ((u, v), kind) in enumerate(zip(graph.edges.T.tolist(), graph.edge_label.tolist(), strict=True)):
            coloured.add_node(n + e, kind=f"edge {kind}")
            coloured.add_edges_from([(u, n + e), (n + e, v)])
    return nx.weisfeiler_lehman_graph_hash(coloured, node_attr="kind", iterations=6), coloured


def are_planar(graphs: Sequence[Graph]) -> list[bool]:
    """Which graphs are connected and planar."""
    import networkx as nx

    drawn = (g.to_networkx() for g in track(graphs, "planar graphs"))
    return [nx.is_connected(g) and nx.check_planarity(g)[0] for g in drawn]


def are_trees(graphs: Sequence[Graph]) -> list[bool]:
    """Which graphs are connected and without a cycle."""
    import networkx as nx

    return [nx.is_tree(g.to_networkx()) for g in track(graphs, "trees")]


def are_sbm(graphs: Sequence[Graph]) -> list[bool]:
    """Which graphs pass :mod:`refine.domains.graph.metrics.sbm_check`, run in a process of its own.

    Raises:
        MissingError: no interpreter here has graph_tool, or the process broke down.
    """
    command = [_python_with_graph_tool(), "-I", str(SBM_CHECK)]
    with (
        TemporaryFile("w+") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        verdicts = []
        for graph in track(graphs, "stochastic block models (graph_tool)"):
            question = {"num_nodes": graph.num_nodes, "edges": graph.edges.T.tolist()}
            with suppress(BrokenPipeError):  # then the answer is missing too
                print(json.dumps(question), file=process.stdin, flush=True)
            answer = process.stdout.readline()
            if not answer:
                log.seek(0)
                raise MissingError(f"graph_tool broke down: {log.read().strip().splitlines()[-1:]}")
            verdicts.append(bool(json.loads(answer)))
        return verdicts


def _python_with_graph_tool() -> str:
    """This interpreter, the one first on PATH, or the system's: the first that has graph_tool."""
    candidates = [sys.executable, shutil.which("python3"), shutil.which("python3", path=os.defpath)]
    for python in dict.fromkeys(filter(None, candidates)):
        if not subprocess.run([python, "-I", "-c", "import graph_tool.inference"], capture_output=True).returncode:
            return python
    raise MissingError(
        "graph_tool is not on this machine; pip has no such package, but a system or conda one serves, whatever its "
        "Python (Debian, Ubuntu: apt-get install python3-graph-tool; conda install -c conda-forge graph-tool)"
    )


VALIDITY: dict[str, tuple[str, Callable[[Sequence[Graph]], list[bool]]]] = {
    "planar": ("connected and planar", are_planar),
    "tree": ("a tree", are_trees),
    "sbm": ("2 to 5 blocks of 20 to 40 nodes, Wald test of their edges, graph_tool with 100 sweeps", are_sbm),
}
