"""What reconstructions are trained for where that is more than the codec's own loss; a discriminator among it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from refine.errors import require
from refine.learning.data import derive_seed
from refine.models.codec import Codec
from refine.settings.config import DiscriminatorConfig, LossConfig, TrainConfig

DELTA, LARGEST = 1e-6, 1e4  # of the adaptive weight
BY_GROUP = ("base_lrs", "_last_lr", "lr_lambdas")  # what a LambdaLR has an entry of for every group of parameters


class Reconstruction(nn.Module):
    """l1, l2 and perceptual terms, and from ``train.discriminator.start`` on a hinge GAN with an adaptive weight (Esser
    et al. 2021, arXiv 2012.09841, eq. 7).

    Discriminator and generator learn at the same time, from one pass: the discriminator sees the output detached, the
    generator the discriminator's gradient at its output.

    Args:
        codec: whose reconstructions these are.
        settings: of training.
        seed: of the discriminator's first weights.

    Raises:
        RefineError: values that are none, or terms that the codec does not have.
    """

    def __init__(self, codec: Codec, settings: TrainConfig, seed: int) -> None:
        super().__init__()
        self.weights, self.settings, self.warmup = settings.loss, settings.discriminator, settings.tokenizer.warmup
        check(self.weights, self.settings, settings.tokenizer.steps)
        self.perceptual = codec.perceptual_loss() if self.weights.perceptual > 0 else None
        self.discriminator: nn.Module | None = None
        if self.weights.adversarial > 0:
            codec.last_layer()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed, "discriminator"))
                self.discriminator = codec.discriminator(self.settings.filters)

    def forward(self, codec: Codec, output: Tensor, x: Tensor, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of reconstructions (B, ...) at a step, and its terms by name, unweighted."""
        output = output.to(x.dtype)
        if self.discriminator is None or not self.training:
            return self.fidelity(codec, output, x)
        if step < self.settings.start:
            loss, figures = self.fidelity(codec, output, x)
            return loss + 0 * sum(p.sum() for p in self.discriminator.parameters()), figures  # for several processes
        seen = output.detach().requires_grad_()
        fidelity, figures = self.fidelity(codec, seen, x)
        fake, real = self.discriminator(torch.cat([seen, x])).float().chunk(2)
        generator, discriminator = -fake.mean(), hinge(real, fake)
        (pull,), (push,) = (torch.autograd.grad(term, seen, retain_graph=True) for term in (fidelity, generator))
        adaptive = adaptive_weight(output, codec.last_layer(), pull, push)
        weight = self.weights.adversarial * self.grown(step) * adaptive
        # the value of the loss with the gradient that was found above, so that neither is computed twice
        loss = (fidelity + weight * generator).detach() + ((output - output.detach()) * (pull + weight * push)).sum()
        figures |= {"generator": generator, "discriminator": discriminator, "adaptive_weight": adaptive}
        return loss + discriminator, figures

    def fidelity(self, codec: Codec, output: Tensor, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The terms that compare an output with its item, weighted and summed, and each as it is."""
        loss, figures = self.weights.l2 * codec.reconstruction_loss(output, x), {}
        if self.weights.l1 > 0:
            figures["l1"] = F.l1_loss(output, x)
            loss = loss + self.weights.l1 * figures["l1"]
        if self.perceptual is not None:
            figures["perceptual"] = self.perceptual(output, x)
            loss = loss + self.weights.perceptual * figures["perceptual"]
        return loss, figures

    def grown(self, step: int) -> float:
        """Share of its weight that the discriminator has at ``step``, and of its learning rate."""
        return min(1.0, max(0, step + 1 - self.settings.start) / max(1, self.warmup))

    def optimizer(self) -> Optimizer | None:
        """The discriminator's own, of one group of parameters, where there is one."""
        if self.discriminator is None:
            return None
        return torch.optim.AdamW(self.discriminator.parameters(), self.settings.lr, betas=(0.5, 0.9), weight_decay=0.0)

    def wait(self, step: int) -> None:
        """Before its first step the discriminator's optimiser counts none."""
        if self.discriminator is not None and step < self.settings.start:
            for p in self.discriminator.parameters():
                p.grad = None


def build_reconstruction(codec: Codec, settings: TrainConfig, seed: int) -> Reconstruction | None:
    """A :class:`Reconstruction`, or None where the codec's own loss is all."""
    own = settings.loss == LossConfig()
    return None if own else Reconstruction(codec, settings, seed)


def settle(checkpoint: dict[str, Any], own: dict[str, Tensor], fresh: Callable[[], dict[str, Any]]) -> None:
    """Make a resume file fit a module that has a discriminator, or another, or none, where the run had it otherwise
    before: a new one begins afresh, and an old one is forgotten.

    Args:
        checkpoint: what was read, changed in place.
        own: the discriminator's part of the module's state, by full name; empty if there is none.
        fresh: the module's ``configure_optimizers``.
    """
    found = {n: t for n, t in checkpoint["state_dict"].items() if n.startswith("objective.")}
    if {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in own.items()}:
        return
    for state in ("state_dict", "current_model_state"):  # averaged weights, and those that they are averages of
        if state in checkpoint:
            checkpoint[state] = {n: t for n, t in checkpoint[state].items() if n not in found} | own
    (optimizer,), (schedule,) = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    if found:
        for index in optimizer["param_groups"].pop()["params"]:
            optimizer["state"].pop(index, None)
        schedule |= {name: schedule[name][:-1] for name in BY_GROUP}
    if own:
        new = fresh()
        optimizer["param_groups"].append(new["optimizer"].state_dict()["param_groups"][-1])
        rates = new["lr_scheduler"]["scheduler"].state_dict()
        schedule |= {name: [*schedule[name], rates[name][-1]] for name in BY_GROUP}


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss on logits of items and of reconstructions: half of what is missing to margins of one."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(output: Tensor, last: Tensor, pull: Tensor, push: Tensor) -> Tensor:
    """How much larger the gradient of the other terms is than the generator's, at the decoder's last layer.

    Args:
        output: reconstructions (B, ...), with their graph.
        last: weight of the last layer.
        pull: gradient of the other terms with respect to ``output``.
        push: that of the generator's term.
    """
    norms = [torch.autograd.grad(output, last, g, retain_graph=True)[0].norm() for g in (pull, push)]
    ratio: Tensor = norms[0] / (norms[1] + DELTA)
    return ratio.clamp(max=LARGEST)


def check(weights: LossConfig, settings: DiscriminatorConfig, steps: int) -> None:
    """Raise RefineError, naming the key, unless all values are possible."""
    for name, value in vars(weights).items():
        good = math.isfinite(value) and value >= 0
        require(good, f"train.loss.{name}={value} is not accepted; accepted: 0 or more")
    some = weights.l1 + weights.l2 + weights.perceptual > 0
    require(some, "train.loss.l1, l2 and perceptual are all 0: nothing holds reconstructions to their items")
    if weights.adversarial > 0:
        good = 0 <= settings.start < steps
        require(
            good,
            f"train.discriminator.start={settings.start} is not accepted: the tokenizer trains for {steps} steps; "
            f"accepted: 0 to {steps - 1}",
        )
        require(settings.lr > 0, f"train.discriminator.lr={settings.lr} is not accepted; accepted: above 0")
        require(
            settings.filters >= 1, f"train.discriminator.filters={settings.filters} is not accepted; accepted: from 1"
        )
