"""The predictor: a set network whose scales see what they may see, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import stir

from refine.errors import RefineError
from refine.network.network import KINDS
from refine.network.predictor import Predictor
from refine.scales.resample import GridResampler
from refine.settings.config import PredictorConfig
from refine.testing import cast_level, equivariance_error, permute_level
from refine.types import Condition, ConditionSpec, Level

C, WIDTH, BATCH, CLASSES = 3, 16, 4, 5
GRID = GridResampler([1, 2, 3], frequencies=2)
LEVELS = [GRID.level(k) for k in range(3)]
SPEC = ConditionSpec(num_classes=CLASSES, vector=2, field=2)
both = pytest.mark.parametrize("attention", ["markov", "prefix"])


def build(level: Level, attention: str = "markov", cls: type[Predictor] = Predictor, **options: Any) -> Predictor:
    torch.manual_seed(0)
    config = PredictorConfig(width=WIDTH, depth=2, heads=4, attention=attention, **options)
    predictor = cls(config, [1, 4, 9], C, SPEC, level)
    stir(predictor)
    return predictor.eval()


def condition(seed: int = 0) -> Condition:
    g = torch.Generator().manual_seed(seed)
    return Condition(
        label=torch.randint(CLASSES, (BATCH,), generator=g),
        vector=torch.randn(BATCH, 2, generator=g),
        field=torch.randn(BATCH, 9, 2, generator=g),
    )


def fields(given: Condition) -> list[Tensor | None]:
    return [None if given.field is None else GRID.down(given.field, 2, k) for k in range(3)]


def contexts(seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(BATCH, GRID.num_sites(k), C, generator=g) for k in range(3)]


def run(predictor: Predictor, given: Condition | None = None, **options: Any) -> list[Tensor]:
    """One teacher-forced pass over all scales."""
    given = condition() if given is None else given
    at = {"contexts": contexts(), "levels": LEVELS, "scales": range(3), "fields": fields(given), **options}
    with torch.no_grad():
        return predictor(condition=given, **at)


def dense_level(n: int = 7, seed: int = 0) -> Level:
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(BATCH, n, generator=g) < 0.7
    mask[:, 0] = True
    return Level(torch.randn(1, n, 4, generator=g), mask=mask, pair=torch.randn(1, n, n, 2, generator=g))


def sparse_level(n: int = 7, seed: int = 0) -> Level:
    g = torch.Generator().manual_seed(seed)
    edges = (torch.rand(n, n, generator=g) < 0.5).fill_diagonal_(True).nonzero().T
    return Level(torch.randn(1, n, 4, generator=g), edges=edges, edge_features=torch.randn(edges.shape[1], 2))


class Ordered(Predictor):
    """A double that knows which site comes first, which no set network may."""

    def forward(self, contexts: Sequence[Tensor], *args: Any, **kwargs: Any) -> list[Tensor]:
        numbered = [x + 0.1 * torch.arange(x.shape[1], dtype=x.dtype)[:, None] for x in contexts]
        return super().forward(numbered, *args, **kwargs)


GEOMETRIES = {"positions": LEVELS[2], "pairs and mask": dense_level(), "edges": sparse_level()}


def order_error(cls: type[Predictor], level: Level, dtype: torch.dtype) -> float:
    """How far the predictor is from not seeing the order of sites."""
    predictor, level = build(level, cls=cls).to(dtype), cast_level(level, dtype)
    x = torch.randn(BATCH, level.num_sites, C, dtype=dtype)
    given = Condition(label=condition().label)
    p = torch.randperm(level.num_sites)
    return equivariance_error(predictor, x, level, permute_level(level, p), 1, given, p)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_sites_are_a_set(geometry: str, dtype: torch.dtype, tolerance: float) -> None:
    assert order_error(Predictor, GEOMETRIES[geometry], dtype) < tolerance
    assert order_error(Ordered, GEOMETRIES[geometry], dtype) > 1e-3


@both
@torch.no_grad()
def test_prefix_sites_are_a_set_too(attention: str) -> None:
    """Renumbering the sites of one scale renumbers that scale and leaves the others as they are."""
    predictor, p = build(LEVELS[0], attention).double(), torch.randperm(4)
    xs, levels = [x.double() for x in contexts()], [cast_level(v, torch.float64) for v in LEVELS]
    given = Condition(label=condition().label)
    before = predictor(xs, levels, range(3), given)
    after = predictor([xs[0], xs[1][:, p], xs[2]], [levels[0], permute_level(levels[1], p), levels[2]], range(3), given)
    torch.testing.assert_close(after[1], before[1][:, p])
    torch.testing.assert_close((after[0], after[2]), (before[0], before[2]))


@both
@pytest.mark.parametrize("changed", range(3))
def test_who_sees_a_context(attention: str, changed: int) -> None:
    """Markov: the scale itself only. Prefix: it and all finer ones."""
    predictor, other = build(LEVELS[0], attention), contexts()
    other[changed] = other[changed] + 1
    before, after = run(predictor), run(predictor, contexts=other)
    sees = [k == changed if attention == "markov" else k >= changed for k in range(3)]
    assert [not torch.equal(a, b) for a, b in zip(after, before, strict=True)] == sees


@both
def test_scales_may_be_asked_for_one_by_one(attention: str) -> None:
    """In Markov mode by themselves, in prefix mode with a cache of the coarser ones: the same to 1e-5."""
    predictor, given = build(LEVELS[0], attention), condition()
    cache = predictor.new_cache(BATCH, 14) if attention == "prefix" else None
    for k, expected in enumerate(run(predictor)):
        (found,) = run(
            predictor, contexts=[contexts()[k]], levels=[LEVELS[k]], scales=[k], fields=[fields(given)[k]], cache=cache
        )
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert cache is None or cache.length == 14


@both
def test_samples_do_not_see_each_other(attention: str) -> None:
    predictor, other = build(LEVELS[0], attention), contexts()
    for x in other:
        x[1:] += 1
    for a, b in zip(run(predictor), run(predictor, contexts=other), strict=True):
        assert torch.equal(a[0], b[0])
        assert not torch.equal(a[1], b[1])


@torch.no_grad()
def test_masked_sites_do_not_matter() -> None:
    level = dense_level()
    predictor, x = build(level), torch.randn(BATCH, 7, C)
    assert level.mask is not None and not level.mask.all()
    given = Condition(label=condition().label)
    (before,) = predictor([x], [level], [1], given)
    noisy = torch.where(level.mask[..., None], x, 50 * torch.randn_like(x))
    (after,) = predictor([noisy], [level], [1], given)
    torch.testing.assert_close(after[level.mask], before[level.mask])


@torch.no_grad()
def test_all_edges_are_dense_attention() -> None:
    pair = torch.randn(1, 5, 5, 2)
    dense = Level(torch.randn(1, 5, 4), pair=pair)
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
    sparse = replace(dense, pair=None, edges=pairs, edge_features=pair.flatten(0, 2))
    predictor, x = build(dense), torch.randn(BATCH, 5, C)
    given = Condition(label=condition().label)
    for a, b in zip(predictor([x], [dense], [1], given), predictor([x], [sparse], [1], given), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["label", "vector", "field"])
@both
def test_every_condition_matters_at_every_scale(name: str, attention: str) -> None:
    predictor = build(LEVELS[0], attention)
    other = replace(condition(), **{name: getattr(condition(1), name)})
    for a, b in zip(run(predictor), run(predictor, other), strict=True):
        assert not torch.allclose(a, b, atol=1e-4)


@both
def test_a_dropped_condition_is_none_at_all(attention: str) -> None:
    predictor = build(LEVELS[0], attention)
    drop = torch.tensor([True, False, True, False])
    given, none, mixed = run(predictor), run(predictor, Condition()), run(predictor, drop=drop)
    for a, b, c in zip(given, none, mixed, strict=True):
        torch.testing.assert_close(c[drop], b[drop])
        torch.testing.assert_close(c[~drop], a[~drop])
        assert not torch.allclose(a, b, atol=1e-4)


@both
@pytest.mark.parametrize("shared", [True, False])
@torch.no_grad()
def test_a_condition_may_be_prepared_once_for_all_scales(attention: str, shared: bool) -> None:
    """Bit for bit what the plain call gives; of the first samples too."""
    predictor, drop = build(LEVELS[0], attention, shared_adaln=shared), torch.tensor([True, False, True, False])
    for given in (drop, None):
        prepared = predictor.conditioned(condition(), BATCH, given)
        plain = run(predictor, drop=given)
        at = {"contexts": contexts(), "levels": LEVELS, "scales": range(3), "fields": fields(condition())}
        assert all(torch.equal(a, b) for a, b in zip(predictor(condition=prepared, **at), plain, strict=True))
        at |= {"contexts": [x[:2] for x in contexts()], "fields": fields(condition()[:2])}
        for a, b in zip(predictor(condition=prepared.first(2), **at), plain, strict=True):
            torch.testing.assert_close(a, b[:2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("geometry", ["positions", "pairs and mask", "edges"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_of_the_weights_is_that_of_all_that_follows(geometry: str, dtype: torch.dtype) -> None:
    level, given = GEOMETRIES[geometry], replace(condition(), field=None)
    predictor, x = build(level), torch.randn(BATCH, GEOMETRIES[geometry].num_sites, C)
    (exact,) = predictor([x], [level], [1], given)
    (half,) = predictor.to(dtype)([x], [level], [1], given)
    assert half.dtype == dtype
    assert 0 < (half - exact).square().mean() < 0.03**2 * exact.square().mean()


@both
def test_conditions_are_dropped_in_training_only(attention: str) -> None:
    predictor = build(LEVELS[0], attention, condition_dropout=0.5)
    assert all(torch.equal(a, b) for a, b in zip(run(predictor), run(predictor), strict=True))
    given = run(predictor)[2]
    withheld = list(itertools.product([False, True], repeat=len(KINDS)))
    rows = {kinds: run(predictor, only_without(kinds))[2] for kinds in withheld}
    torch.testing.assert_close(rows[(False,) * 3], given)
    assert all(not torch.allclose(rows[a], rows[b], atol=1e-4) for a, b in itertools.combinations(withheld, 2))
    predictor.train()
    seen = set()
    for _ in range(40):
        for i, row in enumerate(run(predictor)[2]):
            fits = [kinds for kinds in withheld if torch.allclose(row, rows[kinds][i], atol=1e-5)]
            assert len(fits) == 1
            seen.add(fits[0])
    assert seen == set(withheld)  # every combination of kinds is learned
    explicit = run(predictor, drop=torch.zeros(BATCH, dtype=torch.bool))[2]
    torch.testing.assert_close(explicit, given)
    for kinds in withheld:
        explicit = run(predictor, drop=torch.tensor([kinds] * BATCH))[2]
        torch.testing.assert_close(explicit, rows[kinds])


def only_without(kinds: Sequence[bool]) -> Condition:
    """The condition, its label, vector or field left out."""
    return replace(condition(), **{name: None for name, out in zip(KINDS, kinds, strict=True) if out})


@pytest.mark.parametrize(("spec", "several"), [(SPEC, True), (ConditionSpec(num_classes=CLASSES), False)])
def test_of_several_kinds_each_is_left_out_alone_as_often_as_all_are(spec: ConditionSpec, several: bool) -> None:
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(WIDTH, 1, 2, condition_dropout=0.2), [1, 4, 9], C, spec, LEVELS[0])
    drop = predictor.condition.withheld(20_000, predictor.config.condition_dropout).float()
    all_of, each = 0.2, 0.2 if several else 0.0
    assert drop.mean(0).tolist() == pytest.approx([1 - (1 - all_of) * (1 - each)] * 3, abs=0.02)
    alone = (drop.sum(1) == 1).float().mean().item()
    assert alone == pytest.approx((1 - all_of) * 3 * each * (1 - each) ** 2, abs=0.02)
    if not several:
        assert set(drop.sum(1).tolist()) == {0.0, 3.0}


def test_no_condition_dropout_when_it_is_off() -> None:
    predictor = build(LEVELS[0], condition_dropout=0.0).train()
    for a, b in zip(run(predictor), run(predictor), strict=True):
        assert torch.equal(a, b)


@both
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_every_weight_learns_in_every_step(attention: str, shared: bool, dropout: float) -> None:
    """Distributed training needs it: a weight that a step leaves out stops all processes."""
    predictor = build(LEVELS[0], attention, shared_adaln=shared, condition_dropout=dropout).train()
    given = condition()
    out = predictor(contexts(), LEVELS, range(3), given, fields(given))
    sum(h.square().sum() for h in out).backward()  # type: ignore[union-attr]
    assert [name for name, p in predictor.named_parameters() if p.grad is None] == []


def test_blocks_start_close_to_the_identity() -> None:
    """VAR's initialisation: the gates are so small that depth changes little at first."""
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(width=64, depth=6, heads=4), [1, 4, 9], C, SPEC, LEVELS[0]).eval()
    full = run(predictor)
    predictor.blocks = predictor.blocks[:1]
    assert predictor.offset is not None
    predictor.offset = torch.nn.Parameter(predictor.offset[:1])
    for a, b in zip(full, run(predictor), strict=True):
        assert (a - b).square().mean() < 1e-4 * a.square().mean()


def test_prefix_mode_takes_positions_only() -> None:
    level = dense_level()
    predictor = build(level, "prefix")
    with pytest.raises(RefineError, match="attention=prefix"):
        predictor([torch.randn(BATCH, 7, C)], [level], [0], Condition())


@pytest.mark.parametrize("options", [{"attention": "full"}, {"width": 30}, {"heads": 0}, {"width": 0}])
def test_configurations_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(RefineError, match=rf"model\.predictor\..*{name}"):
        Predictor(PredictorConfig(**options), [1, 4, 9], C, SPEC, LEVELS[0])


def test_learned_positions_tell_sites_apart_that_coordinates_do_not() -> None:
    same = Level(pos=torch.zeros(1, 4, GRID.level(0).pos.shape[-1]))
    out = {}
    for positions in ("coordinates", "learned"):
        predictor = build(GRID.level(0), positions=positions)
        with torch.no_grad():
            (out[positions],) = predictor([torch.zeros(BATCH, 4, C)], [same], [1], Condition())
    assert torch.allclose(out["coordinates"][:, :1], out["coordinates"])
    assert (out["learned"][:, :1] - out["learned"])[:, 1:].abs().amin(-1).max() > 0
    with pytest.raises(RefineError, match=r"positions.*accepted: coordinates, learned"):
        build(GRID.level(0), positions="none")
