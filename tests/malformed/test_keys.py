"""Every key has bounds: composed in this process for all of them, and as a command in a process of its own for some."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from malformed import keys
from malformed.frame import Case, Outcome, bad, run
from refine.commands.configure import configure, key_help
from refine.errors import RefineError
from refine.kinds import COMMANDS
from refine.settings.bounds import Numbers, above, below, by_scale, check, each, either, one_of, real, whole
from refine.settings.config import Config, ModelConfig, PredictorConfig, SamplerConfig
from refine.settings.typed import typed

ZERO = {  # keys that 0 means something to: none of it, no limit, the first, or all
    *("model.pyramid.phi", "model.quantizer.decay", "model.quantizer.revive", "model.quantizer.entropy"),
    *(
        "model.predictor.dropout",
        "model.predictor.condition_dropout",
        "model.commitment",
        "model.dropout",
        "model.balance",
    ),
    *("train.loss.l1", "train.loss.l2", "train.loss.perceptual", "train.loss.adversarial", "train.fit_after"),
    *("train.site_budget", "train.workers", "train.discriminator.start", "domain.classes", "domain.blocks"),
    *("sampler.top_k", "sampler.min_p", "sampler.gain", "sampler.guidance", "sample.label", "sample.strip"),
    *("inpaint.keep_scales", "inpaint.label", "domain.generate", "seed", "sample.vector", "model.condition_dropout"),
    *(f"train.{s}.{k}" for s in ("mean", "tokenizer", "predictor") for k in ("lr", "weight_decay", "warmup")),
    *(f"train.{s}.{k}" for s in ("mean", "tokenizer", "predictor") for k in ("grad_clip", "ema")),
}
WORDS = {"sample.label", "inpaint.label"}  # a class may be called nan, or text
SIGNED = {"sample.vector"}  # in the units of the data


@pytest.fixture(scope="module")
def places() -> list[tuple[tuple[str, ...], Any]]:
    return list(keys.places())


def test_every_number_is_held_to_what_it_may_be(places: list[tuple[tuple[str, ...], Any]]) -> None:
    """nan, infinity, 1e30, 2^64 and a text by no key; -1 by none; 0 by those that it means something to."""
    zeros, accepted = set(), []
    for _, key in places:
        for value in (math.nan, math.inf, -math.inf, 1e30, 2**64, -1, "nonsense", True):
            meant = (value == "nonsense" and key.name in WORDS) or (value == -1 and key.name in SIGNED)
            if keys.admits(key, value) and not meant:
                accepted.append(f"{key.name}={value}")
        if keys.admits(key, 0):
            zeros.add(key.name)
        assert keys.admits(key, key.default) or key.default is None
    assert not accepted
    assert zeros == ZERO
    assert len({key.name for _, key in places}) > 100


def test_each_is_refused_by_its_command_with_key_value_and_what_is_accepted(
    places: list[tuple[tuple[str, ...], Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for start, key in {key.name: place for place in places for key in place[1:]}.values():
        name, command = start[0], COMMANDS.load(start[0])
        with pytest.raises(RefineError) as error:
            configure(name, command, [*start[1:], f"{key.name}=1e30"])
        assert str(error.value).startswith(f"{key.name}=1e+30 is not accepted; accepted: ")
    assert not any(tmp_path.iterdir())


def test_switches_and_names_are_held_to_what_there_is() -> None:
    found = {key.name: key for _, key in keys.places(keys.named)}
    assert {"sample.gif", "domain.codec", "model.quantizer.kind", "trainer.precision", "study.domain"} - {*found} == {
        "study.domain"
    }
    for name, key in found.items():
        assert not keys.admits(key, 3.5) or key.bound is None, name
        assert not keys.admits(key, "nonsense") or name.rpartition(".")[2] in keys.NAMES
        assert keys.admits(key, key.default) or key.default is None


def test_help_shows_the_bounds() -> None:
    rows = {
        key: text for rows in key_help("train", COMMANDS.load("train"), ["domain=image"]).values() for key, text in rows
    }
    assert rows["train.predictor.ema=0.999"].endswith("(0 to below 1)")
    assert rows["model.predictor.depth=3"].endswith("(1 to 1,000)")
    assert rows["seed=0"].endswith("(0 to 2^63 - 1)")
    assert rows["trainer.gradient_clip_algorithm=norm"] == "norm | value"  # which the comment says


@pytest.mark.parametrize(
    ("bound", "good", "bad", "words"),
    [
        (whole(1, 9), [1, 9], [0, 10, 1.0, True, "1", None], "whole numbers from 1 to 9"),
        (real(0, 1), [0, 1, 0.5], [-1e-9, 1.01, math.nan, math.inf, False], "numbers from 0 to 1"),
        (above(0, 1), [1e-9, 1], [0, 1.1], "numbers above 0 to 1"),
        (below(1), [0, 0.999], [1, -1], "numbers from 0 to below 1"),
        (one_of("a", "b"), ["a"], ["c", 1, None], "a, b"),
        (
            each(whole(1, 3), 1, 2),
            [[1], (2, 3)],
            [[], [1, 2, 3], [4], 1, "1"],
            "lists of 1 to 2 whole numbers from 1 to 3",
        ),
        (either(whole(1, 3), one_of("auto")), [1, "auto"], [0, "all"], "whole numbers from 1 to 3, or auto"),
        (by_scale(above(0, 2)), [1, [1, 2]], [0, [1, 0], []], "numbers above 0 to 2, or a list of them by scale"),
        (whole(0, 2**63 - 1), [2**63 - 1], [2**63], "whole numbers from 0 to 2^63 - 1"),
        (Numbers(-math.inf, math.inf), [-1e300], [math.inf], "finite numbers"),
    ],
)
def test_a_bound_accepts_what_it_says(bound: Any, good: list[Any], bad: list[Any], words: str) -> None:
    assert all(map(bound.admits, good)) and not any(map(bound.admits, bad))
    assert bound.words == words


def test_what_a_program_made_is_checked_where_it_is_used() -> None:
    with pytest.raises(RefineError, match=r"^model\.predictor\.dropout=2 is not accepted; accepted: numbers from 0 to"):
        check(ModelConfig(predictor=PredictorConfig(dropout=2)), "model")
    with pytest.raises(RefineError, match=r"^seed=-1 is not accepted"):
        check(Config(None, "image", seed=-1))
    with pytest.raises(RefineError, match=r"^sampler\.top_k=\[1, 'x'\] is not accepted"):
        check(SamplerConfig(top_k=[1, "x"]), "sampler")
    long = "x" * 100_000
    with pytest.raises(RefineError) as error:
        typed(PredictorConfig, {"activation": long}, "p")
    assert len(str(error.value)) < 300 and "accepted: silu, gelu" in str(error.value)


SOME = ["argument 'domain=xxx", "train trainer.devices=x", "train trainer.strategy=foo", "batch_size=1000000000000"]
SOME += [
    "model.predictor.width=1000000000",
    "domain=image train.tokenizer.steps=20",
    "sample.label='[[[[",
    "sample.label='9999",
    "out with a NUL",
]
SOME += ["domain=image train.val_every=0", "domain=weather seed=nan", "study which=frontier seeds=-1", "{a: &a"]


def test_commands_end_with_one_line_and_leave_nothing_behind() -> None:
    """Some of what ``python tests/malformed`` runs."""
    cases = [case for case in keys.cases() if any(part in case.name for part in SOME)]
    assert len(cases) >= len(SOME)
    assert not bad(cases)


def test_the_frame_sees_what_is_wrong() -> None:
    """A command that succeeds and leaves a file, and complaints about each thing that can be wrong."""
    left = Case("writes", ("sample", "domain=graph", "num=1", "out=here", "strip=0"))
    found = run(left)
    assert (found.code, "here" in found.changed) == (0, True)
    assert len(found.complaints(left)) == 3  # the code, no line, a folder
    wrong = Outcome(2, "error: a\nb\n", []), Outcome(2, "error: " + "x" * 2000, []), Outcome(2, "error: y", ["f"])
    assert [len(outcome.complaints(Case("", (), says=("x",)))) for outcome in wrong] == [2, 1, 2]
    assert not Outcome(2, "error: x is not accepted\n", []).complaints(Case("", (), says=("x",)))
