"""Malformed keys, made from the dataclasses: every numeric key of every command and domain with values that are none,
pairs of keys that do not go together, and texts that are no values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from malformed.frame import Case
from refine.kinds import COMMANDS
from refine.settings.bounds import Bound, Each, Either, Numbers
from refine.settings.compose import config_keys, training_sections
from refine.settings.keys import Key, keys_of

NUMBERS = ("-1", "0", "nan", ".nan", ".inf", "1e30", str(2**64), "text")
"""Values that few numeric keys accept; nan is a text in YAML, and .nan the number."""
NEVER = NUMBERS[2:-1]  # no numeric key accepts these
OF_MODEL = {
    "image": ("sample", "evaluate", "inpaint"),
    "weather": ("ensemble", "evaluate"),
    "graph": ("sample", "evaluate"),
}
NAMES = ("kind", "stage", "data", "folder", "pyg", "static", "init", "strategy", "max_time", "guided", "lead")
NAMES += ("start", "fields", "at", "forecast", "image", "mask", "grid", "step", "domain")  # of what there is
NEEDED = {"study": ("which=frontier",), "reproduce": ("table=1",)}  # of commands that work on no model


def numeric(key: Key) -> bool:
    """Whether a key is about numbers: one, or lists of them."""
    return "int" in key.type_name or "float" in key.type_name or _has_numbers(key.bound)


def _has_numbers(bound: Bound | None) -> bool:
    if isinstance(bound, Either):
        return any(map(_has_numbers, bound.options))
    return _has_numbers(bound.entry) if isinstance(bound, Each) else isinstance(bound, Numbers)


def admits(key: Key, value: Any) -> bool:
    """Whether a key accepts a value, as plain data."""
    return key.bound is None or key.bound.admits(value)


def named(key: Key) -> bool:
    """Whether a key is a switch, or the name of something that there is."""
    last = key.name.rpartition(".")[2]
    return not numeric(key) and (not admits(key, "nonsense") or last in NAMES)


def places(wanted: Callable[[Key], bool] = numeric) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Every key that is wanted, with the beginning of a command that accepts it; one of the training for each
    domain."""
    seen = set()
    for domain, commands in OF_MODEL.items():
        for key in config_keys(domain, training_sections()).values():
            own = key.name.split(".")[0] in ("domain", "model")
            if wanted(key) and (own or key.name not in seen):
                seen.add(key.name)
                yield ("train", f"domain={domain}", "--run", "new"), key
        for command in commands:
            for key in config_keys(domain, [command, "sampler", "seed"]).values():
                if wanted(key) and (command, key.name) not in seen and not key.name.startswith("domain."):
                    seen.add((command, key.name))
                    yield (command, f"domain={domain}"), key
    for command, needed in NEEDED.items():
        for key in keys_of(COMMANDS.load(command).Options).values():
            if wanted(key) and f"{key.name}=" not in " ".join(needed):
                yield (command, *needed), key


def cases() -> Iterator[Case]:
    """All of them."""
    yield from numbers()
    yield from words()
    yield from pairs()
    yield from texts()


def numbers() -> Iterator[Case]:
    """Numeric keys with values that they do not accept."""
    for start, key in places():
        for text in NUMBERS:
            if text in ("text", "nan") and admits(key, text):
                continue
            if text in ("-1", "0") and admits(key, int(text)):
                continue
            yield Case(f"{' '.join(start[:2])} {key.name}={text}", (*start, f"{key.name}={text}"), says=(key.name,))


def words() -> Iterator[Case]:
    """Switches, and names of what there is, that are none."""
    for start, key in places(named):
        if start[0] == "train" and key.name.split(".")[0] in COMMANDS.names():
            continue  # kept for those commands, which look at them
        for text in ("nonsense", "3.5", "{a: 1}"):
            if text == "nonsense" or not admits(key, 3.5 if text == "3.5" else {"a": 1}):
                yield Case(f"{' '.join(start[:2])} {key.name}={text}", (*start, f"{key.name}={text}"))


def pairs() -> Iterator[Case]:
    """Values that are accepted each, and not together; or that ask for more than there is."""
    image, weather, graph = (("train", f"domain={d}", "--run", "new") for d in ("image", "weather", "graph"))
    few = ("train.tokenizer.steps=20", "train.fit_after=20")
    together = [
        (image, few, "train.tokenizer.steps"),
        (weather, few, "train.tokenizer.steps"),
        (image, ("model.predictor.width=10", "model.predictor.heads=3"), "model.predictor.width"),
        (graph, ("model.width=10", "model.heads=3"), "model.width"),
        (image, ("model.predictor.width=8", "model.predictor.mlp_ratio=0.01"), "model.predictor.mlp_ratio"),
        (image, ("model.predictor.attention=prefix", "model.predictor.rounds=3"), "model.predictor.rounds"),
        (image, ("train.loss.adversarial=1", "train.discriminator.start=100", "train.tokenizer.steps=100"), "start"),
        (image, ("train.loss.l2=0",), "train.loss.l1"),
        (image, ("model.quantizer.stages=40", "model.quantizer.size=512"), "model.quantizer"),
        (image, ("model.quantizer.kind=fsq", "model.quantizer.levels=[60000,60000,60000,60000]"), "levels"),
        (image, ("model.quantizer.groups=[[0,1],[1,2,3]]",), "model.quantizer.groups"),
        (image, ("model.quantizer.size=[8,8]",), "model.quantizer.size"),
        (image, ("domain.scales=[1,2,4]",), "domain.scales"),
        (image, ("domain.size=65536",), "domain.s"),
        (image, ("sampler.temperature=[1,1]",), "sampler.temperature"),
        (image, ("train.scale_weights=[1]",), "train.scale_weights"),
        (image, ("stage=predictor",), "stage"),
        (image, ("stage=nothing",), "stage"),
        (weather, ("stage=tokenizer",), "stage"),
        (weather, ("domain.train=[2021-12-31,2021-01-01]",), "domain.train"),
        (weather, ("domain.train=[a,b]",), "domain.train"),
        (weather, ("domain.step=5h",), "domain.step"),
        (weather, ("domain.step=1000000d",), "domain.step"),
        (weather, ("domain.statics=[nope]",), "domain.statics"),
        (weather, ("domain.variables=[z500,z500]",), "domain.variables"),
        (weather, ("domain.grid=gaussian:1000000x1000000",), "grid=gaussian"),
        (weather, ("domain.oversample=100",), "domain.oversample"),
    ]
    for name, value in (("width", 10**9), ("width", 10**6), ("mlp_ratio", 999), ("heads", 10**9)):
        more = ("model.predictor.width=1000000",) if name == "mlp_ratio" else ()
        together.append((image, (f"model.predictor.{name}={value}", *more), "model.predictor."))
    for name in ("model.quantizer.size", "domain.latent", "domain.width"):
        together.append((image, (f"{name}=1000000000",), name))
    for name in ("model.width", "model.triangle"):
        together.append((graph, (f"{name}=1000000000",), name))
    together.append((weather, ("model.mean.widths=[1000000,1000000]",), "model.mean.widths"))
    for start, values, says in together:
        yield Case(f"{' '.join(start[:2])} {' '.join(values)}", (*start, *values), says=(says,))


def texts() -> Iterator[Case]:
    """Values of trainer.*, YAML that is none or too much, and keys that are none."""
    train, sample = ("train", "domain=image", "--run", "new"), ("sample", "domain=image")
    trainer = ("accelerator=foo", "accelerator=tpu", "devices=0", "devices=x", "devices={a: 1}", "devices=[]")
    trainer += ("devices=-1", "num_nodes=0", "num_nodes=-1", "strategy=foo", "precision=foo", "precision=33")
    trainer += ("max_time=soon", "profiler=foo", "gradient_clip_algorithm=foo", "accumulate_grad_batches=0")
    trainer += ("options.max_steps=3", "options.nothing=1", "options.limit_val_batches=-1", "devices=[0, 1]")
    for value in trainer:
        yield Case(
            f"train trainer.{value}", (*train, f"trainer.{value}"), says=(f"trainer.{re.split('[=.]', value)[0]}",)
        )
    bomb = "{a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1], b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a], c: [*b, *b, *b, *b]}"
    values = ["&a", "*a", "!!python/object:os.system x", "!!int 3", "[", "{a: 1, a: 2}", "'", "${seed}", "\t- a"]
    values += ["[" * 100_000, "9" * 5000, "x" * 100_000, bomb, "a\n---\nb", "{_target_: os.system}", "null: 3"]
    for value in values:
        yield Case(f"sample.label={value[:30]!r}", (*sample, f"sample.label={value}"), says=("sample.label",))
    for text in ("x" * 100_000 + "=1", "domain=" + "x" * 100_000, "model=" + "x" * 100_000, "=", "--", "-", "a b"):
        yield Case(f"argument {text[:30]!r}", ("train", "domain=image", text))
    for key in ("sample.out", "run"):
        yield Case(f"{key} with a NUL", (*sample, f"{key}=a\0b"), says=(key,))
    for out in ("sample.out=", "inpaint.out="):
        command = out.partition(".")[0]
        yield Case(f"{out} empty", (command, "domain=image", out), says=(out.rstrip("="),))
    for name in ("seed=-1", f"seed={2**63}", "seed=text", "sample.split=all", "sampler.gain=all"):
        yield Case(f"sample {name}", (*sample, name), says=(name.partition("=")[0],))
    for name in ("optimizer=sgd", "lr=nan", "lr=1e400", "steps=-5", "ema=2", "batch_size=1000000000000"):
        yield Case(f"train predictor.{name}", (*train, f"train.predictor.{name}"), says=("train.predictor.",))
