"""Studies in small: sizes are matched, what is measured is what it says, and a study that was killed goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from processes import start
from torch.utils._pytree import tree_flatten
from toy import stir

from refine.errors import RefineError
from refine.noise import Noise
from refine.settings.config import SamplerConfig
from refine.studies.contest import measurements, runner, variants
from refine.studies.contest.contestant import Contestant
from refine.studies.contest.results import read_results
from refine.studies.store import Store, StudyKey, shown
from refine.types import Condition

pytest.importorskip("diffusers")
pytestmark = pytest.mark.usefixtures("judge")

DIGITS = {"data": "digits", "factor": 2, "latent": 8, "width": 8, "blocks": 0}
SMALL = {1: [4], 2: [2, 4], 3: [1, 2, 4], 4: [1, 2, 3, 4]}
SETTINGS = f"""
from refine.studies.contest import measurements, runner, variants
variants.DATA, variants.SCALES = {DIGITS}, {SMALL}
variants.WIDTH, variants.DEPTH, variants.CODES, variants.BATCH = 16, 1, 16, 8
runner.CODEC = runner.StageConfig(steps=4, batch_size=16, lr=2e-3, ema=0.0)
runner.CODEC_FIT_AFTER, runner.FIT_ITEMS, runner.VAL_ITEMS, runner.SAMPLES, runner.STEPS = 2, 64, 32, 40, (2, 3)
measurements.GRADIENTS, measurements.AT_ONCE = 3, 20
"""
NAMES = ("scales_1", "scales_4", "pixel", "gaussian", "product", "bitwise", "latent_diffusion", "absorbing")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in (
        (variants, ("DATA", "SCALES", "WIDTH", "DEPTH", "CODES", "BATCH")),
        (runner, ("CODEC", "CODEC_FIT_AFTER", "FIT_ITEMS", "VAL_ITEMS", "SAMPLES", "STEPS")),
        (measurements, ("GRADIENTS", "AT_ONCE")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    exec(SETTINGS)


@pytest.fixture
def study(tmp_path: Path) -> runner.Study:
    return runner.Study(4, tmp_path)


def untrained(study: runner.Study, name: str) -> tuple[Contestant, int]:
    return variants.matched(name, study.subject, study.domain.codec(), seed=0)


@pytest.mark.parametrize("name", [n for n in variants.VARIANTS if n != "scales_6"])
def test_contestants_are_of_one_size(study: runner.Study, name: str) -> None:
    """Parameters to one unit of the MLPs; operations of an update to one item."""
    reference, batch = untrained(study, variants.REFERENCE)
    contestant, items = untrained(study, name)
    unit = variants.DEPTH * (2 * variants.WIDTH + 1)
    assert abs(variants.parameters(contestant) - variants.parameters(reference)) <= unit
    each = variants.operations(contestant)
    assert abs(items * each - batch * variants.operations(reference)) <= each


def test_operations_are_counted(study: runner.Study) -> None:
    """At least two for each weight of the blocks and site, and four more for their gradients."""
    contestant, _ = untrained(study, "scales_4")
    blocks = contestant.refiner.predictor.blocks  # type: ignore[attr-defined, union-attr]
    weights = sum(p.numel() for p in blocks.parameters() if p.dim() == 2)
    assert variants.operations(contestant) > 6 * weights * contestant.tokens
    assert variants.operations(contestant) < 20 * weights * contestant.tokens


def test_gradient_noise_of_a_known_law(study: runner.Study) -> None:
    """A loss whose gradient is 3 + z in each of d weights has noise 1 / 9."""
    contestant, _ = untrained(study, "scales_1")
    contestant.requires_grad_(False)
    weight = torch.nn.Parameter(torch.zeros(4000))
    contestant.weight = weight
    contestant.loss = lambda latent, condition: (weight * (3 + torch.randn(4000))).sum()  # type: ignore[method-assign]
    x, label = study.test
    assert measurements.gradient_noise(contestant, x, label) == pytest.approx(1 / 9, rel=0.1)


def test_gradient_noise_is_of_the_same_batches_for_all(study: runner.Study) -> None:
    met: list[list[torch.Tensor]] = []
    for name in ("scales_1", "pixel"):
        contestant, _ = untrained(study, name)
        inner, seen = contestant.loss, list[torch.Tensor]()

        def loss(latent: torch.Tensor, condition: Condition, inner: Any = inner, seen: Any = seen) -> torch.Tensor:
            seen.extend([condition.label, condition.vector, condition.field])
            return inner(latent, condition)

        contestant.loss = loss  # type: ignore[method-assign]
        before = {key: value.clone() for key, value in contestant.state_dict().items()}
        measurements.gradient_noise(contestant, *study.test)
        assert all(torch.equal(value, before[key]) for key, value in contestant.state_dict().items())
        met.append(seen)
    assert len(met[0]) == 3 * measurements.GRADIENTS
    assert all(torch.equal(a, b) for a, b in zip(*met, strict=True))


def test_a_file_of_two_settings_is_about_the_one_asked_for_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "about", lambda setting: {"updates": setting.updates})
    for what in ("codec_figures", "contestant_figures"):
        monkeypatch.setattr(runner, what, lambda *_: {"frechet": 1.0})
    for updates in (4, 6, 4):
        path = runner.run_all(runner.Study(updates, tmp_path), ["scales_1"], [0], False)
        assert read_results(path).updates == updates
    assert len(Store(path, StudyKey).records) == 3


def test_a_study_and_one_that_was_killed_agree(tmp_path: Path) -> None:
    """SIGKILL in the middle of a training: the same command goes on, to figures that are the same."""
    whole, killed = runner.Study(6, tmp_path / "whole"), runner.Study(6, tmp_path / "killed")
    names = ("scales_4", "latent_diffusion")
    runner.run_all(whole, names, [0], True)
    under_way = killed.run("scales_4", 0) / "resume" / "predictor.safetensors"
    process = start(run_small, killed, names)
    while not under_way.exists() and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    assert under_way.exists()
    runner.run_all(killed, names, [0], True)
    expected, found = (Store(s.folder / "study.json", StudyKey).records for s in (whole, killed))
    assert expected.keys() == found.keys() and len(found) == 1 + 2 + 1 + 4
    for key, record in expected.items():
        figures = [r["figures"] for r in (record, found[key])]
        curves = [f.get("curve", [[0, 0.0]]) for f in figures]
        assert curves[0][-1] == pytest.approx(curves[1][-1], rel=1e-3)  # the kill may have cost a record in between
        a, b = (tree_flatten(f | {"seconds_per_image": 0, "curve": 0}) for f in figures)
        assert a[1] == b[1] and [v for v in a[0] if isinstance(v, str)] == [v for v in b[0] if isinstance(v, str)]
        numbers = ([v for v in leaves if isinstance(v, int | float)] for leaves, _ in (a, b))
        assert next(numbers) == pytest.approx(next(numbers), rel=1e-3), key
    before = (killed.folder / "study.json").stat().st_mtime_ns
    runner.run_all(killed, names, [0], True)
    assert (killed.folder / "study.json").stat().st_mtime_ns == before  # nothing is measured twice


def run_small(study: runner.Study, names: tuple[str, ...]) -> None:
    """The study in another process."""
    exec(SETTINGS)
    runner.run_all(study, names, [0], True)


def test_every_contestant_can_be_measured(study: runner.Study) -> None:
    runner.run_all(study, NAMES, [0], True)
    store = Store(study.folder / "study.json", StudyKey)
    found = {key.experiment: record["figures"] for key, record in store.records.items()}
    assert set(NAMES) < found.keys()
    assert {f"{n}/{t}" for n in ("latent_diffusion-ddim", "latent_diffusion-dpm", "absorbing") for t in (2, 3)} < set(
        found
    )
    assert found["scales_4/4"]["passes"] == 4 and found["latent_diffusion-ddim/3"]["passes"] == 3
    likelihoods = {name: found[name]["likelihood"] for name in NAMES}
    assert likelihoods == {n: "exact" for n in NAMES} | {
        "gaussian": "density",
        "absorbing": "bound",
        "latent_diffusion": None,
    }
    bits = {n: found[n]["tasks"]["generation"]["bits_per_dim"] for n in NAMES}
    assert bits["latent_diffusion"] is None
    assert 0 < bits["scales_4"] <= 1.05 * 30 * 4 / 64  # untrained: four bits for each of 30 codes, 64 pixels
    assert found["latent_diffusion"]["floor"] is None
    assert found["gaussian"]["floor"]["mse"] == pytest.approx(found["codec"]["mse"], rel=1e-3)  # nothing is rounded
    assert all(found[n]["tasks"]["inpainting"]["mse"] > 0 for n in NAMES if n in runner.HYPOTHESES)
    assert [step for step, _ in found["scales_1"]["curve"]][-1] == 3
    drawn = [shown(study.folder, StudyKey(name, 0, 4), "inpainting") for name in NAMES if name in runner.HYPOTHESES]
    drawn += [shown(study.folder, StudyKey("absorbing/3", 0, 4), "generation"), shown(study.folder)]
    assert len({plt.imread(path).shape for path in drawn}) == 1 and len({path.read_bytes() for path in drawn}) > 1


def test_a_contestant_draws_what_a_batch_of_its_own_would(study: runner.Study) -> None:
    """Noise goes with the sample, whatever the batches are."""
    contestant = study.contestant("scales_4", 0)[0]
    x, label = study.test
    told = measurements.told(contestant, x, label, "inpainting")
    once = torch.cat([items for items, _, _ in measurements.draw(contestant, told, 40, 0, 4)])
    measurements.AT_ONCE = 7
    torch.testing.assert_close(torch.cat([i for i, _, _ in measurements.draw(contestant, told, 40, 0, 4)]), once)


def test_a_low_temperature_draws_the_likeliest_codes(study: runner.Study) -> None:
    contestant, _ = untrained(study, "scales_4")
    stir(contestant)
    x, label = study.test
    told, noise = measurements.told(contestant, x, label, "generation"), Noise(0, range(40))
    refiner: Any = contestant.refiner
    *_, last = refiner.tokenizer.replay(refiner.generate(noise, told, SamplerConfig(greedy=True)).codes)
    greedy = refiner.tokenizer.pyramid.latent(last.state, last.k)
    torch.testing.assert_close(contestant.draw(noise, told, 4, temperature=1e-6)[0], greedy)
    assert not torch.allclose(contestant.draw(noise, told, 4)[0], greedy)


def test_points_are_all_for_the_first_seed_and_the_ends_for_others() -> None:
    assert runner.points("scales_3", 1) == [("scales_3/3", 3, "")]
    assert [steps for _, steps, _ in runner.points("absorbing", 0)] == [2, 3]
    runner.STEPS = (2, 5, 10)
    assert runner.points("pixel_diffusion", 0)[1] == ("pixel_diffusion-ddim/5", 5, "ddim")
    assert [name for name, _, _ in runner.points("pixel_diffusion", 2)] == [
        *("pixel_diffusion-ddim/2", "pixel_diffusion-ddim/10"),
        *("pixel_diffusion-dpm/2", "pixel_diffusion-dpm/10"),
    ]


def test_a_run_of_another_size_is_not_taken_for_this_one(study: runner.Study) -> None:
    study.codec(0)
    assert study.run("scales_4", 0) != replace(study, updates=5).run("scales_4", 0)
    variants.DATA = {**variants.DATA, "width": 16}
    with pytest.raises(RefineError, match=r"domain\.width=8"):
        runner.Study(4, study.folder).codec(0)
