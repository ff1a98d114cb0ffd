"""Diffusion: schedule, samplers and bound against laws whose denoiser is known."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from toy import TinyConfig, TinyDomain, stir

from refine.errors import RefineError
from refine.noise import Noise
from refine.settings.config import ModelConfig, PredictorConfig
from refine.studies.contest.diffusion import METHODS, PREDICTED, TIMES, Diffusion, discretised
from refine.studies.contest.stratified import stratified
from refine.types import Condition, ConditionSpec

pytest.importorskip("diffusers")

both = pytest.mark.parametrize("method", METHODS)


class Told:
    """A subject that tells a label and a field."""

    tasks, shares, judge = ("generation",), (1.0,), ""

    def __init__(self, **spec: Any) -> None:
        self.spec = ConditionSpec(**spec)


def model(levels: int | None = None, dropout: float = 0.0, predicts: str = "epsilon", **spec: Any) -> Diffusion:
    torch.manual_seed(0)
    predictor = PredictorConfig(width=16, depth=2, heads=2, condition_dropout=dropout)
    domain = TinyDomain(TinyConfig(shapes=[[1, 1], [2, 2]]))
    return Diffusion(Told(**spec), domain, ModelConfig(predictor=predictor), domain.codec(), levels, predicts).eval()  # type: ignore[arg-type]


def with_clean(monkeypatch: pytest.MonkeyPatch, diffusion: Diffusion, expected: Any) -> Diffusion:
    """The same with the epsilon that belongs to ``expected(x, a)``, the mean of the clean latent."""

    def epsilon(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        a, x = diffusion.kept[time][:, None, None], x.double()
        return ((x - a.sqrt() * expected(x, a)) / (1 - a).sqrt()).float()

    monkeypatch.setattr(diffusion, "epsilon", epsilon)
    return diffusion


def gaussian(monkeypatch: pytest.MonkeyPatch, mean: float, spread: float) -> Diffusion:
    def expected(x: Tensor, a: Tensor) -> Tensor:
        return mean + a.sqrt() * spread**2 / (a * spread**2 + 1 - a) * (x - a.sqrt() * mean)

    return with_clean(monkeypatch, model(), expected)


@both
@pytest.mark.parametrize("spread", [0.3, 2.0])
def test_many_steps_take_noise_to_a_gaussian(monkeypatch: pytest.MonkeyPatch, method: str, spread: float) -> None:
    """The probability flow of a normal law is a stretch: mean and deviation are checked without sampling error."""
    diffusion, noise = gaussian(monkeypatch, 0.7, spread), Noise(0, range(20))
    drawn, _ = diffusion.draw(noise, Condition(), 250, method)
    torch.testing.assert_close(drawn, 0.7 + spread * noise.normal(0, (4, 2)), rtol=0.03, atol=0.03)


@both
def test_the_temperature_stretches_what_is_drawn(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The same flow from half the noise."""
    diffusion, noise = gaussian(monkeypatch, 0.7, 2.0), Noise(0, range(20))
    drawn, _ = diffusion.draw(noise, Condition(), 250, method, 0.5)
    torch.testing.assert_close(drawn, 0.7 + noise.normal(0, (4, 2)), rtol=0.03, atol=0.03)


def test_dpm_needs_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    diffusion, noise = gaussian(monkeypatch, 0.7, 0.3), Noise(0, range(20))
    wanted = 0.7 + 0.3 * noise.normal(0, (4, 2))
    ddim, dpm = ((diffusion.draw(noise, Condition(), 25, m)[0] - wanted).abs().mean() for m in METHODS)
    assert dpm < ddim / 2


@both
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 50, 250])
def test_a_step_is_a_pass(monkeypatch: pytest.MonkeyPatch, method: str, steps: int) -> None:
    diffusion, calls = model(), []
    forward = diffusion.predictor.forward
    monkeypatch.setattr(diffusion.predictor, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))  # type: ignore[func-returns-value]
    drawn, passes = diffusion.draw(Noise(0, range(2)), Condition(), steps, method)
    assert len(calls) == passes == steps
    assert drawn.isfinite().all()


@both
def test_a_sample_is_the_same_in_any_batch(method: str) -> None:
    diffusion = model(num_classes=3, field=1)
    stir(diffusion.predictor), stir(diffusion.out)
    condition = Condition(label=torch.arange(6) % 3, field=torch.randn(6, 4, 1))
    together, _ = diffusion.draw(Noise(1, range(6)), condition, 10, method)
    some = torch.tensor([4, 1])
    torch.testing.assert_close(diffusion.draw(Noise(1, [4, 1]), condition[some], 10, method)[0], together[some])
    assert not torch.allclose(together[0], together[3], atol=1e-3)  # of the same label


def test_before_training_it_denoises_white_latents() -> None:
    """Of data of unit variance the mean given x is sqrt(a) x."""
    diffusion, x, time = model(), torch.randn(5, 4, 2), torch.tensor([0, 10, 500, 990, 999])
    torch.testing.assert_close(
        diffusion.clean(x, time, Condition()), diffusion._shares(time)[0] * x, rtol=1e-3, atol=1e-3
    )


def test_labels_fields_and_times_are_told() -> None:
    """Times also where the predictor would withhold the condition in training."""
    diffusion = model(num_classes=3, field=1, dropout=1.0).train()
    stir(diffusion.predictor), stir(diffusion.out)
    x, time = torch.randn(1, 4, 2), torch.tensor([300])
    condition = Condition(label=torch.tensor([1]), field=torch.randn(1, 4, 1))
    before = diffusion.epsilon(x, time, condition)
    (signal, noise), (signal_later, noise_later) = diffusion._shares(time), diffusion._shares(time + 40)
    later = (diffusion.epsilon(x, time + 40, condition) - noise_later * x) / signal_later
    assert (later - (before - noise * x) / signal).abs().max() > 1e-2
    for other in (replace(condition, label=torch.tensor([2])), replace(condition, field=torch.randn(1, 4, 1))):
        assert (diffusion.epsilon(x, time, other) - before).abs().max() > 1e-3


def test_training_reaches_every_weight_and_learns() -> None:
    torch.manual_seed(0)
    diffusion = model(num_classes=2).train()
    condition = Condition(label=torch.arange(64) % 2)
    latent = condition.label[:, None, None] * 2.0 - 1 + 0.1 * torch.randn(64, 4, 2)  # type: ignore[index]
    optimizer = torch.optim.Adam(diffusion.parameters(), 5e-3)
    losses = []
    for _ in range(80):
        loss = diffusion.loss(latent, condition)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None for p in diffusion.parameters())
    assert sum(losses[-10:]) < sum(losses[:10]) / 2


# -- the bound ---------------------------------------------------------------------------------------------------------


def test_bins_share_out_all_probability() -> None:
    x, mean = torch.linspace(-1, 1, 17), torch.tensor([[-1.4], [-0.3], [0.02], [1.0]])
    for spread in (0.01, 0.2, 3.0):
        log_prob = discretised(x, mean, torch.tensor(spread, dtype=torch.float64), 17)
        torch.testing.assert_close(log_prob.exp().sum(1), torch.ones(4, dtype=torch.float64))
    far = discretised(torch.tensor([-1.0, 0.0, 1.0]), torch.tensor(1.0), torch.tensor(1e-3, dtype=torch.float64), 17)
    assert far.isfinite().all()
    assert far.argmax() == 2


def test_bound_of_the_exact_denoiser_is_close_above_the_nll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels of four levels, independent, of unlike probability."""
    p = torch.tensor([0.5, 0.1, 0.1, 0.3], dtype=torch.float64)
    values = torch.linspace(-1, 1, 4, dtype=torch.float64)

    def expected(x: Tensor, a: Tensor) -> Tensor:
        logits = p.log() - (x[..., None] - a.sqrt()[..., None] * values).square() / (2 * (1 - a)[..., None])
        return (logits.softmax(-1) * values).sum(-1)

    torch.manual_seed(0)
    diffusion = with_clean(monkeypatch, model(levels=4), expected)
    index = torch.multinomial(p, 2000 * 8, replacement=True)
    nats = diffusion.nats(values[index].view(2000, 4, 2).float(), Condition())
    assert nats is not None
    exact = -p.log()[index].view(2000, 8).sum(1)
    assert diffusion.likelihood == "bound"
    assert 0 < (nats - exact).mean() < 0.02 * exact.mean()


def test_the_mean_of_the_bound_varies_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item's estimate is of eight times; over a batch these are spread evenly."""
    diffusion = gaussian(monkeypatch, 0.0, 0.5)
    diffusion.levels = 16
    torch.manual_seed(0)
    x = torch.randint(16, (200, 4, 2)) / 7.5 - 1
    first, second = diffusion.nats(x, Condition()), diffusion.nats(x, Condition())
    assert first is not None and second is not None
    between = first - second
    assert between.mean().abs() < between.std() / len(x) ** 0.5  # of independent times: 1 on average


def test_latents_have_no_likelihood() -> None:
    diffusion = model()
    assert diffusion.likelihood is None
    assert diffusion.nats(torch.randn(2, 4, 2), Condition()) is None


def test_losses_of_epsilon_and_velocity_weigh_the_same_error() -> None:
    """At equal times and noise, each item's error of v is that of epsilon over a (Salimans & Ho, appendix D)."""
    epsilon, velocity = (stir(model(predicts=p)) for p in PREDICTED)
    latent = torch.randn(1, 4, 2)
    for _ in range(5):
        state = torch.get_rng_state()
        losses = []
        for diffusion in (epsilon, velocity):
            torch.set_rng_state(state)
            losses.append(diffusion.loss(latent, Condition()))
        torch.set_rng_state(state)
        time = (stratified(1)[0] * TIMES).long()
        torch.testing.assert_close(losses[0], losses[1] * epsilon.kept[time][0].float(), rtol=1e-3, atol=1e-6)


def test_the_network_is_told_the_time_and_what_the_subject_tells() -> None:
    diffusion = stir(model(vector=2))
    x, times = torch.randn(3, 4, 2), torch.tensor([10, 10, 700])
    vector = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    out = diffusion.epsilon(x[:1].expand(3, -1, -1), times, Condition(vector=vector))
    assert min((out[0] - out[1]).abs().max(), (out[0] - out[2]).abs().max()) > 1e-3


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_name_what_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Noise(0, [0])
    with pytest.raises(RefineError, match="method='euler' is not accepted; accepted: ddim, dpm"):
        model().draw(noise, Condition(), 5, "euler")
    with pytest.raises(RefineError, match="predicts='x' is not accepted; accepted: epsilon, velocity"):
        model(predicts="x")
    for steps in (0, TIMES + 1):
        with pytest.raises(RefineError, match=f"steps={steps} is not accepted; accepted: 1 to 1000"):
            model().draw(noise, Condition(), steps)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(RefineError, match=r"needs diffusers.*pip install 'refine-var\[study\]'"):
        model()
