"""From the arguments of a command to what it runs on, and to its help."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refine.commands.command import Command
from refine.domain import Domain, starter
from refine.errors import RefineError, require, shown
from refine.kinds import ALL, COMMANDS, DOMAINS, NETWORKS, OBJECTIVES, PYRAMIDS, QUANTIZERS, STRATEGIES
from refine.models.codec import Codec
from refine.settings.compose import accepted_groups, compose, config_keys, group_files, training_sections
from refine.settings.config import Config, ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig
from refine.settings.keys import Key, keys_of
from refine.settings.overrides import assignments, take
from refine.settings.places import places_of
from refine.settings.typed import typed
from refine.storage.runs import CONFIG, find, load_run_config

OF_TOKENIZERS = ("tokenizer", "fit_after", "fit_items", "loss", "discriminator")  # keys of train
OF_LATENTS = (
    *("train.site_budget", "train.scale_weights"),
    *("sampler.gain", "sampler.guidance", "sampler.schedule", "sampler.guided", "sampler.smooth"),
    *("sampler.strategies", "sampler.options"),
)
"""Keys that models on a pyramid of latents read, and models of another kind do not."""
PARTS = {"pyramid": PYRAMIDS, "quantizer": QUANTIZERS, "predictor": NETWORKS}
SHARED = (PyramidConfig, QuantizerConfig, PredictorConfig)  # options of the kinds that ship: sections by themselves


def configure(name: str, command: type[Command], arguments: Sequence[str]) -> Any:
    """What a command runs on: its arguments, over the configuration of the run that is meant, if there is one.

    Raises:
        RefineError: an argument that is not accepted, or a domain that cannot do what the command does.
    """
    wrong = next((text for text in arguments if "\0" in text), None)
    require(wrong is None, f"{shown(wrong)} is not accepted: it has a NUL")
    if not command.of_a_model:
        options = command.options_for(arguments)
        if options is None:
            require(not arguments, f"{shown(' '.join(arguments))} is not accepted: refine {name} takes no arguments")
            return None
        return typed(options, assignments(arguments, keys_of(options), command.positional))
    named = take(arguments, ("run", "domain"))[0]
    run, domain = named.get("run"), named.get("domain")
    if name == "train":
        resumed = run is not None and (Path(run).expanduser() / CONFIG).is_file()
        base = load_run_config(Path(str(run)).expanduser()) if resumed else started_from(arguments)
    elif folder := find(run, domain):
        base = load_run_config(folder)
    elif domain is not None:
        if command.needs is not None:
            command.needs.of(domain)  # said before what it lacks
        base = load_run_config(starter(domain))
        base.run = None  # what ships with a package is read, not written to
    else:
        base = None
    if command.needs is not None and base is not None:
        command.needs.of(base.domain_name)
    config = compose(arguments, base, accepted(name, command))
    if name == "train":
        _no_places_of_commands(config)
    return config


def _no_places_of_commands(config: Config) -> None:
    """Refuse what a training would not keep: the run's file has no say in where commands read and write."""
    for section, options in config.commands.items():
        for key in places_of(type(options)):
            value, where = getattr(options, key), f"{section}.{key}"
            require(
                value is None, f"{where}={shown(value)} is not accepted by refine train; give it to refine {section}"
            )


def started_from(arguments: Sequence[str]) -> Config | None:
    """The configuration of the run whose weights a training begins with (``train.init``); the arguments win over it."""
    init = take(arguments, ("train.init", "init"))[0]
    source = init.get("train.init", init.get("init"))
    if source is None or not Path(source).expanduser().is_dir():  # the hub has no config.yaml
        return None
    base = load_run_config(Path(source).expanduser())
    base.run = None
    return base


def accepted(name: str, command: type[Command]) -> list[str]:
    """First parts of the keys that a command accepts."""
    return training_sections() if name == "train" else [name, *command.uses]


def key_help(name: str, command: type[Command], arguments: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """What a command accepts, as (key=value, explanation) rows by section; values are those under ``arguments``."""
    if not command.of_a_model:
        options = command.options_for(arguments)
        keys = {} if options is None else keys_of(options)
        return {"Keys": [_row(key) for key in keys.values()]} if keys else {}
    domain, config = take(arguments, ["domain"])[0].get("domain"), None
    if arguments:
        with contextlib.suppress(RefineError):  # then the help is all the more wanted
            config = configure(name, command, arguments)
            domain = config.domain_name
    sections = accepted(name, command)
    groups = [(f"{group}=", " | ".join(group_files(group))) for group in accepted_groups(sections)]
    out = {"Files of settings": [(group, files) for group, files in groups if files]}
    chosen = [] if config is None else list(options_of_kinds(config))
    for key in config_keys(domain, sections).values():
        if domain is not None and not of_use(key.name, DOMAINS.load(domain), config):
            continue
        section, dot, _ = key.name.partition(".")
        title = f"Keys of {section}" if dot else "Keys of the run"
        now = key if config is None else replace(key, default=operator.attrgetter(key.name)(config))
        inner = [option for option in chosen if option.name.startswith(f"{key.name}.")]
        out.setdefault(title, []).extend(map(_row, inner or [now]))
    own = f"Keys of {name}"
    if own in out and name != "train":
        out = {own: out.pop(own)} | out
    if domain is None and "domain" in sections:
        out["Keys of domain and model"] = [
            ("domain.*, model.*", f"each domain has its own; they are shown by: refine {name} domain=NAME --help")
        ]
    return out


def _row(key: Key) -> tuple[str, str]:
    kind = next((kind for kind in ALL.values() if kind.key == key.name), None)
    others = [] if kind is None else kind.others()
    text = "; ".join([key.help or key.type_name, *([f"installed: {', '.join(others)}"] if others else [])])
    text += f" ({key.accepted})" if key.accepted else ""
    return f"{key.name}={'...' if key.required else key.default_text}", text


def of_use(key: str, domain: type[Domain], config: Config | None) -> bool:
    """Whether a key means anything in a domain: of ``train``, stages and losses that its model has; of a command, what
    it is capable of."""
    section, _, rest = key.partition(".")
    part = rest.partition(".")[0]
    if key in OF_LATENTS and not issubclass(domain.ModelConfig, ModelConfig):
        return False
    if section == "train":
        if part in OF_TOKENIZERS and "tokenizer" not in domain.stages:
            return False
        needed = "perceptual_loss" if rest == "loss.perceptual" else "discriminator"
        if part == "discriminator" or rest in ("loss.perceptual", "loss.adversarial"):
            return needed in extra_losses(domain, config)
        return True
    if section in COMMANDS.names():
        needs = COMMANDS.load(section).needs
        return needs is None or issubclass(domain, needs)
    return True


def extra_losses(domain: type[Domain], config: Config | None) -> list[str]:
    """What the codec of a domain can be trained for beside its own loss: ``perceptual_loss``, ``discriminator``."""
    both = ["perceptual_loss", "discriminator"]
    try:
        codec = type(domain(domain.Config() if config is None else config.domain).codec())
    except Exception:  # it cannot be asked: data that are not there, options that must be given
        return both
    return [name for name in both if getattr(codec, name) is not getattr(Codec, name)]


def options_of_kinds(config: Config) -> Iterator[Key]:
    """Options of the installed kinds that a configuration names, with their values there."""
    parts: list[tuple[Any, Any, str]] = [
        (kind, getattr(config.model, part, None), f"model.{part}.options") for part, kind in PARTS.items()
    ]
    parts.append((OBJECTIVES, config.train.objective, "train.objective.options"))
    named = [(k, part.kind, where, part.options) for k, part, where in parts if hasattr(part, "kind")]
    given = config.sampler.options
    named += [(STRATEGIES, n, f"sampler.options.{n}", given.get(n) or {}) for n in config.sampler.strategies]
    for kind, name, where, options in named:
        with contextlib.suppress(RefineError):  # not installed, or options that it does not have
            cls = kind.load(name)
            values = None if cls.Options in SHARED else typed(cls.Options, options)
            for key in keys_of(cls.Options).values() if values is not None else ():
                yield replace(key, name=f"{where}.{key.name}", default=operator.attrgetter(key.name)(values))
