"""The documentation site: ``sphinx-build -W docs docs/_build``, with the extra ``docs`` installed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

project = "refine"
author = "the refine authors"
_source = (Path(__file__).parents[1] / "refine" / "version.py").read_text(encoding="utf-8")
release = re.findall(r'__version__ = "(.+)"', _source)[0]  # without importing PyTorch

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"refine {release}"

# The API reference is made of the docstrings. A public name (refine.X) is described once, under that name.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def described_elsewhere(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skip the public names where a whole module is described; the page of the room has them already."""
    import refine

    home = refine._HOME.get(name)
    return True if what == "module" and home is not None and home == getattr(obj, "__module__", home) else None


def keys_with_their_comments(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The keys of a configuration section are explained by comments, as the command line's help has them."""
    if what != "class" or not dataclasses.is_dataclass(obj) or any(line.startswith(":ivar") for line in lines):
        return
    from refine.settings.keys import _comments

    notes = _comments(obj)  # type: ignore[arg-type]
    if notes:
        lines += ["", *(f":ivar {f.name}: {notes[f.name]}" for f in dataclasses.fields(obj) if f.name in notes), ""]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", described_elsewhere)
    app.connect("autodoc-process-docstring", keys_with_their_comments, priority=900)
