"""The tokenizer: items to codes and back, and the gradients that teach it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy import TinyConfig, TinyDomain, tiny_refiner

from refine.codes.quantizer import build_quantizer
from refine.codes.vq import VQ
from refine.models.codec import IdentityCodec
from refine.models.refiner import Refiner
from refine.models.tokenizer import Tokenizer
from refine.scales.pyramid import build_pyramid
from refine.scales.resample import GridResampler
from refine.scales.residual import ResidualPyramid
from refine.settings.config import ModelConfig, PyramidConfig, QuantizerConfig
from refine.types import Condition

SHAPES = [[1, 1], [2, 2], [4, 4]]
PYRAMIDS = {
    "closed": PyramidConfig("laplacian", "closed"),
    "open": PyramidConfig("laplacian", "open"),
    "residual": PyramidConfig("residual", phi=4),
}
QUANTIZERS = {
    "ema": QuantizerConfig(size=12),
    "gradient": QuantizerConfig(size=12, update="gradient"),
    "shared": QuantizerConfig(size=12, shared=True),
    "cosine": QuantizerConfig(size=12, cosine=True),
    "fsq": QuantizerConfig(kind="fsq", levels=[4, 5]),
    "bsq": QuantizerConfig(kind="bitwise"),
    "lfq": QuantizerConfig(kind="bitwise", sphere=False),
}
every = pytest.mark.parametrize(("pyramid", "quantizer"), [(p, q) for p in PYRAMIDS for q in QUANTIZERS])


def build(pyramid: str, quantizer: str, **options: Any) -> Refiner:
    model = ModelConfig(pyramid=PYRAMIDS[pyramid], quantizer=QUANTIZERS[quantizer])
    return tiny_refiner(model, shapes=SHAPES, learned=True, **options)


def items(refiner: Refiner) -> dict[str, Tensor]:
    return dict(refiner.domain.dataset("train").tensors)  # type: ignore[attr-defined]


@every
@pytest.mark.parametrize("based", [False, True])
@torch.no_grad()
def test_decoding_codes_is_what_encoding_ended_with(pyramid: str, quantizer: str, based: bool) -> None:
    refiner = build(pyramid, quantizer, base=based)
    tokenizer, data = refiner.tokenizer, items(refiner)
    x, base = data["x"], data.get("base")
    steps = list(tokenizer.forward_process(tokenizer.codec.encode(x), base))
    codes = tokenizer.encode(x, base)
    for step, again, c in zip(steps, tokenizer.replay(codes, base), codes, strict=True):
        assert torch.equal(step.codes, c)
        assert torch.equal(step.context, again.context)
    assert torch.equal(tokenizer.decode(codes, base), tokenizer.decode_state(steps[-1]))
    alone = tokenizer.encode(x[3:4], None if base is None else base[3:4])
    assert all(torch.equal(a[0], c[3]) for a, c in zip(alone, codes, strict=True))


@pytest.mark.parametrize("pyramid", ["closed", "residual"])
@torch.no_grad()
def test_every_scale_brings_the_items_closer(pyramid: str) -> None:
    refiner = build(pyramid, "ema")
    tokenizer, x = refiner.tokenizer, items(refiner)["x"]
    latent = tokenizer.codec.encode(x)
    tokenizer.fit(latent)
    steps = tokenizer.forward_process(latent)
    errors = [float((tokenizer.pyramid.latent(s.state, s.k) - latent).square().mean()) for s in steps]
    assert errors[0] > errors[1] > errors[2]


@every
def test_fitting_starts_every_scale(pyramid: str, quantizer: str) -> None:
    torch.manual_seed(0)
    domain = TinyDomain(TinyConfig(shapes=SHAPES, items=200))
    refiner = Refiner(domain, ModelConfig(pyramid=PYRAMIDS[pyramid], quantizer=QUANTIZERS[quantizer]))
    x = items(refiner)["x"]
    assert not refiner.tokenizer.quantizer.fitted
    refiner.tokenizer.fit(x)
    assert refiner.tokenizer.quantizer.fitted
    after = (refiner.tokenizer.decode(refiner.tokenizer.encode(x)) - x).square().mean()
    assert after < 0.6 * x.var()


@every
@pytest.mark.parametrize("fitted", [False, True])
def test_every_weight_learns_in_every_step(pyramid: str, quantizer: str, fitted: bool) -> None:
    """Distributed training needs it; before the quantizer is fitted the pyramid and the codebooks wait, with zeros."""
    tokenizer = build(pyramid, quantizer).tokenizer.train()
    tokenizer.quantizer.fitted.fill_(fitted)
    tokenizer(torch.randn(8, 16, 2)).total.backward()
    learned = {n: p for n, p in tokenizer.named_parameters() if p.requires_grad}
    assert [n for n, p in learned.items() if p.grad is None] == []
    waiting = [n for n, p in learned.items() if not n.startswith("codec") and p.grad is not None and p.grad.any()]
    assert fitted or waiting == []
    assert all(p.grad is not None and p.grad.any() for n, p in learned.items() if n.startswith("codec"))


def test_gradients_pass_straight_through() -> None:
    """The encoder gets the decoder's gradient at the quantised latent, and beta times the way to it."""
    tokenizer = build("closed", "ema").tokenizer.eval()
    x = torch.randn(8, 16, 2)
    latent = tokenizer.codec.encode(x)
    (gradient,) = torch.autograd.grad(tokenizer(x).total, tokenizer.codec.encoder.bias)  # type: ignore[union-attr, arg-type]
    *_, last = tokenizer.forward_process(latent.detach())
    quantised = tokenizer.pyramid.latent(last.state, last.k).detach().requires_grad_()
    through = torch.nn.functional.mse_loss(tokenizer.codec.decode(quantised), x)
    (straight,) = torch.autograd.grad(through, quantised)
    pull = tokenizer.commitment * 2 * (latent - quantised).detach() / latent.numel()
    torch.testing.assert_close(gradient, (straight + pull).sum((0, 1)))


def test_loss_says_what_it_is_made_of() -> None:
    tokenizer = build("closed", "gradient").tokenizer.eval()
    x = torch.randn(8, 16, 2)
    out, latent = tokenizer(x), tokenizer.codec.encode(x)
    assert torch.equal(out.codes[2], tokenizer.encode(x)[2])
    *_, last = tokenizer.replay(out.codes)
    distance = (tokenizer.pyramid.latent(last.state, 2) - latent).square().mean()
    torch.testing.assert_close(out.commitment, distance.detach())
    torch.testing.assert_close(out.reconstruction, (tokenizer.decode(out.codes) - x).square().mean())
    torch.testing.assert_close(out.total, out.reconstruction + (1 + tokenizer.commitment) * distance)
    tokenizer.quantizer.fitted.fill_(False)
    plain = tokenizer(x)
    torch.testing.assert_close(plain.total, (tokenizer.codec.decode(latent) - x).square().mean())
    assert plain.codes == []


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_quantizer_learns_in_training_mode_only(quantizer: str) -> None:
    tokenizer = build("closed", quantizer).tokenizer
    before = {n: t.clone() for n, t in tokenizer.quantizer.state_dict().items()}
    tokenizer.eval()(torch.randn(8, 16, 2))
    tokenizer.quantizer.update()
    assert all(torch.equal(t, before[n]) for n, t in tokenizer.quantizer.state_dict().items())
    tokenizer.train()(torch.randn(8, 16, 2))
    tokenizer.quantizer.update()
    assert not all(torch.equal(t, before[n]) for n, t in tokenizer.quantizer.state_dict().items())


@pytest.mark.parametrize("quantizer", ["bsq", "lfq"])
def test_penalty_reaches_the_encoder_through_every_scale(quantizer: str) -> None:
    tokenizer = build("closed", quantizer).tokenizer.eval()
    x = torch.randn(8, 16, 2)
    bias: Any = tokenizer.codec.encoder.bias
    with_term = torch.autograd.grad(tokenizer(x).total, bias)[0]
    tokenizer.quantizer.entropy = 0.0
    without = torch.autograd.grad(tokenizer(x).total, bias)[0]
    assert not torch.allclose(with_term, without, atol=1e-6)


@every
@torch.no_grad()
def test_codes_do_not_depend_on_autocast(pyramid: str, quantizer: str) -> None:
    """Mixed precision is for networks: a distance rounded to eight bits would pick other codes."""
    refiner = build(pyramid, quantizer)
    tokenizer, x = refiner.tokenizer, items(refiner)["x"]
    latent = tokenizer.codec.encode(x)
    tokenizer.codec = IdentityCodec(latent.shape[-1])
    exact = tokenizer(latent)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = tokenizer(latent)
        encoded = tokenizer.encode(latent)
        contexts = [s.context for s in refiner._teacher(exact.codes, Condition())]
    for k, codes in enumerate(exact.codes):
        assert torch.equal(mixed.codes[k], codes)
        assert torch.equal(encoded[k], codes)
    for context, step in zip(contexts, tokenizer.replay(exact.codes), strict=True):
        assert torch.equal(context, step.context)
    torch.testing.assert_close(mixed.commitment, exact.commitment)


def test_tokenizers_of_other_shapes_have_other_codes() -> None:
    """One scale is allowed, and so are sizes by scale."""
    for shapes, sizes in (([(3, 5)], [7]), ([(1, 2), (3, 4), (5, 9)], [2, 4, 8])):
        grid = GridResampler(shapes)
        pyramid = build_pyramid(PyramidConfig(), grid, 2)
        quantizer = build_quantizer(QuantizerConfig(size=sizes), len(shapes), 2)
        tokenizer = Tokenizer(TinyDomain(TinyConfig()).codec(), pyramid, quantizer)
        codes = tokenizer.encode(torch.randn(4, grid.num_sites(len(shapes) - 1), 2))
        assert [c.shape for c in codes] == [(4, grid.num_sites(k)) for k in range(len(shapes))]
        assert all(int(c.max()) < size for c, size in zip(codes, sizes, strict=True))


def test_phi_learns_with_the_codebook() -> None:
    """VAR's setting: one codebook by gradient for all scales, phi by gradient; a step lowers the error."""
    torch.manual_seed(0)
    pyramid = ResidualPyramid(GridResampler([1, 2, 4]), 2, num_phi=1)
    tokenizer = Tokenizer(TinyDomain(TinyConfig()).codec(), pyramid, VQ(3, 2, [16] * 3, shared=True, update="gradient"))
    x = torch.randn(64, 16, 2)
    tokenizer.fit(x)
    optimizer = torch.optim.SGD(tokenizer.parameters(), 0.1)
    losses = []
    for _ in range(30):
        loss = tokenizer(x).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
