"""Sampling with VAR's arithmetic against the original, FoundationVision's VAR: the same weights, in turn, in one run.

    git clone https://github.com/FoundationVision/VAR
    python benchmarks/var_speed.py --var VAR [--models small d16] [--repeats N] [--threads 2] [--device cuda]

Without --var it measures refine alone. Weights are random, of the published layout; both sample with VAR's published
settings (cfg 1.5, top-k 900, top-p 0.96). That greedy codes with guidance are the same is checked before, and the run
ends where they are not. "transformer" is all but the decoder. On a GPU also: the original under autocast, as its demo
has it, and refine with bfloat16 weights, plain and compiled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, machine
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import refine
from refine.domains.image import ImageDomain
from refine.domains.image.var.files import VARFiles
from refine.drawing.draw import Draw
from refine.drawing.sampler import build_sampler
from refine.noise import Noise
from refine.scales.walk import walk

PUBLISHED = refine.SamplerConfig(top_k=900, top_p=0.96, guidance=2.5, schedule="linear")
GREEDY = refine.SamplerConfig(greedy=True, guidance=2.5, schedule="linear")
THEIRS = {"cfg": 1.5, "top_k": 900, "top_p": 0.96}


@dataclass(frozen=True)
class Size:
    """What is built: blocks, sides of the scales, width of the codec's finest level; batches to draw, how often."""

    depth: int
    scales: tuple[int, ...]
    width: int
    batches: tuple[int, ...]
    repeats: int


SIZES = {
    "small": Size(4, (1, 2, 3, 4), 32, (1, 4), 15),
    "d16": Size(16, (1, 2, 3, 4, 5, 6, 8, 10, 13, 16), 160, (1,), 3),
}


class Original:
    """FoundationVision's model with random weights, from a checkout of its repository."""

    def __init__(self, repository: str, size: Size, device: str) -> None:
        sys.path.insert(0, str(Path(repository).expanduser()))
        layers = (nn.Linear, nn.LayerNorm, nn.BatchNorm2d, nn.SyncBatchNorm)
        layers += (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
        kept = [layer.reset_parameters for layer in layers]
        from models import build_vae_var  # turns off the initialisation of all layers of the process

        options = {"patch_nums": size.scales, "ch": size.width, "depth": size.depth, "shared_aln": False}
        self.vae, self.var = build_vae_var(device, **options)
        for layer, reset in zip(layers, kept, strict=True):
            layer.reset_parameters = reset
        self.vae.eval(), self.var.eval()
        generator = torch.Generator(device).manual_seed(0)
        started = [p for n, p in self.var.named_parameters() if ".ada_lin." in n or n.startswith("head.")]
        for p in (*self.vae.parameters(), *started):  # VAR starts with blocks that do nothing: no test of equal codes
            p.data.normal_(0, 0.3 if p.dim() == 1 else p[0].numel() ** -0.5, generator=generator)

    def sample(self, label: Tensor, **options: Any) -> Tensor:
        """(B, 3, H, W)."""
        items: Tensor = self.var.autoregressive_infer_cfg(len(label), label, g_seed=0, **options)
        return items

    @contextmanager
    def without_decoder(self) -> Iterator[None]:
        """For as long as this lasts."""
        self.vae.fhat_to_img = lambda f_hat: torch.zeros(1)
        try:
            yield
        finally:
            del self.vae.fhat_to_img

    def greedy(self, label: Tensor) -> list[Tensor]:
        """Codes of every scale."""
        seen: list[Tensor] = []
        hook = self.vae.quantize.embedding.register_forward_hook(lambda m, args, out: seen.append(args[0].clone()))
        with self.without_decoder():
            self.sample(label, cfg=THEIRS["cfg"], top_k=1)
        hook.remove()
        return seen


def imported(original: Original, size: Size, device: str, dtype: torch.dtype | None = None) -> refine.Refiner:
    """The same weights in refine, through ``refine import var``."""
    with tempfile.TemporaryDirectory() as folder:
        vae, var, run = (Path(folder, name) for name in ("vae.pth", "var.pth", "run"))
        torch.save({n: t.cpu() for n, t in original.vae.state_dict().items()}, vae)
        torch.save({n: t.cpu() for n, t in original.var.state_dict().items()}, var)
        files = VARFiles(str(vae), str(var), scales=",".join(map(str, size.scales)))
        ImageDomain.import_weights("var", run, files)
        return refine.Refiner.from_pretrained(run, device, dtype)


def alone(size: Size, device: str, dtype: torch.dtype | None = None) -> refine.Refiner:
    """A model of that size with random weights."""
    codec = {"codec": "vqgan", "factor": 16, "latent": 32, "width": size.width, "multipliers": [1, 1, 2, 2, 4]}
    scales = {"size": 16 * size.scales[-1], "scales": list(size.scales)}
    domain = refine.load_domain("image", data="none", channels=3, classes=1000, **codec, **scales)
    config = refine.ModelConfig()
    config.pyramid.kind, config.pyramid.phi = "residual", 4
    config.quantizer.size, config.quantizer.shared, config.quantizer.update = 4096, True, "gradient"
    predictor = {"width": 64 * size.depth, "depth": size.depth, "heads": size.depth, "shared_adaln": False}
    for name, value in {**predictor, "attention": "prefix", "activation": "gelu", "positions": "learned"}.items():
        setattr(config.predictor, name, value)
    model = refine.Refiner(domain, config).eval()
    if dtype is not None:
        model.hold(dtype)
    return model.to(device)


@torch.no_grad()
def draw_codes(model: refine.Refiner, label: Tensor, sampler: refine.SamplerConfig) -> list[Tensor]:
    """`Refiner.sample` without the decoder."""
    condition, noise = refine.Condition(label=label), Noise(0, range(len(label)))
    choose = Draw(model, condition, noise, build_sampler(sampler, model.num_levels))
    pyramid = model.tokenizer.pyramid
    return [step.codes for step in walk(pyramid, choose, pyramid.start(len(label)), choose)]


def measure(cases: dict[str, Callable[[], Any]], repeats: int, device: str) -> dict[str, dict[str, float]]:
    """Medians of each case, in turn: seconds of wall clock and of the processor; on a GPU, peak memory in GB."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            if device == "cuda":
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            wall, processor = time.perf_counter(), time.process_time()
            case()
            if device == "cuda":
                torch.cuda.synchronize()
            times = (time.perf_counter() - wall, time.process_time() - processor)
            memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
            found[name] += [(*times, memory)] if turn else []  # the first turn is for warming up
    columns = ("wall", "processor", "memory")
    return {n: dict(zip(columns, map(statistics.median, zip(*t, strict=True)), strict=True)) for n, t in found.items()}


def cases_of(batch: int, size: Size, device: str, original: Original | None) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; "transformer" and "sample" of each contestant."""
    label = torch.arange(batch, device=device) * 7 % 1000
    dtypes: dict[str, torch.dtype | None] = {"refine": None}
    if device == "cuda":
        dtypes |= {"refine bf16": torch.bfloat16, "refine bf16 compiled": torch.bfloat16}
    cases: dict[str, Callable[[], Any]] = {}

    def theirs(whole: bool, mixed: bool) -> None:
        with torch.autocast(device, torch.float16, enabled=mixed):
            if whole:
                original.sample(label, **THEIRS)
                return
            with original.without_decoder():
                original.sample(label, **THEIRS)

    contestants = {"original": False, "original autocast": True} if device == "cuda" else {"original": False}
    for name, mixed in contestants.items() if original else ():
        cases[f"{name}, transformer"] = lambda m=mixed: theirs(False, m)
        cases[f"{name}, sample"] = lambda m=mixed: theirs(True, m)
    for name, dtype in dtypes.items():
        model = alone(size, device, dtype) if original is None else imported(original, size, device, dtype)
        if name.endswith("compiled"):
            model.compile()
        cases[f"{name}, transformer"] = lambda m=model: draw_codes(m, label, PUBLISHED)
        cases[f"{name}, sample"] = lambda m=model: m.sample(batch, refine.Condition(label=label), sampler=PUBLISHED)
        if original is not None and dtype is None:
            pairs = zip(original.greedy(label), draw_codes(model, label, GREEDY), strict=True)
            wrong = [k for k, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
            if wrong:
                raise SystemExit(f"batch {batch}: greedy codes differ from the original's at scales {wrong}")
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--var", help="a checkout of FoundationVision's VAR")
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--batches", nargs="+", type=int, help="instead of each model's own; 1 and 64 on a GPU")
    parser.add_argument("--repeats", type=int, help="instead of each model's own")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    table = Table("model", "batch", "case", "wall s", "processor s", "GB", "x original", title="VAR's arithmetic")
    rows = []
    for model in args.models:
        size = SIZES[model]
        original = Original(args.var, size, args.device) if args.var else None
        for batch in args.batches or ((1, 64) if args.device == "cuda" else size.batches):
            found = measure(cases_of(batch, size, args.device, original), args.repeats or size.repeats, args.device)
            for name, figures in found.items():
                reference = found.get(f"original, {name.split(', ')[1]}")
                ratios = {f"times_{c}": reference[c] / figures[c] for c in ("wall", "processor")} if reference else {}
                rows.append({"model": model, "batch": batch, "case": name, **figures, **ratios})
                shown = f"{ratios['times_wall']:.2f} ({ratios['times_processor']:.2f})" if ratios else ""
                numbers = (f"{figures['wall']:.4f}", f"{figures['processor']:.4f}", f"{figures['memory']:.2f}")
                table.add_row(model, str(batch), name, *numbers, shown)
    Console(width=140).print(table, "Ratios: of wall clock, and of processor time in brackets; medians.")
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    figures = {
        "repeats": {m: args.repeats or SIZES[m].repeats for m in args.models},
        "device": device,
        "rows": rows,
        "machine": machine(),
    }
    name = "var_speed" if args.device == "cpu" else f"var_speed_{args.device}"
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
