"""Records that commands write and read again, with anything missing or of a wrong type: the plan of an ensemble, the
figures of studies, graphs in one file."""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from malformed.frame import Case

ODD: tuple[Any, ...] = (None, "text", "x" * 5000, -1, 0.5, True, math.nan, 2**63, [], [None], {}, {"a": 1})
"""Values that a reader may not have thought of."""

TABLE_1 = ("closed_forms", "autoencoder", "pixel", "latent")  # experiments
TASK = {"frechet": 1.5, "agreement": 0.5, "bits_per_dim": 0.1, "mse": 0.1, "bands": [{"name": "8x8", "error": 0.2}]}
FIGURES = {"parameters": 9, "flops_per_update": 1e9, "curve": [[1, 2.0]], "likelihood": "exact", "gradient_noise": 1.0}
FIGURES |= {"floor": {"mse": 0.1, "psnr": 20.0, "frechet": 0.5}, "tasks": {"generation": TASK}}
POINT = {"frechet": 0.5, "agreement": 0.9, "passes": 4, "seconds_per_image": 0.003}
STUDY = {
    "refine": "0",
    "about": {"updates": 20, "data": "digits", "samples": 9, "of_train": {"frechet": 0.1, "agreement": 1.0}},
    "results": [
        {"experiment": "scales_4", "seed": 0, "updates": 20, "cpu_seconds": 1.0, "figures": FIGURES},
        {"experiment": "scales_4/4", "seed": 0, "updates": 20, "cpu_seconds": 1.0, "figures": POINT},
    ],
}
REPRODUCTION = {
    "results": [
        {"experiment": name, "seed": 0, "train_size": 256, "epochs": 30, "figures": {"mse": 0.1}} for name in TABLE_1
    ]
}
POINT_OF = ("results", 1)
NO_STUDY: list[tuple[Any, ...]] = [
    *((path,) for path in (("about",), ("about", "updates"), ("results",))),
    *((("about",), value) for value in (None, 3, "text", [1])),
    *((("about", "updates"), value) for value in (None, "20", 20.0, True, [20])),
    *((("results",), value) for value in (None, 3, "text", [3], [None], {"a": 1})),
    *(((*POINT_OF, key),) for key in ("experiment", "seed", "updates", "figures")),
    *(((*POINT_OF, "experiment"), value) for value in (None, 4, ["a"])),
    *(((*POINT_OF, key), value) for key in ("seed", "updates") for value in (None, "0", 0.0, True, 2**63, math.nan)),
    *(((*POINT_OF, "figures"), value) for value in (None, 4, "text", [1])),
    *(((*POINT_OF, "cpu_seconds"), value) for value in (None, "1", [1])),
    *(((*POINT_OF, "figures", "frechet"), value) for value in ("low", True, [1.0], {"a": 1})),
]
GRAPHS: dict[str, Any] = {
    "num_nodes": np.array([3] * 9),
    "num_edges": np.array([2] * 9),
    "edges": np.array([[0, 1], [1, 2]] * 9),
    "node_label": np.array([0, 1, 0] * 9),
    "edge_label": np.array([0, 0] * 9),
    "split": np.array([0, 1, 2] * 3),
    "meta": np.array(json.dumps({"node_kinds": ["C", "O"], "edge_kinds": ["-"]})),
}


def changed(value: Any, odd: tuple[Any, ...] = ODD) -> Iterator[tuple[str, Any]]:
    """Plain data with every part of it missing once, and of every odd value once; with a name for what was done."""
    for path, held in parts(value):
        where = ".".join(map(str, path))
        yield f"{where} missing", other(value, path)
        for act in odd:
            if type(act) is not type(held) or act != held:
                yield f"{where}={str(act)[:12]!r}", other(value, path, act)


def other(value: Any, path: tuple[Any, ...], *act: Any) -> Any:
    """A copy of plain data in which a part is another, or missing."""
    made = node = copy.deepcopy(value)
    for step in path[:-1]:
        node = node[step]
    if act:
        node[path[-1]] = act[0]
    else:
        del node[path[-1]]
    return made


def parts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every part of nested plain data, with its place."""
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from parts(item, (*path, key))


def texts(good: Any) -> dict[str, bytes]:
    """Files that are no JSON, or more than it."""
    text = json.dumps(good)
    return {
        "empty": b"",
        "a list": b"[]",
        "a number": b"7",
        "cut off": text[: len(text) // 2].encode(),
        "deep": b"[" * 100_000,
        "a key twice": (text[:-1] + ', "results": [], "results": []}').encode(),
        "5,000 digits": (text[:-1] + f', "many": {"9" * 5000}}}').encode(),
        "half a character": (text[:-1] + ', "half": "\\ud800"}').encode(),
        "not UTF-8": text.encode() + b"\xff",
        "17 MB": text.encode() + b" " * 17 * 2**20,
    }


def archives() -> Iterator[tuple[str, dict[str, Any]]]:
    """Arrays of a file of graphs that are missing, or of another type, shape or content."""
    for name, array in GRAPHS.items():
        others: dict[str, Any] = {
            "text": np.array(["a"] * len(np.atleast_1d(array))),
            "halves": np.full(array.shape, 0.5) if array.dtype.kind == "i" else np.array(0.5),
            "nan": np.full(array.shape or (1,), np.nan),
            "negative": np.full(array.shape or (1,), -7),
            "large": np.full(array.shape or (1,), 2**62),
            "one more": np.concatenate([np.atleast_1d(array)] * 2)[: len(np.atleast_1d(array)) + 1],
            "a number": np.array(5),
            "in a row": np.atleast_1d(array).reshape(1, 1, -1),
            "dates": np.full(array.shape or (1,), np.datetime64("2020-01-01")),
            "complex": np.full(array.shape or (1,), 1j),
        }
        if name in ("num_nodes", "num_edges", "edges"):
            others["missing"] = None
        for word, other in others.items():
            yield f"{name} {word}", {k: v for k, v in {**GRAPHS, name: other}.items() if v is not None}
    good = json.loads(str(GRAPHS["meta"]))
    for word, meta in changed(good, (1, [1], {"a": 1}, [["C"]])):
        if "missing" not in word:
            yield f"meta {word}", {**GRAPHS, "meta": np.array(json.dumps(meta))}


def npz(arrays: dict[str, Any]) -> bytes:
    """The bytes of an ``.npz`` file."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def placed(name: str, content: bytes | Callable[[], bytes], here: Path) -> None:
    """A file, with the folders that it needs."""
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_bytes(content if isinstance(content, bytes) else content())


def plan(content: bytes, here: Path) -> None:
    """An ensemble that was begun, whose plan says something else."""
    (here / "f.zarr.partial" / "store.zarr").mkdir(parents=True)
    placed("f.zarr.partial/plan.json", content, here)


def cases() -> Iterator[Case]:
    """All of them."""
    start = ("ensemble", "domain=weather", "members=1", "lead=1d", "out=f.zarr")
    began = {"seed": 0, "model": "x", "ensemble.start": ["2021-01-01T00:00"]}
    for name, content in (*texts(began).items(), *((n, json.dumps(v).encode()) for n, v in changed(began))):
        yield Case(f"plan/{name}", start, partial(plan, content))
    draw, go_on = ("study", "frontier", "plot=s.json", "out=new"), ("study", "frontier", "updates=20", "seeds=1")
    for name, content in texts(STUDY).items():
        yield Case(f"study/{name}", draw, partial(placed, "s.json", content), ("s.json",))
        yield Case(f"study/{name}/measured", go_on, partial(placed, "study/study.json", content), ("study.json",))
    for path, *act in NO_STUDY:
        content = json.dumps(other(STUDY, path, *act)).encode()
        yield Case(f"study/{'.'.join(map(str, path))}: {act}", draw, partial(placed, "s.json", content), ("s.json",))
    again = ("reproduce", "table=1", "seeds=1", "train_size=256")
    for name, content in texts(REPRODUCTION).items():
        file = "reproduction/reproduction.json"
        yield Case(f"reproduction/{name}", again, partial(placed, file, content), ("reproduction.json",))
    train = ("train", "domain=graph", "folder=graphs", "--run", "new")
    for name, arrays in archives():
        if name not in ("split negative", "split large"):  # which say nothing
            yield Case(f"graphs/{name}", train, partial(placed, "graphs/a.npz", partial(npz, arrays)), ("a.npz",))
