"""YAML is read as plain data within bounds, and refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from refine.errors import RefineError
from refine.settings.yaml_text import DEEPEST, LONGEST, read_yaml

DEEP = "[" * DEEPEST + "]" * DEEPEST


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("[1, two, null, true]", [1, "two", None, True]),
        ("{a: {b: .nan}}", {"a": {"b": pytest.approx(float("nan"), nan_ok=True)}}),
        ("none", "none"),
        ("nan", "nan"),
        ("2020-01-01", "2020-01-01"),
        ("'&a'", "&a"),
        ("", None),
    ],
)
def test_plain_data(text: str, value: Any) -> None:
    assert read_yaml(text, "key") == value


def test_lists_may_be_as_deep_as_is_said() -> None:
    assert str(read_yaml(DEEP, "key")) == DEEP


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1", "expected ',' or ']'"),
        ("a: 1\na: 2", "duplicate key a, line 2"),
        ("\t- a", "cannot start any token"),
        ("&a [1]", "has the alias or anchor 'a'"),
        ("{a: &a [1], b: *a}", "has the alias or anchor 'a'"),
        ("!!python/object:os.system x", "has the tag"),
        ("!!int 3", "has the tag"),
        ("a\n--- \nb", "more than one document"),
        (f"[{DEEP}]", f"nested more than {DEEPEST} levels"),
        ("[" * 100_000, "nest"),
        ("9" * 5000, "thousands of digits"),
        ("x" * (LONGEST + 1), f"accepted: {LONGEST:,}"),
        ("a\0", "unacceptable character"),
    ],
)
def test_what_is_none_or_too_much_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(RefineError) as error:
        read_yaml(text, "label=?")
    assert message in str(error.value) and str(error.value).startswith("label=?")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200
