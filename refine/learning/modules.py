"""The two stages as Lightning modules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from refine.errors import RefineError, require
from refine.items import Items, in_batches
from refine.learning.adversarial import build_reconstruction, settle
from refine.learning.data import derive_seed
from refine.learning.objectives import build_objective
from refine.learning.optimizers import build_optimizer
from refine.models.model import Learner
from refine.models.tokenizer import Tokenizer, TokenizerLoss, existing
from refine.settings.config import ObjectiveConfig, StageConfig, TrainConfig
from refine.types import Condition, ConditionSpec


class StageModule(pl.LightningModule):
    """What the stages share: optimiser, schedule, a random stream per step, a stop at a loss that is not finite."""

    name: str

    def __init__(self, stage: StageConfig, seed: int) -> None:
        super().__init__()
        self.stage, self.seed = stage, seed

    def configure_optimizers(self) -> Any:
        """The stage's optimiser; linear warm-up, then a cosine to a hundredth."""
        optimizer = build_optimizer(self, self.stage)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def rate(self, step: int) -> float:
        """Learning rate at ``step`` as a share of the highest."""
        return min(1.0, (step + 1) / max(1, self.stage.warmup)) * self.cosine(step)

    def cosine(self, step: int) -> float:
        """What :meth:`rate` would be without warm-up."""
        return 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / max(1, self.stage.steps)))) / 2

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # all randomness of a step is a function of (seed, stage, step, process): nothing else has to be restored
        part = batch_idx % self.trainer.accumulate_grad_batches  # of the batches of one step, the first as if alone
        torch.manual_seed(
            derive_seed(self.seed, self.name, self.global_step, self.global_rank, *([part] if part else []))
        )

    def checked(self, loss: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """The loss itself, if it is finite."""
        if not torch.isfinite(loss):
            raise RefineError(
                f"the loss of the {self.name} became {loss.item()} at step {self.global_step}, on training items "
                f"{batch['index'].tolist()}; training stops and the last good checkpoint is kept. "
                f"A lower train.{self.name}.lr (now {self.stage.lr}) often helps"
            )
        return loss

    def check_weights(self) -> None:
        """Make sure that every weight is a number: a finite loss may have a gradient that is not."""
        broken = [name for name, p in self.named_parameters() if not torch.isfinite(p).all()]
        require(
            not broken,
            f"weights of the {self.name} ({', '.join(broken[:3])}) were not finite any more, step {self.global_step}; "
            f"training stops and the last good checkpoint is kept",
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_weights()


class TokenizerModule(StageModule):
    """Stage 1: codec and quantizer; eq. 1 on the quantised pyramid.

    The codec trains as a plain autoencoder for ``fit_after`` steps, then the quantizer is fitted to its latents
    (k-means where it has codebooks): random starts collapse. With terms of ``train.loss`` beside the codec's own the
    reconstruction is trained for those (:class:`refine.learning.adversarial.Reconstruction`).
    """

    name = "tokenizer"

    def __init__(
        self,
        tokenizer: Tokenizer,
        settings: TrainConfig,
        seed: int,
        fit_items: Items,
        spec: ConditionSpec | None = None,
    ) -> None:
        super().__init__(settings.tokenizer, seed)
        self.spec = spec or ConditionSpec(base=True, mask=True)  # of the items' parts beside x
        self.tokenizer, self.fit_after = tokenizer, settings.fit_after
        self.fit_items: Callable[[], Items] = lambda: fit_items  # a copy of the module, for averages, copies no data
        self.objective = build_reconstruction(tokenizer.codec, settings, seed)
        self._codes: list[list[Tensor]] = []
        # Lightning wants something to optimise, also where codebooks alone learn (from what they observe)
        learns = any(q.requires_grad for q in tokenizer.parameters())
        self.nothing = None if learns else nn.Parameter(torch.zeros(()))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if not self.tokenizer.quantizer.fitted and self.global_step >= self.fit_after:
            self.fit_quantizer()

    @torch.no_grad()
    def fit_quantizer(self) -> None:
        """Fit the quantizer to the latents of training items."""
        items = self.fit_items()
        batches = list(in_batches(items, self.stage.batch_size))
        self.tokenizer.codec.fit(torch.cat([b["x"] for b in batches]).to(self.device))
        given = Condition.join([self.given(b) for b in batches]).to(self.device)
        latent = torch.cat([self.tokenizer.codec.encode(b["x"].to(self.device)) for b in batches])
        latent = existing(latent, given.mask)
        bad = (~latent.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        named = [getattr(items, "indices", range(len(latent)))[i] for i in bad]
        require(
            not named,
            f"latents of the {self.name} are not finite at step {self.global_step}, where the quantizer is fitted, on "
            f"training items {named}; training stops and the last good checkpoint is kept",
        )
        self.tokenizer.fit(latent, given.base, given.mask)

    def given(self, batch: dict[str, Tensor]) -> Condition:
        """What of a batch the tokenizer is told: bases and masks."""
        condition = self.spec.only(Condition.from_batch(batch))
        return Condition(base=condition.base, mask=condition.mask)

    def reconstruct(self, batch: dict[str, Tensor]) -> TokenizerLoss:
        """The tokenizer on a batch."""
        given = self.given(batch)
        out: TokenizerLoss = self.tokenizer(batch["x"], given.base, given.mask)
        return out

    def configure_optimizers(self) -> Any:
        """The stage's; where there is a discriminator, joined by its own, on the same cosine after a later warm-up."""
        adversary = None if self.objective is None else self.objective.optimizer()
        if adversary is None:
            return super().configure_optimizers()
        optimizer = build_optimizer(self.tokenizer, self.stage, adversary)
        rates: list[Callable[[int], float]] = [self.rate for _ in optimizer.param_groups]
        rates[-1] = self.rate_of_discriminator
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = {n: t for n, t in self.state_dict().items() if n.startswith("objective.")}
        settle(checkpoint, own, self.configure_optimizers)

    def rate_of_discriminator(self, step: int) -> float:
        """As :meth:`rate`, for the discriminator."""
        assert self.objective is not None
        return self.objective.grown(step) * self.cosine(step)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        out = self.reconstruct(batch)
        loss, terms = self.loss(out, batch["x"])
        self.log("reconstruction", out.reconstruction.detach(), prog_bar=True)
        self.log("commitment", out.commitment)
        self.log_dict({name: term.detach() for name, term in terms.items()})
        return self.checked(loss if self.nothing is None else loss + 0 * self.nothing, batch)

    def loss(self, out: TokenizerLoss, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What is minimised, and its terms beside those that every tokenizer has."""
        if self.objective is None:
            return out.total, {}
        fidelity, terms = self.objective(self.tokenizer.codec, out.output, x, self.global_step)
        return fidelity + out.rest, terms

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """The discriminator's gradients are cut by their own norm: those of one are no reason to cut the other's."""
        if self.objective is None or self.objective.discriminator is None:
            return super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self.objective.wait(self.global_step)
        groups = optimizer.param_groups
        for part in (groups[:-1], groups[-1:]) if gradient_clip_val else ():
            nn.utils.clip_grad_norm_([p for group in part for p in group["params"]], gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.tokenizer.quantizer.update()  # before any checkpoint of this step is written

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        out = self.reconstruct(batch)
        self.log("val_reconstruction", out.reconstruction, prog_bar=True, batch_size=len(batch["x"]))
        terms = {f"val_{name}": term for name, term in self.loss(out, batch["x"])[1].items()}
        self.log_dict(terms, batch_size=len(batch["x"]))
        if self.tokenizer.quantizer.discrete:  # else there is nothing to count
            self._codes.append(out.codes)

    def on_validation_epoch_end(self) -> None:
        codes, self._codes = [c for c in self._codes if c], []
        shares = []
        for k, parts in enumerate(zip(*codes, strict=True)):
            share, perplexity = self.tokenizer.quantizer.usage(torch.cat(parts), k)
            self.log(f"usage_{k}", share)
            self.log(f"perplexity_{k}", perplexity)
            shares.append(share)
        if shares:
            self.log("least_usage", min(shares), prog_bar=True)  # a collapse shows while it happens


class LearnerModule(StageModule):
    """Any other stage: what the model says learns in it (``Model.learner``), by its own loss."""

    def __init__(self, learner: Learner, name: str, stage: StageConfig, seed: int, settings: TrainConfig) -> None:
        super().__init__(stage, seed)
        self.model, self.name, self.settings = learner, name, settings
        self.learns_by = build_objective(settings.objective if name == "predictor" else ObjectiveConfig())
        for part in learner.frozen():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> LearnerModule:
        super().train(mode)
        for part in self.model.frozen():
            part.eval()
        return self

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss, figures = self.learns_by(self.model, batch, self.settings)
        for i, (name, value) in enumerate(figures.items()):
            self.log(name, value.detach(), prog_bar=i == 0)
        return self.checked(loss, batch)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        torch.manual_seed(derive_seed(self.seed, self.name, "validation", batch_idx, self.global_rank))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        _, figures = self.model.training_loss(batch, self.settings)
        for i, (name, value) in enumerate(figures.items()):
            self.log(f"val_{name}", value, prog_bar=i == 0, batch_size=len(batch["index"]))
