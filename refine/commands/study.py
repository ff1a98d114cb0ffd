"""`refine study`: what next-scale generation is worth, measured and drawn."""

from __future__ import annotations

from pathlib import Path

from refine.errors import not_accepted, require
from refine.progress import console
from refine.registry import load_domain_class
from refine.settings.arguments import whole
from refine.studies.study_report import STUDIES, write_report


def run(which: str, domain: str, seeds: str, updates: str, out: str, plot: str | None = None) -> list[Path]:
    """Measure what has not been measured yet, unless there is a file to ``plot``, and write tables and pictures.

    Returns:
        ``study.json`` with every figure, and what :func:`refine.studies.study_report.write_report` made of it.

    Raises:
        RefineError: an argument that is not accepted, a domain that has no study, no data, a file that is none of a
            study, or an output folder that cannot be used.
    """
    if which not in STUDIES:
        raise not_accepted("study", which, STUDIES)
    count, number = whole("seeds", seeds, 1, 100), whole("updates", updates, 1, 1_000_000)
    folder = Path(out).expanduser()
    require(not folder.exists() or folder.is_dir(), f"out={out!r} is not accepted: it is a file; accepted: a folder")
    load_domain_class(domain)
    if plot is None:
        from refine.studies.runner import study

        recorded = study(which, domain, count, number, folder)
        written = [recorded]
    else:
        recorded, written, own = Path(plot).expanduser(), [], folder / "study.json"
        other = own.exists() and own.resolve() != recorded.resolve()
        require(
            not other, f"out={out!r} is not accepted: it has a study.json that is not {plot}; accepted: another folder"
        )
    written += write_report(recorded, folder, which)
    console.print(f"Written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    return written
