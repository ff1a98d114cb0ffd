"""A control as a folder: ``control.json`` says what it is and which run's mean it stands on, beside its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from refine.errors import require
from refine.models.model import Model
from refine.storage.checkpoint import read_header
from refine.storage.files import atomic_write, write_text
from rivals.dressed import Dressed
from rivals.edm import EDM
from rivals.inflation import PARTS, inflate, inflation
from rivals.one_pass import OnePass
from rivals.rollout import Control
from rivals.training import train

FILE, WEIGHTS, RESUME = "control.json", "model.safetensors", "resume.safetensors"
LEARNED: dict[str, Any] = {"edm": EDM, "one_pass": OnePass}
KINDS = ("mean", "dressed", *LEARNED)


@dataclass(frozen=True)
class ControlFolder:
    """How a control is loaded, where :class:`refine.domains.weather.ensemble_command.Checkpoint` loads a forecaster."""

    folder: str

    @property
    def about(self) -> dict[str, Any]:
        """What :func:`make` wrote."""
        found: dict[str, Any] = json.loads(Path(self.folder, FILE).read_text())
        return found

    @property
    def fingerprint(self) -> str:
        """Of the control and the mean it stands on."""
        about = self.about
        return " ".join(str(about[key]) for key in ("control", "weights", "cpu_seconds", "seed"))

    def load(self) -> tuple[Control, Any]:
        """The control and the fields of its domain."""
        about = self.about
        model = mean_of(about["run"])
        same = read_header(Path(about["run"]))["weights"] == about["weights"]
        require(same, f"{about['run']} holds another model than {self.folder} was trained on")
        if about["control"] == "mean":
            return Control(model), model.domain.fields()
        tensors = load_file(Path(self.folder, WEIGHTS))
        control = build(model, about["control"], {n: t for n, t in tensors.items() if not n.startswith(PARTS)})
        inflate(control, tensors)
        return control, model.domain.fields()


def build(model: Any, kind: str, tensors: dict[str, Tensor]) -> Any:
    """A control that draws errors, from its tensors."""
    if kind == "dressed":
        return Dressed(model, **tensors)
    rival = LEARNED[kind](model)
    rival.network.load_state_dict(tensors)
    rival.network.eval()
    return rival


def is_control(folder: str | Path) -> bool:
    """Whether a folder holds a control, not a run."""
    return Path(folder, FILE).is_file()


def mean_of(run: str) -> Any:
    """The forecaster of a run, which may have no more than its mean yet."""
    model: Any = Model.from_pretrained(run, "cpu")
    require(bool(model.mean.fitted), f"{run} has no trained mean; refine train domain=weather stage=mean comes first")
    return model


def make(folder: Path, run: str, kind: str, minutes: float, seed: int) -> dict[str, Any]:
    """Train a control, or collect what it needs, and write it to its folder."""
    model = mean_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"control": kind, "run": str(Path(run).absolute())}
    about |= {"weights": read_header(Path(run))["weights"], "cpu_seconds": 0.0, "seed": seed, "parameters": 0}
    tensors: dict[str, Tensor] = {}
    if kind == "dressed":
        tensors = Dressed.fit(model)
    elif kind in LEARNED:
        rival = LEARNED[kind](model)
        about |= train(rival, folder / RESUME, minutes, seed)
        tensors = {k: v.contiguous() for k, v in rival.network.state_dict().items()}
    if tensors:
        tensors |= inflation(build(model, kind, dict(tensors)))
        with atomic_write(folder / WEIGHTS) as temporary:
            save_file(tensors, temporary)
    write_text(folder / FILE, json.dumps(about, indent=2) + "\n")
    return about
