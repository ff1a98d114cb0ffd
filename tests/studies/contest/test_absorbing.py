"""Absorbing diffusion against joint laws small enough to enumerate, and what it may and may not see."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn
from toy import items_of, stir, tiny_refiner

from refine.codes.head import CategoricalHead
from refine.errors import RefineError
from refine.noise import Noise
from refine.settings.config import ModelConfig, PredictorConfig, QuantizerConfig
from refine.studies.contest.absorbing import Absorbing, turns
from refine.types import Condition, ConditionSpec

VALUES, SITES = 3, 3
STATES = torch.tensor(list(itertools.product(range(VALUES), repeat=SITES)))
JOINT = torch.rand(len(STATES), dtype=torch.float64, generator=torch.Generator().manual_seed(5)) ** 2
JOINT /= JOINT.sum()


class Told:
    """A subject that tells a label and a field."""

    tasks, shares, judge = ("generation",), (1.0,), ""

    def __init__(self, **spec: Any) -> None:
        self.spec = ConditionSpec(**spec)


def model(quantizer: QuantizerConfig | None = None, shapes: Any = ((1, 1), (1, 2)), **spec: int) -> Absorbing:
    """On a random tokenizer of scales of one and two sites; three codes each."""
    predictor = PredictorConfig(width=16, depth=2, heads=2, condition_dropout=0.0)
    config = ModelConfig(quantizer=quantizer or QuantizerConfig(size=VALUES), predictor=predictor)
    given = {"classes": spec.get("num_classes", 0), "field": spec.get("field", 0)}
    refiner = tiny_refiner(config, shapes=[list(s) for s in shapes], **given)
    out = Absorbing(Told(**spec), refiner.domain, config, refiner.tokenizer).eval()  # type: ignore[arg-type]
    stir(out.predictor), stir(out.head)
    return out


def conditionals(codes: Tensor, known: Tensor) -> Tensor:
    """(B, L, V) exact probabilities of each code given the known ones."""
    fits = ((codes[:, None] == STATES) | ~known[:, None]).all(-1) * JOINT
    onehot = nn.functional.one_hot(STATES, VALUES).double()
    return torch.einsum("bs,slv->blv", fits / fits.sum(1, keepdim=True), onehot)


class Reader(CategoricalHead):
    """Hidden states are the logits already."""

    def forward(self, hidden: Tensor, k: int) -> Tensor:
        return hidden


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Absorbing:
    """The model whose conditionals are those of the joint."""
    out = model()
    out.head = Reader(1, [VALUES], shared=True)
    monkeypatch.setattr(out, "hidden", lambda codes, known, *rest: conditionals(codes, known).log())
    return out


def drawn(
    absorbing: Absorbing, count: int, steps: int, monkeypatch: pytest.MonkeyPatch, temperature: float = 1.0
) -> tuple[Tensor, float]:
    """The codes that were drawn, and the passes."""
    seen, replay = [], absorbing.tokenizer.replay
    monkeypatch.setattr(absorbing.tokenizer, "replay", lambda c, base: seen.append(torch.cat(c, 1)) or replay(c, base))  # type: ignore[func-returns-value]
    _, passes = absorbing.draw(Noise(0, range(count)), Condition(), steps, temperature=temperature)
    return seen[0], passes


def law(steps: int) -> Tensor:
    """Of the states, where every site is revealed in one of ``steps`` at random: enumerated."""
    total = torch.zeros(len(STATES), dtype=torch.float64)
    for when in itertools.product(range(steps), repeat=SITES):
        p = torch.ones(len(STATES), dtype=torch.float64)
        for step in set(when):
            known = torch.tensor([w < step for w in when]).expand_as(STATES)
            each = conditionals(STATES, known).gather(-1, STATES[..., None])[..., 0]
            p *= each[:, [i for i, w in enumerate(when) if w == step]].prod(1)
        total += p / steps**SITES
    return total


@pytest.mark.parametrize("steps", [1, 2, SITES])
def test_drawn_codes_have_the_law_of_their_steps(exact: Absorbing, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    codes, _ = drawn(exact, 6000, steps, monkeypatch)
    counts = (codes[:, None] == STATES).all(-1).sum(0)
    assert chisquare(counts.numpy(), (6000 * law(steps)).numpy()).pvalue > 1e-3
    assert (law(steps) - JOINT).abs().sum() > 0.01  # codes of one step are independent


def test_many_steps_reach_the_joint(exact: Absorbing, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, passes = drawn(exact, 6000, 2000, monkeypatch)
    counts = (codes[:, None] == STATES).all(-1).sum(0)
    assert chisquare(counts.numpy(), (6000 * JOINT).numpy()).pvalue > 1e-3
    assert SITES - 0.02 < passes <= SITES


def test_bound_of_exact_conditionals_is_the_nll_of_every_item(exact: Absorbing) -> None:
    torch.manual_seed(0)
    again = 300
    shares = [torch.rand(len(STATES) * again) for _ in range(4)]
    codes = STATES.repeat_interleave(again, 0)
    nats = torch.stack([exact.bound(codes, Condition(), s) for s in shares]).view(4, len(STATES), again)
    error = nats.mean((0, 2)) + JOINT.log()
    assert (error.abs() / (nats.std((0, 2)) / (4 * again) ** 0.5 + 1e-9)).max() < 4.5
    entropy = float(-(JOINT * JOINT.log()).sum())
    assert float((JOINT * nats.mean((0, 2))).sum()) == pytest.approx(entropy, rel=0.01)


def test_loss_and_nats_are_one_bound() -> None:
    absorbing = model()
    x, _ = items_of_model(absorbing, 60)
    torch.manual_seed(0)
    with torch.no_grad():
        loss = torch.stack([absorbing.loss(x, Condition()) for _ in range(60)]).mean()
    nats = torch.stack([absorbing.nats(x, Condition()).mean() for _ in range(10)]).mean()  # type: ignore[union-attr]
    assert absorbing.likelihood == "bound"
    assert float(loss) * SITES == pytest.approx(float(nats), rel=0.03)


def items_of_model(absorbing: Absorbing, count: int) -> tuple[Tensor, Condition]:
    return items_of(absorbing, count)  # type: ignore[arg-type]


def test_passes_are_the_steps_that_reveal_something(monkeypatch: pytest.MonkeyPatch) -> None:
    absorbing, rows = model(), []
    hidden = absorbing.hidden
    monkeypatch.setattr(absorbing, "hidden", lambda codes, *rest: rows.append(len(codes)) or hidden(codes, *rest))  # type: ignore[func-returns-value]
    for steps in (1, 2, 5, 50):
        rows.clear()
        _, passes = absorbing.draw(Noise(0, range(400)), Condition(), steps)
        assert passes == sum(rows) / 400
        assert passes == pytest.approx(steps * (1 - (1 - 1 / steps) ** SITES), abs=0.15)
        assert len(rows) <= min(steps, SITES)


def test_turns_leave_empty_steps_out() -> None:
    uniform = torch.tensor([[0.95, 0.05, 0.0], [0.3, 0.5, 0.7]])
    assert turns(uniform, 10).index.tolist() == [[1, 0, 0], [0, 1, 2]]
    assert turns(uniform, 1).index.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_masked_codes_are_not_seen_and_known_ones_are() -> None:
    absorbing = model()
    codes, known = torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, False]])
    hidden = absorbing.hidden(codes, known, Condition(), None)
    other = absorbing.hidden(torch.tensor([[0, 2, 0]]), known, Condition(), None)
    torch.testing.assert_close(hidden, other)
    seen = absorbing.hidden(torch.tensor([[1, 1, 2]]), known, Condition(), None)
    assert (seen - hidden).abs().amax(-1).min() > 1e-3  # by every site of every scale
    assert (absorbing.hidden(codes, ~known, Condition(), None) - hidden).abs().amax(-1).min() > 1e-3


def test_codes_are_drawn_at_the_temperature(exact: Absorbing, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one step all are independent, each by its own law to the power of two."""
    codes, _ = drawn(exact, 4000, 1, monkeypatch, temperature=0.5)
    none = torch.zeros(1, SITES, dtype=torch.int64), torch.zeros(1, SITES, dtype=torch.bool)
    squared = conditionals(*none)[0] ** 2
    for site, expected in enumerate(squared / squared.sum(1, keepdim=True)):
        counts = codes[:, site].bincount(minlength=VALUES)
        assert chisquare(counts.numpy(), (4000 * expected).numpy()).pvalue > 1e-3


def test_a_code_of_value_zero_is_not_a_masked_one() -> None:
    absorbing = model()
    absorbing.tokenizer.quantizer.embed = lambda codes, k: torch.zeros(*codes.shape, 2)  # type: ignore[method-assign]
    codes, known = torch.zeros(1, 3, dtype=torch.int64), torch.tensor([[True, False, False]])
    first = absorbing.hidden(codes, known, Condition(), None)
    assert (absorbing.hidden(codes, ~known, Condition(), None) - first).abs().max() > 1e-3


def test_a_sample_is_the_same_in_any_batch() -> None:
    absorbing = model(shapes=((1, 1), (2, 2), (3, 3)), num_classes=3, field=1)
    condition = Condition(label=torch.arange(6) % 3, field=torch.randn(6, 9, 1))
    for steps in (1, 4, 100):
        together, _ = absorbing.draw(Noise(1, range(6)), condition, steps)
        some = torch.tensor([4, 1])
        assert torch.equal(absorbing.draw(Noise(1, [4, 1]), condition[some], steps)[0], together[some])
        assert not torch.equal(together[0], together[3])  # of the same label


def test_labels_and_fields_are_told() -> None:
    absorbing = model(num_classes=3, field=1)
    codes, known = torch.tensor([[0, 1, 2]]), torch.zeros(1, 3, dtype=torch.bool)
    label, field = torch.tensor([0]), torch.randn(1, 2, 1)
    nats = absorbing.site_nats(codes, known, Condition(label=label, field=field))
    for other in (Condition(label=label + 1, field=field), Condition(label=label, field=-field)):
        assert (absorbing.site_nats(codes, known, other) - nats).abs().min() > 1e-5


@pytest.mark.parametrize("options", [{"kind": "bitwise"}, {"stages": 2, "size": 4}, {"kind": "fsq", "levels": [3, 3]}])
def test_codes_of_every_kind(options: dict[str, Any]) -> None:
    absorbing = model(QuantizerConfig(**options))
    x, condition = items_of_model(absorbing, 8)
    latent, _ = absorbing.draw(Noise(0, range(8)), condition, 5)
    assert latent.shape == x.shape
    nats = absorbing.nats(x, condition)
    assert nats is not None and (nats > 0).all()


def test_quantised_is_what_the_tokenizer_makes_of_it() -> None:
    absorbing = model()
    x, _ = items_of_model(absorbing, 8)
    torch.testing.assert_close(absorbing.quantised(x), absorbing.tokenizer.decode(absorbing.tokenizer.encode(x)))


def test_training_leaves_the_tokenizer_alone() -> None:
    absorbing = model(num_classes=2).train()
    x, condition = items_of_model(absorbing, 16)
    absorbing.loss(x, condition).backward()
    assert all(p.grad is not None for part in (absorbing.predictor, absorbing.head) for p in part.parameters())
    assert not any(p.requires_grad for p in absorbing.tokenizer.parameters())
    assert list(absorbing.frozen()) == [absorbing.tokenizer]


def test_no_steps_are_not_accepted() -> None:
    with pytest.raises(RefineError, match="steps=0 is not accepted; accepted: 1 or more"):
        model().draw(Noise(0, [0]), Condition(), 0)
