"""Label and field together: each is learned with and without the other, asked for, guided and refused by its name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ragged import RaggedConfig, RaggedDomain, registered
from scipy.stats import chisquare
from torch import Tensor
from toy import LinearCodec, TinyConfig, TinyDomain, items_of, tiny_refiner

from refine.codes.laws import ScaleSampler
from refine.commands.configure import configure
from refine.commands.sample import Sample
from refine.drawing.sampler import samplers_of
from refine.errors import RefineError
from refine.items import FieldsDataset
from refine.models.refiner import Refiner
from refine.network.network import KINDS, by_kind
from refine.network.predictor import Predictor
from refine.scales.resample import GridResampler
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig, SamplerConfig
from refine.types import Condition, ConditionSpec, Level

both = pytest.mark.parametrize("attention", ["markov", "prefix"])


def build(attention: str = "markov", dropout: float = 0.1, **options: Any) -> Refiner:
    predictor = PredictorConfig(width=16, depth=2, heads=2, attention=attention, condition_dropout=dropout)
    model = ModelConfig(quantizer=QuantizerConfig(size=4), predictor=predictor)
    return tiny_refiner(model, **{"shapes": [[1, 1], [2, 2], [3, 4]], "classes": 3, "field": 1, **options})


# -- learning ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        (ConditionSpec(3), (0,)),
        (ConditionSpec(3, field=1), (0, 2)),
        (ConditionSpec(vector=2, field=1), (1, 2)),
        (ConditionSpec(3, 2, 1), (0, 1, 2)),
    ],
)
def test_dropout_shows_every_combination_as_often_as_it_says(spec: ConditionSpec, kinds: tuple[int, ...]) -> None:
    """Everything with probability p; else, of several kinds, each alone with probability p."""
    p, draws = 0.3, 20000
    predictor = Predictor(PredictorConfig(16, 1, 2, condition_dropout=p), [1, 4], 2, spec, Level(torch.zeros(1, 1, 2)))
    torch.manual_seed(0)
    drop = predictor.condition.withheld(draws, predictor.config.condition_dropout)
    assert drop.shape == (draws, 3)
    own = drop[:, list(kinds)]
    found = torch.bincount((own.long() * 2 ** torch.arange(len(kinds))).sum(1), minlength=2 ** len(kinds))
    law = []
    for combination in range(2 ** len(kinds)):
        withheld = bin(combination).count("1")
        alone = float(withheld == 0) if len(kinds) == 1 else p**withheld * (1 - p) ** (len(kinds) - withheld)
        law.append((1 - p) * alone + p * (withheld == len(kinds)))
    assert sum(law) == pytest.approx(1)
    assert chisquare(found.numpy(), draws * np.array(law)).pvalue > 1e-3
    assert (found > 0).all()


def test_no_dropout_withholds_nothing() -> None:
    predictor = build(dropout=0.0).predictor
    assert (
        isinstance(predictor, Predictor)
        and not predictor.condition.withheld(1000, predictor.config.condition_dropout).any()
    )


def test_each_kind_helps_with_and_without_the_other() -> None:
    """A short training on items whose label shifts both channels and whose field is one of them."""
    refiner = build(dropout=0.2, classes=2, items=128)
    x, given = items_of(refiner, 128)
    codes = refiner.tokenizer.encode(x)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam([*refiner.predictor.parameters(), *refiner.head.parameters()], 0.01)
    refiner.predictor.train()
    for _ in range(90):
        loss, _ = refiner.loss(codes, given)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    refiner.eval()
    combinations = {
        "all": given,
        "label": replace(given, field=None),
        "field": replace(given, label=None),
        "none": Condition(),
    }
    nll = {name: -float(refiner.log_prob(codes, c).total.mean()) for name, c in combinations.items()}
    assert nll["all"] < min(nll["label"], nll["field"]) - 0.1
    assert max(nll["label"], nll["field"]) < nll["none"] - 0.1, nll


# -- withholding -------------------------------------------------------------------------------------------------------


@both
@torch.no_grad()
def test_what_is_withheld_is_as_if_not_given(attention: str) -> None:
    refiner = build(attention, vector=2)
    x, given = items_of(refiner, 5)
    codes, full = refiner.tokenizer.encode(x), refiner.logits(refiner.tokenizer.encode(x), given)
    for withheld in itertools.product([False, True], repeat=3):
        drop = torch.tensor([withheld]).expand(5, 3)
        missing = replace(given, **{name: None for name, gone in zip(KINDS, withheld, strict=True) if gone})
        found, wanted = refiner.logits(codes, given, drop), refiner.logits(codes, missing)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b)
        if any(withheld):
            assert all((a - b).abs().max() > 0.01 for a, b in zip(found, full, strict=True))
    one = torch.tensor([True, False, False, False, True])
    mixed = refiner.logits(codes, given, one)
    alone = refiner.logits(codes, Condition())
    for k in range(3):
        torch.testing.assert_close(mixed[k][one], alone[k][one])
        torch.testing.assert_close(mixed[k][~one], full[k][~one])
    assert by_kind(one).tolist() == [[b] * 3 for b in one.tolist()]  # type: ignore[union-attr]


def test_labels_may_be_whole_numbers_of_any_size() -> None:
    refiner = build()
    x, given = items_of(refiner, 4)
    codes, wanted = refiner.tokenizer.encode(x), refiner.log_prob(refiner.tokenizer.encode(x), given).nats
    for dtype in (torch.uint8, torch.int16, torch.int32):
        small = replace(given, label=given.label.to(dtype))  # type: ignore[union-attr]
        assert torch.equal(refiner.log_prob(codes, small).nats, wanted)
        refiner.predictor.train()
        refiner.loss(codes, small)
        refiner.eval()


# -- guidance ----------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("guided", [["label"], ["field"], ["vector", "field"], "all"], ids=str)
@torch.no_grad()
def test_guidance_withholds_what_it_is_about_and_nothing_else(attention: str, guided: Any) -> None:
    refiner, g, seen = build(attention, vector=2), [1.0, 2.5, 0.5], list[Tensor]()
    _, given = items_of(refiner, 4)
    refiner.head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    samples = refiner.sample(4, given, sampler=SamplerConfig(guidance=g, guided=guided))
    mixed = list(seen)
    about = KINDS if guided == "all" else guided
    full = refiner.logits(samples.codes, given)
    none = refiner.logits(samples.codes, replace(given, **dict.fromkeys(about)))
    nothing = refiner.logits(samples.codes, Condition())
    for k in range(3):
        torch.testing.assert_close(mixed[k], g[k] * full[k] + (1 - g[k]) * none[k], rtol=1e-4, atol=1e-4)
        if guided != "all" and g[k] != 1:
            assert (mixed[k] - g[k] * full[k] - (1 - g[k]) * nothing[k]).abs().max() > 0.01


def test_guidance_about_what_is_not_given_costs_nothing() -> None:
    refiner, calls = build(), list[int]()
    _, given = items_of(refiner, 4)
    refiner.predictor.register_forward_hook(lambda module, args, output: calls.append(len(args[0][0])))
    refiner.sample(4, replace(given, label=None), sampler=SamplerConfig(guidance=3.0, guided=["label"]))
    assert calls == [4, 4, 4]
    refiner.sample(4, given, sampler=SamplerConfig(guidance=3.0, guided=["label"]))
    assert calls[3:] == [8, 8, 8]


@pytest.mark.parametrize("guided", ["lable", ["label", "size"], [], 3, ["base"]])
def test_guidance_about_other_things_is_refused(guided: Any) -> None:
    with pytest.raises(RefineError, match=r"guided=.* is not accepted; accepted: all, or a list of label, vector, fi"):
        build().sample(1, sampler=SamplerConfig(guidance=2.0, guided=guided))


def test_lists_of_samplers_are_about_the_same_kinds() -> None:
    """One pass without what guidance is about serves all scales."""
    label, field = ScaleSampler(guidance=2.0, guided=("label",)), ScaleSampler(guidance=2.0, guided=("field",))
    with pytest.raises(RefineError, match="guided differs by scale"):
        samplers_of([label, field], 2)
    assert samplers_of([label, replace(field, guidance=1.0)], 2)[0] is label
    with pytest.raises(RefineError, match=r"guided=.*lable"):
        samplers_of([replace(label, guided=("lable",)), label], 2)
    with pytest.raises(RefineError, match=r"sampler has 1 entries; expected one for each of 2 scales"):
        samplers_of([label], 2)
    with pytest.raises(RefineError, match=r"accepted: SamplerConfig, or a list of ScaleSampler"):
        samplers_of([1.0, 2.0], 2)  # type: ignore[list-item]


# -- asking ------------------------------------------------------------------------------------------------------------


def rows_of(found: Tensor, among: Tensor) -> list[int]:
    """Which item each row is of."""
    same = (found.flatten(1)[:, None] == among.flatten(1)[None]).all(-1)
    assert same.any(1).all()
    return same.int().argmax(1).tolist()


@pytest.mark.parametrize("split", ["val", "test"])
def test_asking_gives_what_held_out_items_have(split: str) -> None:
    domain = TinyDomain(TinyConfig(classes=3, vector=2, field=1, base=True, items=40))
    data, asked = domain.dataset(split).tensors, domain.ask(7, split=split)
    assert asked.field is not None and asked.label is not None
    index = rows_of(asked.field, data["field"])
    assert len(set(index)) == 7
    for name in ("label", "vector", "field", "base"):
        assert torch.equal(getattr(asked, name), data[name][torch.tensor(index)]), name
    domain.condition.check(asked, 7)


@pytest.mark.parametrize("wanted", [1, [2, 0]])
def test_asking_for_a_class_gives_items_of_it(wanted: Any) -> None:
    domain = TinyDomain(TinyConfig(classes=3, field=1, items=40))
    data, asked = domain.dataset("val").tensors, domain.ask(8, wanted)
    assert asked.label is not None and asked.field is not None
    assert asked.label.tolist() == ([1] * 8 if wanted == 1 else [2, 0] * 4)
    index = rows_of(asked.field, data["field"])
    assert torch.equal(data["label"][torch.tensor(index)], asked.label)
    assert len(set(index)) == 8


def test_asking_for_more_than_there_are_takes_turns() -> None:
    domain = TinyDomain(TinyConfig(classes=2, field=1, items=6))
    data, asked = domain.dataset("val").tensors, domain.ask(20, 0)
    assert asked.field is not None and asked.label is not None and (asked.label == 0).all()
    of_class = set((data["label"] == 0).nonzero().flatten().tolist())
    assert set(rows_of(asked.field, data["field"])) == of_class
    everyone = domain.ask(13)
    assert everyone.field is not None and set(rows_of(everyone.field, data["field"])) == set(range(6))


class OneClass(TinyDomain):
    """Held-out items are of class 0 only, or do not say."""

    silent = False

    def dataset(self, split: str) -> FieldsDataset:
        tensors = {**super().dataset(split).tensors}
        tensors["label"] = tensors["label"] * 0
        if self.silent:
            del tensors["label"]
        return FieldsDataset(**tensors)


def test_asking_for_a_class_that_no_item_has_gives_it_fields_of_others() -> None:
    domain = OneClass(TinyConfig(classes=3, field=1))
    asked = domain.ask(4, 2)
    assert asked.label is not None and asked.label.tolist() == [2] * 4 and asked.field is not None
    domain.silent = True
    assert domain.ask(4).label.tolist() == [0, 1, 2, 0]  # type: ignore[union-attr]


def test_asking_of_masks_and_of_nothing() -> None:
    ragged = RaggedDomain(RaggedConfig(classes=2, field=1))
    asked = ragged.ask(9, 1, split="test")
    data = ragged.dataset("test").tensors
    assert asked.field is not None and asked.mask is not None
    index = torch.tensor(rows_of(asked.field, data["field"]))
    assert torch.equal(asked.mask, data["mask"][index]) and (data["label"][index] == 1).all()
    plain = TinyDomain(TinyConfig(classes=3)).ask(4)
    assert plain == Condition(label=plain.label) and plain.label.tolist() == [0, 1, 2, 0]  # type: ignore[union-attr]
    assert TinyDomain(TinyConfig()).ask(4) == Condition()
    with pytest.raises(RefineError, match="label=5 is not accepted"):
        ragged.ask(2, 5)
    with pytest.raises(RefineError, match="size=3 is not accepted"):
        ragged.ask(2, size=3)


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[tuple[Refiner, Path]]:
    """A model of the toy with label and field, as a checkpoint."""
    with registered(tiny=TinyDomain):
        refiner = build(items=24)
        refiner.save_pretrained(tmp_path / "model")
        yield refiner, tmp_path


@pytest.mark.parametrize("extra", [[], ["label=1"], ["label=[2,0]", "split=test"]], ids=str)
def test_the_command_draws_what_sample_draws(saved: tuple[Refiner, Path], extra: list[str]) -> None:
    refiner, folder = saved
    arguments = [f"run={folder / 'model'}", "num=5", "batch_size=2", f"out={folder / 'drawn'}", "seed=3", "guidance=2"]
    Sample().run(configure("sample", Sample, [*arguments, "sampler.guided=[label]", *extra]))
    found = np.load(folder / "drawn" / "samples.npz")
    options: dict[str, Any] = {"label=1": {"label": 1}}.get("".join(extra), {})
    options = {"label": [2, 0], "split": "test"} if len(extra) == 2 else options
    condition = refiner.domain.ask(5, **options)
    assert condition.field is not None and condition.label is not None
    wanted = refiner.sample(5, condition, 3, sampler=SamplerConfig(guidance=2.0, guided=["label"]))
    for k, codes in enumerate(wanted.codes):
        assert np.array_equal(found[f"codes_{k}"], codes.numpy())
    np.testing.assert_allclose(found["items"], wanted.items.numpy(), rtol=1e-5)
    without = refiner.sample(5, replace(condition, field=None), 3, sampler=SamplerConfig(guidance=2.0))
    assert not all(torch.equal(a, b) for a, b in zip(wanted.codes, without.codes, strict=True))


# -- refusals ----------------------------------------------------------------------------------------------------------

GIVEN: dict[str, Callable[[int], Tensor]] = {
    "label": lambda n: torch.zeros(n, dtype=torch.int64),
    "vector": lambda n: torch.zeros(n, 2),
    "field": lambda n: torch.zeros(n, 12, 1),
    "base": lambda n: torch.zeros(n, 12, 2),
    "mask": lambda n: torch.ones(n, 12, dtype=torch.bool),
    "size": lambda n: torch.ones(n, dtype=torch.int64),
}
BAD: list[tuple[str, Any, str]] = [
    ("label", torch.zeros(2), r"condition\.label has type torch\.float32; expected whole numbers"),
    ("label", torch.zeros(2) > 1, r"condition\.label has type torch\.bool; expected whole numbers"),
    ("label", torch.zeros(2, 1).long(), r"condition\.label has shape \(2, 1\); expected \(B\) with B=2"),
    ("label", torch.zeros(3).long(), r"condition\.label has 3 rows; expected one for each of num=2"),
    ("label", torch.zeros(()).long(), r"condition\.label has 1 rows"),
    ("label", [0, 1], r"condition\.label=\[0, 1\] is not accepted; accepted: a tensor"),
    ("label", torch.tensor([0, 3]), r"label=\[3\] is not accepted; accepted: 0 to 2"),
    ("vector", torch.zeros(2, 3), r"condition\.vector has shape \(2, 3\); expected \(B, 2\)"),
    ("vector", torch.zeros(2, 2).long(), r"condition\.vector has type torch\.int64; expected floating point"),
    ("vector", torch.zeros(1, 2), r"condition\.vector has 1 rows"),
    ("field", torch.zeros(2, 7, 1), r"condition\.field has shape \(2, 7, 1\); expected \(B, 12, 1\)"),
    ("field", torch.zeros(2, 12, 3), r"condition\.field has shape \(2, 12, 3\); expected \(B, 12, 1\)"),
    ("field", torch.zeros(2, 1, 3, 4), r"condition\.field has shape \(2, 1, 3, 4\); expected \(B, 12, 1\)"),
    ("field", torch.zeros(2, 12), r"condition\.field has shape \(2, 12\); expected \(B, 12, 1\)"),
    ("field", torch.zeros(2, 12, 1) > 0, r"condition\.field has type torch\.bool; expected floating point"),
    ("base", torch.zeros(2, 12, 1), r"condition\.base has shape \(2, 12, 1\); expected \(B, 12, 2\)"),
    ("base", torch.zeros(2, 12, 2).int(), r"condition\.base has type torch\.int32; expected floating point"),
]


@pytest.fixture(scope="module")
def of_many() -> Refiner:
    """A model of four kinds of condition."""
    return build(vector=2, base=True)


@pytest.fixture(scope="module")
def of_none() -> Refiner:
    """A model of no condition."""
    return build(classes=0, field=0)


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(BAD)])
def test_what_does_not_fit_is_refused_by_name(of_many: Refiner, name: str, value: Any, message: str) -> None:
    refiner = of_many
    x, given = items_of(refiner, 2)
    codes = refiner.tokenizer.encode(x, given.base)
    wrong = replace(given, **{name: value})
    for call in (
        lambda: refiner.sample(2, wrong),
        lambda: refiner.log_prob(codes, wrong),
        lambda: refiner.inpaint(codes, torch.ones(1, 12) > 0, wrong),
    ):
        with pytest.raises(RefineError, match=message):
            call()


def test_what_fits_is_accepted(of_many: Refiner) -> None:
    given = Condition(**{name: GIVEN[name](2) for name in ("label", "vector", "field", "base")})
    assert len(of_many.sample(2, given).items) == 2


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_model_is_not_conditioned_on_is_refused_by_name(of_none: Refiner, name: str) -> None:
    refiner = of_none
    x, _ = items_of(refiner, 2)
    codes, wrong = refiner.tokenizer.encode(x), Condition(**{name: GIVEN[name](2)})
    for call in (
        lambda: refiner.sample(2, wrong),
        lambda: refiner.log_prob(codes, wrong),
        lambda: refiner.inpaint(codes, torch.ones(1, 12) > 0, wrong),
    ):
        with pytest.raises(RefineError, match=rf"condition\.{name} is not accepted: (this model|items of this model)"):
            call()
    assert refiner.spec.only(wrong) == Condition()


@pytest.mark.parametrize("wrong", [{"label": torch.zeros(2).long()}, torch.zeros(2).long(), "label"])
def test_what_is_no_condition_is_refused(wrong: Any) -> None:
    refiner = build()
    codes = refiner.tokenizer.encode(items_of(refiner, 2)[0])
    for call in (
        lambda: refiner.sample(2, wrong),
        lambda: refiner.log_prob(codes, wrong),
        lambda: refiner.inpaint(codes, torch.ones(1, 12) > 0, wrong),
    ):
        with pytest.raises(RefineError, match=r"condition=.* is not accepted; accepted: refine\.Condition"):
            call()


class Elsewhere(GridResampler):
    """Fields live on six sites of their own."""

    @property
    def field_sites(self) -> int:
        return 6

    def field(self, field: Tensor, k: int) -> Tensor:
        return torch.full((self.num_sites(k), 6), 1 / 6) @ field


class FieldsElsewhere(TinyDomain):
    def dataset(self, split: str) -> FieldsDataset:
        tensors = super().dataset(split).tensors
        return FieldsDataset(**{**tensors, "field": torch.randn(len(tensors["x"]), 6, 1)})

    def resampler(self) -> GridResampler:
        return Elsewhere(self.config.shapes)

    def codec(self) -> LinearCodec:
        return LinearCodec(self.config.channels)


def test_fields_live_where_the_resampler_says() -> None:
    domain = FieldsElsewhere(TinyConfig(shapes=[[1, 1], [3, 4]], field=1))
    refiner = Refiner(domain, ModelConfig(quantizer=QuantizerConfig(size=3), predictor=PredictorConfig(16, 1, 2)))
    refiner.sample(3, Condition(field=torch.randn(3, 6, 1)))
    with pytest.raises(RefineError, match=r"condition\.field has shape \(3, 12, 1\); expected \(B, 6, 1\)"):
        refiner.sample(3, Condition(field=torch.randn(3, 12, 1)))
