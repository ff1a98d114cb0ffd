"""Strategies: choosers around a chooser, in the order and with the options that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from models.test_refiner import LONG, both, build, label
from ragged import registered
from torch import Tensor

from refine.drawing.draw import Draw
from refine.drawing.strategies import Strategy, build_strategies
from refine.errors import RefineError
from refine.settings.compose import compose
from refine.settings.config import SamplerConfig
from refine.types import Level

CALLS: list[str] = []


@dataclass
class Said:
    """Of :class:`Tells`."""

    word: str = "tells"
    scales: list[int] | None = None  # null for all


class Tells(Strategy):
    """Writes down when it is asked, and when it has an answer."""

    Options = Said

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        CALLS.append(f"{self.options.word} {k}")
        codes = super().__call__(k, level, context, state)
        CALLS.append(f"{self.options.word} {k} done")
        return codes

    def embed(self, codes: Tensor, k: int) -> Tensor:
        CALLS.append(f"{self.options.word} embeds {k}")
        return super().embed(codes, k)


class Also(Tells):
    """Another one of the same making."""


class AddsOne(Strategy):
    """Every code is the next one."""

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        return (super().__call__(k, level, context, state) + 1) % 3


class Doubles(Strategy):
    """Every code is twice what it was."""

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        return 2 * super().__call__(k, level, context, state) % 3


@dataclass
class Times:
    """Of :class:`Best`."""

    times: int = 4


class Best(Strategy):
    """Of several draws of a scale the one that the model finds the most probable, item by item."""

    Options = Times

    def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        assert isinstance(self.draw, Draw)
        first = super().__call__(k, level, context, state)
        nothing = torch.zeros(first.shape, dtype=torch.bool)
        p = self.draw.law(k, level, context, first, nothing).probabilities()[..., 0, :]
        best, score = first, p.gather(-1, first[..., None]).log().sum((1, 2))
        for stream in range(10, 10 + self.options.times):
            uniform = self.draw.noise.uniform(k, (level.num_sites, 1), stream=stream)
            codes = self.draw.model.head.draw(self.draw.law(k, level, context, first, nothing), uniform)
            new = p.gather(-1, codes[..., None]).log().sum((1, 2))
            best = torch.where((new > score)[:, None], codes, best)
            score = torch.maximum(new, score)
        return best


class Shrinks(Strategy):
    """Values are half of what they are."""

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return super().embed(codes, k) / 2


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with registered(tells=Tells, also=Also, adds=AddsOne, doubles=Doubles, best=Best, shrinks=Shrinks, plain=Strategy):
        CALLS.clear()
        yield


def test_the_first_that_is_named_is_the_innermost() -> None:
    config = SamplerConfig(
        strategies=["tells", "also"], options={"also": {"word": "outer"}, "tells": {"word": "inner"}}
    )
    build().sample(2, sampler=config)
    assert CALLS[:6] == ["outer 0", "inner 0", "inner 0 done", "outer 0 done", "outer embeds 0", "inner embeds 0"]
    assert [c for c in CALLS if c.endswith("1")] == ["outer 1", "inner 1", "outer embeds 1", "inner embeds 1"]


def test_the_order_matters() -> None:
    """Of a scale alone, codes are (2 c + 1) or 2 (c + 1)."""
    refiner = build(shapes=[[3, 4]])
    plain = refiner.sample(5, label(1, 5)).codes[0]
    for names, wanted in ((["doubles", "adds"], 2 * plain + 1), (["adds", "doubles"], 2 * (plain + 1))):
        found = refiner.sample(5, label(1, 5), sampler=SamplerConfig(strategies=names)).codes[0]
        assert torch.equal(found, wanted % 3)


@both
def test_one_that_changes_nothing_changes_nothing(attention: str) -> None:
    refiner = build(attention, shapes=LONG)
    plain = refiner.sample(5, label(1, 5), sampler=SamplerConfig(guidance=2.0))
    same = refiner.sample(5, label(1, 5), sampler=SamplerConfig(guidance=2.0, strategies=["plain", "plain"]))
    assert all(torch.equal(a, b) for a, b in zip(plain.codes, same.codes, strict=True))
    assert torch.equal(plain.items, same.items)


def test_values_may_be_changed_too() -> None:
    refiner = build(shapes=LONG)
    drawn = refiner.sample(5, label(1, 5), sampler=SamplerConfig(strategies=["shrinks"]))
    pyramid, state = refiner.pyramid, refiner.pyramid.start(5)
    for k, codes in enumerate(drawn.codes):
        state = pyramid.refine(state, pyramid.context(state, k), refiner.quantizer.embed(codes, k) / 2, k)
    torch.testing.assert_close(drawn.items, pyramid.latent(state, 3))


def test_a_choice_among_draws_is_more_probable_and_the_same_in_any_company() -> None:
    refiner = build(shapes=[[3, 4]])
    given, config = label(1, 200), SamplerConfig(strategies=["best"], options={"best": {"times": 8}})
    plain, chosen = (refiner.sample(200, given, sampler=s) for s in (SamplerConfig(), config))
    nats = [refiner.log_prob(s.codes, given).total for s in (plain, chosen)]
    assert (nats[1] >= nats[0] - 1e-5).all() and nats[1].mean() > nats[0].mean() + 1
    alone = refiner.sample(1, label(1, 1), first=17, sampler=config)
    assert torch.equal(alone.codes[0][0], chosen.codes[0][17])


def test_they_stand_around_any_draw_and_inpaint() -> None:
    refiner = build(shapes=LONG)

    class Zero(Draw):
        def __call__(self, k: int, level: Level, context: Tensor, state: Any) -> Tensor:
            return torch.zeros_like(super().__call__(k, level, context, state))

    config = SamplerConfig(strategies=["adds"])
    assert all((c == 1).all() for c in refiner.sample(3, sampler=config, draw=Zero).codes)
    half = torch.arange(25)[None] < 13
    codes = refiner.inpaint(_zeros(3), half, sampler=config, draw=Zero).codes
    assert (codes[3][:, :13] == 0).all() and (codes[3][:, 13:] == 1).all()  # what is given stays


def _zeros(count: int) -> list[Tensor]:
    return [torch.zeros(count, n, dtype=torch.int64) for n in (1, 4, 12, 25)]


def test_options_are_typed() -> None:
    config = SamplerConfig(strategies=["plain", "tells"], options={"tells": {"word": "x", "scales": [1, 2]}})
    (plain, none), (tells, said) = build_strategies(config)
    assert (plain, tells) == (Strategy, Tells) and said == Said("x", [1, 2]) and vars(none) == {}
    assert build_strategies(SamplerConfig(strategies=["tells"]))[0][1] == Said()


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (
            ["best"],
            {"best": {"times": "often"}},
            r"sampler\.options\.best\.times='often' is not accepted; accepted: finite whole",
        ),
        (["best"], {"best": {"time": 3}}, r"sampler\.options\.best\.time.*times"),
        (["best"], {"best": 3}, r"sampler\.options\.best=3 is not accepted: it is a section of keys"),
        (["plain"], {"plain": {"a": 1}}, r"sampler\.options\.plain\.a"),
        (["plain"], {"best": {}}, r"sampler\.options\.best is not accepted: sampler\.strategies=\['plain'\] does not"),
        (["bast"], {}, r"sampler\.strategies='bast' is not accepted; accepted: .*Did you mean 'best'"),
    ],
)
def test_what_is_not_accepted_is_refused(names: list[str], options: Any, message: str) -> None:
    config = SamplerConfig(strategies=names, options=options)
    with pytest.raises(RefineError, match=message):
        build_strategies(config)
    with pytest.raises(RefineError, match=message):
        build().sample(1, sampler=config)


def test_the_command_line_names_them() -> None:
    found = compose(["domain=image", "sampler.strategies=[plain,best]", "sampler.options.best.times=3"]).sampler
    assert [(cls, vars(options)) for cls, options in build_strategies(found)] == [(Strategy, {}), (Best, {"times": 3})]
