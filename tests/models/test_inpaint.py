"""In-painting: given codes stay, and the others follow the model's conditional law."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from toy import items_of

from models.test_refiner import LONG, all_sequences, both, build, label, place, pyramids
from refine.errors import RefineError


@both
@pyramids
def test_inpainting_keeps_what_it_is_told_to(attention: str, pyramid: str) -> None:
    refiner = build(attention, pyramid=pyramid, shapes=LONG)
    x, given = items_of(refiner, 6)
    codes = refiner.tokenizer.encode(x)
    masks = [torch.rand(6, c.shape[1], generator=torch.Generator().manual_seed(k)) < 0.5 for k, c in enumerate(codes)]
    out = refiner.inpaint(codes, masks, given, seed=1)
    free = refiner.sample(6, given, seed=1)
    for a, b, m in zip(out.codes, codes, masks, strict=True):
        assert torch.equal(a[m], b[m])
    assert not all(torch.equal(a, b) for a, b in zip(out.codes, codes, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(out.codes, free.codes, strict=True))
    everything = refiner.inpaint(codes, torch.ones(1, 25, dtype=torch.bool), given)
    assert all(torch.equal(a, b) for a, b in zip(everything.codes, codes, strict=True))
    nothing = refiner.inpaint(codes, torch.zeros(1, 25, dtype=torch.bool), given, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(nothing.codes, free.codes, strict=True))


def test_a_mask_on_the_finest_scale_is_seen_at_all() -> None:
    """A site of a coarse scale is kept where more than half of what it covers is."""
    refiner = build(shapes=[[1, 2], [2, 4], [4, 8]])
    x, given = items_of(refiner, 3)
    codes = refiner.tokenizer.encode(x)
    left = torch.arange(8).repeat(4)[None] < 4
    out = refiner.inpaint(codes, left, given, seed=3)
    for k, width in enumerate([2, 4, 8]):
        kept = torch.arange(out.codes[k].shape[1]) % width < width // 2
        assert torch.equal(out.codes[k][:, kept], codes[k][:, kept])
        assert not torch.equal(out.codes[k][:, ~kept], codes[k][:, ~kept])


@both
def test_inpainting_under_kept_coarse_scales_is_the_models_conditional_law(attention: str) -> None:
    refiner, draws = build(attention), 4000
    everything = all_sequences(refiner)
    kept = 2
    under = everything[0][:, 0] == kept
    nats = refiner.log_prob(everything, label(1, len(under))).total.double()
    law = nats[under].softmax(0)
    codes = [torch.full((draws, 1), kept), torch.zeros(draws, 2, dtype=torch.int64)]
    masks = [torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)]
    out = refiner.inpaint(codes, masks, label(1, draws))
    assert (out.codes[0] == kept).all()
    found = torch.bincount(place([out.codes[1]], [everything[1][under]]), minlength=len(law))
    assert (law * draws > 1).all()
    assert chisquare(found.numpy(), (law * draws).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    "keep", [torch.ones(1, 7, dtype=torch.bool), torch.ones(25, dtype=torch.bool), [torch.ones(1, 25) > 0]]
)
def test_masks_that_do_not_fit_are_refused(keep: Any) -> None:
    refiner = build(shapes=LONG)
    x, given = items_of(refiner, 2)
    with pytest.raises(RefineError, match="keep has"):
        refiner.inpaint(refiner.tokenizer.encode(x), keep, given)
