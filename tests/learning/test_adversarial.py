"""Losses of the tokenizer: what each term is, when the discriminator begins, and that a kill changes nothing of it."""

from __future__ import annotations

import dataclasses
import os
import socket
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from processes import finished, killed, start
from torch import Tensor, nn
from toy import LinearCodec, TinyConfig, TinyDomain, stir

from learning.test_training import TINY, assert_same_run, tiny, train, train_and_die, weights  # noqa: F401
from refine.errors import RefineError
from refine.learning import modules
from refine.learning import train as training
from refine.learning.adversarial import LARGEST, Reconstruction, adaptive_weight, build_reconstruction, hinge
from refine.learning.checkpoint_io import SafetensorsIO
from refine.learning.modules import TokenizerModule
from refine.models.codec import Codec, IdentityCodec
from refine.settings.compose import compose
from refine.settings.config import DiscriminatorConfig, LossConfig, StageConfig, TrainConfig
from refine.storage.runs import read_metrics

GAN = [
    "train.loss.l1=0.2",
    "train.loss.adversarial=0.5",
    "train.discriminator.start=11",
    "train.discriminator.filters=8",
]
GAN += ["stage=tokenizer", "train.log_every=1"]


def settings(start: int = 0, warmup: int = 0, **weights: float) -> TrainConfig:
    stage = StageConfig(steps=20, warmup=warmup)
    return TrainConfig(tokenizer=stage, loss=LossConfig(**weights), discriminator=DiscriminatorConfig(start, filters=8))


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(loss: Tensor, parameters: Any) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(parameters), retain_graph=True))


def test_hinge_losses_are_what_is_missing_to_the_margins() -> None:
    real, fake = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([-3.0, 0.0, 1.0, -0.5])
    assert hinge(real, fake).item() == pytest.approx(((0 + 0.5 + 2 + 0) / 4 + (0 + 1 + 2 + 0.5) / 4) / 2)
    assert hinge(torch.tensor([1.5]), torch.tensor([-1.5])).item() == 0


def test_the_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer() -> None:
    """output = hidden W: the gradient of a term at W is hidden^T (its gradient at the output)."""
    hidden, last = some(6, 3), some(3, 2, seed=1).requires_grad_()
    output, pull, push = hidden @ last, some(6, 2, seed=2), some(6, 2, seed=3)
    expected = (hidden.T @ pull).norm() / ((hidden.T @ push).norm() + 1e-6)
    torch.testing.assert_close(adaptive_weight(output, last, pull, push), expected)
    torch.testing.assert_close(adaptive_weight(output, last, 3 * pull, push), 3 * expected)
    assert adaptive_weight(output, last, pull, 1e-12 * push).item() == LARGEST
    assert adaptive_weight(output, last, 0 * pull, push).item() == 0


def test_one_pass_gives_the_gradients_of_both_players() -> None:
    """Against the two losses written down one after the other, the adaptive weight a constant in them."""
    torch.manual_seed(0)
    codec, x = stir(LinearCodec(3)), some(5, 4, 3)
    assert isinstance(codec, LinearCodec)
    objective = Reconstruction(codec, settings(l1=0.2, l2=0.7, adversarial=0.4), seed=3)
    discriminator = objective.discriminator
    assert discriminator is not None
    loss, terms = objective(codec, codec.decode(codec.encode(x)), x, 5)

    output = codec.decode(codec.encode(x))
    l1, l2 = (output - x).abs().mean(), (output - x).square().mean()
    fidelity, generator = 0.2 * l1 + 0.7 * l2, -discriminator(output).mean()
    (pull,), (push,) = (gradients(term, [codec.decoder.weight]) for term in (fidelity, generator))
    adaptive = pull.norm() / (push.norm() + 1e-6)
    judged = hinge(discriminator(x), discriminator(output.detach()))
    wanted = {"l1": l1, "generator": generator, "discriminator": judged, "adaptive_weight": adaptive}
    assert terms.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value, msg=lambda m, name=name: f"{name}: {m}")
    total = fidelity + 0.4 * adaptive.detach() * generator
    torch.testing.assert_close(loss, total + judged)
    torch.testing.assert_close(gradients(loss, codec.parameters()), gradients(total, codec.parameters()))
    ours = gradients(loss, discriminator.parameters())
    torch.testing.assert_close(ours, gradients(judged, discriminator.parameters()))
    assert all(g.norm() > 0 for g in ours)


def test_weight_and_rate_of_the_discriminator_grow_from_its_start() -> None:
    objective = Reconstruction(LinearCodec(2), settings(start=10, warmup=4, adversarial=1.0), seed=0)
    assert [objective.grown(step) for step in (0, 9, 10, 11, 13, 14, 19)] == [0, 0, 0.25, 0.5, 1, 1, 1]
    codec, x = LinearCodec(2), some(3, 4, 2)
    _, terms = objective(codec, codec.decode(x), x, 9)
    assert "generator" not in terms
    assert "generator" in objective(codec, codec.decode(x), x, 10)[1]
    assert "generator" not in objective.eval()(codec, codec.decode(x), x, 10)[1]  # validation asks nobody


def test_the_first_discriminator_is_a_function_of_the_seed_and_leaves_other_numbers_alone() -> None:
    first, states = [], []
    for seed in (1, 1, 2):
        torch.manual_seed(7)
        objective = Reconstruction(LinearCodec(2), settings(adversarial=1.0), seed)
        states.append(torch.get_rng_state())
        first.append(torch.cat([p.flatten() for p in objective.parameters()]))
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    torch.manual_seed(7)
    LinearCodec(2)
    assert torch.equal(states[0], torch.get_rng_state())


def test_without_other_terms_nothing_is_built_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terms at their defaults come to the codec's own loss, to the bit, and are not even made."""
    assert build_reconstruction(LinearCodec(2), TrainConfig(), 0) is None
    plain = train("stage=tokenizer", f"run={tmp_path / 'plain'}")
    state = SafetensorsIO().load_checkpoint(plain / "resume" / "tokenizer.safetensors")
    assert not [name for name in state["state_dict"] if name.startswith("objective")]
    monkeypatch.setattr(modules, "build_reconstruction", Reconstruction)
    assert_same_run(plain, train("stage=tokenizer", f"run={tmp_path / 'made'}"))


def test_until_the_discriminator_begins_the_run_is_the_one_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, Tensor] = {}
    before = TokenizerModule.on_train_batch_start

    def spied(self: TokenizerModule, *args: Any) -> None:
        if self.objective is not None and self.objective.discriminator is not None:
            seen[self.global_step] = torch.cat([p.detach().flatten() for p in self.objective.parameters()])
        before(self, *args)

    monkeypatch.setattr(TokenizerModule, "on_train_batch_start", spied)
    gan, plain = (train(*GAN, f"run={tmp_path / str(w)}", f"train.loss.adversarial={w}") for w in (0.5, 0.0))
    rows, others = ([r for r in read_metrics(run) if "reconstruction" in r] for run in (gan, plain))
    terms = {"generator", "discriminator", "adaptive_weight"}
    assert [r for r in rows if r["step"] < 11] == [r for r in others if r["step"] < 11]
    assert all(terms <= r.keys() for r in rows if r["step"] >= 11)
    assert rows[-1]["reconstruction"] != others[-1]["reconstruction"]
    assert all("val_l1" in r for r in read_metrics(gan) if "val_reconstruction" in r)
    assert len(seen) == 20 and all(torch.equal(seen[step], seen[0]) == (step <= 11) for step in seen)
    optimizer = SafetensorsIO().load_checkpoint(gan / "resume" / "tokenizer.safetensors")["optimizer_states"][0]
    last = [optimizer["state"][i]["step"].item() for i in optimizer["param_groups"][-1]["params"]]
    assert last == [9.0] * 4  # steps that its optimiser counts
    assert "objective" not in " ".join(weights(gan))


MOMENTS = [
    (6, "batch"),
    (11, "batch"),  # the discriminator's first step is the next
    (12, "validation"),
    (14, "batch"),
    (20, "validation"),  # trained to the end, not published
]


@pytest.mark.parametrize("options", [["train.tokenizer.ema=0.9"], ["train.tokenizer.optimizer=muon"]])
def test_killed_around_the_discriminators_start_it_ends_with_the_same_weights(
    options: list[str], tmp_path: Path
) -> None:
    whole, run = train(*GAN, *options, f"run={tmp_path / 'whole'}"), tmp_path / "run"
    for step, moment in MOMENTS:
        killed(train_and_die, [*GAN, *options, f"run={run}"], "tokenizer", step, moment)
    train(*GAN, *options, f"run={run}")
    assert_same_run(whole, run)
    one, other = (SafetensorsIO().load_checkpoint(r / "resume" / "tokenizer.safetensors") for r in (whole, run))
    names = [n for n in one["state_dict"] if n.startswith("objective.discriminator")]
    assert len(names) == 4
    assert all(torch.equal(one["state_dict"][n], other["state_dict"][n]) for n in names)


@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_goes_on_with_a_discriminator_with_another_and_without(
    optimizer: str, ema: float, tmp_path: Path
) -> None:
    options = ["stage=tokenizer", f"run={tmp_path / 'run'}", f"train.tokenizer.ema={ema}"]
    options += [f"train.tokenizer.optimizer={optimizer}", "train.log_every=1"]
    train(*options)
    gan = ["train.loss.adversarial=0.5", "train.discriminator.start=20"]
    train(*options, *gan, "train.discriminator.filters=8", "train.tokenizer.steps=24")
    before = SafetensorsIO().load_checkpoint(tmp_path / "run" / "resume" / "tokenizer.safetensors")
    train(*options, *gan, "train.discriminator.filters=12", "train.tokenizer.steps=28")
    run = train(*options, "train.tokenizer.steps=32")
    steps = [r["step"] for r in read_metrics(run) if "generator" in r]
    assert steps == list(range(20, 28))
    after = SafetensorsIO().load_checkpoint(run / "resume" / "tokenizer.safetensors")
    assert any(n.startswith("objective") for n in before["state_dict"])
    assert not any(n.startswith("objective") for n in after["state_dict"])
    (old,), (new,) = before["optimizer_states"], after["optimizer_states"]
    assert len(old["param_groups"]) == len(new["param_groups"]) + 1
    for index, state in new["state"].items():  # what the tokenizer's own optimiser knew goes on
        if "step" in state:
            assert state["step"] - old["state"][index]["step"] == 8


def test_published_statistics_are_averages_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalisation's, by the same law as the weights; the number of batches is a count."""
    seen: list[dict[str, Tensor]] = []
    step = TokenizerModule.optimizer_step

    def spied(self: TokenizerModule, *args: Any, **kwargs: Any) -> None:
        step(self, *args, **kwargs)
        seen.append({n: t.clone() for n, t in self.tokenizer.state_dict().items()})

    monkeypatch.setattr(TokenizerModule, "optimizer_step", spied)
    options = ["domain=image", "domain.width=4", "domain.blocks=0", "domain.latent=2", "domain.factor=4"]
    options += ["domain.scales=[1,2]", "train.fit_after=4", "train.tokenizer.ema=0.8", "stage=tokenizer"]
    options += ["train.tokenizer.steps=12", f"run={tmp_path / 'run'}"]
    from refine.learning import train as training
    from refine.settings.compose import compose

    monkeypatch.setattr(training, "draw_pictures", lambda *_: None)
    published = weights(training.train(compose([*options, "trainer.accelerator=cpu", "train.val_every=5"])))
    for name in ("codec.encoder.3.running_mean", "codec.encoder.3.running_var", "codec.decoder.0.weight"):
        average = seen[0][name]
        for n, state in enumerate(seen[1:], 1):  # n updates were averaged before this one
            rate = 0.0 if n - 4 < 1 else min(0.8, (n - 3) / (n + 6))
            average = rate * average + (1 - rate) * state[name]
        torch.testing.assert_close(published[f"tokenizer.{name}"], average, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(average, seen[-1][name], rtol=1e-4, atol=1e-6)
    batches = "codec.encoder.3.num_batches_tracked"
    assert published[f"tokenizer.{batches}"] == seen[-1][batches] > seen[0][batches]
    assert published["tokenizer.quantizer.fitted"]


def test_a_discriminator_that_blows_up_stops_training(tmp_path: Path) -> None:
    class TooFast(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.lr_scheduler_configs[0].scheduler.base_lrs[-1] = 1e30  # type: ignore[union-attr]

    run = tmp_path / "run"
    config = compose([*TINY, *GAN, f"run={run}", "train.save_every=1", "train.val_every=1"])
    with pytest.raises(RefineError, match=r"tokenizer.*step \d+.*last good checkpoint is kept"):
        training.train(config, callbacks=[TooFast()])
    state = SafetensorsIO().load_checkpoint(run / "resume" / "tokenizer.safetensors")
    assert all(torch.isfinite(t).all() for t in [*weights(run).values(), *state["state_dict"].values()])


def test_in_mixed_precision_and_in_two_processes_it_trains_as_well(tmp_path: Path) -> None:
    one = train(*GAN, f"run={tmp_path / 'one'}", "model.quantizer.revive=0")
    mixed = train(*GAN, f"run={tmp_path / 'mixed'}", "model.quantizer.revive=0", "trainer.precision=bf16-mixed")
    ddp = [*GAN, "trainer.devices=2", "trainer.strategy=ddp", "train.tokenizer.batch_size=4"]
    ddp += ["model.quantizer.revive=0", f"run={tmp_path / 'two'}"]
    port = free_port()
    finished(*(start(train_as, rank, port, *ddp) for rank in range(2)))
    for name in ("val_reconstruction", "discriminator"):
        curve, *others = ([r[name] for r in read_metrics(run) if name in r] for run in (one, mixed, tmp_path / "two"))
        for other in others:
            assert other == pytest.approx(curve, rel=0.1)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def train_as(rank: int, port: int, *arguments: str) -> None:
    """One of two processes that were started from outside, as torchrun does it."""
    here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": str(rank)}
    os.environ |= here | {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "REFINE_RUN": "of another training"}
    rank_zero_only.rank = rank  # type: ignore[attr-defined]  # which Lightning reads when it is imported
    train(*arguments)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("train.loss.l1=-1", r"train\.loss\.l1=-1.* accepted: numbers from 0 to 1e9"),
        ("train.loss.adversarial=.nan", r"train\.loss\.adversarial=nan"),
        ("train.loss.l2=0", "l1, l2 and perceptual are all 0"),
        ("train.discriminator.start=20", r"train\.discriminator\.start=20 .* accepted: 0 to 19"),
        ("train.discriminator.start=-1", r"train\.discriminator\.start=-1"),
        ("train.discriminator.lr=0", r"train\.discriminator\.lr=0"),
        ("train.discriminator.filters=0", r"train\.discriminator\.filters=0"),
        ("train.loss.perceptual=1", r"train\.loss\.perceptual .*LinearCodec has no perceptual_loss\(\)"),
        ("domain.learned=false", r"train\.loss\.adversarial .*IdentityCodec has no last_layer\(\)"),
    ],
)
def test_values_that_are_none_are_refused_before_there_is_a_folder(argument: str, message: str, tmp_path: Path) -> None:
    loss = ["train.loss.l1=0", "train.loss.adversarial=1"]
    with pytest.raises(RefineError, match=message):
        train(*GAN, *loss, argument, f"run={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_codec_says_what_it_lacks() -> None:
    codec: Codec = IdentityCodec(2)
    for call in (codec.perceptual_loss, codec.last_layer, lambda: codec.discriminator(4)):
        with pytest.raises(RefineError, match=r"IdentityCodec has no \w+\(\); accepted here: 0"):
            call()
    domain = TinyDomain(dataclasses.replace(TinyConfig(), learned=True))
    assert isinstance(domain.codec().discriminator(4), nn.Module)
