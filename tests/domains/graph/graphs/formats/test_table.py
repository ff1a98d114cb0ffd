"""Texts of other programs: headings, quotes, blanks, tables of Gephi; and first rows of which nobody can say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from refine.domains.graph.graphs.formats.edge_list import read_edge_list
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.graphs import Graph
from refine.errors import RefineError

from ...made_up import same

TRIANGLE = Graph.of(4, [(0, 1), (1, 2), (0, 2)])  # and an isolated node


def read(folder: Path, name: str, text: str, **options: object) -> Graph:
    (folder / name).write_text(text, encoding="utf-8")
    (graph,) = read_edge_list(folder / name, Reading(**options))  # type: ignore[arg-type]
    return graph


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id_1,id_2\n0,1\n1,2\n2,0\n3\n"),  # words over numbers are a heading, whatever they say
        ("a.txt", "citing\tcited\n0\t1\n1\t2\n2\t0\n3\n"),
        ("a.edges", "node_a node_b\n0 1\n1 2\n2 0\n3\n"),
        ("a.csv", '"source","target"\n"n0","n1"\n"n1","n2"\n"n2","n0"\n"n3"\n'),
        ("a.csv", '"";"from";"to"\n"1";"a";"b"\n"2";"b";"c"\n"3";"c";"a"\n"4";"d"\n'),  # write.csv2 of R
        ("a.csv", '"a, b","c"\n"c","d ""e"""\n"d ""e""","a, b"\n"f"\n'),
        ("a.tsv", "target\tsource\nNew York\tParis\nParis\tRome\nRome\tNew York\n\tThe Hague\n"),
        ("a.txt", "New York\tOslo\nOslo\tSan José\nSan José\tNew York\nVaduz"),
        ("a.edges", '"a b" "c d"\n"c d" e\ne "a b"\nf\n'),
        ("a.csv", "Source,Target,Type,Id,Label,Weight\n0,1,Undirected,0,,1.0\n1,2,Undirected,1,,1.0\n0,2,Undirected,2,,1\n3\n"),
        ("a.csv", "Id,Weight,Target,Source\n7,2,0,1\n8,2,1,2\n9,2,2,0\n1,,,3\n"),
        ("a.csv", "source , target\n0 , 1\n1 , 2\n2 , 0\n3\n"),
        ("a.csv", "source target\n0 1\n1 2\n2 0\n3\n"),
        ("a.edgelist", "0,1,{'weight': 1.0, 'b': 2}\n1,2,{'weight': 1}\n2,0,{'weight': 1}\n3\n"),
    ],
)
def test_edges_of_other_programs(tmp_path: Path, name: str, text: str) -> None:
    assert same(read(tmp_path, name, text), TRIANGLE)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "person,friend\nAda,Bob\nBob,Cy\n", "line 1: 'person, friend' are found in no other line: a heading or"),
        ("a.txt", "a b\nc d\n", "line 1: 'a, b' are found in no other line"),
        ("a.csv", "Id,Label\n0,Ada\n1,Bob\n", "line 1: a table of nodes has no edges"),
        ("a.csv", "id,a,b\n0,3,4\n1,4,5\n", "line 1: the columns 'id, a, b' are not known; accepted: source and target"),
        ("a.csv", "source,target,type\n0,1,Directed\n", "line 2: a directed edge; .*domain.undirected=true"),
        ("a.csv", "source,target,weight\n0,1,2\n1,2,3\n", "line 3: edges of different weight.*domain.weights=drop"),
        ("a.csv", "0,1,1,0\n1,0,1,1\n1,1,0,0\n0,1,0,0\n", "line 1: 2 values after two names"),  # a matrix
        ("a.csv", "source,target\n,\n0,1\n,1\n1,1\n", "line 5: a self-loop"),
        ("a.csv", "source,target,label\n0,1,x\n1,2,\n", "the edge '1', '2' has no kind, but others have"),
        ("a.csv", 'source,target\n0,"' + "1" * 200_000 + '"\n', "line 2 cannot be read"),
        ("a.txt", "0 1 {" + "[" * 5000 + "}\n", "line 1: '{.*...' after two names"),
        ("a.txt", "0 1 {" + "[" * 900 + "}\n", "line 1: '{.*...' after two names"),
    ],
)
def test_texts_that_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(RefineError, match=f"{name}.*{words}") as error:
        read(tmp_path, name, text)
    assert len(str(error.value)) < 400 + len(str(tmp_path))


def test_a_node_of_a_table_without_a_partner(tmp_path: Path) -> None:
    assert same(read(tmp_path, "a.csv", "source,target\n0,1\n,2\n"), Graph.of(3, [(0, 1)]))


def test_directions_and_weights_that_may_go(tmp_path: Path) -> None:
    text = "source,target,type,weight\n0,1,Directed,2\n1,0,Directed,3\n1,2,Directed,\n"
    with pytest.raises(RefineError, match=r"a directed edge"):
        read(tmp_path, "a.csv", text, weights="drop")
    assert same(read(tmp_path, "a.csv", text, undirected=True, weights="drop"), Graph.of(3, [(0, 1), (1, 2)]))
    assert same(read(tmp_path, "a.txt", "0 1 2.5\n1 2 3\n", weights="drop"), Graph.of(3, [(0, 1), (1, 2)]))


def test_a_column_of_kinds(tmp_path: Path) -> None:
    text = "source,target,label,colour\n0,1,x,red\n1,2,y,red\n"
    assert read(tmp_path, "a.csv", text).edge_label.tolist() == [0, 1]
    assert read(tmp_path, "a.csv", text, edge_attribute="colour").edge_label.tolist() == [0, 0]
    assert read(tmp_path, "a.csv", text, edge_attribute=None).edge_label is None
    assert read(tmp_path, "a.edgelist", "0 1 {'label': 'x'}\n1 2 {'label': 'y'}\n").edge_label.tolist() == [0, 1]


def test_whole_numbers_of_any_length_are_names(tmp_path: Path) -> None:
    long = "9" * 5000
    assert same(read(tmp_path, "a.txt", f"10 9\n9 {long}\n{long} 10\n"), Graph.of(3, [(0, 1), (1, 2), (0, 2)]))
    assert same(read(tmp_path, "a.txt", "10 9\n9 8\n"), Graph.of(3, [(0, 1), (1, 2)]))  # by value: 8, 9, 10
