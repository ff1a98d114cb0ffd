"""From arguments and YAML files to one typed :class:`refine.settings.config.Config`.

Hydra composes the files of the chosen groups, OmegaConf checks every value against the dataclasses. Values are plain
data all the way: interpolations and keys such as ``_target_`` are refused, so no configuration can name code to run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from omegaconf import OmegaConf

from refine.errors import RefineError, not_accepted, require
from refine.registry import entry_point_domains, load_domain_class
from refine.settings.config import TRAINING, Config
from refine.settings.keys import Key, keys_of
from refine.settings.overrides import assignments, take
from refine.settings.typed import typed

GROUPS = ("domain", "experiment", "model", "train", "sampler")


def compose(arguments: Sequence[str], base: Config | None = None, sections: Collection[str] = TRAINING) -> Config:
    """The configuration that ``arguments`` describe.

    Args:
        arguments: ``group=file``, ``key=value`` and flags (:mod:`refine.settings.overrides`). Keys win over groups, groups over
            defaults; a later group of :data:`GROUPS` over an earlier one.
        base: what stands where the arguments say nothing, e.g. the configuration of the run that is continued.
        sections: first parts of the keys (and groups) that are accepted.

    Raises:
        RefineError: unknown group file, domain, key or type of value; no domain.
    """
    choices, rest = take(arguments, accepted_groups(sections))
    values = _chosen(choices) if base is None or "experiment" in choices else _on_top(base, choices)
    for name, value in assignments(rest, config_keys(values["domain_name"], sections)).items():
        *parents, last = name.split(".")
        node = values
        for section in parents:
            node = node.setdefault(section, {})
        node[last] = value
    return from_values(values)


def config_keys(domain_name: str | None, sections: Collection[str] | None = None) -> dict[str, Key]:
    """Every key of a run in that domain, by full name; without the domain's own when it is None."""
    core = {n: k for n, k in keys_of(Config).items() if n not in ("domain", "domain_name", "model")}
    own = {}
    if domain_name is not None:
        cls = load_domain_class(domain_name)
        own = keys_of(cls.Config, "domain.") | keys_of(cls.ModelConfig, "model.")
    return {n: k for n, k in (own | core).items() if sections is None or n.partition(".")[0] in sections}


def accepted_groups(sections: Collection[str]) -> list[str]:
    """The groups that may be chosen where only ``sections`` are accepted."""
    return [g for g in GROUPS if g == "domain" or g in sections]


def group_files(group: str) -> list[str]:
    """The names that ``group=`` accepts."""
    if group == "domain":
        return list(entry_point_domains())
    folder = resources.files("refine.configs").joinpath(group)
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def from_values(values: Mapping[str, Any]) -> Config:
    """A configuration from nested plain data, as :func:`to_yaml` writes it; keys left out have their defaults."""
    name = values.get("domain_name")
    require(isinstance(name, str), f"the configuration names no domain; accepted: {', '.join(entry_point_domains())}")
    cls = load_domain_class(str(name))
    config = typed(Config, {**values, "domain": None, "model": None})
    config.domain = typed(cls.Config, values.get("domain") or {}, "domain")
    config.model = typed(cls.ModelConfig, values.get("model") or {}, "model")
    return config


def to_yaml(config: Config) -> str:
    """The configuration as YAML that :func:`from_values` takes back."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(config)))


def _chosen(choices: Mapping[str, str]) -> dict[str, Any]:
    """What the group files say; a domain without a file of its own has the defaults of its Config."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module

    for group, name in choices.items():
        if name not in group_files(group):
            raise not_accepted(group, name, group_files(group))
    files = dict(choices)
    if "experiment" in files:
        own = OmegaConf.create(_group_file("experiment", files["experiment"]).read_text(encoding="utf-8")).domain_name
        if files.setdefault("domain", own) != own:
            raise RefineError(
                f"domain={files['domain']!r} does not go with experiment={files['experiment']}, of {own!r}"
            )
    domain = files.get("domain")
    require(domain is not None, f"domain= is missing; accepted: {', '.join(group_files('domain'))}")
    if not _group_file("domain", str(domain)).is_file():
        del files["domain"]
    with initialize_config_module("refine.configs", version_base=None):
        composed = hydra_compose("config", [f"{group}={name}" for group, name in files.items()])
    values: dict[str, Any] = OmegaConf.to_container(composed)  # type: ignore[assignment]
    return values | {"domain_name": domain}


def _group_file(group: str, name: str) -> Traversable:
    return resources.files("refine.configs").joinpath(group, f"{name}.yaml")


def _on_top(base: Config, choices: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``base``, with the sections of the chosen groups as their files say."""
    name = choices.get("domain", base.domain_name)
    require(name == base.domain_name, f"domain={name!r} is not accepted: the run is of domain {base.domain_name!r}")
    values = asdict(base)
    if others := {group: file for group, file in choices.items() if group != "domain"}:
        chosen = _chosen({"domain": name} | others)
        values |= {group: chosen.get(group, {}) for group in others}
    return values
