from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from rich.table import Table

from refine.domains.weather.pictures.report import LARGE, table_rows, write_report
from refine.errors import RefineError


class Page(HTMLParser):
    """Tags with their attributes, text, and whether all that opens is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += [data.strip()] if data.strip() else []


def make_picture(path: Path, size: int = 40, title: str = "A & <b>", noise: bool = False) -> Path:
    random = np.random.default_rng(0).integers(0, 255 if noise else 2, (size, size, 3), np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", title)
    info.add_text("Description", 'It says "so".')
    Image.fromarray(random).save(path, pnginfo=info)
    return path


def test_the_report_holds_everything(tmp_path: Path) -> None:
    small = make_picture(tmp_path / "small.png")
    large = make_picture(tmp_path / "large.png", 400, "Large", noise=True)
    assert large.stat().st_size > LARGE
    rows = [
        {"forecast": "<ours>", "day 1": 41.234, "day 10": None},
        {"forecast": "theirs", "day 1": 12345.6, "extra": 3},
    ]
    facts = {"Members": 20, "Initial times": ["2021-02-26", "2021-03-06"], "Seed": 0}
    path = write_report(
        tmp_path / "run", "Ensemble <script>alert(1)</script>", [small, large], {"CRPS": rows, "No": []}, facts
    )
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == tmp_path / "run" / "report.html" and not page.open
    tags = [tag for tag, _ in page.tags]
    assert "script" not in tags and "link" not in tags and "a" not in tags
    assert not re.search(r"https?://|url\(|@import", text)
    for word in (
        "Ensemble <script>alert(1)</script>",
        "<ours>",
        "41.2",
        "-",
        "12346",
        "2021-02-26, 2021-03-06",
        "extra",
    ):
        assert word in page.words, word
    assert "No" not in page.words
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [p["alt"] for p in pictures] == ['A & <b>. It says "so".', 'Large. It says "so".']
    for attributes, original in zip(pictures, (small, large), strict=True):
        kind, data = re.fullmatch(r"data:image/(png|webp);base64,(.*)", attributes["src"] or "").groups()  # type: ignore[union-attr]
        shown = Image.open(io.BytesIO(base64.b64decode(data)))
        assert shown.format == kind.upper() and shown.size == Image.open(original).size
        assert (attributes["width"], attributes["height"]) == tuple(map(str, shown.size))
        if kind == "png":
            assert base64.b64decode(data) == original.read_bytes()
    assert len(text) < 1.4 * (small.stat().st_size + large.stat().st_size)


def test_a_report_of_nothing_is_a_page(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path, "Empty", [], {}, {}).read_text())
    assert not page.open and page.words[0] == "Empty" and "Empty" in page.words[-1:]


def test_a_picture_that_is_none_is_refused_and_the_old_report_stays(tmp_path: Path) -> None:
    path = write_report(tmp_path, "Old", [], {}, {})
    before = path.read_text()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name in ("broken.png", "missing.png"):
        with pytest.raises(RefineError, match=name):
            write_report(tmp_path, "New", [tmp_path / name], {}, {})
    assert path.read_text() == before


def test_tables_of_the_terminal_go_into_the_report(tmp_path: Path) -> None:
    table = Table("forecast", "day 1", title="z500 [m2 s-2]", caption="20 members; * significant")
    table.add_row("ours", "13.0 [11, 15]")
    table.add_row("theirs", "179 *")
    rows = table_rows([table])
    assert rows == {
        "z500 [m2 s-2]\n20 members; * significant": [
            {"forecast": "ours", "day 1": "13.0 [11, 15]"},
            {"forecast": "theirs", "day 1": "179 *"},
        ]
    }
    words = Page(write_report(tmp_path, "Scores", [], rows, {}).read_text()).words
    assert words[-8:] == [
        *("z500 [m2 s-2]", "forecast", "day 1", "ours", "13.0 [11, 15]", "theirs", "179 *"),
        "20 members; * significant",
    ]
