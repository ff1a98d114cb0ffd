"""The processes of tests: when one fails, those that wait for it are ended."""

from __future__ import annotations

import time

import pytest
from processes import finished, start


def fail() -> None:
    raise SystemExit(3)


def test_when_one_fails_the_others_are_ended() -> None:
    with pytest.raises(AssertionError, match=r"\[-9, 3\]"):
        finished(start(time.sleep, 600), start(fail))
