"""What is shown: texts as they are."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from refine.progress import Plain


@pytest.mark.parametrize("text", ["[/red]", "[bold]x[/bold]", "a [link=file:///x]b", ":smile:", "[0.1, 0.2]"])
def test_nothing_in_a_text_is_markup(text: str) -> None:
    out = io.StringIO()
    table = Table(text, title=text)
    table.add_row(text)
    Plain(file=out, width=80).print(text, table)
    assert out.getvalue().count(text) == 4


def test_nothing_in_a_text_is_a_command_to_the_terminal() -> None:
    out = io.StringIO()
    Plain(file=out, width=80, force_terminal=True).print("a\x1b[2Jb\x07c\ud800d\u202ee\nf", soft_wrap=True)
    assert out.getvalue() == "a [2Jb c d e\nf\n"
