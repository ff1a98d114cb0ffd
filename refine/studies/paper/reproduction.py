"""Running the experiments of the paper's tables: each for every seed, and none twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

from refine.progress import track
from refine.studies.paper.experiments import EXPERIMENTS, Experiment, Setting
from refine.studies.paper.mnist import Digits
from refine.studies.paper.report import Seeds
from refine.studies.paper.training import flushed_denormals
from refine.studies.store import Key, Store


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
