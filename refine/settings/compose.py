"""From arguments and YAML files to one typed :class:`refine.settings.config.Config`.

Hydra composes the files of the chosen groups, OmegaConf checks every value against the dataclasses. Values are plain
data all the way: interpolations and keys such as ``_target_`` are refused, so no configuration can name code to run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from omegaconf import OmegaConf

from refine.errors import RefineError, not_accepted, require, shown
from refine.kinds import ALL, COMMANDS, DOMAINS
from refine.progress import console
from refine.settings.config import Config, TrainConfig, split
from refine.settings.keys import Key, keys_of
from refine.settings.overrides import assignments, take, unknown_key
from refine.settings.places import guarded, places_of, plainly
from refine.settings.typed import plain_data, typed

GROUPS = ("domain", "experiment", "model", "train", "sampler")
OF_ONE_DOMAIN = (
    *("train.mean", "evaluate.features", "evaluate.forecast"),
    *("inpaint.image", "inpaint.mask", "inpaint.place", "inpaint.paste", "inpaint.item"),
)
"""Keys that earlier versions wrote into every run, and that only the domains which read them have now."""


def compose(arguments: Sequence[str], base: Config | None = None, accepted: Collection[str] | None = None) -> Config:
    """The configuration that ``arguments`` describe.

    Args:
        arguments: ``group=file``, ``key=value`` and flags (:mod:`refine.settings.overrides`). Keys win over groups,
            groups over defaults; a later group of :data:`GROUPS` over an earlier one.
        base: what stands where the arguments say nothing, e.g. the configuration of the run that is continued.
        accepted: first parts of the keys (and groups) that are accepted; those of a training by default.

    Raises:
        RefineError: unknown group file, domain, key or type of value; no domain.
    """
    accepted = training_sections() if accepted is None else accepted
    choices, rest = take(arguments, accepted_groups(accepted))
    values = _chosen(choices) if base is None or "experiment" in choices else _on_top(base, choices)
    given = assignments(rest, config_keys(values["domain_name"], accepted))
    _drop_options(values, given)
    for name, value in given.items():
        *parents, last = name.split(".")
        node = values
        for section in parents:
            node = node.setdefault(section, {})
        node[last] = value
    return from_values(values)


def _drop_options(values: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Take options out of ``values`` that belong to parts which ``given`` puts others in the place of."""
    for kind in ALL.values():
        section, _, last = kind.key.rpartition(".")
        node: Any = values
        for part in section.split("."):
            node = (node.get(part) or {}) if isinstance(node, Mapping) else {}
        if kind.key in given and node.get("options") and given[kind.key] != node.get(last):
            stay = given[kind.key] if last == "strategies" else ()
            node["options"] = {name: value for name, value in node["options"].items() if name in stay}


def training_sections() -> list[str]:
    """Sections and keys of a training: what it uses, and what commands that follow find in its run."""
    kept = [name for name, command in COMMANDS.all() if isinstance(command, type) and command.kept]
    return ["experiment", "domain", "model", "train", "trainer", "sampler", *kept, "stage", "seed", "run"]


def section_types(domain: type | None) -> dict[str, type]:
    """The dataclass of every section that may differ from domain to domain, by the name of the section."""
    own = getattr(domain, "sections", {})
    types = {"train": TrainConfig}
    for name, command in COMMANDS.all():
        if isinstance(command, type) and command.of_a_model and command.Options is not None:
            types[name] = command.Options
    return {name: own.get(name, cls) for name, cls in types.items()}


def config_keys(domain_name: str | None, accepted: Collection[str] | None = None) -> dict[str, Key]:
    """Every key of a run in that domain, by full name; without the domain's own when it is None."""
    domain = None if domain_name is None else DOMAINS.load(domain_name)
    own = {} if domain is None else keys_of(domain.Config, "domain.") | keys_of(domain.ModelConfig, "model.")
    core = {
        n: k for n, k in keys_of(Config).items() if n not in ("domain", "domain_name", "model", "train", "commands")
    }
    for name, cls in section_types(domain).items():
        core |= keys_of(cls, f"{name}.")
    return {n: key for n, key in (own | core).items() if accepted is None or _accepts(accepted, key)}


def _accepts(accepted: Collection[str], key: Key) -> bool:
    """Whether a key is of an accepted section; where the data of a domain are may be said to every command."""
    section = key.name.partition(".")[0]
    return section in accepted or (section == "domain" and key.place)


def accepted_groups(accepted: Collection[str]) -> list[str]:
    """The groups that may be chosen where only some sections are accepted."""
    return [g for g in GROUPS if g == "domain" or g in accepted]


def group_files(group: str) -> list[str]:
    """The names that ``group=`` accepts."""
    if group == "domain":
        return DOMAINS.names()
    folder = resources.files("refine.configs").joinpath(group)
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def from_values(values: Mapping[str, Any], saved: bool = False) -> Config:
    """A configuration from nested plain data, as :func:`to_yaml` writes it; keys left out have their defaults.

    Args:
        values: the data.
        saved: whether a run has them. Then sections of commands that are not installed here are left out, and so are
            keys that older versions wrote for domains which do not read them, and those of commands that name places;
            other places count as :mod:`refine.settings.places` says.

    Raises:
        RefineError: no domain, an unknown key, or a value of another type.
    """
    name = values.get("domain_name")
    require(isinstance(name, str), f"the configuration names no domain; accepted: {', '.join(DOMAINS.names())}")
    domain = DOMAINS.load(str(name))
    types = section_types(domain)
    core, others = split(values)
    if saved:
        plain_data(others)  # also of what is left out
        others = {section: given for section, given in others.items() if section in types}
    if unknown := [section for section in others if section not in types]:
        raise unknown_key(unknown[0], [*core, *types])
    found: dict[str, Any] = {}
    for section, cls in types.items():
        given = others.get(section) if section != "train" else core.get("train")
        found[section] = typed(cls, _of_a_run(section, cls, given or {}) if saved else given or {}, section)
    config = typed(Config, {**core, "domain": None, "model": None, "train": None})
    options = values.get("domain") or {}
    older = domain.older(options) if saved and isinstance(options, Mapping) else options
    config.domain = typed(domain.Config, older, "domain")
    config.model = typed(domain.ModelConfig, values.get("model") or {}, "model")
    config.train = found.pop("train")
    config.commands = found
    if saved:
        config.domain, config.train = guarded(config.domain), guarded(config.train)
    return config


def _of_a_run(section: str, cls: type, given: Any) -> Any:
    """The values of a section in a run's file but for keys of another domain, and places of a command, which are named
    if they say anything."""
    if not isinstance(given, Mapping):
        return given
    places = () if section == "train" else places_of(cls)
    if said := [f"{section}.{k}" for k in places if given.get(k) is not None]:
        text = "ignored in the run's file, because places count from the command line only:"
        console.print(f"{text} {', '.join(said)}", soft_wrap=True)
    known = {key.partition(".")[0] for key in keys_of(cls)}
    own = {k: v for k, v in given.items() if k in known or f"{section}.{k}" not in OF_ONE_DOMAIN}
    return {k: v for k, v in own.items() if k not in places}


def to_yaml(config: Config) -> str:
    """The configuration as YAML that :func:`from_values` takes back."""
    return OmegaConf.to_yaml(OmegaConf.create(plainly(config.plain())))


def _chosen(choices: Mapping[str, str]) -> dict[str, Any]:
    """What the group files say; a domain without a file of its own has the defaults of its Config."""
    for group, name in choices.items():
        if name not in group_files(group):
            raise not_accepted(group, name, group_files(group))
    files = dict(choices)
    if "experiment" in files:
        own = OmegaConf.create(_group_file("experiment", files["experiment"]).read_text(encoding="utf-8")).domain_name
        if files.setdefault("domain", own) != own:
            raise RefineError(
                f"domain={shown(files['domain'])} does not go with experiment={files['experiment']}, of {own!r}"
            )
    domain = files.get("domain")
    require(domain is not None, f"domain= is missing; accepted: {', '.join(group_files('domain'))}")
    if not _group_file("domain", str(domain)).is_file():
        del files["domain"]
    return deepcopy(_composed(tuple(files.items()))) | {"domain_name": domain}


@cache
def _composed(files: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module

    with initialize_config_module("refine.configs", version_base=None):
        composed = hydra_compose("config", [f"{group}={name}" for group, name in files])
    return OmegaConf.to_container(composed)  # type: ignore[return-value]


def _group_file(group: str, name: str) -> Traversable:
    return resources.files("refine.configs").joinpath(group, f"{name}.yaml")


def _on_top(base: Config, choices: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``base``, with the sections of the chosen groups as their files say."""
    name = choices.get("domain", base.domain_name)
    require(
        name == base.domain_name, f"domain={shown(name)} is not accepted: the run is of domain {base.domain_name!r}"
    )
    values = base.plain()
    if others := {group: file for group, file in choices.items() if group != "domain"}:
        chosen = _chosen({"domain": name} | others)
        values |= {group: chosen.get(group, {}) for group in others}
    return values
