"""Files of users that are cut off, or have other bytes: read, or refused in one message that names them; nothing else
is ever raised."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refine.errors import RefineError

PUT = (b"\0", b"<", b"&", b"\xff\xfe", b"\n", b"[", b"9" * 30, b"-", b'"', b"nan", b"1e999", "\u2028".encode())
TEXTS = {
    "a.csv": b'source,target,weight\n"a b",c,1\nc,d,1\n',
    "a.edgelist": b"0 1 {'weight': 1.0}\n1 2 {'weight': 1.0}\n",
    "a.txt": b"0 1\n1 2\n# c\n3\n",
    "a.smi": b"CCO ethanol\nc1ccccc1\n[NH4+].[Cl-]\nCC(=O)O\n",
}


def damaged(good: bytes, count: int = 25) -> Iterator[bytes]:
    """What is left of a file that is cut off, and files in which bytes are changed, put in or missing."""
    draw = random.Random(0)
    for size in range(0, len(good), max(1, len(good) // count)):
        yield good[:size]
    for _ in range(2 * count):
        content = bytearray(good)
        for _ in range(draw.choice((1, 1, 3))):
            at = draw.randrange(len(content))
            length = draw.choice((0, 1, 1, 8))
            content[at : at + length] = draw.choice((*PUT, bytes([draw.randrange(256)]), b""))
        yield bytes(content)


def of_networks() -> dict[str, bytes]:
    """A path with kinds, in the formats of networkx."""
    import networkx as nx

    graph = nx.path_graph(4)
    nx.set_node_attributes(graph, {i: "CO"[i % 2] for i in graph}, "label")
    out: dict[str, bytes] = {}
    for name, write in (("a.graphml", nx.write_graphml), ("a.gexf", nx.write_gexf), ("a.gml", nx.write_gml)):
        file = io.BytesIO()
        write(graph, file)
        out[name] = file.getvalue()
    return out


def test_files_of_graphs(tmp_path: Path) -> None:
    pytest.importorskip("networkx")
    from refine.domains.graph.graphs.folder import read_folder

    for name, good in (of_networks() | TEXTS).items():
        path, refused, count = tmp_path / name.partition(".")[2] / name, 0, 0
        path.parent.mkdir()
        for content in (good, *damaged(good)):
            path.write_bytes(content)
            said = message(read_folder, str(path.parent), "train")
            assert said is None or name in said or path.parent.name in said, (content, said)
            refused, count = refused + (said is not None), count + 1
        assert 5 < refused < count, name


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_pictures(form: str) -> None:
    image = pytest.importorskip("PIL.Image")
    from refine.domains.image.data.pixels import read_pictures

    file = io.BytesIO()
    image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)).save(file, form)
    contents = list(damaged(file.getvalue()))
    said = [message(read_pictures, [("a.file", content)], (4, 4), 3, True, "here") for content in contents]
    assert len(contents) / 5 < sum(text is not None for text in said) < len(contents)
    assert all(text is None or "a.file" in text for text in said)


def message(read: Any, *given: Any) -> str | None:
    """What a reader says that refuses; None if it reads."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(*given)
    except RefineError as error:
        text = str(error)
        assert "\n" not in text and len(text) < 900
        return text
    return None
