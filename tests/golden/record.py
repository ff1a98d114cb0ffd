"""Results of fixed computations, to see that a change of the code leaves every bit of them as it was.

Only what is public is used: names of the package ``refine``, its commands, and the files that these write; so modules
may move. As a program this writes down what the installed version gives::

    python tests/golden/record.py tests/golden/before_the_move.json
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

import refine

Array = NDArray[Any]
Arrays = dict[str, Array]
Results = dict[str, Arrays]
Summary = dict[str, Any]

ONE_THREAD = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")
OWN_DATA = ("REFINE_DATA", "REFINE_RUN")  # only data that ships with refine is used
PLAIN = {"CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "Agg"}

BOTH_STAGES = (
    *("domain=image", "data=digits", "trainer.accelerator=cpu", "domain.width=8"),
    *("model.predictor.width=32", "depth=1", "heads=2", "model.quantizer.size=16"),
    *("train.tokenizer.steps=10", "train.tokenizer.batch_size=16", "train.tokenizer.warmup=2"),
    *("train.predictor.steps=10", "train.predictor.batch_size=16", "train.predictor.warmup=2"),
    *("train.predictor.ema=0.8", "fit_after=4", "fit_items=128", "val_items=32", "val_every=100", "save_every=100"),
    *("num=2", "strip=0"),
)
"""A training of a tokenizer and a predictor that takes seconds."""


def command(folder: Path, *arguments: str) -> None:
    """Run ``refine`` in a folder, on one thread of the CPU.

    Raises:
        RuntimeError: it failed.
    """
    environment = {k: v for k, v in os.environ.items() if k not in OWN_DATA} | ONE_THREAD | PLAIN
    line = [sys.executable, "-m", "refine", *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"refine {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")


def of_samples(samples: refine.Samples) -> Arrays:
    """Codes by scale, and items."""
    codes = {f"codes_{k}": c.numpy() for k, c in enumerate(samples.codes)}
    return codes | {"items": samples.items.numpy()} | {f"trail_{k}": t.numpy() for k, t in enumerate(samples.trail)}


def of_graphs(graphs: Iterable[Any]) -> Arrays:
    """The sizes of graphs, and their edges end to end."""
    graphs = list(graphs)
    sizes = np.array([g.num_nodes for g in graphs], dtype=np.int64)
    return {"num_nodes": sizes, "edges": torch.cat([g.edges for g in graphs], 1).numpy()}


def of_npz(path: Path, *names: str) -> Arrays:
    """The arrays of an archive whose names begin like one of these."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files if name.startswith(names)}


def of_weights(run: Path) -> Arrays:
    """The weights of a run, tensor by tensor."""
    with safe_open(str(run / "model.safetensors"), framework="pt") as file:
        return {name: file.get_tensor(name).numpy() for name in sorted(file.keys())}


def image(folder: Path) -> Results:
    """The image model that ships, by every kind of sampling; and as a tokenizer of pictures."""
    model = refine.Refiner.from_pretrained(refine.starter("image"))
    condition = refine.Condition(label=torch.tensor([3, 3, 7, 7]))
    samplers = {
        "guided": {
            "guidance": 2.0,
            "schedule": "linear",
            "top_k": [0, 64, 32, 32, 16],
            "temperature": [1.0, 1.0, 0.9, 0.8, 0.7],
        },
        "truncated": {"top_p": 0.9, "min_p": 0.01},
        "gain": {"gain": "auto"},
        "smooth": {"smooth": True},
        "greedy": {"greedy": True},
    }
    plain = model.sample(4, condition, seed=1, trail=True)
    drawn = {"sampled": plain, "unconditional": model.sample(4, seed=1)}
    for name, settings in samplers.items():
        drawn[name] = model.sample(4, condition, seed=1, sampler=refine.SamplerConfig(**settings))
    sites = plain.codes[-1].shape[1]
    upper = torch.arange(sites)[None] < sites // 2
    drawn["inpainted"] = model.inpaint(plain.codes, upper, condition.map(lambda label: label + 1), seed=2)
    score = model.log_prob(plain.codes, condition)

    test = refine.load_domain("image", data="digits", size=28).dataset("test")
    x = torch.stack([test[i]["x"] for i in range(8)])
    codes = model.tokenizer.encode(x)
    encoded = {f"codes_{k}": c.numpy() for k, c in enumerate(codes)}
    return {f"image/{name}": of_samples(samples) for name, samples in drawn.items()} | {
        "image/log_prob": {"nats": score.nats.numpy(), "bits_per_dim": score.bits_per_dim.numpy()},
        "image/encoded": encoded | {"x": x.numpy(), "decoded": model.tokenizer.decode(codes).numpy()},
        "image/log_prob_of_encoded": {"nats": model.log_prob(codes).nats.numpy()},
    }


def graph(folder: Path) -> Results:
    """The graph model that ships, with sizes that are given or drawn."""
    model = refine.Refiner.from_pretrained(refine.starter("graph"))
    drawn = model.sample(4, seed=1).items
    sizes = refine.Condition(size=torch.tensor([5, 12, 20, 33]))
    given = model.sample(4, sizes, seed=1, sampler=refine.SamplerConfig(top_p=0.96, min_p=0.02)).items
    return {
        "graph/sampled": of_graphs(drawn),
        "graph/sizes_given": of_graphs(given),
        "graph/log_prob": {"nats": model.log_prob(given, seed=1).numpy()},
    }


def sample_command(folder: Path) -> Results:
    """``refine sample`` of the image model that ships."""
    keys = ("--num", "4", "--label", "7", "--seed", "3", "--out", "drawn", "trainer.accelerator=cpu")
    command(folder, "sample", "domain=image", *keys)
    return {"sample_command/files": of_npz(folder / "drawn" / "samples.npz", "codes_", "images", "labels")}


def ensemble_command(folder: Path) -> Results:
    """``refine ensemble`` of the weather model that ships."""
    import xarray as xr

    keys = ("--members", "2", "--lead", "3d", "--out", "forecast.zarr", "trainer.accelerator=cpu")
    command(folder, "ensemble", "domain=weather", *keys)
    with xr.open_zarr(folder / "forecast.zarr") as forecast:
        return {"ensemble_command/store": {str(name): forecast[name].values for name in sorted(forecast.variables)}}


def train_markov(folder: Path) -> Results:
    """``refine train`` of a Laplacian pyramid, a codebook by scale; a Markov predictor, the last scales in rounds."""
    command(folder, "train", *BOTH_STAGES, "model.predictor.rounds=[1,1,2,2]", "--run", "run")
    drawn = of_npz(folder / "run" / "pictures" / "samples.npz", "codes_")
    return {"train_markov/weights": of_weights(folder / "run"), "train_markov/drawn": drawn}


def train_prefix(folder: Path) -> Results:
    """``refine train`` of a residual pyramid with one codebook for all scales; a predictor of prefixes, with Muon."""
    model = ("model.pyramid.kind=residual", "model.quantizer.shared=true", "model.predictor.attention=prefix")
    command(folder, "train", *BOTH_STAGES, *model, "train.predictor.optimizer=muon", "--seed", "4", "--run", "run")
    drawn = of_npz(folder / "run" / "pictures" / "samples.npz", "codes_")
    return {"train_prefix/weights": of_weights(folder / "run"), "train_prefix/drawn": drawn}


def train_graph(folder: Path) -> Results:
    """``refine train`` of a small model of small graphs."""
    model = ("width=16", "depth=1", "triangle=4", "heads=2", "star_depth=1")
    steps = ("predictor.steps=8", "predictor.batch_size=4", "predictor.warmup=2", "predictor.ema=0.8")
    rest = ("val_items=4", "val_every=100", "save_every=100", "num=2", "strip=0", "trainer.accelerator=cpu")
    command(folder, "train", "domain=graph", "data=community_small", *model, *steps, *rest, "--run", "run")
    drawn = of_npz(folder / "run" / "pictures" / "graphs.npz", "num_nodes", "edges")
    return {"train_graph/weights": of_weights(folder / "run"), "train_graph/drawn": drawn}


IN_THIS_PROCESS: dict[str, Callable[[Path], Results]] = {"image": image, "graph": graph}
BY_COMMAND: dict[str, Callable[[Path], Results]] = {  # the longest first
    "ensemble_command": ensemble_command,
    "train_graph": train_graph,
    "train_markov": train_markov,
    "train_prefix": train_prefix,
    "sample_command": sample_command,
}
GROUPS = IN_THIS_PROCESS | BY_COMMAND
"""What computes the results whose names begin with the group's, in an empty folder."""


def group_of(name: str) -> str:
    """The group that a result belongs to."""
    return name.partition("/")[0]


def summary(array: Array) -> Summary:
    """The fingerprint of an array; and figures of it that nearly equal arrays nearly share.

    Returns:
        ``sha256`` of type, shape and bytes, ``dtype`` and ``size``; of real numbers ``finite``, how many are neither
        infinite nor missing, with ``mean`` and ``std`` of these; of others ``sum``.
    """
    if array.dtype.kind in "mM":  # times and spans of time
        array = array.astype(np.int64)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    known: Summary = {"sha256": digest.hexdigest(), "dtype": array.dtype.name, "size": array.size}
    if array.dtype.kind == "f":
        exact = array[np.isfinite(array)].astype(np.float64)
        return known | {"finite": exact.size, "mean": float(exact.mean()), "std": float(exact.std())}
    return known | {"sum": int(array.sum(dtype=np.int64))}


def summaries(results: Results) -> dict[str, dict[str, Summary]]:
    """Those of every array of some results."""
    return {name: {key: summary(array) for key, array in arrays.items()} for name, arrays in results.items()}


def compute(group: str, folder: Path) -> dict[str, dict[str, Summary]]:
    """The results of a group.

    Args:
        group: one of ``GROUPS``.
        folder: an empty one, to work in.
    """
    return summaries(GROUPS[group](folder))


def figures(groups: Iterable[str] = GROUPS) -> dict[str, dict[str, Summary]]:
    """All results by name: the summary of each of their arrays."""
    torch.set_num_threads(1)
    out: dict[str, dict[str, Summary]] = {}
    for group in groups:
        with tempfile.TemporaryDirectory() as folder:
            out |= compute(group, Path(folder))
    return out


def machine() -> dict[str, str]:
    """What bits depend on besides the code: where this is the same, results are to be the same bits."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    pairs = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    cpu = [pairs[key] for key in ("vendor_id", "model name") if key in pairs] or [platform.machine()]
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cpu": " ".join(cpu),
    }


def commit() -> str:
    """The commit of the installed package, or nothing where it is in no repository."""
    assert refine.__file__ is not None
    line = ["git", "-C", str(Path(refine.__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()


def text_of(record: Mapping[str, Any]) -> str:
    """A record as JSON with a line for each array."""
    results = []
    for name, arrays in record["results"].items():
        rows = ",\n".join(f"   {json.dumps(key)}: {json.dumps(row)}" for key, row in arrays.items())
        results.append(f"  {json.dumps(name)}: {{\n{rows}\n  }}")
    head = "".join(f" {json.dumps(key)}: {json.dumps(record[key])},\n" for key in ("commit", "machine"))
    return f"{{\n{head}" + ' "results": {\n' + ",\n".join(results) + "\n }\n}\n"


def main() -> None:
    """Write the record of this version to the file that is named, else to standard output."""
    text = text_of({"commit": commit(), "machine": machine(), "results": figures()})
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
