"""The one loop over scales."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refine.codes.vq import VQ
from refine.scales.pyramid import build_pyramid
from refine.scales.resample import GridResampler
from refine.scales.walk import walk
from refine.settings.config import PyramidConfig
from refine.types import Level

PYRAMIDS = [PyramidConfig("laplacian", "closed"), PyramidConfig("laplacian", "open"), PyramidConfig("residual", phi=2)]


@pytest.fixture(params=PYRAMIDS, ids=["closed", "open", "residual"])
def parts(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    pyramid = build_pyramid(request.param, GridResampler([1, 2, 5]), 4)
    return pyramid, VQ(3, 4, [3, 5, 7])


def test_steps_tell_what_was_done(parts: Any) -> None:
    pyramid, quantizer = parts
    asked: list[tuple[int, Tensor]] = []

    def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        asked.append((k, context))
        return torch.randint(quantizer.sizes[k], (2, level.num_sites))

    before = pyramid.start(2)
    for k, step in enumerate(walk(pyramid, quantizer, before, choose)):
        assert step.k == asked[k][0] == k
        assert step.context is asked[k][1]
        assert torch.equal(step.context, pyramid.context(before, k))
        assert torch.equal(step.values, quantizer.embed(step.codes, k))
        after = pyramid.refine(before, step.context, step.values, k)
        assert torch.equal(pyramid.latent(step.state, k), pyramid.latent(after, k))
        before = step.state
    assert len(asked) == 3


def test_a_scale_is_chosen_only_when_it_is_asked_for(parts: Any) -> None:
    pyramid, quantizer = parts
    chosen: list[int] = []

    def choose(k: int, level: Level, context: Tensor, state: Any) -> Tensor:
        chosen.append(k)
        return torch.zeros(1, level.num_sites, dtype=torch.int64)

    steps = walk(pyramid, quantizer, pyramid.start(1), choose)
    assert chosen == []
    next(steps)
    assert chosen == [0]
    assert [step.k for step in steps] == [1, 2]


def test_the_past_is_not_changed_by_the_future(parts: Any) -> None:
    """States are values: what a step returned stays as it was when the walk went on."""
    pyramid, quantizer = parts
    codes = [torch.randint(v, (2, pyramid.num_sites(k))) for k, v in enumerate(quantizer.sizes)]
    steps, copies = [], []
    for step in walk(pyramid, quantizer, pyramid.start(2), lambda k, *_: codes[k]):
        steps.append(step)
        copies.append((step.context.clone(), pyramid.latent(step.state, step.k).clone()))
    for step, (context, latent) in zip(steps, copies, strict=True):
        assert torch.equal(step.context, context)
        assert torch.equal(pyramid.latent(step.state, step.k), latent)
