"""Kinds of parts: what is registered in the process is as good as what is installed, and is found by its name only."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ragged import registered
from torch import Tensor
from toy import ExactQuantizer, TinyDomain, install_tiny

import refine
from refine.codes.vq import VQ
from refine.commands.command import Command
from refine.domain import Domain
from refine.drawing.strategies import Strategy
from refine.errors import RefineError
from refine.kinds import ALL, DOMAINS, QUANTIZERS, Kind
from refine.models.refiner import Refiner
from refine.settings.compose import compose, config_keys, group_files
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig


class Notebook(TinyDomain):
    """A domain that lives in a notebook: no distribution announces it."""

    name = "notebook"


@dataclass
class GridOptions:
    """Of :class:`Ternary`."""

    reach: float = 1.0  # of the outer values
    places: list[int] | None = None  # nothing that matters


class Ternary(ExactQuantizer):
    """-1, 0 or 1 for each of two channels, times a reach."""

    Options = GridOptions

    def __init__(self, num_scales: int, channels: int, options: GridOptions) -> None:
        super().__init__(num_scales, channels)
        self.sizes, self.reach = [3**channels] * num_scales, options.reach
        self.digits = 3 ** torch.arange(channels)

    def encode(self, x: Tensor, k: int) -> Tensor:
        return (((x / self.reach).round().clamp(-1, 1) + 1).long() * self.digits).sum(-1)

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return self.reach * (codes[..., None] // self.digits % 3 - 1).float()


TINY = [
    *("domain.items=24", "model.predictor.width=16", "model.predictor.depth=1", "model.predictor.heads=2"),
    *("train.tokenizer.steps=2", "train.tokenizer.batch_size=8", "train.fit_after=1", "train.val_items=8"),
    *("train.predictor.steps=2", "train.predictor.batch_size=8", "trainer.accelerator=cpu", "sample.num=4"),
]


def test_a_domain_of_a_notebook_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    with registered(notebook=Notebook):
        assert "notebook" in DOMAINS.names() and "notebook" in group_files("domain")
        assert DOMAINS.home("notebook") == f"{__name__}:Notebook"
        assert isinstance(refine.load_domain("notebook", items=7), Notebook)
        run = refine.train(compose(["domain=notebook", *TINY, "domain.classes=2", f"run={tmp_path / 'run'}"]))
        assert (run / "pictures" / "samples.npz").is_file()
        model = refine.Refiner.from_pretrained(run)
        assert type(model.domain) is Notebook and model.domain.config.items == 24
        model.save_pretrained(tmp_path / "copy")
        again = Refiner.from_pretrained(tmp_path / "copy")
        assert torch.equal(again.sample(3).items, model.sample(3).items)
    assert "notebook" not in DOMAINS.names()
    with pytest.raises(RefineError, match=r"domain='notebook' is not accepted; accepted: "):
        Refiner.from_pretrained(run)


def test_what_is_registered_comes_before_what_is_installed() -> None:
    class Mine(VQ):
        """Another one of that name."""

    with registered(vq=Mine):
        assert QUANTIZERS.load("vq") is Mine
        assert QUANTIZERS.names().count("vq") == 1
        assert dict(QUANTIZERS.all())["vq"] is Mine
    assert QUANTIZERS.load("vq") is not Mine


def test_a_quantizer_is_named_by_the_configuration_and_found_again(tmp_path: Path) -> None:
    options = ["model.quantizer.kind=ternary", "model.quantizer.options.reach=0.7", "domain=notebook", *TINY]
    with registered(notebook=Notebook, ternary=Ternary):
        config = compose(options)
        assert config.model.quantizer.options == {"reach": 0.7}
        described = Notebook(config.domain).describe(config.model)
        assert described["codes"] == [9, 9]
        Refiner(Notebook(config.domain), config.model).save_pretrained(run := tmp_path / "run")
        model = Refiner.from_pretrained(run)
        assert isinstance(model.quantizer, Ternary) and model.quantizer.reach == 0.7
        x = model.domain.dataset("val").tensors["x"]
        codes = model.tokenizer.encode(x)
        assert len(set(codes[1].flatten().tolist())) > 2
        for bad, message in (
            (
                "model.quantizer.options.reach=far",
                r"model\.quantizer\.options\.reach='far' is not accepted; accepted: finite numbers",
            ),
            ("model.quantizer.options.rich=1", r"model\.quantizer\.options\.rich.*reach"),
        ):
            wrong = compose([*options, bad])
            with pytest.raises(RefineError, match=message):
                Refiner(Notebook(wrong.domain), wrong.model)
    with registered(notebook=Notebook):
        with pytest.raises(RefineError, match=r"model\.quantizer\.kind='ternary' is not accepted; accepted: bitwise"):
            Refiner.from_pretrained(run)
        flat = ModelConfig(quantizer=QuantizerConfig(options={"reach": 1.0}))
        with pytest.raises(RefineError, match=r"model\.quantizer\.options\.reach is not accepted for .*kind=vq"):
            Refiner(Notebook(config.domain), flat)


LOAD = """
import refine
try:
    print(refine.Refiner.from_pretrained({folder!r}))
except refine.RefineError as error:
    print("refused:", error)
"""


def test_another_process_says_what_is_missing(tmp_path: Path) -> None:
    """The domain is installed there; the quantizer was only registered here."""
    site = install_tiny(tmp_path / "site")
    small = PredictorConfig(16, 1, 2)
    with registered(tiny=TinyDomain, ternary=Ternary):
        model = ModelConfig(quantizer=QuantizerConfig(kind="ternary"), predictor=small)
        Refiner(TinyDomain(TinyDomain.Config()), model).save_pretrained(tmp_path / "model")
    paths = [str(site), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(folder=str(tmp_path / "model"))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("refused: model.quantizer.kind='ternary' is not accepted; accepted: "), done


class Thing:
    """Of no kind."""


def test_classes_of_no_kind_are_refused() -> None:
    with pytest.raises(RefineError, match=r"of no kind that can be registered; accepted: subclasses of domain, quant"):
        refine.register("thing", Thing)
    for kind in ALL.values():
        with pytest.raises(RefineError, match=rf"{kind.word} 'thing' \(.*\) is not a subclass of refine\."):
            kind.register("thing", Thing)
        assert "thing" not in kind.names()
    for wrong, cls in ((DOMAINS, Ternary), (QUANTIZERS, Notebook)):
        with pytest.raises(RefineError, match=f"{wrong.word} 'x'"):
            wrong.register("x", cls)
    with pytest.raises(RefineError, match="of no kind that can be registered"):
        refine.register("thing", 3)  # type: ignore[arg-type]
    with pytest.raises(RefineError, match=r"domain 'other' .* calls itself 'notebook'; it must be announced by that"):
        refine.register("other", Notebook)  # its checkpoints would ask for 'notebook'


def test_each_class_goes_where_it_belongs() -> None:
    class Says(Command):
        """Says something."""

        of_a_model = False

        def run(self, config: Any) -> None:
            """Nothing."""

    parts = {"notebook": Notebook, "ternary": Ternary, "calm": Strategy, "says": Says}
    with registered(**parts):
        found = {name: [k.word for k in ALL.values() if name in k.names()] for name in parts}
    assert found == {"notebook": ["domain"], "ternary": ["quantizer"], "calm": ["strategy"], "says": ["command"]}


def test_every_part_that_ships_loads_and_has_options() -> None:
    for word in ("quantizer", "pyramid", "network", "objective"):
        for name, cls in ALL[word].all():
            assert isinstance(cls, type), (word, name, cls)
            assert ALL[word].home(name).endswith(cls.__name__)
            assert isinstance(cls.Options(), cls.Options)


def test_what_is_announced_and_does_not_load_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "odd-1.0.dist-info"
    folder.mkdir()
    (tmp_path / "odd.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "plain.py").write_text("class Plain:\n    pass\n")
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[refine.quantizers]\nodd = odd:Odd\nplain = plain:Plain\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RefineError, match=r"quantizer 'odd' \(odd:Odd\) cannot be loaded: .*nothing_of_that_name"):
        QUANTIZERS.load("odd")
    with pytest.raises(RefineError, match=r"quantizer 'plain' \(plain:Plain\) is not a subclass of refine\.Quantizer"):
        QUANTIZERS.load("plain")
    told = dict(QUANTIZERS.all())
    assert isinstance(told["odd"], RefineError) and isinstance(told["vq"], type)


def test_keys_of_a_domain_are_those_of_its_own() -> None:
    with registered(notebook=Notebook):
        keys = config_keys("notebook")
        assert "domain.classes" in keys and keys["domain.items"].default == 64
        assert "model.quantizer.size" in keys


def test_a_kind_without_a_base_accepts_nothing() -> None:
    empty: Kind[Any] = Kind("refine.nothing", "nothing", "nothing")
    with pytest.raises(RefineError, match="is not a subclass of"):
        empty.register("a", Domain)
    assert empty.names() == []
