"""GraphML, GEXF and GML as other programs write them; attributes, directions and weights by option; hostile files."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest

from refine.domains.graph.graphs.formats.networks import read_networks
from refine.domains.graph.graphs.formats.options import Reading
from refine.domains.graph.graphs.graphs import Graph
from refine.domains.graph.graphs.packed import PackedGraphs
from refine.errors import RefineError

from ...made_up import same

SPACE = 'xmlns="http://graphml.graphdrawing.org/xmlns"'
KEY = '<key id="l" for="node" attr.name="label" attr.type="string"><default>B</default></key>'
PATH = '<node id="a"/><node id="b"/><node id="c"/><edge source="a" target="b"/><edge source="b" target="c"/>'


def graphml(body: str, keys: str = "", default: str = "undirected", space: str = SPACE) -> str:
    return f'<?xml version="1.0"?><graphml {space}>{keys}<graph edgedefault="{default}">{body}</graph></graphml>'


def gexf(nodes: str, edges: str, attributes: str = "", version: str = "1.3", default: str = "undirected") -> str:
    head = f'<gexf xmlns="http://gexf.net/{version}"><graph defaultedgetype="{default}">{attributes}'
    return f"{head}<nodes>{nodes}</nodes><edges>{edges}</edges></graph></gexf>"


def read(folder: Path, name: str, text: str, **options: object) -> PackedGraphs:
    (folder / name).write_text(text, encoding="utf-8")
    return read_networks(folder / name, Reading(**options))  # type: ignore[arg-type]


def test_defaults_are_the_kinds_of_nodes_that_have_no_other(tmp_path: Path) -> None:
    body = '<node id="a"><data key="l">A</data></node><node id="b"/><edge source="a" target="b"/>'
    graphs = read(tmp_path, "a.graphml", graphml(body, KEY))
    assert [graphs.node_kinds[i] for i in graphs[0].node_label.tolist()] == ["A", "B"]
    nodes = '<node id="0"><attvalues><attvalue for="k" value="A"/></attvalues></node><node id="1"/>'
    table = '<attributes class="node"><attribute id="k" title="kind" type="string"><default>B</default></attribute></attributes>'
    graphs = read(tmp_path, "a.gexf", gexf(nodes, '<edge source="0" target="1"/>', table), node_attribute="kind")
    assert [graphs.node_kinds[i] for i in graphs[0].node_label.tolist()] == ["A", "B"]


def test_nested_graphs_are_part_of_the_graph(tmp_path: Path) -> None:
    inner = '<graph edgedefault="undirected"><node id="a"/><node id="g::h"><graph><node id="b"/></graph></node></graph>'
    body = f'<node id="n"/><node id="g">{inner}</node><edge source="n" target="a"/><edge source="a" target="b"/>'
    (graph,) = read(tmp_path, "a.graphml", graphml(body))
    assert (graph.num_nodes, graph.num_edges) == (5, 2)
    yed = body.replace('<node id="g">', '<node id="g" yfiles.foldertype="group">')
    assert same(read(tmp_path, "a.graphml", graphml(yed))[0], graph)
    nodes = '<node id="0"/><node id="1"><nodes><node id="2"/></nodes><edges><edge source="0" target="2"/></edges></node>'
    (graph,) = read(tmp_path, "a.gexf", gexf(nodes, ""))
    assert (graph.num_nodes, graph.num_edges) == (3, 1)


@pytest.mark.parametrize("space", ["", SPACE, 'xmlns="http://graphml.graphdrawing.org/xmlns/1.0rc"'])
def test_graphml_of_any_namespace(tmp_path: Path, space: str) -> None:
    assert same(read(tmp_path, "a.graphml", graphml(PATH, space=space))[0], Graph.of(3, [(0, 1), (1, 2)]))


@pytest.mark.parametrize("version", ["1.2draft", "1.3"])
def test_gexf_of_gephi(tmp_path: Path, version: str) -> None:
    nodes = "".join(f'<node id="{i}" label="Person {i}"/>' for i in range(3))
    edges = '<edge id="0" source="0" target="1" weight="2.0"/><edge id="1" source="1" target="2" weight="2.0"/>'
    graphs = read(tmp_path, "a.gexf", gexf(nodes, edges, version=version))
    assert same(graphs[0], Graph.of(3, [(0, 1), (1, 2)]))  # a label is the name of a node there


def test_gml_of_networkx_and_of_newman(tmp_path: Path) -> None:
    g = nx.karate_club_graph()
    nx.write_gml(nx.Graph(g.edges), tmp_path / "a.gml")
    (graph,) = read_networks(tmp_path / "a.gml")
    assert graph.node_label is None and (graph.num_nodes, graph.num_edges) == (34, 78)
    text = 'Creator "M"\ngraph [ directed 0 node [ id 5 label "Ann" ] node [ id 3 ] edge [ source 5 target 3 value 2 ] ]'
    assert same(read(tmp_path, "a.gml", text)[0], Graph.of(2, [(0, 1)]))
    more = text.replace("] ]", "] node [ id 4 ] edge [ source 4 target 3 value 1 ] ]")
    with pytest.raises(RefineError, match=r"a.gml has edges of different weight"):
        read(tmp_path, "a.gml", more)
    assert read(tmp_path, "a.gml", more, weights="drop").num_edges.tolist() == [2]


def test_attributes_are_chosen(tmp_path: Path) -> None:
    g = nx.path_graph(3)
    nx.set_node_attributes(g, {0: "x", 1: "y", 2: "x"}, "colour")
    nx.set_edge_attributes(g, 7, "strength")
    for name, write in (("a.graphml", nx.write_graphml), ("a.gexf", nx.write_gexf), ("a.gml", nx.write_gml)):
        write(g, tmp_path / name)
        graphs = read_networks(tmp_path / name, Reading("colour", "strength"))
        assert graphs.node_kinds == ("x", "y") and graphs[0].node_label.tolist() == [0, 1, 0]
        assert graphs.edge_kinds == ("7",)
        assert read_networks(tmp_path / name, Reading(None, None)).node_label is None
        with pytest.raises(RefineError, match=r"domain.node_attribute='color': no node of .* has it; .*'colour'"):
            read_networks(tmp_path / name, Reading("color"))


@pytest.mark.parametrize("mixed", [False, True])
def test_directed_graphs_become_undirected_ones_where_asked(tmp_path: Path, mixed: bool) -> None:
    own = 'directed="false" ' if mixed else ""
    body = PATH.replace('<edge source="b"', f'<edge {own}source="b"') + '<edge source="b" target="a"/>'
    with pytest.raises(RefineError, match=r"a.graphml"):
        read(tmp_path, "a.graphml", graphml(body, default="directed"))
    asked = read(tmp_path, "a.graphml", graphml(body, default="directed"), undirected=True)
    assert same(asked[0], Graph.of(3, [(0, 1), (1, 2)]))
    own = 'type="undirected" ' if mixed else ""
    nodes = '<node id="0"/><node id="1"/><node id="2"/>'
    edges = f'<edge source="0" target="1"/><edge {own}source="1" target="2"/><edge source="1" target="0"/>'
    asked = read(tmp_path, "a.gexf", gexf(nodes, edges, default="directed"), undirected=True)
    assert same(asked[0], Graph.of(3, [(0, 1), (1, 2)]))


BOMB = '<!DOCTYPE g [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
AWAY = '<!DOCTYPE g [<!ENTITY a SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.graphml", graphml(PATH + '<node id="b"/>'), "has two nodes called 'b'"),
        ("a.graphml", graphml(PATH + '<edge source="a" target="z"/>'), "has an edge to 'z', but no such node"),
        ("a.graphml", graphml(PATH + "<hyperedge/>"), "hyperedges"),
        ("a.graphml", graphml("<node/>"), "has a node without a name"),
        ("a.graphml", "<svg/>", "has no <graphml>; expected GraphML"),
        ("a.graphml", '<?xml version="1.0" encoding="foo"?><graphml/>', "cannot be read .* expected GraphML"),
        ("a.graphml", graphml(PATH).replace('"1.0"?>', f'"1.0"?>{BOMB}'), "declares entities"),
        ("a.graphml", graphml(PATH).replace('"1.0"?>', f'"1.0"?>{AWAY}'), "declares entities"),
        ("a.graphml", "<graphml>" + "<graph>" * 5000, "more than 100 deep"),
        ("a.gexf", gexf('<node id="0"/><node id="0"/>', ""), "has two nodes called '0'"),
        ("a.gexf", gexf('<node id="0"/>', '<edge source="0" target="1"/>'), "has an edge to '1', but no such node"),
        ("a.gexf", gexf('<node id="0"/><node id="1"/>', '<edge source="0" target="1"/>', default="directed"), "is directed"),
        ("a.gexf", "<gexf/>", "has no graphs"),
        ("a.gml", "graph [ node [ id 0 ] node [ id 0 ] ]", "cannot be read .*duplicated.* expected GML"),
        ("a.gml", "graph [ node [ id 0 ] edge [ source 0 target 1 ] ]", "cannot be read .* expected GML"),
        ("a.gml", "graph [ " + "a [ " * 5000, "cannot be read .* expected GML"),
        ("a.gml", f"graph [ node [ id {'9' * 5000} ] ]", "cannot be read .* expected GML"),
        ("a.gml", "nothing", "cannot be read .* expected GML"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(RefineError, match=f"{name}.*{words}") as error:
        read(tmp_path, name, text)
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_too_many_elements_are_refused_before_they_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from refine.domains.graph.graphs.formats import gml, xml_graphs

    for module in (gml, xml_graphs):
        monkeypatch.setattr(module, "MOST_ITEMS", 6)
    for name, text in (("a.graphml", graphml(PATH)), ("a.gml", "graph [ node [ id 0 ] " + "edge [ ] " * 9 + "]")):
        with pytest.raises(RefineError, match=r"(more than 6|accepted: 6)"):
            read(tmp_path, name, text)
