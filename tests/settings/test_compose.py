"""Configurations: spellings of keys, groups and experiments, types, and what is refused with which message."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from strangers import install, install_toy

from refine.errors import RefineError
from refine.kinds import COMMANDS
from refine.settings.compose import compose, config_keys, from_values, group_files, to_yaml
from refine.settings.config import Config, ModelConfig
from refine.settings.keys import keys_of
from refine.settings.typed import plain_data, typed


@pytest.fixture(autouse=True, scope="module")
def _toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install_toy(tmp_path_factory.mktemp("toy") / "site"))
        yield


def toy(*arguments: str, **options: Any) -> Config:
    return compose(["domain=toy", *arguments], **options)


@cache
def five() -> Config:
    return toy("sample.num=5")


@pytest.mark.parametrize(
    "spelling",
    [["num=5"], ["--num", "5"], ["--num=5"], ["sample.num=5"], ["--sample.num", "5"], ["num=4", "--num", "5"]],
)
def test_spellings_of_one_key(spelling: list[str]) -> None:
    assert compose(["domain=toy", *spelling]) == compose([*spelling, "--domain", "toy"]) == five()
    assert five().sample.num == 5


def test_flags_and_overrides_intermixed_in_any_order() -> None:
    config = compose(["--val-every", "3", "seed=7", "--domain=toy", "--mirror", "stage=predictor", "--greedy", "true"])
    assert (config.train.val_every, config.seed, config.stage, config.sampler.greedy) == (3, 7, "predictor", True)
    assert config.domain.mirror is True
    assert compose(["--gif", "false", "--mirror", "domain=toy"]).sample.gif is False


@pytest.mark.parametrize("text", ["/a b/c=d,[x]#: {y}", "a=b", "1e3", "on", "~/x", "'quoted'", "+x", "-1", "äöü"])
def test_text_is_taken_as_it_stands(text: str) -> None:
    base = toy()
    for spelling in ([f"folder={text}"], ["--folder", text], [f"--folder={text}"]):
        assert compose(spelling, base).domain.folder == text


def test_values_by_type() -> None:
    config = toy("scales=[1,2,8]", "top_k=[0,50]", "temperature=[1, 0.9]", "commitment=1e-3", "devices=auto", "label=2")
    assert config.domain.scales == [1, 2, 8]
    assert config.sampler.top_k == [0, 50]
    assert config.sampler.temperature == [1, 0.9]
    assert config.model.commitment == 0.001
    assert (config.trainer.devices, config.sample.label) == ("auto", 2)
    assert toy("folder=x", "--folder", "null").domain.folder is None
    assert toy("filter.cut=1", "order=3").domain.filter == type(config.domain.filter)(order=3, cut=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_size=3"], "fits several keys; write one of train.tokenizer.batch_size, train.predictor.batch_size"),
        (["widht=3"], "'widht' is not a key. Did you mean 'model.predictor.width'? All keys are shown by --help"),
        (["model.predictor.wdith=3"], "Accepted: model.predictor.width, model.predictor.depth"),
        (["model.quantizer=3"], "'model.quantizer' is a section; its keys are model.quantizer.kind"),
        (["domain_name=image"], "'domain_name' is not a key"),
        (["domain.colour=3"], "Accepted: domain.data, domain.length, domain.scales, domain.mirror, domain.folder"),
        (["num=three"], "sample.num='three' is not accepted; accepted: whole numbers from 1 to 1,000,000"),
        (["num=1.5"], "sample.num=1.5 is not accepted; accepted: whole numbers from 1 to 1,000,000"),
        (["commitment=much"], "model.commitment='much' is not accepted; accepted: numbers from 0 to 1e9"),
        (["gif=perhaps"], "sample.gif='perhaps' is not accepted; accepted: true, false"),
        (["scales=1,2"], "domain.scales='1,2' is not accepted; expected list[int]"),
        (["scales=[1,x]"], "domain.scales=[1, 'x'] is not accepted; expected list[int]"),
        (["top_k=[1"], "sampler.top_k='[1' cannot be read"),
        (["--num"], "--num needs a value"),
        (["num"], "'num' is not understood; write key=value or --key value"),
        (["-n", "3"], "'-n' is not understood"),
        (["+num=3"], "'+num=3' is not understood"),
        (["~num"], "'~num' is not understood"),
        (["folder=${oc.env:HOME}"], "domain.folder='${oc.env:HOME}' is not accepted: values are not interpolated"),
        (["label=${seed}"], "not interpolated"),
        (["label={_target_: os.system}"], "sample.label._target_ is not accepted"),
        (["model=huge"], "model='huge' is not accepted; accepted: var"),
        (["experiment=nist"], "Did you mean 'mnist'?"),
        (["experiment=mnist"], "domain='toy' does not go with experiment=mnist, of 'image'"),
    ],
)
def test_refused_with_one_message(arguments: list[str], message: str) -> None:
    with pytest.raises(RefineError) as error:
        toy(*arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_missing_and_broken_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RefineError, match=r"domain='tiy' is not accepted; accepted: graph, image, toy, weather\. Did you mean 'toy'\?"
    ):
        compose(["domain=tiy"])
    with pytest.raises(RefineError, match="domain= is missing; accepted: graph, image, toy"):
        compose(["num=3"])
    monkeypatch.syspath_prepend(install(tmp_path / "b", "refine_broken", "import nowhere", "broken = refine_broken:X"))
    with pytest.raises(
        RefineError, match=r"'broken' \(refine_broken:X\) cannot be loaded: .*No module named 'nowhere'"
    ):
        compose(["domain=broken"])


def test_domain_without_files_has_its_defaults_and_its_own_type() -> None:
    config = toy()
    assert (config.domain_name, type(config.domain).__name__, config.domain.length) == ("toy", "ToyConfig", 8)
    assert {**asdict(config), "domain": None, "domain_name": "", "commands": {}} == asdict(Config(None, ""))
    of_models = {name: c.Options for name, c in COMMANDS.all() if c.of_a_model and c.Options is not None}
    assert config.commands == {name: options() for name, options in of_models.items()} and "sample" in of_models


def test_order_of_precedence_defaults_groups_experiment_keys() -> None:
    assert compose(["experiment=mnist"]).domain.data == "mnist"
    assert compose(["experiment=mnist"]) == compose(["domain=image", "experiment=mnist"])
    config = compose(["data=digits", "experiment=mnist", "train=quick", "tokenizer.steps=7"])
    assert (config.domain.data, config.train.tokenizer.steps, config.train.predictor.steps) == ("digits", 7, 100)
    var = toy("sampler=var", "model=var", "top_k=3")
    assert (var.sampler.top_k, var.sampler.schedule, var.model.predictor.attention) == (3, "linear", "prefix")


@pytest.mark.parametrize("group", ["model", "train", "sampler", "experiment"])
def test_every_settings_file_is_accepted(group: str) -> None:
    assert group_files(group)
    for name in group_files(group):
        compose([f"{group}={name}", *([] if group == "experiment" else ["domain=toy"])])


def test_on_top_of_a_run() -> None:
    base = toy("data=steps", "seed=4", "temperature=0.5", "width=32")
    config = compose(["--num", "3", "sampler=var"], base)
    assert (config.domain.data, config.seed, config.model.predictor.width, config.sample.num) == ("steps", 4, 32, 3)
    assert (config.sampler.temperature, config.sampler.top_k) == (
        1.0,
        900,
    )  # the section is the file's, as in a new run
    assert base.sample.num == 64
    with pytest.raises(RefineError, match="domain='image' is not accepted: the run is of domain 'toy'"):
        compose(["domain=image"], base)


def test_sections_make_short_names_unique_and_refuse_the_rest() -> None:
    assert toy("batch_size=3", accepted=("sample", "seed")).sample.batch_size == 3
    for argument in ("length=3", "model=var", "experiment=mnist"):
        with pytest.raises(RefineError, match=r"is not a key\. Accepted: seed, sample\.num.*, sample\.strip$"):
            toy(argument, accepted=("sample", "seed"))


def test_yaml_round_trip() -> None:
    config = toy("scales=[1,8]", "folder=/a: b #c", "top_k=[0,50]", "sample.out=null", "data=2020-01-01", "--gif")
    assert from_values(OmegaConf.to_container(OmegaConf.create(to_yaml(config)))) == config  # type: ignore[arg-type]


def test_composing_leaves_no_hydra_behind() -> None:
    toy()
    assert not GlobalHydra.instance().is_initialized()


@dataclass
class Needed:
    size: int
    names: list[str] = field(default_factory=list)


def test_typed_names_where_and_what() -> None:
    assert typed(ModelConfig, {"predictor": {"width": 8}}).predictor.width == 8
    with pytest.raises(
        RefineError, match=r"'config.json model.predictor.wide' is not a key.*config.json model.predictor.width"
    ):
        typed(ModelConfig, {"predictor": {"wide": 8}}, "config.json model")
    with pytest.raises(RefineError, match=r"model.predictor=3 is not accepted: it is a section of keys"):
        typed(ModelConfig, {"predictor": 3}, "model")
    with pytest.raises(RefineError, match=r"toy.size must be given"):
        typed(Needed, {}, "toy")
    with pytest.raises(RefineError, match=r"toy.names=3 is not accepted; expected list\[str\]"):
        typed(Needed, {"size": 1, "names": 3}, "toy")
    with pytest.raises(RefineError, match="is not a dataclass"):
        typed(int, {}, "toy")


@pytest.mark.parametrize(
    "bad", [{"_target_": "os.system"}, {"a": [{"_args_": []}]}, {3: 4}, {"a": object()}, {"a": "${x}"}]
)
def test_only_plain_data(bad: Any) -> None:
    with pytest.raises(RefineError, match="is not accepted"):
        plain_data(bad)


def test_keys_explain_themselves_by_their_comments() -> None:
    keys = config_keys("toy")
    assert keys["domain.data"].help == "waves | steps"
    assert keys["domain.filter.cut"].help == "share of the band that is kept"
    assert (keys["domain.folder"].type_name, keys["domain.scales"].type_name) == ("str | None", "list[int]")
    assert (keys["sample.gif"].default_text, keys["sample.label"].default_text) == ("false", "null")
    assert keys["model.quantizer.kind"].help.startswith("vq | fsq | bitwise | none")
    config = toy()
    for name, key in keys.items():  # what --help shows is what a run gets
        assert operator.attrgetter(name)(config) == key.default
    of_every_run = {name for name in keys_of(Config) if name not in ("domain", "domain_name", "commands")}
    assert {name.partition(".")[0] for name in of_every_run} <= {name.partition(".")[0] for name in keys}
