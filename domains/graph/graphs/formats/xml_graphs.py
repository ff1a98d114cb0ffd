"""GraphML and GEXF: made plain first, then read by networkx.

networkx passes over nested graphs, defaults and files without a namespace, makes nodes of the ends of edges, and merges
nodes of one name. Here nested nodes and edges are put into the graph that they are in, defaults are written out, and
names are checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from refine.domains.graph.graphs.formats.content import MOST_ITEMS, read_bytes, reason, shown
from refine.errors import RefineError, require

if TYPE_CHECKING:
    import networkx as nx

GRAPHML = "http://graphml.graphdrawing.org/xmlns"
GEXF = "http://gexf.net/1.3"
DEEPEST = 100  # elements inside one another
NOT_READ = (ElementTree.ParseError, ValueError, KeyError, TypeError, AttributeError, LookupError, RecursionError)


def read_graphml(path: Path, undirected: bool = False) -> list[nx.Graph]:
    """The graphs of a GraphML file.

    Args:
        path: of the file.
        undirected: directed edges, and graphs that have both, come as directed graphs.

    Raises:
        RefineError: it is no GraphML, too large, declares entities, has hyperedges, directed and undirected edges, two
            nodes of one name, or an edge to a node that is not there.
    """
    import networkx as nx

    root = _tree(path, "GraphML", "graphml")
    _put_into(root, GRAPHML)
    found: list[nx.Graph] = []
    try:
        for graph in root.findall(f"{{{GRAPHML}}}graph"):
            _flatten(graph, GRAPHML)
            _fill(graph, root.findall(f"{{{GRAPHML}}}key"))
            _check(graph, path, GRAPHML)
            if undirected:
                _direct(graph, "edgedefault", "directed", GRAPHML)
            reader = nx.GraphMLReader(node_type=str)
            found.append(reader.make_graph(graph, *reader.find_graphml_keys(root)))
    except (*NOT_READ, nx.NetworkXException) as error:
        raise RefineError(f"{path} cannot be read ({reason(error)}); expected GraphML") from error
    return found


def read_gexf(path: Path, undirected: bool = False) -> list[nx.Graph]:
    """The graph of a GEXF file, as :func:`read_graphml`."""
    import networkx as nx
    from networkx.readwrite.gexf import GEXFReader

    root = _tree(path, "GEXF", "gexf")
    _put_into(root, GEXF)
    graph = root.find(f"{{{GEXF}}}graph")
    if graph is None:
        return []
    try:
        _flatten(graph, GEXF)
        _fill_gexf(graph)
        _check(graph, path, GEXF)
        if undirected:
            _direct(graph, "defaultedgetype", "type", GEXF)
        found = GEXFReader(version="1.3").make_graph(graph)
    except (*NOT_READ, nx.NetworkXException) as error:
        raise RefineError(f"{path} cannot be read ({reason(error)}); expected GEXF") from error
    for _, attributes in found.nodes(data=True):
        attributes.pop("label", None)  # in GEXF the name of a node, which need not be unlike others
    return [found]


def _tree(path: Path, language: str, name: str) -> Element:
    """The elements of a file, after a look that makes none: how many there are, how deep, and that no entity is declared,
    which could be a text without end or another file."""
    content, depth, count = read_bytes(path), 0, 0
    parser = expat.ParserCreate()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        require(depth <= DEEPEST, f"{path} has elements inside one another more than {DEEPEST} deep")
        require(count <= MOST_ITEMS, f"{path} has more than {MOST_ITEMS} elements; accepted: less, in several files or .npz")

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1

    def declare(*_: Any) -> None:
        raise RefineError(f"{path} declares entities, which are not accepted")

    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = begin, end, declare
    try:
        parser.Parse(content, True)
        root = ElementTree.fromstring(content)
    except (*NOT_READ, expat.ExpatError) as error:
        raise RefineError(f"{path} cannot be read ({reason(error)}); expected {language}") from error
    require(root.tag.rpartition("}")[2] == name, f"{path} has no <{name}>; expected {language}")
    return root


def _put_into(root: Element, namespace: str) -> None:
    """Have all elements of the language, of whatever version, in one namespace; others keep theirs."""
    own = root.tag.rpartition("}")[0]
    for element in root.iter():
        space, _, name = element.tag.rpartition("}")
        if space == own:
            element.tag = f"{{{namespace}}}{name}"


def _flatten(graph: Element, namespace: str) -> None:
    """Move the nodes and edges of graphs inside nodes into the graph itself. A node that had some stays one."""
    nodes, edges = (f"{{{namespace}}}{kind}" for kind in ("nodes", "edges"))
    tops = {kind: graph.find(kind) for kind in (nodes, edges)} if namespace == GEXF else {}
    waiting = _members(graph, namespace)
    while waiting:
        element = waiting.pop()
        element.attrib.pop("yfiles.foldertype", None)  # a group of yEd, which networkx would look into
        for inner in element.findall(f"{{{namespace}}}graph"):
            directed = "true" if inner.get("edgedefault") == "directed" else "false"
            for member in _members(inner, namespace):
                if member.tag.endswith("}edge") and inner.get("edgedefault") is not None:
                    member.attrib.setdefault("directed", directed)
                waiting.append(member)
                graph.append(member)
            element.remove(inner)
        for kind, top in tops.items():
            for inner in element.findall(kind):
                for member in inner:
                    waiting.append(member)
                    if top is not None:
                        top.append(member)
                element.remove(inner)


def _members(graph: Element, namespace: str) -> list[Element]:
    """Nodes, edges and hyperedges right below a graph."""
    kinds = {f"{{{namespace}}}{kind}" for kind in ("node", "edge", "hyperedge")}
    lists = [graph.findall(f"{{{namespace}}}{kind}") for kind in ("nodes", "edges")]  # of GEXF
    return [element for part in (graph, *lists[0], *lists[1]) for element in part if element.tag in kinds]


def _fill(graph: Element, keys: list[Element]) -> None:
    """Write the default of each key of GraphML where nodes or edges have no other value."""
    for key in keys:
        default = key.find(f"{{{GRAPHML}}}default")
        if default is None or key.get("for") not in ("node", "edge", "all", None):
            continue
        kinds = ("node", "edge") if key.get("for") in ("all", None) else (key.get("for"),)
        for element in (e for kind in kinds for e in graph.findall(f"{{{GRAPHML}}}{kind}")):
            if not any(data.get("key") == key.get("id") for data in element.findall(f"{{{GRAPHML}}}data")):
                data = ElementTree.SubElement(element, f"{{{GRAPHML}}}data", {"key": str(key.get("id"))})
                data.text = default.text


def _fill_gexf(graph: Element) -> None:
    """Write the default of each attribute of GEXF where nodes or edges have no other value."""
    for table in graph.findall(f"{{{GEXF}}}attributes"):
        kind = table.get("class")
        for attribute in table.findall(f"{{{GEXF}}}attribute"):
            default = attribute.find(f"{{{GEXF}}}default")
            if default is None or kind not in ("node", "edge"):
                continue
            for element in graph.findall(f"{{{GEXF}}}{kind}s/{{{GEXF}}}{kind}"):
                values = element.find(f"{{{GEXF}}}attvalues")
                values = ElementTree.SubElement(element, f"{{{GEXF}}}attvalues") if values is None else values
                if not any((v.get("for") or v.get("id")) == attribute.get("id") for v in values):
                    given = {"for": str(attribute.get("id")), "value": default.text or ""}
                    ElementTree.SubElement(values, f"{{{GEXF}}}attvalue", given)


def _edges(graph: Element, namespace: str) -> Iterator[Element]:
    return (element for element in _members(graph, namespace) if element.tag.endswith("}edge"))


def _check(graph: Element, path: Path, namespace: str) -> None:
    names: set[str | None] = set()
    for element in _members(graph, namespace):
        if element.tag.endswith("}node"):
            name = element.get("id")
            require(name is not None, f"{path} has a node without a name")
            require(name not in names, f"{path} has two nodes called {shown(name)}; accepted: each name once")
            names.add(name)
    for edge in _edges(graph, namespace):
        for key in ("source", "target"):
            end = edge.get(key)
            require(end is not None, f"{path} has an edge without a {key}")
            require(end in names, f"{path} has an edge to {shown(end)}, but no such node")


def _direct(graph: Element, default: str, own: str, namespace: str) -> None:
    """Have all edges directed, so that graphs with both kinds can be read."""
    graph.set(default, "directed")
    for edge in _edges(graph, namespace):
        edge.attrib.pop(own, None)
