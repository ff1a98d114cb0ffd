"""Drawing codes: the same for one sample or many, in one precision or another, compiled or not, mixed or plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import install_tiny, items_of, tiny_refiner

from refine.errors import RefineError
from refine.models.loading import load_model
from refine.models.model import Model
from refine.models.refiner import Refiner
from refine.settings.config import (
    ModelConfig,
    PredictorConfig,
    PyramidConfig,
    QuantizerConfig,
    SamplerConfig,
    TrainerConfig,
)
from refine.types import Condition, Samples

SHAPES = [[1, 1], [2, 2], [3, 4], [5, 5]]
both = pytest.mark.parametrize("attention", ["markov", "prefix"])


def build(attention: str = "prefix", shapes: Any = SHAPES, kind: str = "vq", depth: int = 2, **options: Any) -> Refiner:
    predictor = PredictorConfig(16, depth, 2, attention=attention, shared_adaln=False, **options)
    model = ModelConfig(PyramidConfig("residual"), QuantizerConfig(kind, size=6, levels=[3, 2]), predictor)
    return tiny_refiner(model, shapes=shapes, classes=3)


def label(count: int) -> Condition:
    return Condition(label=torch.arange(count) % 3)


def same(a: Samples, b: Samples) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.codes, b.codes, strict=True))


@both
def test_conditions_are_prepared_once_for_all_scales(attention: str) -> None:
    """Also where guidance ends on the way, and only the conditional half goes on."""
    refiner, rows = build(attention), []
    for linear in refiner.predictor.modulation:
        linear.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    refiner.sample(5, label(5), sampler=SamplerConfig(guidance=[1, 2, 2, 1]))
    assert rows == [10, 10]
    rows.clear()
    refiner.sample(5, label(5))
    assert rows == [5, 5]


@both
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_held_by_what_predicts(
    attention: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(install_tiny(tmp_path / "installed")))
    refiner = build(attention)
    refiner.save_pretrained(tmp_path / "model")
    half: Any = Model.from_pretrained(tmp_path / "model", dtype=dtype)
    held = {name: p.dtype for name, p in half.named_parameters()}
    assert {d for name, d in held.items() if name.startswith(("predictor.", "head."))} == {dtype}
    assert {d for name, d in held.items() if name.startswith("tokenizer.")} == {torch.float32}
    x, given = items_of(refiner, 8)
    codes = refiner.tokenizer.encode(x)
    close = 0.06 if dtype == torch.bfloat16 else 0.01
    with torch.no_grad():
        for a, b in zip(refiner.logits(codes, given), half.logits(codes, given), strict=True):
            assert b.dtype == torch.float32
            assert 0 < (a - b).square().mean() < close**2 * a.square().mean()
    samples = half.sample(8, given, sampler=SamplerConfig(guidance=2.0))
    assert samples.items.dtype == torch.float32 and samples.items.isfinite().all()
    assert torch.equal(samples.items, refiner.tokenizer.decode(samples.codes))


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("bf16-true", torch.bfloat16),
        ("16-true", torch.float16),
        ("bf16-mixed", torch.float32),
        ("32-true", torch.float32),
    ],
)
def test_commands_hold_weights_as_the_trainers_precision_says(
    precision: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(install_tiny(tmp_path / "installed")))
    build().save_pretrained(tmp_path / "model")
    model: Any = load_model(tmp_path / "model", TrainerConfig(accelerator="cpu", precision=precision))
    assert model.predictor.context.weight.dtype == dtype


class Stubborn(Refiner):
    """A model that says nothing of other precisions."""

    hold = Model.hold


def test_models_that_know_one_precision_refuse_others() -> None:
    refiner = build()
    refiner.__class__ = Stubborn
    refiner.hold(torch.float32)
    with pytest.raises(RefineError, match=r"'tiny' computes in float32 only, not in torch\.bfloat16"):
        refiner.hold(torch.bfloat16)


@both
def test_a_compiled_predictor_has_one_graph_a_scale_and_draws_the_same(attention: str) -> None:
    """Whole graphs, as many as there are scales and no more when it is used again, even of more scales than torch
    compiles by default. What a graph becomes is not tested here: the backend runs it as it is."""
    refiner, graphs = build(attention, SHAPES, depth=1), []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    sampler = SamplerConfig(guidance=2.0)
    plain = [refiner.sample(2, label(2), seed=seed, sampler=sampler) for seed in range(2)]
    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=2):
        refiner.compile(backend=backend)
        compiled = [refiner.sample(2, label(2), seed=seed, sampler=sampler) for seed in range(2)]
    assert len(graphs) == len(SHAPES)
    assert all(same(a, b) for a, b in zip(plain, compiled, strict=True))


SMOOTH = SamplerConfig(smooth=True)


@both
@pytest.mark.parametrize("rounds", [1, 3])
def test_smooth_samples_depend_on_seed_and_number_alone(attention: str, rounds: int) -> None:
    refiner = build(attention, rounds=rounds if attention == "markov" else 1)
    together = refiner.sample(6, label(6), seed=3, sampler=SMOOTH)
    alone = refiner.sample(1, label(6)[4:5], seed=3, first=4, sampler=SMOOTH)
    torch.testing.assert_close(together.items[4:5], alone.items)
    assert not torch.allclose(refiner.sample(6, label(6), seed=4, sampler=SMOOTH).items, together.items)


def test_smooth_samples_are_of_mixtures_and_their_codes_are_drawn_as_ever() -> None:
    refiner = build()
    plain, smooth = refiner.sample(6, label(6)), refiner.sample(6, label(6), sampler=SMOOTH)
    assert torch.equal(plain.codes[0], smooth.codes[0])  # finer ones follow another context
    assert not torch.allclose(smooth.items, refiner.tokenizer.decode(smooth.codes), atol=1e-3)
    values = [refiner.tokenizer.quantizer.codebooks[k] for k in range(4)]  # type: ignore[union-attr, index]
    for step, book in zip(smooth_steps(refiner), values, strict=True):
        assert (step >= book.amin(0) - 1e-5).all() and (step <= book.amax(0) + 1e-5).all()


def smooth_steps(refiner: Refiner) -> list[torch.Tensor]:
    """The values of every scale of six smooth samples."""
    seen: list[torch.Tensor] = []
    pyramid = refiner.tokenizer.pyramid
    plain = pyramid.refine
    pyramid.refine = lambda state, context, values, k: (seen.append(values), plain(state, context, values, k))[1]  # type: ignore[method-assign, func-returns-value]
    refiner.sample(6, label(6), sampler=SMOOTH)
    pyramid.refine = plain  # type: ignore[method-assign]
    return seen


def test_a_mixture_of_one_code_is_that_code() -> None:
    refiner = build()
    greedy = refiner.sample(6, label(6), sampler=SamplerConfig(greedy=True))
    mixed = refiner.sample(6, label(6), sampler=SamplerConfig(greedy=True, smooth=True))
    assert same(greedy, mixed)
    torch.testing.assert_close(mixed.items, greedy.items)


def test_codes_that_were_given_are_not_mixed() -> None:
    refiner = build()
    codes = refiner.sample(6, label(6)).codes
    everything = [torch.ones(1, c.shape[1], dtype=torch.bool) for c in codes]
    kept = refiner.inpaint(codes, everything, label(6), sampler=SMOOTH)
    torch.testing.assert_close(kept.items, refiner.tokenizer.decode(codes))


@pytest.mark.parametrize("kind", ["fsq", "bitwise"])
def test_mixtures_need_codebooks(kind: str) -> None:
    with pytest.raises(RefineError, match=r"model\.quantizer\.kind=vq; accepted here: .*sampler\.smooth=false"):
        build(kind=kind).sample(2, label(2), sampler=SMOOTH)
