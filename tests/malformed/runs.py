"""Malformed and hostile runs, made from the formats of what is in one: headers, weights, configurations, resume files,
links. A header or a weight that is changed is signed anew, as somebody who means harm would do it."""

from __future__ import annotations

import copy
import json
import shutil
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from malformed.changes import (
    RESUME,
    Change,
    away,
    base,
    cut,
    flipped,
    folder,
    header_with,
    inner,
    loop,
    pipe,
    state_with,
    tree_with,
    weights_with,
    written,
)
from malformed.frame import Case
from refine.storage.checkpoint import CONFIG, WEIGHTS

INSPECT, SAMPLE = ("inspect", "run"), ("sample", "run=run", "num=1")
TRAIN = ("train", "run=run", "train.predictor.steps=6")


def case(name: str, arguments: tuple[str, ...], change: Change, says: str = "") -> Case:
    """A command on a copy of the run that was changed."""

    def prepare(here: Path) -> None:
        shutil.copytree(base(), here / "run")
        (here / "run" / "metrics.jsonl").touch()
        if arguments[0] != "train":
            shutil.rmtree(here / "run" / "resume")
        change(here / "run")

    return Case(f"run/{name}/{arguments[0]}", arguments, prepare, (says,) if says else ())


def cases() -> Iterator[Case]:
    """All of them."""
    yield from headers()
    yield from texts()
    yield from weights()
    yield from configurations()
    yield from resumed()
    yield from links()


def headers() -> Iterator[Case]:
    """Headers that ask for much, or have values of wrong types."""
    much: list[tuple[tuple[str, ...], Any]] = [
        (("domain_config", "classes"), 10**9),
        (("domain_config", "size"), [10**6, 10**6]),
        (("domain_config", "scales"), list(range(1, 3000))),
        (("domain_config", "scales"), [1, 10**9]),
        (("model", "predictor", "width"), 10**6),
        (("model", "predictor", "width"), 10**12),
        (("model", "predictor", "depth"), 10**7),
        (("model", "predictor", "depth"), 64),
        (("model", "predictor", "mlp_ratio"), 1e12),
        (("model", "predictor", "mlp_ratio"), float("nan")),
        (("model", "predictor", "rounds"), 10**9),
        (("model", "quantizer", "size"), 10**9),
        (("model", "quantizer", "size"), 10**13),
        (("model", "quantizer", "stages"), 10**7),
        (("model", "quantizer", "size"), 5),
        (("model", "predictor", "heads"), 0),
        (("model", "commitment"), float("inf")),
        (("info",), {"_target_": "os.system"}),
    ]
    for path, value in much:
        yield case(f"{'.'.join(path)}={str(value)[:20]}", SAMPLE, partial(header_with, path, value))
    for path, value in [*much[:1], *much[3:10], *much[12:15]]:
        yield case(f"{'.'.join(path)}={str(value)[:20]}", INSPECT, partial(header_with, path, value))
    header = json.loads((base() / CONFIG).read_text())
    for path, value in leaves({"domain_config": header["domain_config"], "model": header["model"]}):
        odd = "a text" if isinstance(value, int | float | list) else {"a": 1}
        if path[-1] not in ("options", "classes"):
            yield case(f"{'.'.join(path)} of another type", SAMPLE, partial(header_with, path, odd))
    for name in header:
        yield case(f"{name} missing", SAMPLE, partial(header_without, name))
        yield case(f"{name} a list", INSPECT, partial(header_with_raw, name, []))
    for value in (True, 0, -1, 2, 1.0, "1", 10**30, None):
        yield case(f"format={value!r}", INSPECT, partial(header_with_raw, "format", value))
    yield case("unknown key", INSPECT, partial(header_with_raw, "loader", "os.system"), "'loader' is not accepted")
    yield case("unknown option", SAMPLE, partial(header_with, ("model", "predictor", "hook"), 1), "is not a key")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value of nested plain data, with its place."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    else:
        yield path, value


def header_without(name: str, run: Path) -> None:
    """A header that lacks a key."""
    header = json.loads((run / CONFIG).read_text())
    del header[name]
    (run / CONFIG).write_text(json.dumps(header))


def header_with_raw(name: str, value: Any, run: Path) -> None:
    """A header with another value, not signed."""
    header = json.loads((run / CONFIG).read_text())
    (run / CONFIG).write_text(json.dumps({**header, name: value}))


def texts() -> Iterator[Case]:
    """``config.json`` that is no JSON, more than it, or no file."""
    text = (base() / CONFIG).read_text()
    odd = {
        "empty": "",
        "a list": "[]",
        "a number": "7",
        "cut off": text[: len(text) // 2],
        "deep": "[" * 100_000,
        "deep and closed": text.replace('"info": {', f'"info": {{"deep": {"[" * 200}{"]" * 200}, ', 1),
        "a key twice": text.replace('"format": 1', '"format": 1, "format": 1', 1),
        "an inner key twice": text.replace('"domain_config": {', '"domain_config": {"data": null, "data": null, ', 1),
        "a number of 5,000 digits": text.replace('"info": {', f'"info": {{"many": {"9" * 5000}, ', 1),
        "a number of 70 bits": text.replace('"info": {', f'"info": {{"many": {2**70}, ', 1),
        "half a character": text.replace('"info": {', '"info": {"half": "\\ud800", ', 1),
        "17 MB": text + " " * 17 * 2**20,
        "a trailing comma": text.rstrip().rstrip("}") + ",}",
        "another info": text.replace('"of": 4', '"of": 5', 1),
    }
    for name, content in odd.items():
        command = SAMPLE if name == "another info" else INSPECT
        yield case(f"header {name}", command, partial(written, CONFIG, content.encode()))
    yield case("header not UTF-8", INSPECT, partial(written, CONFIG, b'{"format": "\xff\xfe"}'))
    for word, change in (("a pipe", pipe), ("a folder", folder), ("a link to itself", loop), ("a link out", away)):
        yield case(f"header {word}", INSPECT, partial(change, CONFIG))


def weights() -> Iterator[Case]:
    """``model.safetensors`` that is none, is cut off, or holds other tensors."""
    for size in (0, 1, 7, 8, 9, 100, 1000):
        yield case(f"weights cut to {size}", SAMPLE, partial(cut, WEIGHTS, size))
    for claim in (0, 2**27, 2**40, 2**63, 2**64 - 1):
        content = struct.pack("<Q", claim) + b"{}"
        yield case(f"weights whose header claims {claim}", INSPECT, partial(written, WEIGHTS, content))
    huge = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    twice = (
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    )
    for name, text in (("claim 4 TB", huge), ("have a name twice", twice), ("have an empty header", b"{}")):
        content = struct.pack("<Q", len(text)) + text + b"\0" * 4
        yield case(f"weights that {name}", INSPECT, partial(written, WEIGHTS, content))
    yield case("weights of pickle", SAMPLE, lambda run: torch.save({"a": torch.zeros(1)}, run / WEIGHTS))
    yield case("weights with a flipped bit", SAMPLE, partial(flipped, WEIGHTS), "has changed since")
    for word, change in (("a pipe", pipe), ("a folder", folder), ("a link to itself", loop), ("a link out", away)):
        yield case(f"weights {word}", INSPECT, partial(change, WEIGHTS))
        yield case(f"weights {word}", SAMPLE, partial(change, WEIGHTS))
    name = next(n for n, t in load_file(base() / WEIGHTS).items() if t.is_floating_point() and t.numel() > 1)
    flag = next(n for n in load_file(base() / WEIGHTS) if n.endswith("fitted"))
    for number in ("nan", "inf", "-inf"):
        yield case(
            f"weights {number}", SAMPLE, partial(weights_with, partial(filled, name, float(number))), "is not finite"
        )
    for dtype in (torch.int64, torch.bool, torch.complex64, torch.uint8):
        yield case(f"weights of {dtype}", SAMPLE, partial(weights_with, partial(cast, name, dtype)), "is of type")
    yield case("a flag of numbers", SAMPLE, partial(weights_with, partial(cast, flag, torch.float32)), "is of type")
    yield case("a weight missing", SAMPLE, partial(weights_with, lambda t: t.pop(name)), "missing weights")
    yield case(
        "a weight more", SAMPLE, partial(weights_with, lambda t: t.update(more=torch.ones(1))), "unexpected weights"
    )
    yield case("a weight of another shape", SAMPLE, partial(weights_with, partial(longer, name)), "has shape")


def filled(name: str, value: float, tensors: dict[str, Any]) -> None:
    """One number of a tensor is another."""
    tensors[name].view(-1)[0] = value


def cast(name: str, dtype: torch.dtype, tensors: dict[str, Any]) -> None:
    """A tensor of another type."""
    tensors[name] = tensors[name].to(dtype)


def longer(name: str, tensors: dict[str, Any]) -> None:
    """A tensor with a row more."""
    tensors[name] = torch.cat([tensors[name], tensors[name][:1]])


def configurations() -> Iterator[Case]:
    """``config.yaml`` that is more than plain data, or too much of it."""
    text = (base() / "config.yaml").read_text()
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    odd = {
        "aliases": bomb + text,
        "an object": text + "x: !!python/object/apply:os.system [ls]\n",
        "a name": text + "x: !!python/name:os.system\n",
        "a tab": text + "x:\n\ty: 1\n",
        "a cycle": text + "x: &x [*x]\n",
        "a key twice": text + "seed: 1\n",
        "two documents": text + "---\na: 1\n",
        "deep": text + f"x: {'[' * 5000}{']' * 5000}\n",
        "a long number": text.replace("seed: 0", f"seed: {'9' * 5000}"),
        "an interpolation": text.replace("stage: all", "stage: ${oc.env:HOME}"),
        "a target": text + "_target_: os.system\n",
        "a list": "- 1\n",
        "no domain": "seed: 1\n",
        "another domain": text.replace("domain_name: image", "domain_name: none"),
        "a section of text": text.replace("model:\n", "model: x\nother:\n", 1),
    }
    for name, content in odd.items():
        for command in (SAMPLE, TRAIN):
            yield case(f"config.yaml with {name}", command, partial(written, "config.yaml", content.encode()))
    yield case("config.yaml not UTF-8", SAMPLE, partial(written, "config.yaml", b"a: \xff"))
    yield case("config.yaml of 2 MB", SAMPLE, partial(written, "config.yaml", text.encode() + b"# " * 2**20))


def resumed() -> Iterator[Case]:
    """Resume files with anything missing, or of a wrong type."""
    for size in (0, 7, 100, 1000):
        yield case(f"resume cut to {size}", TRAIN, partial(cut, RESUME, size))
    for name, content in (("text", b"not one"), ("zip", b"PK\3\4" + b"\0" * 100)):
        yield case(f"resume of {name}", TRAIN, partial(written, RESUME, content))
    yield case("resume of pickle", TRAIN, lambda run: torch.save({"a": 1}, run / RESUME))
    for word, change in (("a pipe", pipe), ("a folder", folder), ("a link out", away)):
        yield case(f"resume {word}", TRAIN, partial(change, RESUME))
    trees = {
        "missing": None,
        "empty": '["dict", []]',
        "a text": '"x"',
        "a number": "7",
        "plain": '["plain", 1]',
        "a list": '["list", []]',
        "cut off": '["dict", [',
        "deep": "[" * 100_000,
        "nested": '["list", [' * 60 + "]]" * 60,
        "with an unknown tag": '["object", "os.system"]',
        "with an unknown tensor": '["tensor", "none"]',
        "with an unhashable key": '["dict", [[["list", []], ["plain", 1]]]]',
        "with a pair of three": '["dict", [[["plain", 1], ["plain", 1], ["plain", 1]]]]',
    }
    for name, text in trees.items():
        yield case(f"resume tree {name}", TRAIN, partial(tree_with, text))
    keys = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks")
    keys += ("optimizer_states", "lr_schedulers")
    for key in keys:
        yield case(f"resume without {key}", TRAIN, partial(state_with, partial(drop, key)))
        for value in ("text", [1], {"a": 1}):
            yield case(f"resume {key}={value}", TRAIN, partial(state_with, partial(put, key, value)))
    for value in (-1, 10**15, 2.0, True, "3"):
        yield case(f"resume step {value!r}", TRAIN, partial(state_with, partial(put, "global_step", value)))
    yield case("resume version", TRAIN, partial(state_with, partial(put, "pytorch-lightning_version", "x")))
    yield case("resume weights nan", TRAIN, partial(state_with, partial(weight, float("nan"))), "is not finite")
    yield case("resume weights missing", TRAIN, partial(state_with, lambda s: s["state_dict"].popitem()))
    yield case("resume weights longer", TRAIN, partial(state_with, reshaped))
    optimizers: dict[str, Any] = {
        "no state": {"param_groups": []},
        "no groups": {"state": {}, "param_groups": []},
        "texts": {"state": "a", "param_groups": "b"},
    }
    for name, value in optimizers.items():
        yield case(f"resume optimizer {name}", TRAIN, partial(state_with, partial(put, "optimizer_states", [value])))
    yield case("resume moments missing", TRAIN, partial(state_with, partial(moments, None)))
    yield case("resume moments of another shape", TRAIN, partial(state_with, partial(moments, torch.zeros(3, 1, 7))))
    yield case("resume moments of text", TRAIN, partial(state_with, partial(moments, "text")))
    elsewhere = {"Resume": {"best_model_path": "resume/../../victim"}}
    yield case("resume that has a file removed", TRAIN, partial(state_with, partial(put, "callbacks", elsewhere)))


def drop(key: str, state: dict[str, Any]) -> None:
    """A part less."""
    del state[key]


def put(key: str, value: Any, state: dict[str, Any]) -> None:
    """Another value of a part."""
    state[key] = copy.deepcopy(value)


def weight(value: float, state: dict[str, Any]) -> None:
    """Another first number of a weight."""
    next(t for t in state["state_dict"].values() if t.is_floating_point()).view(-1)[0] = value


def reshaped(state: dict[str, Any]) -> None:
    """A weight that is too long."""
    name = next(n for n, t in state["state_dict"].items() if t.dim())
    longer(name, state["state_dict"])


def moments(value: Any, state: dict[str, Any]) -> None:
    """What the optimiser knows of its weights is missing, or of another kind."""
    for known in state["optimizer_states"][0]["state"].values():
        known.pop("exp_avg")
        if value is not None:
            known["exp_avg"] = value


def links() -> Iterator[Case]:
    """Links that would be written through, and pipes that would never end."""
    for name in ("metrics.jsonl", "pictures", "resume", "cache"):
        yield case(f"{name} a link out", TRAIN, partial(away, name), "leads out of")
    yield case("samples a link out", SAMPLE, partial(away, "samples"), "leads out of")
    yield case("a picture a link out", TRAIN, inner, "leads out of")
    yield case("metrics.jsonl a pipe", TRAIN, partial(pipe, "metrics.jsonl"), "no regular file")
    yield case("metrics.jsonl a pipe", INSPECT, partial(pipe, "metrics.jsonl"), "no regular file")
