"""Folders of graphs: every format, what is refused with the file's name, and which graph is in which split."""

from __future__ import annotations

import warnings
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from refine.domains.graph.graphs.archive import write_npz
from refine.domains.graph.graphs.formats.edge_list import read_edge_list
from refine.domains.graph.graphs.folder import hash_split, read_folder
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.generators import generate
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError

from ..made_up import labelled, same


def everything(folder: Path) -> list[Graph]:
    return [g for split in ("train", "val", "test") for g in read_folder(str(folder), split)]


def train(folder: Path) -> Graph:
    """The graph of a folder that has too few for other splits."""
    (graph,) = read_folder(str(folder), "train")
    return graph


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.edgelist", "0 1 {}\n1 2 {}\n0 2 {}\n3\n"),
        ("a.csv", "Source,Target\n0,1\n1,2\n2,0\n3\n"),
        ("a.csv", "\ufefffrom;to;weight\n0;1;2.0\n1;2;2\n2;0;2\n3\n"),
        ("a.txt", "# a comment\n\n0\t1\n1 0\n 1 2 \n2 0\n% another\n3\r\n"),
        ("a.EDGES", "10 20\n20 30\n30 10\n400"),
        ("a.edges", "Ada Bob\nBob Cy\nCy Ada\nDan"),
        ("a.edges", "0 1 {'weight': 3}\n1 2 {'weight': 3.0}\n2 0 {'weight': 3, 'colour': 'red'}\n3"),
    ],
)
def test_edge_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert same(train(tmp_path), Graph.of(4, [(0, 1), (1, 2), (0, 2)]))


def test_an_edge_list_of_networkx(tmp_path: Path) -> None:
    g = nx.connected_watts_strogatz_graph(20, 4, 0.3, seed=1)
    nx.write_edgelist(g, tmp_path / "a.edgelist")
    assert same(train(tmp_path), Graph.from_networkx(g))
    nx.write_edgelist(g, tmp_path / "a.edgelist", data=False)
    assert same(train(tmp_path), Graph.from_networkx(g))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1\n1 1\n", "a.txt, line 2: a self-loop at '1'"),
        ("0 1\n1 2\n# and\n0 1\n", "a.txt, line 4: '0', '1' again; multigraphs are not accepted"),
        ("0 1 1.0\n1 2 2.0\n", "a.txt, line 2: edges of different weight"),
        ("0 1 red\n", "a.txt, line 1: 'red' after two names"),
        ("0 1 {'weight': 3}\n0 2 {'weight': 4}\n", "a.txt, line 2: edges of different weight"),
        ("0 1 {'weight': [}\n", "a.txt, line 1: .*after two names; accepted: a dictionary"),
        ("0 1\n0 2 2 3\n", "a.txt, line 2: 2 values after two names"),
        ("", "a.txt has no nodes"),
        ("# nothing\n", "a.txt has no nodes"),
    ],
)
def test_edge_lists_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(RefineError, match=words):
        read_folder(str(tmp_path), "train")


def test_an_edge_list_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RefineError, match=r"a\.txt cannot be read"):
        read_edge_list(tmp_path / "a.txt")


def test_graphml_with_kinds_by_name(tmp_path: Path) -> None:
    colours, ties = ("blue", "red"), ("strong", "weak")
    one, two = Graph.of(3, [(0, 1), (1, 2)], [0, 1, 1], [0, 1]), Graph.of(2, [(0, 1)], [1, 1], [1])
    for name, graph in (("train_a", one), ("sub/b", two)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nx.write_graphml(graph.to_networkx(colours, ties), tmp_path / f"{name}.graphml")
    graphs = read_folder(str(tmp_path), "train")
    assert (graphs.node_kinds, graphs.edge_kinds) == (colours, ties)
    assert same(graphs[0], two) and same(graphs[1], one)
    assert graphs.origin == f"folder {tmp_path.name} (train)"


def test_graphs_of_any_shape(tmp_path: Path) -> None:
    shapes = [
        nx.empty_graph(1),
        nx.empty_graph(4),
        nx.disjoint_union(nx.cycle_graph(3), nx.path_graph(3)),
        nx.star_graph(9),
    ]
    for i, g in enumerate(shapes):
        nx.write_graphml(g, tmp_path / f"{i}.graphml")
    found = {g.num_nodes: g for g in everything(tmp_path)}
    assert all(same(found[len(g)], Graph.from_networkx(g)) for g in shapes)


def graphml(body: str, kind: str = "undirected") -> str:
    return (
        '<?xml version="1.0"?><graphml xmlns="http://graphml.graphdrawing.org/xmlns">'
        '<key id="w" for="edge" attr.name="weight" attr.type="double"/>'
        '<key id="l" for="node" attr.name="label" attr.type="int"/>'
        f'<graph edgedefault="{kind}">{body}</graph></graphml>'
    )


AB = '<node id="a"/><node id="b"/>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (graphml(AB + '<edge source="a" target="b"/>', "directed"), "a.graphml is directed"),
        (graphml(AB + '<edge source="a" target="b"/>' * 2), "a.graphml is a multigraph"),
        (graphml(AB + '<edge source="a" target="a"/>'), "a.graphml has a self-loop"),
        (graphml(AB + '<edge source="a"/>'), "a.graphml has an edge without a target"),
        (graphml(""), "a.graphml has no nodes"),
        (
            graphml(
                AB + '<node id="c"/><edge source="a" target="b"><data key="w">1</data></edge>'
                '<edge source="b" target="c"><data key="w">2</data></edge>'
            ),
            "a.graphml has edges of different weight",
        ),
        (graphml('<node id="a"><data key="l">x</data></node>'), "a.graphml cannot be read .* expected GraphML"),
        (
            graphml('<node id="a"><data key="l">1</data></node><node id="b"/>'),
            r"node \['b'\] of .*a.graphml has no kind",
        ),
        (graphml(AB)[:-30], "a.graphml cannot be read .* expected GraphML"),
        ("", "a.graphml cannot be read"),
        ("<svg/>", "a.graphml"),
    ],
)
def test_graphml_that_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.graphml").write_text(text)
    with pytest.raises(RefineError, match=words):
        read_folder(str(tmp_path), "train")


def test_several_graphs_in_a_file_are_all_read(tmp_path: Path) -> None:
    text = graphml(AB).replace("</graphml>", '<graph edgedefault="undirected"><node id="c"/></graph></graphml>')
    (tmp_path / "a.graphml").write_text(text)
    assert [g.num_nodes for g in read_folder(str(tmp_path), "train")] == [2, 1]
    (tmp_path / "a.graphml").write_text(text.replace('<node id="c"/>', ""))
    with pytest.raises(RefineError, match=r"a.graphml, graph 1 has no nodes"):
        read_folder(str(tmp_path), "train")


def test_kinds_of_several_files_meet_by_name(tmp_path: Path) -> None:
    graphs = [labelled(0), labelled(1), labelled(2)]
    write_npz(tmp_path / "a.npz", PackedGraphs.of(graphs[:2], ["x", "z", "y"], list("dcba")))
    nx.write_graphml(graphs[2].to_networkx(["y", "x", "w"], list("abcd")), tmp_path / "b.graphml")
    (tmp_path / "train").mkdir()
    for path in list(tmp_path.glob("*.*")):
        path.rename(tmp_path / "train" / path.name)
    packed = read_folder(str(tmp_path), "train")
    assert packed.node_kinds == ("w", "x", "y", "z") and packed.edge_kinds == ("a", "b", "c", "d")
    names = [[packed.node_kinds[i] for i in g.node_label.tolist()] for g in packed]
    assert names[0] == [["x", "z", "y"][i] for i in graphs[0].node_label.tolist()]
    assert names[2] == [["y", "x", "w"][i] for i in graphs[2].node_label.tolist()]
    assert packed[1].edge_label.tolist() == [3 - i for i in graphs[1].edge_label.tolist()]
    (tmp_path / "train" / "c.txt").write_text("0 1\n")
    with pytest.raises(RefineError, match=r"a.npz has kinds of nodes and .*c.txt has none"):
        read_folder(str(tmp_path), "train")


def test_whole_numbers_are_kinds_in_their_own_order(tmp_path: Path) -> None:
    for i, label in enumerate(([10, 2], [2, 9])):
        nx.write_graphml(Graph.of(2, [(0, 1)], label).to_networkx(), tmp_path / f"{i}.graphml")
    packed = read_folder(str(tmp_path), "train")
    assert packed.node_kinds == ("2", "9", "10") and packed.node_label.tolist() == [2, 0, 0, 1]


def test_an_archive_with_and_without_splits(tmp_path: Path) -> None:
    graphs = generate("community_small", 50, "train")
    write_npz(tmp_path / "a.npz", graphs, np.arange(32) % 3)
    assert [len(read_folder(str(tmp_path), s)) for s in ("train", "val", "test")] == [11, 11, 10]
    assert same(read_folder(str(tmp_path), "val")[1], graphs[4])
    write_npz(tmp_path / "a.npz", graphs, np.full(32, 3))  # says nothing
    splits = [read_folder(str(tmp_path), s) for s in ("train", "val", "test")]
    write_npz(tmp_path / "a.npz", graphs)
    for s, before in zip(("train", "val", "test"), splits, strict=True):
        assert np.array_equal(read_folder(str(tmp_path), s).edges, before.edges) and len(before) > 0
    assert sum(len(s) for s in splits) == 32


def test_splits_depend_on_names_and_more_files_do_not_move_them() -> None:
    names = [f"{i}.graphml" for i in range(1000)]
    split = hash_split(names)
    assert 80 < (split == 1).sum() < 120 and 80 < (split == 2).sum() < 120
    assert np.array_equal(hash_split(names[::-1]), split[::-1])
    assert np.array_equal(hash_split(names[:300]), split[:300])
    for num in range(3, 30):
        assert set(hash_split(names[:num])) == {0, 1, 2}
    assert hash_split(names[:2]).tolist() == [0, 0]


def test_splits_by_files_and_folders(tmp_path: Path) -> None:
    for name, n in (("train/a", 3), ("train/b", 4), ("val/c", 5), ("test.x", 6)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nx.write_edgelist(nx.path_graph(n), tmp_path / f"{name}.edgelist")
    sizes = {s: list(read_folder(str(tmp_path), s).sizes()) for s in ("train", "val", "test")}
    assert sizes == {"train": [3, 4], "val": [5], "test": [6]}
    (tmp_path / "stray.txt").write_text("0 1\n")
    with pytest.raises(RefineError, match=r"train, val, test and other files beside them: \['stray.txt'\]"):
        read_folder(str(tmp_path), "train")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 1\n")
    assert train(tmp_path).num_nodes == 2
    (tmp_path / "a.txt").write_text("0 1\n1 2\n")
    assert train(tmp_path).num_nodes == 3


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(RefineError, match=r"domain.folder='.*nowhere' is not a folder"):
        read_folder(str(tmp_path / "nowhere"), "train")
    (tmp_path / "notes.md").write_text("nothing")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.txt").write_text("0 1\n")
    with pytest.raises(RefineError, match=r"has no graphs; accepted: files .graphml, .gexf, .gml, .npz"):
        read_folder(str(tmp_path), "train")
    (tmp_path / "a.txt").write_text("0 1\n")
    with pytest.raises(RefineError, match=r"has 1 graph, none of them for val; give three or more, .*ego_graph"):
        read_folder(str(tmp_path), "val")


def test_a_folder_of_molecules(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    from refine.domains.graph.graphs.molecules import to_smiles

    (tmp_path / "a.smi").write_text("CCO\nCCO again\nC#N\n[NH4+]\nBr\n")
    (tmp_path / "b.smi").write_text("CCS\n")
    found = [read_folder(str(tmp_path), s) for s in ("train", "val", "test")]
    assert all(f.node_kinds == ("C", "N", "N+", "O", "S", "Br") for f in found)
    smiles = [[to_smiles(g, f.node_kinds) for g in f] for f in found]
    assert sorted(s for split in smiles for s in split) == ["Br", "C#N", "CCO", "CCO", "CCS", "[NH4+]"]
    assert sum("CCO" in split for split in smiles) == 1  # the same molecule is not in two splits
    (tmp_path / "b.smi").write_text("CCS\nCC)\n")
    with pytest.raises(RefineError, match=r"b.smi has 1 lines that cannot be used: line 2: 'CC\)'"):
        read_folder(str(tmp_path), "train")


def test_names_taken_for_kinds_are_warned_of(tmp_path: Path) -> None:
    for split, n in (("train", 6), ("val", 7), ("test", 8)):
        g = nx.cycle_graph(n)
        nx.set_node_attributes(g, {i: f"Person {split} {i}" for i in g}, "label")
        nx.set_node_attributes(g, "person", "group")
        nx.write_graphml(g, tmp_path / f"{split}.graphml")
    with pytest.warns(UserWarning, match=r"21 nodes of .* have 21 kinds, as if they were names; domain.node_attribute=null"):
        assert len(read_folder(str(tmp_path), "train").node_kinds) == 21
    for reading, kinds in ((Reading(None), ()), (Reading("group"), ("person",))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_folder(str(tmp_path), "val", reading).node_kinds == kinds


def test_a_split_beside_smiles_counts(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    (tmp_path / "a.csv").write_text("smiles,split\nCC,train\nCO,val\nCN,test\nCCC,train\n")
    assert [len(read_folder(str(tmp_path), split)) for split in ("train", "val", "test")] == [2, 1, 1]
