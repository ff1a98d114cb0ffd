"""What the adversarial term does to a tokenizer of images: reconstructions of the test split before it began, after it,
and after as many steps without it.

    python benchmarks/vqvae.py --crops photographs       # 64x64 crops of scikit-learn's two photographs, as PNG
    python benchmarks/vqvae.py NAME BEFORE CONTROL AFTER # folders of three runs

Writes ``results/vqvae_NAME.json`` and ``vqvae-NAME.png`` in the last run's folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from torch import Tensor

import refine
from refine.domains.image.data.pixels import to_float, to_picture, to_uint8
from refine.domains.image.judging.metrics import _classifier, _extractor, _shuffled, distances, fidelity
from refine.domains.image.pictures.grids import grid, save_picture
from refine.storage.runs import read_metrics

SIDE, STRIDE, SHOWN = 64, 16, 10
ENOUGH = 1000  # images for a Fréchet distance
ROWS = ("before the adversarial term", "as many steps without it", "after")
CURVES = ("val_reconstruction", "val_l1", "least_usage", "generator", "discriminator", "adaptive_weight")


def crops(folder: Path) -> None:
    """Overlapping crops of both photographs, one subfolder for each."""
    from sklearn.datasets import load_sample_images

    loaded = load_sample_images()
    for photograph, name in zip(loaded.images, loaded.filenames, strict=True):
        out = folder / Path(name).stem
        out.mkdir(parents=True, exist_ok=True)
        pixels = torch.from_numpy(photograph.copy()).permute(2, 0, 1)
        for top in range(0, pixels.shape[1] - SIDE + 1, STRIDE):
            for left in range(0, pixels.shape[2] - SIDE + 1, STRIDE):
                crop = pixels[:, top : top + SIDE, left : left + SIDE]
                to_picture(crop.contiguous()).save(out / f"{top:03d}-{left:03d}.png")


@torch.no_grad()
def through(model: Any, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Reconstructions of uint8 images as floats, and the codes of every scale."""
    outputs, codes = [], []
    for part in pixels.split(100):
        found = model.tokenizer.encode(to_float(part))
        outputs.append(model.tokenizer.decode(found))
        codes.append(found)
    return torch.cat(outputs), [torch.cat(scale) for scale in zip(*codes, strict=True)]


def figures_of(run: Path, real: Tensor, extract: Any) -> tuple[dict[str, Any], Tensor]:
    """Figures of a run's reconstructions of ``real``, and these as uint8."""
    model = refine.Refiner.from_pretrained(run)
    output, codes = through(model, real)
    used = [model.tokenizer.quantizer.usage(c, k) for k, c in enumerate(codes)]
    figures = {"steps": model.info["tokenizer"]["steps"], **fidelity(output, to_float(real))}
    figures["l1"] = float((output - to_float(real)).abs().mean())
    if extract is not None:
        found = distances(extract(real), extract(to_uint8(output)))
        figures["frechet_distance_of_reconstructions"] = found["frechet_distance"]
    figures["gradient_kept"] = roughness(output) / roughness(to_float(real))
    figures |= {"usage_by_scale": [u for u, _ in used], "perplexity_by_scale": [p for _, p in used]}
    curves = {name: [[r["step"], r[name]] for r in read_metrics(run) if name in r] for name in CURVES}
    return figures | {"curves": {n: c[:: max(1, len(c) // 20)] for n, c in curves.items() if c}}, to_uint8(output)


def roughness(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels: blur lowers it."""
    images = images.clamp(-1, 1)
    return float((images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("name", nargs="?")
    parser.add_argument("runs", nargs="*", type=Path, metavar="BEFORE CONTROL AFTER")
    args = parser.parse_args()
    if args.crops is not None:
        return crops(args.crops)
    if len(args.runs) != len(ROWS):
        parser.error("needs a name and three runs")
    domain = refine.Refiner.from_pretrained(args.runs[-1]).domain
    test = domain.images("test")
    real = test.pixels[_shuffled(len(test))[:10_000]]
    features, extract = f"none: fewer than {ENOUGH} test images", None
    if len(real) >= ENOUGH:
        judge = _classifier(domain, torch.device("cpu"))
        features, extract, _ = _extractor("classifier", judge, torch.device("cpu"))
    found = [figures_of(run, real, extract) for run in args.runs]
    figures = dict(zip(ROWS, [f for f, _ in found], strict=True))
    table = Table("figure", *ROWS, title=f"{args.name}: {test.origin}, {len(real)} test images; {features}")
    for name, value in figures[ROWS[0]].items():
        if isinstance(value, float):
            table.add_row(name, *(f"{f[name]:.4f}" for f in figures.values()))
        elif name.endswith("_by_scale"):
            table.add_row(name, *(", ".join(f"{v:.3g}" for v in f[name]) for f in figures.values()))
    Console(width=160).print(table)
    rows = [real[:SHOWN], *(output[:SHOWN] for _, output in found)]
    save_picture(
        grid(rows, row_labels=["input", "before", "without", "after"]), args.runs[-1] / f"vqvae-{args.name}.png"
    )
    out = {"test_images": len(real), "feature_extractor": features, **figures, "machine": machine()}
    (RESULTS / f"vqvae_{args.name}.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
