"""`refine reproduce`: the paper's tables, measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from refine.errors import not_accepted, require
from refine.progress import console, track
from refine.settings.arguments import whole
from refine.storage.files import write_text
from refine.studies.experiments import EXPERIMENTS, Experiment, Setting
from refine.studies.mnist import Digits, mnist
from refine.studies.paper import TABLES
from refine.studies.report import Seeds, markdown, plot, verdicts
from refine.studies.store import Key, Store
from refine.studies.training import BATCH, EPOCHS, flushed_denormals

ALL = 60_000


def run(table: str, seeds: str, train_size: str, out: str) -> list[Path]:
    """Measure what has not been measured yet, and write what was found.

    Returns:
        ``reproduction.json`` with every figure, ``tables-N.md`` and ``curves-N.png``, N being ``train_size``.

    Raises:
        RefineError: an argument that is not accepted, no MNIST, or an output folder that cannot be used.
    """
    if table not in (*TABLES, "all"):
        raise not_accepted("table", table, (*TABLES, "all"))
    chosen = TABLES if table == "all" else {table: TABLES[table]}
    count, size = whole("seeds", seeds, 1, 100), whole("train_size", train_size, BATCH, ALL)
    folder = Path(out).expanduser()
    require(not folder.exists() or folder.is_dir(), f"out={out!r} is not accepted: it is a file; accepted: a folder")
    store = Store(folder / "reproduction.json", Key)
    needed = {name for t in chosen.values() for name in t.experiments}
    found = measure(store, [name for name in EXPERIMENTS if name in needed], range(count), size, EPOCHS, mnist())
    report = folder / f"tables-{size}.md"
    write_text(report, markdown(chosen, found, size))
    written = [store.path, report, plot(found, folder / f"curves-{size}.png", size)]
    shown = Table("table", "", "paper", "measured", "reproduced?")
    for row in verdicts(chosen, found):
        shown.add_row(*row)
    Console().print(shown)
    console.print(f"Written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)
    return written


def measure(store: Store[Key], names: list[str], seeds: range, train_size: int, epochs: int, data: Digits) -> Seeds:
    """Run the experiments that the store lacks, each for every seed, and keep their figures there.

    Returns:
        For each seed, figures by experiment.
    """

    def key(name: str, seed: int) -> Key:
        return Key(name, seed, len(data.train) if EXPERIMENTS[name].all_images else train_size, epochs)

    def setting(seed: int) -> Setting:
        return Setting(data, seed, train_size, epochs, store.path.parent)

    todo: list[tuple[Experiment, Key]] = []
    for seed in seeds:
        lacking = [name for name in names if key(name, seed) not in store]
        wanted = any(EXPERIMENTS[name].needs_codec for name in lacking)
        if wanted and "autoencoder" not in lacking and not setting(seed).codec_file.exists():
            lacking = ["autoencoder", *lacking]  # its figures are known, but it is not there any more
        todo += [(EXPERIMENTS[name], key(name, seed)) for name in lacking]

    def work() -> Iterator[None]:
        for experiment, wanted in todo:
            start = time.process_time()
            figures = yield from experiment.work(setting(wanted.seed))
            store.add(wanted, figures, time.process_time() - start)

    with flushed_denormals():
        for _ in track(work(), "reproduce", total=sum(e.pieces or epochs for e, _ in todo)):
            pass
    return [{name: store.figures(key(name, seed)) for name in names} for seed in seeds]
