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

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_copyright = False
html_title = f"refine {release}"

# The API reference is made of the docstrings. A public name (refine.X) is described once, under that name.
autodoc_default_options = {"members": True, "special-members": "__call__", "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False  # what a class only implements is described where it is declared
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def described_elsewhere(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skip what has a description of its own: public names where a whole module is described (the page of the room has
    them already), and classes that are attributes of others."""
    import refine

    home = refine._HOME.get(name)
    public = what == "module" and home is not None and home == getattr(obj, "__module__", home)
    alias = what == "class" and isinstance(obj, type) and "." not in obj.__qualname__
    return True if public or alias else None


def help_of_commands(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """What stands after a line of ``\\b`` keeps its line breaks in the help of a command, and here."""
    out, kept = list[str](), False
    for line in lines:
        if line == "\b":
            out, kept = [*out, "::", ""], True
        else:
            kept = kept and bool(line)
            out.append(f"    {line}" if kept else line)
    lines[:] = out


def keys_with_their_comments(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The keys of a section of the configuration are explained by comments, which the command line's help shows too."""
    if what != "class" or not dataclasses.is_dataclass(obj) or any(line.startswith(":ivar") for line in lines):
        return
    from refine.settings.keys import _comments

    notes = _comments(obj)  # type: ignore[arg-type]
    if notes:
        lines += ["", *(f":ivar {f.name}: {notes[f.name]}" for f in dataclasses.fields(obj) if f.name in notes), ""]


def by_public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A link to what a module defines leads to its public name."""
    import refine

    target = str(node.get("reftarget", ""))
    for name, home in refine._HOME.items():
        if f"{target}.".startswith(f"{home}.{name}."):
            public, domain = f"refine{target.removeprefix(home)}", env.get_domain("py")
            return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], public, node, content)
    return None


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", described_elsewhere)
    app.connect("autodoc-process-docstring", help_of_commands, priority=400)  # before the sections of Google style
    app.connect("autodoc-process-docstring", keys_with_their_comments, priority=900)
    app.connect("missing-reference", by_public_name)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
