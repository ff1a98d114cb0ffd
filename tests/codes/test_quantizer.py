"""Quantizers: the nearest code is found, codebooks learn, and nothing collapses unseen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from refine.codes.packing import pack_bits, unpack_bits
from refine.codes.quantizer import Quantizer, build_quantizer, usage
from refine.codes.scaled import FSQ, Bitwise
from refine.codes.vq import VQ
from refine.errors import RefineError
from refine.settings.config import QuantizerConfig

C = 3
BUILDERS: dict[str, Callable[[], Quantizer]] = {
    "ema": lambda: VQ(2, C, [5, 9]),
    "gradient": lambda: VQ(2, C, [5, 9], update="gradient"),
    "shared": lambda: VQ(2, C, [9, 9], shared=True),
    "cosine": lambda: VQ(2, C, [5, 9], cosine=True),
    "fsq": lambda: FSQ(2, [3, 4, 5]),
    "lfq": lambda: Bitwise(2, C, sphere=False),
    "bsq": lambda: Bitwise(2, C, sphere=True),
}
all_quantizers = pytest.mark.parametrize("kind", BUILDERS)


def build(kind: str, fit: bool = True, seed: int = 0) -> Quantizer:
    torch.manual_seed(seed)
    quantizer = BUILDERS[kind]()
    if fit:
        for k in range(2):
            quantizer.fit(torch.randn(40, 10, C) * (k + 1), k)
    return quantizer


def table(quantizer: Quantizer, k: int) -> Tensor:
    """(V, C) values of all codes."""
    return quantizer.embed(torch.arange(quantizer.sizes[k]), k).detach()


@all_quantizers
@pytest.mark.parametrize("k", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encode_finds_the_nearest_code(kind: str, k: int, dtype: torch.dtype) -> None:
    quantizer = build(kind).to(dtype)
    x = 2 * torch.randn(7, 300, C, dtype=dtype)
    codes, values = quantizer.encode(x, k), table(quantizer, k)
    assert codes.shape == x.shape[:-1]
    assert codes.dtype == torch.int64
    assert values.dtype == dtype
    if kind == "cosine":
        distance = 1 - F.normalize(x, dim=-1) @ F.normalize(values, dim=-1).T
    else:
        distance = torch.cdist(x.flatten(0, 1), values).view(7, 300, -1)
    chosen = distance.gather(-1, codes[..., None])[..., 0]
    torch.testing.assert_close(chosen, distance.min(-1).values, rtol=0, atol=1e-5)


@all_quantizers
@pytest.mark.parametrize("k", [0, 1])
def test_codes_survive_their_own_values(kind: str, k: int) -> None:
    quantizer = build(kind)
    codes = torch.arange(quantizer.sizes[k])
    assert torch.equal(quantizer.encode(quantizer.embed(codes, k), k), codes)


@all_quantizers
def test_one_vector_or_many(kind: str) -> None:
    quantizer, x = build(kind), torch.randn(2, 3, 4, C)
    codes = quantizer.encode(x, 1)
    assert quantizer.embed(codes, 1).shape == x.shape
    assert int(quantizer.encode(x[1, 2, 3], 1)) == int(codes[1, 2, 3])


@all_quantizers
def test_state_dict_holds_everything(kind: str) -> None:
    """A restored quantizer says the same, and learns on in the same way."""
    quantizer = build(kind)
    quantizer.fitted.fill_(True)
    batches = torch.randn(4, 50, C)
    for x in batches[:2]:
        quantizer.observe(x, quantizer.encode(x, 1), 1)
        quantizer.update()
    restored = BUILDERS[kind]()
    restored.load_state_dict(quantizer.state_dict())
    assert bool(restored.fitted)
    for q in (quantizer, restored):
        torch.manual_seed(1)
        for x in batches[2:]:
            q.observe(x, q.encode(x, 1), 1)
            q.update()
    for k in range(2):
        assert torch.equal(table(quantizer, k), table(restored, k))
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


@all_quantizers
def test_observing_changes_nothing_until_update(kind: str) -> None:
    quantizer = build(kind)
    before = [table(quantizer, k).clone() for k in range(2)]
    for k in range(2):
        x = 5 + torch.randn(50, C)
        quantizer.observe(x, quantizer.encode(x, k), k)
        assert torch.equal(table(quantizer, k), before[k])
    quantizer.update()
    moved = kind != "gradient"
    assert [not torch.equal(table(quantizer, k), before[k]) for k in range(2)] == [moved, moved]


@all_quantizers
def test_update_without_observations_changes_nothing(kind: str) -> None:
    quantizer = build(kind)
    before = {n: t.clone() for n, t in quantizer.state_dict().items()}
    quantizer.update()
    assert all(torch.equal(t, before[n]) for n, t in quantizer.state_dict().items())


def test_gradient_codebooks_learn_by_gradient_and_ema_ones_do_not() -> None:
    gradient, ema = build("gradient"), build("ema")
    x = torch.randn(20, C)
    F.mse_loss(gradient.embed(gradient.encode(x, 1), 1), x).backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in gradient.parameters()]
    assert grads[0] is None
    assert grads[1] is not None and grads[1].abs().sum() > 0
    assert not any(p.requires_grad for p in ema.parameters())


def test_sizes_by_scale() -> None:
    quantizer = build_quantizer(QuantizerConfig(size=[2, 4, 8]), 3, C)
    assert quantizer.sizes == [2, 4, 8]
    for k, size in enumerate(quantizer.sizes):
        assert table(quantizer, k).shape == (size, C)
        assert quantizer.encode(torch.randn(500, C), k).max() < size
    assert build_quantizer(QuantizerConfig(size=16), 3, C).sizes == [16, 16, 16]


def test_shared_codebooks_are_one() -> None:
    quantizer = build("shared")
    assert torch.equal(table(quantizer, 0), table(quantizer, 1))
    assert len(list(quantizer.parameters())) == 1


@pytest.mark.parametrize("d", [1, 7, 31, 32, 33, 48])
def test_bits_pack_and_unpack(d: int) -> None:
    bits = torch.rand(100, d) < 0.5
    bits[0], bits[1] = False, True
    codes = pack_bits(bits)
    assert torch.equal(unpack_bits(codes, d), bits)
    assert int(codes[0]) == 0
    assert int(codes[1]) == 2**d - 1


@pytest.mark.parametrize("d", [1, 2, 10])
def test_bit_codes_are_all_numbers_below_their_size(d: int) -> None:
    codes = torch.arange(2**d)
    assert torch.equal(pack_bits(unpack_bits(codes, d)), codes)


def test_fsq_is_a_grid_of_evenly_spaced_values() -> None:
    quantizer = build("fsq")
    a = float(quantizer.amplitude[1])  # type: ignore[index]
    ends = [a * (math.log2(n) + 1) / 2 for n in (3, 4, 5)]
    axes = [torch.linspace(-end, end, n).tolist() for end, n in zip(ends, (3, 4, 5), strict=True)]
    wanted = torch.tensor(list(itertools.product(*axes)))
    found = table(quantizer, 1)
    assert len(found) == len(wanted) == quantizer.sizes[1]
    assert torch.cdist(wanted, found, compute_mode="donot_use_mm_for_euclid_dist").min(1).values.max() < 1e-5


@pytest.mark.parametrize("n", [4, 8, 16, 32])
def test_fsq_spans_what_is_best_for_a_gaussian(n: int) -> None:
    x = torch.randn(20_000, 1)
    quantizer = FSQ(1, [n])
    quantizer.fit(x, 0)

    def error(stretch: float) -> float:
        quantizer.amplitude[0] *= stretch
        mse = float((quantizer.embed(quantizer.encode(x, 0), 0) - x).square().mean())
        quantizer.amplitude[0] /= stretch
        return mse

    assert error(1.0) < 1.1 * min(error(0.5 + 0.05 * i) for i in range(31))


def test_amplitudes_are_fitted_to_the_residuals_of_their_scale() -> None:
    x = torch.randn(1000, C) * torch.tensor([1.0, 2.0, 0.5])
    for kind, scale in itertools.product(("fsq", "lfq", "bsq"), (0.01, 10.0)):
        quantizer = BUILDERS[kind]()
        quantizer.fit(x, 0)
        quantizer.fit(x * scale, 1)
        assert isinstance(quantizer, FSQ | Bitwise)
        torch.testing.assert_close(quantizer.amplitude[1], quantizer.amplitude[0] * scale)


@pytest.mark.parametrize("kind", ["fsq", "lfq", "bsq"])
def test_amplitudes_follow_every_batch_of_an_accumulated_step(kind: str) -> None:
    once, twice = BUILDERS[kind](), BUILDERS[kind]()
    small, large = torch.randn(50, C), 5 * torch.randn(50, C)
    measured = []
    for x in (small, large):
        twice.observe(x, twice.encode(x, 1), 1)
        measured.append(float(once.measure(x)))  # type: ignore[operator]
    twice.update()
    expected = 0.99 * float(once.amplitude[1]) + 0.01 * sum(measured) / 2  # type: ignore[index]
    assert float(twice.amplitude[1]) == pytest.approx(expected)  # type: ignore[index]


def test_lfq_amplitude_is_the_best_one() -> None:
    """Among all a, mean |x| has the least squared error of x against a sign(x)."""
    x = torch.randn(500, C)
    quantizer = Bitwise(1, C, sphere=False)
    quantizer.fit(x, 0)
    errors = [float((a * x.sign() - x).square().mean()) for a in torch.tensor([0.95, 1.0, 1.05]) * quantizer.amplitude]
    assert errors[1] == min(errors)


def test_bsq_values_lie_on_the_mean_sphere() -> None:
    x = torch.randn(500, C)
    quantizer = Bitwise(1, C, sphere=True)
    quantizer.fit(x, 0)
    radius = table(quantizer, 0).norm(dim=-1)
    torch.testing.assert_close(radius, x.norm(dim=-1).mean().expand(8))


@pytest.mark.parametrize("sphere", [True, False])
def test_entropy_term_prefers_confident_and_balanced_bits(sphere: bool) -> None:
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=C)))
    quantizer = Bitwise(1, C, sphere, entropy=1.0)

    def term(x: Tensor) -> float:
        return float(quantizer.penalty(x, quantizer.encode(x, 0), 0))

    good, stuck = 3 * signs, 3 * torch.ones(8, C)
    assert term(good) < term(stuck) - 0.1
    if not sphere:  # on the sphere no bit of a corner is less confident than another
        assert term(good) < term(0.01 * signs) - 0.1
    undecided = torch.cat([good, torch.eye(C)]) if sphere else 0.01 * signs
    assert term(good) < term(undecided)
    quantizer.entropy = 0.0
    assert term(stuck) == 0


@all_quantizers
def test_penalty_gradients_are_finite(kind: str) -> None:
    quantizer = build(kind)
    x = torch.cat([torch.randn(10, C), torch.zeros(1, C)]).requires_grad_()
    total = quantizer.penalty(x, quantizer.encode(x, 0), 0) + 0 * x.sum()
    (gradient,) = torch.autograd.grad(total, x)
    assert torch.isfinite(gradient).all()


def test_usage_and_perplexity_of_known_distributions() -> None:
    assert usage(torch.arange(8).repeat(5), 8) == pytest.approx((1, 8))
    assert usage(torch.full((3, 4), 2), 8) == pytest.approx((1 / 8, 1))
    share, perplexity = usage(torch.tensor([[0, 0, 0, 1]]), 4)
    assert share == 0.5
    assert perplexity == pytest.approx(torch.tensor([0.75, 0.25]).pow(-torch.tensor([0.75, 0.25])).prod())
    with pytest.raises(RefineError, match="no codes"):
        usage(torch.empty(0, dtype=torch.int64), 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kmeans"}, "model.quantizer.kind.*bitwise, fsq, none, vq"),
        ({"size": [4, 4]}, "3 scales need as many sizes"),
        ({"size": 0}, "each must be 1 or more"),
        ({"size": [4, 4, 8], "shared": True}, "one size for all scales"),
        ({"size": "many"}, "model.quantizer.size"),
        ({"size": [4, 4, 2.5]}, "model.quantizer.size"),
        ({"update": "sgd"}, "model.quantizer.update.*ema, gradient"),
        ({"decay": 1.0}, "model.quantizer.decay"),
        ({"kind": "fsq", "levels": [8, 8]}, "3 latent channels"),
        ({"kind": "fsq", "levels": [8, 8, 1]}, "2 or more"),
        ({"kind": "fsq", "levels": [1000, 1000, 1000]}, "accepted: up to"),
    ],
)
def test_configurations_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        build_quantizer(QuantizerConfig(**options), 3, C)


def test_more_bits_than_a_code_holds_are_refused() -> None:
    with pytest.raises(RefineError, match="48"):
        Bitwise(1, 49)
