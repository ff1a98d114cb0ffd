"""The options of a part that a configuration names: of the kinds that ship, and of installed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refine.errors import require
from refine.settings.typed import typed


@dataclass
class NoOptions:
    """Of a part that has none."""


def options_of(cls: Any, section: Any, where: str) -> Any:
    """An instance of ``cls.Options`` with what a section of the configuration says.

    The kinds that ship share one dataclass of options, the section itself (``model.quantizer.size``). An installed kind
    has a dataclass of its own, whose keys stand below ``options`` (``model.quantizer.options.levels``).

    Args:
        cls: the class of the part, with ``Options``.
        section: the part of the configuration that names it; it has ``kind`` and ``options``.
        where: the name of the section, for messages.

    Raises:
        RefineError: an option that the part does not have, or a value of another type.
    """
    if isinstance(section, cls.Options):
        given = ", ".join(section.options)
        require(not given, f"{where}.options.{given} is not accepted for {where}.kind={section.kind}; see --help")
        return section
    return typed(cls.Options, section.options, f"{where}.options")
