"""``refine inspect``: what a checkpoint is, from its header alone; no weights are read."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rich.table import Table

from refine.commands.command import Command
from refine.errors import RefineError, require
from refine.kinds import DOMAINS
from refine.progress import Plain

MANY, LONG = 100, 2000  # items of a value, and characters of a text, that are shown


@dataclass
class InspectConfig:
    """Keys of ``refine inspect``."""

    run: str | None = None  # the folder of a run or a checkpoint; null for the newest run


class Inspect(Command):
    """Tell what a checkpoint is.

    Its domain, scales, codes, parameters by part, figures and files; no weights are read. RUN is its folder; by default
    the newest run.

    \b
      refine inspect runs/mnist
    """

    Options = InspectConfig
    of_a_model = False
    positional = ("run",)
    example = ("inspect runs/mnist", "what a checkpoint is")
    place = 90

    def run(self, config: InspectConfig) -> dict[str, Any]:
        """Describe a checkpoint on the terminal.

        Returns:
            What was shown.

        Raises:
            RefineError: there is no checkpoint, or it is damaged.
        """
        from refine.storage.runs import find

        path = find(config.run, None)
        require(path is not None, "there is no run here; say which: refine inspect RUN")
        assert path is not None
        facts = describe(path)
        table = Table("", show_header=False, title=str(path))
        for name, value in facts.items():
            rows = list(islice(value.items(), MANY)) if isinstance(value, dict) else [("", value)]
            for i, (inner, item) in enumerate(rows):
                table.add_row(name if i == 0 else "", f"{_short(inner)}: {_show(item)}" if inner else _show(item))
            for text in _more(value) if isinstance(value, dict) else ():
                table.add_row("", text)
            table.add_section()
        Plain().print(table)
        return facts


def describe(folder: Path) -> dict[str, Any]:
    """Domain, scales, codes, parameters by part, training and figures, and files of a checkpoint."""
    from refine.storage.checkpoint import open_checkpoint
    from refine.storage.runs import read_metrics

    header, weights = open_checkpoint(folder)
    facts: dict[str, Any] = {"domain": header["domain"]}
    facts |= _scales(folder, header, weights)
    facts["parameters"] = _parameters(weights)
    facts["training"] = header["info"] or "none"
    last: dict[str, Any] = {}
    for row in read_metrics(folder):
        stage = row.get("stage", "figures")
        last[stage] = last.get(stage, {}) | {k: v for k, v in row.items() if k != "stage"}
    if last:
        facts["last figures"] = last
    facts["domain options"] = header["domain_config"]
    facts["model"] = header["model"]
    facts["files"] = {p.name: f"{p.stat().st_size:,} bytes" for p in sorted(folder.iterdir()) if p.is_file()}
    facts["written by"] = f"refine {header['refine_version']}, format {header['format']}"
    return facts


def _scales(folder: Path, header: dict[str, Any], weights: Any) -> dict[str, Any]:
    """What the domain says of the scales, as far as it can be asked."""
    from refine.models.saved import domain_of, model_config_of, no_larger

    try:
        DOMAINS.load(header["domain"])
    except RefineError as error:
        return {"scales": f"unknown here: {error}"}
    options = model_config_of(folder, header)
    with no_larger(folder, header, weights) as counted:
        try:
            described: dict[str, Any] = domain_of(folder, header).describe(options)
        except RefineError as error:  # a part that is not installed, data that are not here
            if counted.made > counted.most:
                raise
            return {"scales": f"unknown here: {error}"}
    return described


def _parameters(weights: Any) -> dict[str, str]:
    """How many numbers each part of the model has, and of which types."""
    counts: dict[str, int] = defaultdict(int)
    kinds: dict[str, set[str]] = defaultdict(set)
    for name in weights.keys():  # noqa: SIM118  an open safetensors file, no dict
        part, piece = ".".join(name.split(".")[: 2 if name.startswith("tokenizer.") else 1]), weights.get_slice(name)
        for key in (part, "all"):
            counts[key] += math.prod(piece.get_shape())
            kinds[key].add(piece.get_dtype())
    order = sorted(counts, key=lambda part: (part == "all", part))
    return {part: f"{counts[part]:,} ({', '.join(sorted(kinds[part]))})" for part in order}


def _show(value: Any) -> str:
    """A value on one line; of many items, and of a long text, the first ones."""
    if isinstance(value, dict):
        some = [f"{k}={_show(v)}" for k, v in islice(value.items(), MANY)]
        return _short("  ".join([*some, *_more(value)]))
    if isinstance(value, list):
        return _short(f"[{', '.join([*map(_show, value[:MANY]), *_more(value)])}]")
    return f"{value:.5g}" if isinstance(value, float) else _short(str(value))


def _more(value: Any) -> list[str]:
    return [f"... ({len(value):,} in all)"] if len(value) > MANY else []


def _short(text: str) -> str:
    return text if len(text) <= LONG else f"{text[:LONG]} ..."
