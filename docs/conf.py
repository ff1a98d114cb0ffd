"""The documentation site: ``sphinx-build -W docs docs/_build``, with the extra ``docs`` installed."""

from __future__ import annotations

import re
from pathlib import Path

project = "refine"
author = "the refine authors"
_source = (Path(__file__).parents[1] / "refine" / "version.py").read_text(encoding="utf-8")
release = re.findall(r'__version__ = "(.+)"', _source)[0]  # without importing PyTorch

extensions = ["myst_parser"]
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"refine {release}"
