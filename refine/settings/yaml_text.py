"""YAML as plain data, whoever wrote it: read within bounds, and refused in one line.

Aliases, anchors, tags and further documents are refused, because they make much of little text, or more than data;
so is text that is very long or nested very deeply, because reading it takes time and memory that no configuration
needs.
"""

from __future__ import annotations

from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from refine.errors import RefineError, require, shown

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one, where PyYAML was built with it
LONGEST, DEEPEST = 200_000, 32  # characters, and levels of lists and sections


def read_yaml(text: str, what: str) -> Any:
    """The plain data that a YAML text says.

    Args:
        text: the text; of a value on the command line, or of a whole file.
        what: what the text is, as it stands at the beginning of messages.

    Raises:
        RefineError: no YAML, more than plain data, or too much of it.
    """
    require(len(text) <= LONGEST, f"{what} is not accepted: it has {len(text):,} characters; accepted: {LONGEST:,}")
    try:
        _only_data(text, what)
        # OmegaConf reads numbers such as 1e-3, and refuses a key that stands there twice
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[call-overload, index]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise RefineError(f"{what} cannot be read as YAML: {error.problem or error.context}{place}") from None
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise RefineError(f"{what} cannot be read as YAML: {error}") from None
    except ValueError:  # a whole number of more digits than Python reads
        raise RefineError(f"{what} cannot be read as YAML: it has a number of thousands of digits") from None


def _only_data(text: str, what: str) -> None:
    """Refuse what is more than plain data, by the events of the parser: nothing is made of the text yet."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        alias, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        more = f"the alias or anchor {shown(alias)}" if alias else f"the tag {shown(tag)}" if tag else ""
        require(not more, f"{what} has {more}; accepted: numbers, texts, lists and mappings without them")
        require(depth <= DEEPEST, f"{what} is nested more than {DEEPEST} levels deep")
        require(documents <= 1, f"{what} has more than one document")
