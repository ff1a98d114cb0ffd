"""Capabilities: a command names what it needs, a domain inherits it, and messages name the domains that have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ragged import registered
from toy import TinyConfig, TinyDomain

import refine
from refine.capabilities import (
    Capability,
    Exports,
    Forecasts,
    ImportsWeights,
    Inpaints,
    Pictures,
    Regrids,
    Studies,
)
from refine.commands.configure import configure
from refine.commands.ensemble import Ensemble
from refine.commands.inpaint import Inpaint
from refine.errors import RefineError
from refine.kinds import COMMANDS
from refine.settings.compose import compose

ALL = (Exports, Forecasts, ImportsWeights, Inpaints, Pictures, Regrids, Studies)


class Able(TinyDomain, Inpaints):
    """The toy, which in-paints."""

    name = "able"

    def inpaint(self, model: Any, config: Any, folder: Path) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "inpainted.txt"
        path.write_text(f"{config.inpaint.num} {model.num_levels}")
        return [path]


def test_what_a_domain_lacks_is_said_with_those_that_have_it() -> None:
    with pytest.raises(RefineError) as refused:
        Forecasts.of("graph")
    assert str(refused.value) == "domain 'graph' does not forecast; accepted: weather"
    assert Forecasts.of("weather") is refine.kinds.DOMAINS.load("weather")
    with pytest.raises(RefineError, match=r"^domain='grph' is not accepted; accepted: .*Did you mean 'graph'\?$"):
        Forecasts.of("grph")


def test_domains_are_those_that_inherit_it() -> None:
    for capability in ALL:
        assert all(issubclass(domain, capability) for domain in capability.domains().values())
    with registered(able=Able, tiny=TinyDomain):
        assert Inpaints.domains()["able"] is Able and "tiny" not in Inpaints.domains()
        assert Inpaints.of("able") is Able
        with pytest.raises(RefineError, match=r"^domain 'tiny' does not in-paint; accepted: able, "):
            Inpaints.of("tiny")
        assert all("able" not in c.domains() for c in ALL if c is not Inpaints)
    assert "able" not in Inpaints.domains()


def test_what_nobody_has_is_said_too() -> None:
    class Sings(Capability):
        lacking = "does not sing"

    assert Sings.domains() == {}
    with pytest.raises(RefineError, match=r"^domain 'graph' does not sing; accepted: none that is installed$"):
        Sings.of("graph")
    with pytest.raises(RefineError, match=r"^every installed domain does not sing"):
        Sings.anyone()
    with registered(able=type("Singer", (TinyDomain, Sings), {"name": "able"})):
        assert issubclass(Sings.anyone(), Sings)


def test_a_capability_is_an_interface() -> None:
    class Half(TinyDomain, Exports):
        """Says that it exports, and does not say how."""

    with pytest.raises(TypeError, match="export"):
        Half(TinyConfig())  # type: ignore[abstract]


def test_a_command_says_what_it_needs_before_anything_else() -> None:
    """Before a model is looked for, whether there is one or not."""
    with registered(tiny=TinyDomain), pytest.raises(RefineError, match=r"^domain 'tiny' does not in-paint; accepted: "):
        configure("inpaint", Inpaint, ["domain=tiny"])
    with pytest.raises(RefineError, match=r"^domain 'graph' does not forecast; accepted: weather$"):
        configure("ensemble", Ensemble, ["domain=graph"])
    for _, command in COMMANDS.all():
        assert not isinstance(command, RefineError)
        assert command.needs is None or issubclass(command.needs, Capability)


def test_a_domain_that_is_able_serves_the_command(tmp_path: Path) -> None:
    from models.test_refiner import build

    with registered(able=Able):
        model = build()
        model.domain = Able(model.domain.config)
        model.save_pretrained(tmp_path / "model")
        out = Inpaint().run(
            configure("inpaint", Inpaint, [f"run={tmp_path / 'model'}", "num=3", f"out={tmp_path / 'o'}"])
        )
        assert (out / "inpainted.txt").read_text() == "3 2"
        assert compose(["domain=able"]).inpaint.num == 4


class Plain(TinyDomain, Inpaints):
    """The toy, which in-paints as any domain of latents does."""

    name = "plain"


def test_a_domain_of_latents_in_paints_items_without_a_method_of_its_own(tmp_path: Path) -> None:
    """Kept scales are those of the item, finer ones are drawn as the model draws them; batches change nothing."""
    from models.test_refiner import build

    model = build()
    with registered(plain=Plain):
        model.domain = Plain(model.domain.config)
        model.save_pretrained(tmp_path / "model")

        def run(*words: str) -> dict[str, np.ndarray[Any, Any]]:
            out = tmp_path / "-".join(words).replace(":", "")
            Inpaint().run(configure("inpaint", Inpaint, [f"run={tmp_path / 'model'}", *words, f"out={out}"]))
            return dict(np.load(out / "samples.npz"))

        found = run("item=test:3", "keep_scales=1", "num=5", "batch_size=2")
        item = model.domain.dataset("test")[3]
        codes = model.tokenizer.encode(item["x"][None])
        assert (found["codes_0"] == codes[0].numpy()).all() and len(found["codes_0"]) == 5
        whole = run("item=test:3", "keep_scales=1", "num=5")
        assert all((found[name] == whole[name]).all() for name in found)
        assert len({row.tobytes() for row in run("keep_scales=0", "num=5")["codes_0"]}) > 1
        for words in (["item=test"], ["item=../x:1"], ["item=test:99999"], ["item=train:-1"], ["keep_scales=2"]):
            with pytest.raises(RefineError, match=rf"inpaint\.{words[0].partition('=')[0]}=.* is not accepted"):
                run(*words)
            assert not (tmp_path / words[0].replace(":", "")).exists()
