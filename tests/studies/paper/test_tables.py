from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from refine.errors import RefineError
from refine.studies.paper.claims import TABLES
from refine.studies.paper.experiments import EXPERIMENTS
from refine.studies.paper.mnist import FixedNoise
from refine.studies.paper.networks import high_band, paper_pyramid
from refine.studies.paper.report import number, text
from refine.studies.paper.tables import Cell, Claim, gradient_noise, overtaken
from refine.studies.paper.training import epochs_to, psnr
from refine.studies.store import Key, Store


def test_epochs_are_counted_to_the_first_at_most_the_target() -> None:
    assert epochs_to(0.018, [0.02, 0.018, 0.019, 0.017]) == 2
    assert epochs_to(0.018, [0.01]) == 1
    assert epochs_to(0.018, [0.02, 0.0181]) is None


def cell(paper: float, spread: float | None, judged: bool = True) -> Cell:
    return Cell("row", "column", paper, spread, lambda figures: None, judged=judged)


@pytest.mark.parametrize(
    ("paper", "spread", "values", "verdict"),
    [
        (0.0195, 0.0003, [0.0192, 0.0192], "yes"),
        (0.0195, 0.0003, [0.0191, 0.0191], "no"),
        (14, 1, [13, 15, 14], "yes"),
        (14, 1, [13, None, 14], "no"),
        (1.15, None, [1.20, 1.20], "yes"),
        (1.15, None, [1.22, 1.22], "no"),
    ],
)
def test_a_cell_is_reproduced_within_the_papers_spread_or_five_per_cent(
    paper: float, spread: float | None, values: list[float | None], verdict: str
) -> None:
    assert cell(paper, spread).verdict(values) == verdict
    assert cell(paper, spread, judged=False).verdict(values) == "-"


@pytest.mark.parametrize(
    ("below", "above", "verdict"),
    [
        ([1, 2], [2, 3], "yes"),
        ([3, 2], [2, 1], "reversed"),
        ([1, 3], [2, 2], "no"),
        ([1, 1], [1, 1], "no difference"),
        ([1, 1], [1, 2], "no"),
        ([9, 9], [None, 14], "yes"),
        ([None, None], [5, 5], "reversed"),
        ([None], [None], "no difference"),
    ],
)
def test_a_claim_has_to_hold_for_every_seed(below: list[float | None], above: list[float | None], verdict: str) -> None:
    assert Claim("", "", lambda f: None, lambda f: None).verdict(below, above) == verdict


def test_gradient_noise_does_not_depend_on_the_unit_of_the_loss() -> None:
    def figures(unit: float) -> dict[str, dict[str, list[float]]]:
        return {"a": {"gradient_variance": [9.0, 0.02 * unit**2], "gradient_mean": [9.0, 0.5 * unit]}}

    assert gradient_noise("a")(figures(1)) == pytest.approx(0.08) == pytest.approx(gradient_noise("a")(figures(64)))


def test_overtaking_is_the_first_record_in_which_the_other_is_lower() -> None:
    def early(*errors: float) -> dict[str, list[list[float]]]:
        return {"early": [[20 * i, error] for i, error in enumerate(errors, 1)]}

    quantity = overtaken("a", "b")
    assert quantity({"a": early(3, 2, 1.9), "b": early(4, 2, 1)}) == 60
    assert quantity({"a": early(3, 2), "b": early(4, 3)}) is None


def test_every_cell_of_the_paper_is_there() -> None:
    assert [len(table.cells) for table in TABLES.values()] == [8, 9, 6, 6]
    printed = {  # as the paper has them, row by row
        "1": [0.0195, 17.6, 14, 0.0280, 0.0158, 18.9, 9, 0.0221],
        "2": [0.0204, 0.0024, 1.00, 0.0181, 0.0015, 1.02, 0.0185, 0.0011, 0.92],
        "3": [0.0193, 12, 16.8, 0.0164, 7, 18.2],
        "4": [0.0193, 1.00, 0.0164, 1.15, 0.0162, 1.22],
    }
    assert {n: [c.paper for c in table.cells] for n, table in TABLES.items()} == printed
    assert {name for table in TABLES.values() for name in table.experiments} == set(EXPERIMENTS)


def test_texts_of_numbers() -> None:
    assert text([1, None, 2]) == "1, never, 2"
    assert text([0.00607, 0.00609]) == "0.00608 ± 0.00001"
    assert text([22.36, 22.3]) == "22.33 ± 0.04"
    assert text([2.1e-6, 2.3e-6]) == "2.2e-06 ± 1.4e-07" and text([2.1e-6, 2.3e-6], spread=False) == "2.2e-06"
    assert (number(1.0), number(14), number(0.0195), number(2.1e-6)) == ("1", "14", "0.01950", "2.1e-06")


def test_the_high_band_is_zero_of_constants_and_its_psnr_sees_only_detail() -> None:
    pyramid = paper_pyramid(2)
    x = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(high_band(torch.full((1, 1, 28, 28), 0.7), pyramid), torch.zeros(1, 1, 28, 28))
    torch.testing.assert_close(high_band(x + 0.3, pyramid), high_band(x, pyramid))
    error = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    by_image = -10 * high_band(error, pyramid).square().mean((1, 2, 3)).log10()
    assert psnr(high_band(x + error, pyramid), high_band(x, pyramid)) == pytest.approx(float(by_image.mean()), rel=1e-4)


def test_noise_of_a_seed_is_fixed_and_the_shift_has_other_noise() -> None:
    x = torch.zeros(2, 1, 28, 28)
    a, b, c = FixedNoise.of(x, 0), FixedNoise.of(x, 0), FixedNoise.of(x, 1)
    assert torch.equal(a.unit, b.unit) and not torch.equal(a.unit, c.unit) and not torch.equal(a.unit, a.shifted)


def test_the_store_keeps_six_digits_and_refuses_other_files(tmp_path: Path) -> None:
    key = Key("pixel", 0, 1000, 30)
    store = Store(tmp_path / "new" / "reproduction.json", Key)
    store.add(key, {"mse": 1 / 3, "curve": [[20, 2 / 3]], "parameters": 805136}, 12.34)
    again = Store(store.path, Key)
    assert key in again and Key("pixel", 1, 1000, 30) not in again
    assert again.figures(key) == {"mse": 0.333333, "curve": [[20, 0.666667]], "parameters": 805136}
    with pytest.raises(RefineError, match="has no Key"):
        again.figures(Key("pixel", 1, 1000, 30))
    whole = {**key._asdict(), "figures": {}}
    wrong = [{**whole, "seed": "0"}, {**whole, "figures": None}, {**whole, "experiment": 3}]
    for content in ("{", "[]", json.dumps({"results": [{"seed": 1}]}), *(json.dumps({"results": [r]}) for r in wrong)):
        other = tmp_path / "other.json"
        other.write_text(content)
        with pytest.raises(RefineError, match=r"other\.json is not a file of refine reproduce"):
            Store(other, Key)
        assert other.read_text() == content


def test_two_stores_of_one_file_keep_what_each_has_added(tmp_path: Path) -> None:
    keys = [Key("pixel", seed, 1000, 30) for seed in range(3)]
    first, second = (Store(tmp_path / "reproduction.json", Key) for _ in range(2))
    first.add(keys[0], {"mse": 1.0}, 0)
    second.add(keys[1], {"mse": 2.0}, 0)
    first.add(keys[2], {"mse": 3.0}, 0)
    assert [Store(first.path, Key).figures(key)["mse"] for key in keys] == [1, 2, 3]
