"""Gaussians of residuals that nothing quantised: a density, drawn as it is scored, through the whole loop."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm
from torch import Tensor
from toy import items_of, stir, tiny_refiner

from refine.cli import main
from refine.codes.gaussian_head import GaussianHead
from refine.codes.laws import ScaleSampler
from refine.codes.scaled import Unquantized
from refine.errors import RefineError
from refine.models.encoding import EncodedItems, batch_codes
from refine.models.evaluation import score_codes
from refine.models.refiner import Refiner
from refine.settings.config import ModelConfig, PredictorConfig, PyramidConfig, QuantizerConfig, SamplerConfig
from refine.types import Condition

WIDTH, SIZES = 6, [0.05, 20.0]  # deviations of the residuals of each scale
SHAPES = [[1, 1], [2, 2], [3, 4], [5, 5]]
GREEDY = ScaleSampler(greedy=True)


def fitted(channels: int) -> Unquantized:
    quantizer = Unquantized(2, channels)
    for k, size in enumerate(SIZES):
        quantizer.fit(size * torch.randn(20_000, channels, generator=torch.Generator().manual_seed(k)), k)
    return quantizer


def build(channels: int = 2, stirred: float = 0.5) -> GaussianHead:
    torch.manual_seed(0)
    head = fitted(channels).head(WIDTH)
    assert isinstance(head, GaussianHead)
    stir(head, stirred)
    return head


def refiner_of(pyramid: str = "laplacian", loop: str = "closed", rounds: Any = 1, **options: Any) -> Refiner:
    predictor = PredictorConfig(16, 1, 2, rounds=rounds)
    model = ModelConfig(PyramidConfig(pyramid, loop), QuantizerConfig("none"), predictor)
    return tiny_refiner(model, **{"shapes": SHAPES, "classes": 3, "items": 24, **options})


def moments(parameters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations (..., C)."""
    mean, log_variance = parameters.detach().double().chunk(2, -1)
    return mean.numpy(), (log_variance / 2).exp().numpy()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("k", [0, 1])
@torch.no_grad()
def test_the_density_integrates_to_one(channels: int, k: int) -> None:
    head = build(channels)
    parameters = head(torch.randn(1, 1, WIDTH), k)
    mean, deviation = moments(parameters[0, 0])
    axes = [torch.linspace(m - 9 * s, m + 9 * s, 301).double() for m, s in zip(mean, deviation, strict=True)]
    points = torch.cartesian_prod(*axes).view(-1, 1, channels)
    density = head.log_prob(parameters.double().expand(len(points), -1, -1), points).exp().view([301] * channels)
    for axis in reversed(axes):
        density = torch.trapezoid(density, axis)
    assert float(density) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("k", [0, 1])
@torch.no_grad()
def test_densities_of_draws_are_those_of_scipy(k: int) -> None:
    head = build(3)
    parameters = head(torch.randn(4, 7, WIDTH), k)
    codes = head.sample(parameters, torch.rand(4, 7, head.draws), ScaleSampler())
    assert (codes.shape, codes.dtype, head.draws) == ((4, 7, 3), torch.float32, 3)
    expected = norm(*moments(parameters)).logpdf(codes.numpy()).sum(-1)
    found = head.log_prob(parameters, codes)
    assert found.shape == (4, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@torch.no_grad()
def test_residuals_are_drawn_as_they_are_scored(temperature: float) -> None:
    head = build()
    parameters = head(torch.randn(1, 1, WIDTH), 1)
    uniform = torch.rand(20_000, 1, 2, generator=torch.Generator().manual_seed(0))
    drawn = head.sample(parameters.expand(20_000, -1, -1), uniform, ScaleSampler(temperature))[:, 0].double().numpy()
    mean, deviation = moments(parameters[0, 0])
    for channel in range(2):
        law = norm(mean[channel], temperature * deviation[channel])
        assert kstest(drawn[:, channel], law.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03


@torch.no_grad()
def test_greedy_takes_the_mean_and_no_draw_is_infinite() -> None:
    head = build()
    parameters = head(torch.randn(1, 3, WIDTH), 0)
    mean, deviation = moments(parameters)
    ends = torch.tensor([0.0, 1 - 2**-24])[:, None, None].expand(2, 3, 2)
    greedy = head.sample(parameters.expand(2, -1, -1), ends, GREEDY)
    np.testing.assert_array_equal(greedy, np.broadcast_to(mean, greedy.shape).astype(np.float32))
    drawn = head.sample(parameters.expand(2, -1, -1), ends, ScaleSampler())
    far = (drawn.numpy() - mean) / deviation
    assert (far[0] < -5).all() and (far[1] > 5).all() and (np.abs(far) < 5.5).all()


@pytest.mark.parametrize("k", [0, 1])
@torch.no_grad()
def test_training_starts_from_the_variance_of_the_scale(k: int) -> None:
    mean, deviation = moments(build(stirred=0.0)(torch.randn(5, 9, WIDTH), k))
    np.testing.assert_allclose(deviation, SIZES[k], rtol=0.1)
    assert np.abs(mean).max() < 0.15 * SIZES[k]


def test_deviations_are_bounded_and_bounds_can_be_left() -> None:
    """A constant channel has no finite optimum; what was driven to a bound still has a gradient."""
    head = build(1, stirred=0.0)
    for sign, share in ((-1.0, 0.01), (1.0, 100.0)):
        with torch.no_grad():
            head.linears[0].bias.copy_(torch.tensor([0.0, sign * 1e4]))
        _, deviation = moments(head(torch.zeros(1, 1, WIDTH), 0))
        assert deviation.item() == pytest.approx(share * SIZES[0], rel=0.05)
        with torch.no_grad():
            head.linears[0].bias.copy_(torch.tensor([0.0, sign * 15.0]))
        head.zero_grad()
        head.log_prob(head(torch.zeros(1, 1, WIDTH), 0), torch.full((1, 1, 1), 0.05)).sum().backward()
        assert abs(head.linears[0].bias.grad[1]) > 1e-2


def test_the_optimum_of_the_loss_is_mean_and_variance_of_every_kind_of_site() -> None:
    """Hidden states tell two kinds of sites apart, which have laws of their own: maximum likelihood is known."""
    generator = torch.Generator().manual_seed(0)
    true = norm(np.array([[3.0, -40.0], [-8.0, 5.0]]), np.array([[2.0, 15.0], [30.0, 0.7]]))
    x = torch.from_numpy(true.rvs((3000, 2, 2), random_state=0)).float()  # (B, N, C), site i is of kind i
    hidden = torch.randn(2, WIDTH, generator=generator)
    head = build(stirred=0.0)
    optimizer = torch.optim.LBFGS(head.linears[1].parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nats = -head.log_prob(head(hidden[None], 1).expand(len(x), -1, -1), x).mean()
        nats.backward()  # type: ignore[no-untyped-call]
        return nats

    optimizer.step(loss)  # type: ignore[arg-type]
    mean, deviation = moments(head(hidden[None], 1)[0])
    np.testing.assert_allclose(mean, x.mean(0), atol=0.05)
    np.testing.assert_allclose(deviation, x.std(0, correction=0), rtol=5e-3)
    entropy = x.double().var(0, correction=0).log().add(math.log(2 * math.pi) + 1).div(2).sum(-1).mean()
    assert float(loss().detach()) == pytest.approx(float(entropy), abs=1e-3)
    np.testing.assert_allclose([mean, deviation], [true.mean(), true.std()], rtol=0.1, atol=2)


def test_the_head_reads_the_amplitudes_and_does_not_own_them() -> None:
    refiner = refiner_of()
    assert set(refiner.head.state_dict()) == {f"linears.{k}.{n}" for k in range(4) for n in ("weight", "bias")}
    other = copy.deepcopy(refiner)
    hidden = torch.randn(1, 1, 16)
    before = refiner.head(hidden, 0)
    other.tokenizer.quantizer.get_buffer("amplitude").mul_(3)
    assert torch.equal(refiner.head(hidden, 0), before)
    torch.testing.assert_close(other.head(hidden, 0)[..., :2], 3 * before[..., :2])


@pytest.mark.parametrize("loop", ["closed", "open"])
@pytest.mark.parametrize("base", [False, True])
@torch.no_grad()
def test_the_loop_gives_latents_back_and_codes_are_residuals(loop: str, base: bool) -> None:
    refiner = refiner_of(loop=loop, base=base)
    x, given = items_of(refiner, 24)
    codes = refiner.tokenizer.encode(x, given.base)
    assert [c.shape for c in codes] == [(24, n, 2) for n in (1, 4, 12, 25)]
    torch.testing.assert_close(refiner.tokenizer.decode(codes, given.base), x, rtol=0, atol=1e-5)
    pyramid = refiner.tokenizer.pyramid
    target = pyramid.target(x, given.base)
    for step in refiner.tokenizer.replay(codes, given.base):
        torch.testing.assert_close(step.codes, pyramid.residual(target, None, step.context, step.k), rtol=0, atol=1e-5)
    sizes = [float(c.square().mean().sqrt()) for c in codes]
    assert refiner.tokenizer.quantizer.get_buffer("amplitude").tolist() == pytest.approx(sizes, rel=1e-4)


def test_batches_of_codes_keep_real_numbers() -> None:
    refiner = refiner_of()
    data = refiner.domain.dataset("train")
    batch = EncodedItems(data, refiner.tokenizer, {}).collate([data[i] for i in range(5)])
    codes = refiner.tokenizer.encode(torch.stack([data[i]["x"] for i in range(5)]))
    assert all(torch.equal(a, b) for a, b in zip(batch_codes(batch), codes, strict=True))


@pytest.mark.parametrize("rounds", [1, [1, 1, 3, 4]])
@pytest.mark.parametrize("pyramid", ["laplacian", "residual"])
def test_learning_scoring_drawing_and_inpainting(pyramid: str, rounds: Any) -> None:
    refiner = refiner_of(pyramid, rounds=rounds)
    x, given = items_of(refiner, 6)
    codes = refiner.tokenizer.encode(x)
    total, by_scale = refiner.loss(codes, given)
    total.backward()  # type: ignore[no-untyped-call]
    assert by_scale.isfinite().all() and float(refiner.head.linears[3].weight.grad.abs().sum()) > 0
    score = refiner.log_prob(codes, given)
    nats = refiner.site_log_prob(codes, given)
    assert [n.shape for n in nats] == [(6, n) for n in (1, 4, 12, 25)]
    torch.testing.assert_close(score.nats, torch.stack([n.sum(1) for n in nats], 1))

    sampler = SamplerConfig(guidance=1.5, temperature=0.9)
    free = refiner.sample(6, given, seed=1, sampler=sampler)
    alone = refiner.sample(1, given[4:5], seed=1, first=4, sampler=sampler)
    for a, b in zip(alone.codes, free.codes, strict=True):
        torch.testing.assert_close(a, b[4:5], rtol=1e-4, atol=1e-5)
    keep = torch.arange(25)[None] < 12
    masks = [torch.rand(6, n, generator=torch.Generator().manual_seed(n)) < 0.5 for n in (1, 4, 12)] + [keep]
    painted = refiner.inpaint(codes, masks, given, seed=1, sampler=sampler)
    for a, b, m in zip(painted.codes, codes, masks, strict=True):
        kept = m.expand(6, -1)
        assert torch.equal(a[kept], b[kept]) and not bool((a[~kept] == b[~kept]).any())


def test_figures_are_of_a_density_and_count_no_codes() -> None:
    refiner = refiner_of()
    x, given = items_of(refiner, 24)
    figures, _ = score_codes(refiner, refiner.domain.dataset("train"), 7)
    assert set(figures) == {"items", "sites_by_scale", "likelihood", "bits_per_dim", "bits_per_dim_by_scale"}
    assert (figures["items"], figures["likelihood"]) == (24, "density of latents, exact")
    nats = refiner.log_prob(refiner.tokenizer.encode(x), given).total
    assert figures["bits_per_dim"] == pytest.approx(float(-nats.mean()) / math.log(2) / 50, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 5}, "sampler.top_k=5 is not accepted for model.quantizer.kind=none, .*; accepted: 0"),
        ({"top_p": [1, 1, 1, 0.9]}, "sampler.top_p=0.9 is not accepted .*; accepted: 1"),
        ({"min_p": 0.1}, "sampler.min_p=0.1 is not accepted .*; accepted: 0"),
        ({"gain": 1.5}, "sampler.gain=1.5 is not accepted .*; accepted: 1"),
        ({"gain": "auto"}, "sampler.gain=auto is not accepted .*; accepted: 1"),
        ({"smooth": True}, "sampler.smooth=true is not accepted .*; accepted: false"),
    ],
)
def test_what_only_codes_have_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RefineError, match=message):
        refiner_of().sample(1, Condition(label=torch.tensor([0])), sampler=SamplerConfig(**settings))


def test_there_are_no_probabilities_to_expect_codes_under() -> None:
    with pytest.raises(RefineError, match=r"needs codebooks: model\.quantizer\.kind=vq"):
        build().probabilities(torch.zeros(1, 1, 4), ScaleSampler())


@pytest.mark.usefixtures("judge")
def test_commands_on_digits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(words)
        said = capsys.readouterr()
        assert not end.value.code, said.err
        return said.out

    small = ["predictor.width=16", "depth=1", "domain.width=8", "tokenizer.steps=4", "predictor.steps=4", "fit_after=2"]
    command("train", "domain=image", "data=digits", "train=quick", "model.quantizer.kind=none", *small, "run=run")
    rows = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert not any(name.startswith(("usage", "perplexity")) for row in rows for name in row)
    command("sample", "run=run", "num=3", "guidance=1.5", "out=drawn")
    drawn = np.load("drawn/samples.npz")
    assert drawn["images"].shape == (3, 8, 8, 1) and drawn["codes_0"].dtype == np.float32
    command("evaluate", "run=run", "items=20", "samples=20", "features=classifier")
    figures = json.loads(Path("run/evaluate-test.json").read_text(), parse_constant=pytest.fail)  # a NaN, say
    assert figures["likelihood"] == "density of latents, exact" and "usage_by_scale" not in figures
    command("inpaint", "run=run", "image=test:3", "keep_scales=2", "num=3", "out=painted")
    assert np.load("painted/samples.npz")["images"].shape == (3, 8, 8, 1)
    assert "none" in command("inspect", "run")
