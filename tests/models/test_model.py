"""Models that domains bring themselves: every command works for them, and their keys are their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bags import Bag, BagConfig, BagDomain, BagModel, BagModelConfig, Bags, install_bags, size
from torch import Tensor

import refine
from refine.cli import main
from refine.domain import Domain
from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.settings.compose import compose, from_values, to_yaml
from refine.settings.config import ModelConfig
from refine.storage.runs import read_metrics
from refine.testing import CheckError, check_domain
from refine.types import Condition, ConditionSpec, Samples

TINY = [
    "domain=bags",
    "domain.items=30",
    "predictor.steps=40",
    "predictor.batch_size=4",
    "predictor.lr=0.1",
    "val_every=10",
]
TINY += ["predictor.warmup=1", "accelerator=cpu", "num=6"]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(install_bags(tmp_path / "site")))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as done:
            main(arguments)
        return int(str(done.value.code)), *capsys.readouterr()

    return run


def bags(**options: Any) -> BagModel:
    return BagDomain(BagConfig(**options)).model(BagModelConfig())


def test_every_command_works(cli: Any) -> None:
    code, _, err = cli("train", *TINY, "run=run")
    assert code == 0, err
    rows = [row for row in read_metrics(Path("run")) if "val_nll" in row]
    assert [row["step"] for row in rows] == [9, 19, 29, 39]
    assert rows[-1]["val_nll"] < 1.07  # from log 3 = 1.10 down to the law's entropy, 1.04
    assert "val_letters" in rows[0]
    drawn = Path("run/pictures/bags.txt").read_text().splitlines()
    assert len(drawn) == 6
    assert not Path("run/cache").exists()

    code, _, err = cli("sample", "run=run", "--num", "5", "--size", "[3,10]", "--batch-size", "2", "out=drawn")
    assert code == 0, err
    assert [len(line) for line in Path("drawn/bags.txt").read_text().splitlines()] == [3, 10, 3, 10, 3]
    assert cli("sample", "run=run", "num=5", "size=0")[2].startswith("error: sample.size=0 is not accepted; accepted")

    code, _, err = cli("evaluate", "run=run", "samples=50", "evaluate.items=20")
    assert code == 0, err
    figures = json.loads(Path("run/evaluate-test.json").read_text())
    assert (figures["items"], figures["samples"], figures["largest"]) == (20, 50, 6)

    code, out, err = cli("inspect", "run")
    assert code == 0, err
    for part in ("half a bag, and the rest", "[3, 3]", "logits: 3 (F32)", "network: layers=1", "val_nll"):
        assert part in out, part

    Path("run/pictures/bags.txt").unlink()
    code, _, err = cli("train", "run=run", "predictor.steps=44", "pictures=false")
    assert code == 0 and "Checkpoint: run" in err and "Pictures" not in err, err
    assert not Path("run/pictures/bags.txt").exists()
    assert refine.Model.from_pretrained("run").info["predictor"] == {"steps": 44, "of": 44}


def test_whichever_class_loads_it_is_the_model_of_the_domain() -> None:
    model = bags(largest=4)
    torch.nn.init.normal_(model.logits)
    model.info = {"predictor": {"steps": 3}}
    model.save_pretrained("saved")
    for cls in (refine.Model, Refiner, BagModel):
        again: Any = cls.from_pretrained("saved")
        assert type(again).__name__ == "BagModel"
        assert again.domain.config.largest == 4 and again.info == model.info
        assert torch.equal(again.logits, model.logits)


def test_a_domain_has_its_own_keys_of_the_model(cli: Any) -> None:
    config = compose(["domain=bags", "layers=3", "model.letters=5"])
    assert type(config.model).__name__ == "BagModelConfig"
    assert (config.model.letters, config.model.network.layers) == (5, 3)
    assert from_values({**refine_yaml(to_yaml(config))}) == config
    assert type(compose(["domain=image"]).model) is ModelConfig
    out = cli("train", "domain=bags", "--help")[1]
    assert "model.network.layers=1" in out and "model.letters=3" in out and "model.quantizer" not in out
    for wrong, message in (
        ("model.quantizer.kind=vq", "'model.quantizer.kind' is not a key. All keys are shown by --help"),
        ("model.letters=many", "model.letters='many' is not accepted; accepted: finite whole numbers"),
        ("stage=tokenizer", "stage='tokenizer' is not accepted; accepted: predictor, all"),
        ("label=2", "sample.label=2 is not accepted"),
    ):
        code, _, err = cli("train", *TINY, wrong, f"run={wrong}")
        assert code == 2 and message in err, err
    with pytest.raises(RefineError, match="model=3 is not accepted: it is a section"):
        from_values({"domain_name": "bags", "model": 3})


def refine_yaml(text: str) -> dict[str, Any]:
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]


def test_samples_of_different_sizes_are_joined_and_moved() -> None:
    model = bags()
    whole = model.sample(5, seed=2, trail=True)
    parts = model.sample_many(5, None, seed=2, trail=True, batch_size=2)
    assert [size(b) for b in parts.items] == [size(b) for b in whole.items]
    for found, wanted in zip(tensors_of(parts), tensors_of(whole), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    both = Samples.join([whole, parts]).cpu()
    assert len(both.items) == len(both.codes[0]) == len(both.trail[1]) == 10
    tensors = Samples(torch.zeros(2, 3), [torch.zeros(2, 1)], Condition(), [])
    assert Samples.join([tensors, tensors]).items.shape == (4, 3)


def tensors_of(samples: Samples) -> list[list[Tensor]]:
    return [*samples.codes, *([bag.letters for bag in items] for items in samples.trail)]


def test_sizes_are_for_those_who_have_them() -> None:
    asked = Condition(size=torch.tensor([4, 4]))
    ConditionSpec(size=True).check(asked, 2)
    with pytest.raises(RefineError, match="size is not accepted: items of this model have one size"):
        ConditionSpec().check(asked, 2)
    with pytest.raises(RefineError, match=r"size=\[4, 0\].*accepted: 1 or more"):
        ConditionSpec(size=True).check(replace(asked, size=torch.tensor([4, 0])), 2)
    with pytest.raises(RefineError, match=r"condition\.size has 2 rows; expected one for each of num=3"):
        ConditionSpec(size=True).check(asked, 3)


class Incomplete(Domain):
    name, Config = "incomplete", BagConfig

    def dataset(self, split: str) -> Bags:
        return Bags(self.config, 0)


def test_a_domain_with_neither_codec_nor_model_says_so() -> None:
    with pytest.raises(RefineError, match=r"domain 'incomplete' has neither codec\(\) nor a model\(\)"):
        Incomplete(BagConfig()).model(ModelConfig())


# -- the checker -------------------------------------------------------------------------------------------------------


def test_check_domain_takes_any_model() -> None:
    assert check_domain(BagDomain(BagConfig())) == [
        "splits", "settings", "training", "sampling", "asking", "files", "figures", "pictures",
    ]  # fmt: skip


class Forgetful(BagModel):
    def sample(self, num: int, *args: Any, first: int = 0, **options: Any) -> Samples:
        return super().sample(num, *args, **options)  # every batch begins with sample 0


class OneMore(BagModel):
    def sample(self, num: int, *args: Any, **options: Any) -> Samples:
        return super().sample(num + 1, *args, **options)


class Idle(BagModel):
    def __init__(self, domain: Domain, config: Any) -> None:
        super().__init__(domain, config)
        self.spare = torch.nn.Parameter(torch.zeros(2))


class Infinite(BagModel):
    def training_loss(self, batch: Any, settings: Any) -> Any:
        loss, figures = super().training_loss(batch, settings)
        return loss / 0, figures


class NoTrail(BagModel):
    def sample(self, *args: Any, **options: Any) -> Samples:
        return replace(super().sample(*args, **options), trail=[])


class Shuffled(Bags):
    def __getitem__(self, index: int) -> Bag:
        return super().__getitem__(int(torch.randint(len(self), ()).item()))


class Loose(BagDomain):
    def dataset(self, split: str) -> Bags:
        return Shuffled(self.config, 0)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Forgetful, "sample 1 differs when it is drawn alone"),
        (OneMore, "5 samples were drawn, not 4"),
        (Idle, r"\['spare'\] have no part in training_loss"),
        (Infinite, "training_loss on 'val' is inf, not a finite number"),
        (NoTrail, "the trail has 0 scales, the model 2"),
    ],
)
def test_check_refuses_broken_models(broken: type[BagModel], message: str) -> None:
    class Domain(BagDomain):
        def model(self, config: Any) -> BagModel:
            return broken(self, config)

    with pytest.raises(CheckError, match=message):
        check_domain(Domain(BagConfig()))


def test_check_refuses_items_that_change() -> None:
    with pytest.raises(CheckError, match=r"item 0 of dataset\('train'\) is not the same when it is read again"):
        check_domain(Loose(BagConfig()))
