"""Pictures of a training: loss and codebook usage against steps."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from refine.storage.files import atomic_write
from refine.storage.runs import read_metrics


def plot_curves(run: Path, folder: Path) -> list[Path]:
    """Draw ``curves.png`` from the run's ``metrics.jsonl``; nothing if there are no records."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for record in read_metrics(run):  # a resumed run repeats steps; the later record counts
        stage, step = record.get("stage"), record.get("step")
        for name, value in record.items() if stage and step is not None else ():
            if name not in ("stage", "step") and isinstance(value, int | float):
                curves[stage][name][step] = float(value)
    panels = {
        ("tokenizer", "loss"): [
            *("reconstruction", "val_reconstruction", "commitment"),
            *("l1", "val_l1", "perceptual", "val_perceptual"),
        ],
        ("tokenizer", "discriminator"): ["generator", "discriminator", "adaptive_weight"],
        ("tokenizer", "share of codes used"): [n for n in curves["tokenizer"] if n.startswith("usage_")],
        ("predictor", "nats per code"): ["nll", "val_nll"],
        ("predictor", "nats per code, by scale (validation)"): [
            n for n in curves["predictor"] if n.startswith("val_nll_")
        ],
    }
    drawn = {p: [n for n in names if curves[p[0]].get(n)] for p, names in panels.items()}
    drawn = {p: names for p, names in drawn.items() if names}
    if not drawn:
        return []
    figure, axes = plt.subplots(1, len(drawn), figsize=(5 * len(drawn), 3.5), squeeze=False, layout="constrained")
    for axis, ((stage, title), names) in zip(axes[0], drawn.items(), strict=True):
        for name in names:
            steps, values = zip(*sorted(curves[stage][name].items()), strict=True)
            axis.plot(steps, values, label=name.replace("_", " "))
        axis.set(title=f"{stage}: {title}", xlabel="step", yscale="log" if title == "loss" else "linear")
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    path = folder / "curves.png"
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)
    return [path]
