"""Plain data into dataclasses, checked; nothing but data gets through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache, reduce
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from refine.errors import RefineError, require, shown
from refine.settings.bounds import check
from refine.settings.keys import field_types, keys_of
from refine.settings.overrides import unknown_key

T = TypeVar("T")


def typed(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """An instance of dataclass ``cls`` with ``values`` over its defaults, nested dataclasses included.

    Args:
        cls: the dataclass.
        values: nested plain data.
        where: what the values are, put before key names in messages.

    Raises:
        RefineError: unknown key, wrong type, missing value, one out of its bounds (:mod:`refine.settings.bounds`), or
            anything that is not plain data.
    """
    require(isinstance(values, Mapping), f"{where}={shown(values)} is not accepted: it is a section of keys")
    plain_data(values, where)
    _known(cls, values, where)
    try:
        node = OmegaConf.merge(_structure(cls), OmegaConf.create(dict(values)))  # type: ignore[arg-type]
        made: T = OmegaConf.to_object(node)  # type: ignore[assignment]
    except MissingMandatoryValue as error:
        raise RefineError(f"{_join(where, error.full_key)} must be given") from None
    except OmegaConfBaseException as error:
        name = str(error.full_key or "").partition("[")[0]
        if name not in keys_of(cls):
            raise RefineError(f"{where or cls.__name__}: {error}") from None
        value = reduce(lambda node, part: node[part], name.split("."), values)
        key = keys_of(cls)[name]
        if key.bound is not None:
            raise key.bound.refusal(_join(where, name), value) from None
        raise RefineError(f"{_join(where, name)}={shown(value)} is not accepted; expected {key.type_name}") from None
    check(made, where)
    return made


@cache
def _structure(cls: type) -> DictConfig:
    return OmegaConf.structured(cls)  # type: ignore[no-any-return]


def plain_data(value: Any, where: str = "") -> None:
    """Refuse what could make a configuration more than data: interpolations, ``_target_``-like keys, objects."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = _join(where, key)
            require(isinstance(key, str) and not key.startswith("_"), f"{name} is not accepted as a key")
            plain_data(item, name)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            plain_data(item, f"{where}[{i}]")
    elif isinstance(value, str):
        require("${" not in value, f"{where}={shown(value)} is not accepted: values are not interpolated")
    else:
        plain = value is None or isinstance(value, (bool, int, float))
        require(plain, f"{where}={shown(value)} is not accepted: values are numbers, texts, lists and mappings")


def _known(cls: type, values: Mapping[str, Any], where: str) -> None:
    types = field_types(cls)
    for name, value in values.items():
        if name not in types:
            raise unknown_key(_join(where, name), [_join(where, key) for key in types])
        if is_dataclass(types[name]) and isinstance(types[name], type):
            section = isinstance(value, Mapping)
            require(section, f"{_join(where, name)}={shown(value)} is not accepted: it is a section of keys")
            _known(types[name], value, _join(where, name))


def _join(where: str, key: object) -> str:
    return f"{where}.{key}" if where and key else f"{where}{key or ''}"
