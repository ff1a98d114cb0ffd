"""Several codes for a site: what they say together, and what each says alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from refine.codes.composite_vq import CompositeVQ
from refine.codes.packing import pack_digits, unpack_digits
from refine.codes.quantizer import build_quantizer
from refine.codes.vq import VQ
from refine.errors import RefineError
from refine.settings.config import QuantizerConfig

C = 3
GROUPS = [[2, 0], [1]]


def data(rows: int = 600, seed: int = 0) -> Tensor:
    """(rows, C) with a different spread in each channel."""
    return torch.randn(rows, C, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1.0, 0.3, 2.0])


def fitted(stages: int = 2, groups: Any = GROUPS, sizes: tuple[int, ...] = (4,), **options: Any) -> CompositeVQ:
    torch.manual_seed(0)
    quantizer = CompositeVQ(len(sizes), C, sizes, stages, groups, **options)
    for k in range(len(sizes)):
        quantizer.fit(data(seed=k), k)
    return quantizer


@pytest.mark.parametrize(("base", "count"), [(2, 62), (3, 5), (256, 7), (1, 4), (4096, 5)])
def test_digits_survive_packing(base: int, count: int) -> None:
    digits = torch.randint(base, (50, 3, count), generator=torch.Generator().manual_seed(0))
    digits[0], digits[1] = 0, base - 1
    numbers = pack_digits(digits, base)
    assert numbers.shape == (50, 3) and numbers.dtype == torch.int64
    assert numbers.min() >= 0 and int(numbers[1, 0]) == base**count - 1  # also where that is 2^62 - 1
    assert torch.equal(unpack_digits(numbers, base, count), digits)


def test_all_numbers_are_all_digits() -> None:
    numbers = torch.arange(3**4)
    digits = unpack_digits(numbers, 3, 4)
    assert torch.equal(pack_digits(digits, 3), numbers)
    assert {tuple(row[::-1]) for row in digits.tolist()} == set(itertools.product(range(3), repeat=4))
    assert digits[1].tolist() == [1, 0, 0, 0]  # the first digit counts ones


def test_every_stage_says_what_those_before_left() -> None:
    """The error falls with every stage, and what later stages add is coded of the rest alone."""
    quantizer, x, errors = fitted(stages=4), data(), []
    codes = quantizer.encode(x, 0)
    digits = unpack_digits(codes, 4, quantizer.num_parts)
    rest = x[:, GROUPS[0]]
    for stage in range(4):
        book = quantizer.books[stage]
        assert torch.equal(book.encode(rest, 0), digits[:, stage])
        rest = rest - book.embed(digits[:, stage], 0)
        errors.append(float(rest.square().mean()))
    assert all(after < 0.8 * before for before, after in itertools.pairwise([float(x.square().mean()), *errors]))
    torch.testing.assert_close(x[:, GROUPS[0]] - quantizer.embed(codes, 0)[:, GROUPS[0]], rest)


def test_without_stages_it_is_worse() -> None:
    x, errors = data(), {}
    for stages in (1, 2, 3):
        quantizer = fitted(stages)
        errors[stages] = float((quantizer.embed(quantizer.encode(x, 0), 0) - x).square().mean())
    assert errors[3] < 0.6 * errors[2] and errors[2] < 0.6 * errors[1]


@pytest.mark.parametrize("changed", [0, 1])
def test_groups_say_nothing_of_one_another(changed: int) -> None:
    quantizer, x = fitted(), data(seed=3)
    other = x.clone()
    other[:, GROUPS[changed]] = 5 * torch.randn(len(x), len(GROUPS[changed]))
    before, after = (unpack_digits(quantizer.encode(y, 0), 4, 4) for y in (x, other))
    mine, theirs = slice(2 * changed, 2 * changed + 2), slice(2 - 2 * changed, 4 - 2 * changed)
    assert torch.equal(before[:, theirs], after[:, theirs])
    assert not torch.equal(before[:, mine], after[:, mine])
    kept = GROUPS[1 - changed]
    values, changed_values = (quantizer.embed(pack_digits(d, 4), 0) for d in (before, after))
    assert torch.equal(values[:, kept], changed_values[:, kept])


def test_a_group_is_a_quantizer_of_its_channels() -> None:
    quantizer, x = fitted(stages=1, sizes=(4, 5)), data(seed=2)
    for k, size in enumerate((4, 5)):
        digits = unpack_digits(quantizer.encode(x, k), size, 2)
        for i, (group, book) in enumerate(zip(GROUPS, quantizer.books, strict=True)):
            alone = VQ(2, len(group), [4, 5])
            alone.load_state_dict(book.state_dict())
            assert torch.equal(alone.encode(x[:, group], k), digits[:, i])
            torch.testing.assert_close(
                quantizer.embed(pack_digits(digits, size), k)[:, group], alone.embed(digits[:, i], k)
            )


@pytest.mark.parametrize(("stages", "groups"), [(1, [[0, 1, 2]]), (2, GROUPS), (3, [[0], [1, 2]])])
def test_expected_values_are_means_over_all_codes(stages: int, groups: list[list[int]]) -> None:
    quantizer = fitted(stages, groups, sizes=(3,)).double()
    parts = quantizer.num_parts
    p = torch.randn(2, 5, parts, 3, dtype=torch.float64).softmax(-1)
    codes = torch.arange(quantizer.sizes[0])
    digits = unpack_digits(codes, 3, parts)
    law = torch.stack([p[..., i, :][..., digits[:, i]] for i in range(parts)]).prod(0)  # (2, 5, codes)
    torch.testing.assert_close(law.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    torch.testing.assert_close(quantizer.expected(p, 0), law @ quantizer.embed(codes, 0))


@pytest.mark.parametrize("shared", [False, True])
def test_it_learns_from_what_it_observes(shared: bool) -> None:
    """After a shift of the data the codebooks follow, each on what the stages before leave."""
    quantizer = fitted(sizes=(4, 4), shared=shared, decay=0.5)
    assert quantizer.shared is shared
    x = data(seed=7) + 3

    def error() -> float:
        return float((quantizer.embed(quantizer.encode(x, 1), 1) - x).square().mean())

    before = error()
    for _ in range(30):
        for k in (0, 1):
            quantizer.observe(x, quantizer.encode(x, k), k)
        quantizer.update()
    assert error() < 0.2 * before


def test_usage_is_that_of_the_codebook_used_least() -> None:
    quantizer = fitted()
    digits = torch.randint(4, (1000, 4), generator=torch.Generator().manual_seed(0))
    digits[:, 2] = digits[:, 2].clamp_max(1)
    share, perplexity = quantizer.usage(pack_digits(digits, 4), 0)
    assert share == 0.5
    assert perplexity == pytest.approx(1.75, abs=0.05)  # of a quarter and three quarters
    assert quantizer.usage(pack_digits(digits[:, [0, 1, 3, 3]], 4), 0)[0] == 1


def test_configurations_make_it() -> None:
    plain = build_quantizer(QuantizerConfig(size=8), 2, C)
    assert isinstance(plain, VQ)
    both = build_quantizer(QuantizerConfig(size=[8, 4], stages=2, groups=GROUPS), 2, C)
    assert isinstance(both, CompositeVQ)
    assert both.sizes == [8**4, 4**4] and both.parts_of == [8, 4] and both.num_parts == 4
    alone = build_quantizer(QuantizerConfig(size=8, stages=3), 2, C)
    assert isinstance(alone, CompositeVQ) and alone.groups == [[0, 1, 2]] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": [[0, 1]]}, r"groups=\[\[0, 1\]\] is not accepted; accepted: lists .* 0 to 2 once"),
        ({"groups": [[0, 1], [1, 2]]}, "groups"),
        ({"groups": [[0, 1, 2], []]}, "groups"),
        ({"groups": [[0, 1, 2, 3]]}, "groups"),
        ({"stages": 0}, "stages=0 is not accepted; accepted: 1 or more"),
        ({"stages": 8, "size": 256}, "8 codebooks of 256 .* too many"),
        ({"kind": "fsq", "levels": [4] * C, "stages": 2}, "stages and groups .* accepted: kind=vq"),
        ({"kind": "bitwise", "groups": [[0], [1, 2]]}, "stages and groups .* accepted: kind=vq"),
        ({"size": "many"}, "size='many' is not accepted"),
        ({"size": [4, 4.5], "stages": 2}, "whole number"),
    ],
)
def test_configurations_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        build_quantizer(QuantizerConfig(**options), 2, C)
