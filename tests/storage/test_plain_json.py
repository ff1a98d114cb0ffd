"""JSON that others may have written: what is read, and what is one message."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from refine.errors import RefineError
from refine.storage.plain_json import DEPTH, parse_json, read_json


def test_plain_data_is_read_as_it_stands() -> None:
    text = '{"a": [1, -2.5, true, null, "é", 18446744073709551615], "b": {"a": NaN}}'
    value = parse_json(text, "it")
    assert value["a"] == [1, -2.5, True, None, "é", 2**64 - 1] and math.isnan(value["b"]["a"])
    assert parse_json("[" * DEPTH + "]" * DEPTH, "it") is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is damaged: Expecting value"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' is there twice"),
        ("[" * 100_000, "it is damaged"),
        ("[" * (DEPTH + 1) + "]" * (DEPTH + 1), f"more than {DEPTH} lists and mappings"),
        ('{"a": ' * (DEPTH + 1) + "1" + "}" * (DEPTH + 1), f"more than {DEPTH} lists and mappings"),
        ("[18446744073709551616]", "a number of more than 64 bits"),
        ("9" * 5000, "it is damaged"),
        ('["\\ud800"]', "it is damaged"),
        ('{"\\udfff": 1}', "it is damaged"),
    ],
)
def test_what_readers_would_differ_about_or_stop_at_is_refused(text: str, message: str) -> None:
    with pytest.raises(RefineError, match=message) as caught:
        parse_json(text, "it")
    assert len(str(caught.value)) < 300


def test_files_are_regular_and_within_bounds(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("[1, 2, 3]")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert read_json(tmp_path / "large", most=9) == [1, 2, 3]
    with pytest.raises(RefineError, match="it has 9 bytes; accepted: 8 at most"):
        read_json(tmp_path / "large", most=8)
    for name in ("pipe", "loop", "none", "."):
        with pytest.raises(RefineError, match="cannot be read"):
            read_json(tmp_path / name)
