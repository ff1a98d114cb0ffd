"""Arguments of the command line: ``key=value``, ``--key value`` and ``--key=value`` are spellings of one thing.

Values are read by the type of their key: a text key takes its value as it stands (paths with spaces, commas or ``=``
need no quoting beyond the shell's), any other is YAML, so ``[1,2,4]``, ``1e-3``, ``true`` and ``null`` are what they
look like.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Union, get_args, get_origin

from refine.errors import SHOWN, RefineError, require, shown
from refine.settings.keys import Key
from refine.settings.yaml_text import read_yaml

BOOLS = ("true", "false")
LISTED = 16  # keys that a message still lists


def take(arguments: Sequence[str], names: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Pick the values of ``names`` out of the arguments, in either spelling; the last one counts.

    Returns:
        The values found, and the other arguments in their order.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    tokens = iter(arguments)
    for token in tokens:
        flag = token.startswith("--")
        name, equals, value = token.removeprefix("--").partition("=")
        if name not in names or not (equals or flag):
            rest.append(token)
            continue
        value = value if equals else next(tokens, "")
        require(value != "", f"{name} needs a value: {name}=VALUE or --{name} VALUE")
        found[name] = value
    return found, rest


def assignments(arguments: Sequence[str], keys: Mapping[str, Key], positional: Sequence[str] = ()) -> dict[str, Any]:
    """What the arguments say, by full key name.

    Args:
        arguments: ``key=value`` and ``--key [value]``, in any order; a flag of a boolean key may stand alone.
        keys: those that are accepted, by full name.
        positional: keys that may be given by their values alone, in this order.

    Raises:
        RefineError: unknown or ambiguous key, a value that is no YAML, or something that is no assignment at all.
    """
    out: dict[str, Any] = {}
    tokens, places = list(arguments), list(positional)
    while tokens:
        token = tokens.pop(0)
        body = token.removeprefix("--")
        name, equals, raw = body.partition("=")
        if places and not token.startswith("-") and not (equals and name in keys):
            place = places.pop(0)
            out[place] = parse(keys[place], token)
            continue
        if not body or body[0] in "-+~" or not (equals or token.startswith("--")):
            raise RefineError(f"{shown(token)} is not understood; write key=value or --key value (keys: see --help)")
        key = resolve(name.replace("-", "_"), keys)
        if not equals:
            alone = key.type is bool and not (tokens and tokens[0].lower() in BOOLS)
            require(alone or bool(tokens), f"--{name} needs a value")
            raw = "true" if alone else tokens.pop(0)
        out[key.name] = parse(key, raw)
    return out


def resolve(name: str, keys: Mapping[str, Key]) -> Key:
    """The key that ``name`` stands for: its full name, or a last part (or parts) of it that no other key has, or no
    other key of the domain.

    Raises:
        RefineError: no such key, or several.
    """
    if name in keys:
        return keys[name]
    head, dot, option = name.partition(".options.")
    if dot:  # of an installed kind; the part itself knows its options
        section = resolve(f"{head}.options", keys)
        return replace(section, name=f"{section.name}.{option}", type=Any)
    fits = [full for full in keys if full.endswith("." + name)]
    fits = [full for full in fits if full.startswith("domain.")] or fits
    if len(fits) == 1:
        return keys[fits[0]]
    if fits:
        raise RefineError(f"{shown(name)} fits several keys; write one of {', '.join(fits)}")
    raise unknown_key(name, keys)


def unknown_key(name: str, keys: Iterable[str]) -> RefineError:
    """The error for a key that does not exist: the nearest one, and those of its section, or all."""
    keys = list(keys)
    below = [k for k in keys if f".{name}." in f".{k}"]
    if below:
        return RefineError(f"{shown(name)} is a section; its keys are {', '.join(below)}")
    last = {k if "." in name else k.rpartition(".")[2]: k for k in reversed(keys)}
    close = difflib.get_close_matches(name[:SHOWN], last, n=1)
    hint = f" Did you mean {last[close[0]]!r}?" if close else ""
    section = name.rpartition(".")[0]
    beside = [k for k in keys if section and k.rpartition(".")[0] == section]
    accepted = beside or keys
    few = f"Accepted: {', '.join(accepted)}" if accepted else "There are none here"
    listed = few if len(accepted) <= LISTED else "All keys are shown by --help"
    return RefineError(f"{shown(name)} is not a key.{hint} {listed}")


def parse(key: Key, raw: str) -> Any:
    """Plain data out of the text of a value; :func:`refine.settings.typed.typed` sees to its type."""
    options = get_args(key.type) if get_origin(key.type) in (Union, types.UnionType) else (key.type,)
    if Any in options and raw.isdecimal() and raw.startswith("0") and len(raw) > 1:
        return raw  # YAML reads 010 as eight; it is what a class is called
    if str in options:
        return None if type(None) in options and raw == "null" else raw
    return read_yaml(raw, f"{key.name}={shown(raw)}")
