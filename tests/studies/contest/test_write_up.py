"""Tables and pictures of a study, from small files that were made up."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from refine.errors import RefineError
from refine.studies.contest.results import read_results
from refine.studies.contest.write_up import cell, column, write_report
from refine.studies.store import StudyKey, shown

Record = dict[str, Any]


def record(experiment: str, seed: int, updates: int = 20, **figures: Any) -> Record:
    return {"experiment": experiment, "seed": seed, "updates": updates, "cpu_seconds": 90.0, "figures": figures}


def contestant(name: str, seed: int, frechet: float, **others: Any) -> Record:
    """A record with what every contestant has; the errors of its bands depend on the task."""
    bands = [{"name": "28x28", "error": 0.25}, {"name": "14x14", "error": 0.5}]
    common = {"frechet": frechet, "agreement": 0.875, "bits_per_dim": 0.125, "bands": bands}
    tasks = {
        "generation": common,
        "inpainting": {**common, "mse": 0.03 if frechet > 2 else 0.02, "frechet": 2 * frechet},
    }
    figures = {
        "parameters": 123456,
        "flops_per_update": 2.5e9,
        "curve": [[10, 3.0], [20, 2.0 + seed]],
        "floor": {"mse": 0.006, "psnr": 22.0, "frechet": 0.2},
        "gradient_noise": 3.0,
        "likelihood": "exact",
        "tasks": tasks,
    }
    return record(name, seed, **{**figures, **others})


def point(experiment: str, seed: int, frechet: float, passes: float, seconds: float) -> Record:
    return record(experiment, seed, frechet=frechet, agreement=0.9, passes=passes, seconds_per_image=seconds)


def written(path: Path, results: list[Record], **about: Any) -> Path:
    """A study.json."""
    path.write_text(
        json.dumps({"refine": "0", "domain": "image", "about": {"updates": 20, **about}, "results": results})
    )
    return path


def rows(page: str, title: str) -> list[dict[str, str]]:
    """The rows of all tables under a heading, by column; those without a name are numbered."""
    found = []
    for table in page.split(f"## {title}\n")[1].split("\n## ")[0].split("\n\n"):
        lines = [line[2:-2].split(" | ") for line in table.strip().splitlines() if line.startswith("|")]
        names = [name.strip() or str(i) for i, name in enumerate(lines[0])] if lines else []
        found += [dict(zip(names, line, strict=True)) for line in lines[2:]]
    return found


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "-"),
        ([0.5], "0.500"),
        ([1.0, 2.0, 3.0], "2.00 ± 1.00"),
        ([12.34, 12.34], "12.3"),
        ([123.4, 125.4], "124 ± 1"),
        ([0.00612, 0.00614], "0.00613 ± 0.00001"),
        ([2.5e9, 2.5e9], "2.50e+09"),
        ([-1.5, -2.5], "-2.00 ± 0.71"),
        ([3e-7, 3e-7], "3.00e-07"),
        ([0.0], "0"),
        ([float("nan"), 1.0], "nan"),
    ],
)
def test_a_cell_is_the_mean_with_the_sample_deviation(values: list[float], text: str) -> None:
    assert cell(values) == text


@pytest.mark.parametrize(
    ("values", "better", "bold"),
    [
        ([[1.0, 1.2], [2.0, 2.2]], -1, 0),
        ([[1.0, 1.2], [2.0, 2.2]], 1, 1),
        ([[1.0, 1.2], [2.0, 2.2]], 0, None),
        ([[1.0, 1.4], [1.5, 1.9]], -1, None),  # half apart, and 0.57 together
        ([[1.0, 1.2], [2.0, 2.2], [1.0, 9.0]], -1, None),  # not better than the third, which varies
        ([[1.0], [2.0, 2.2]], -1, None),  # of one seed nothing is known
        ([[1.0, 1.2]], -1, None),
        ([[1.0, 1.2], []], -1, None),
        ([[2.0, 2.2], [], [1.0, 1.2]], -1, 2),
    ],
)
def test_the_best_is_bold_where_it_is_better_by_both_deviations(
    values: list[list[float]], better: int, bold: int | None
) -> None:
    cells = column(values, better)
    assert [i for i, text in enumerate(cells) if text.startswith("**")] == ([] if bold is None else [bold])
    assert [text.strip("*") for text in cells] == [cell(v) for v in values]


def test_hypotheses_have_a_table_each(tmp_path: Path) -> None:
    means = {"scales_4": 1.0, "scales_1": 5.0, "bitwise": 1.1}
    results = [contestant(name, seed, mean + 0.1 * seed) for name, mean in means.items() for seed in (0, 1)]
    results += [
        contestant("gaussian", 0, 9.0, floor=None, likelihood="density"),
        record("codec", 0, 1500, mse=0.003, psnr=25),
    ]
    results += [contestant("scales_4", 2, 77.0) | {"updates": 10}]  # of another study
    about = {"data": "digits", "judge": "an eye", "samples": 1000, "of_train": {"frechet": 0.08, "agreement": 0.99}}
    files = write_report(written(tmp_path / "study.json", results, **about), tmp_path / "out", "hypotheses")
    assert [f.name for f in files] == ["hypotheses.md", "hypotheses.png", "curves.png"]
    for picture in files[1:]:
        height, width, _ = matplotlib.image.imread(picture).shape
        assert width == 1600 and height > 300
    page = files[0].read_text()
    for part in ("digits", "an eye", "2 seeds, 20 updates, 1,000 samples", "0.2 CPU hours", "distance 0.0800",
                 "agreement 99.0 %", "MSE 0.00300, PSNR 25.0 dB"):  # fmt: skip
        assert part in page, part
    assert "77" not in page
    cost, *quality = (row for row in rows(page, "Scales") if row.get("0", row.get("1")) == "S = 1")
    assert cost == {
        "0": "S = 1", "parameters": "123,456", "FLOPs of an update": "2.50e+09", "gradient noise": "3.00",
        "floor: MSE": "0.00600", "floor: PSNR, dB": "22.0", "floor: Fréchet distance": "0.200",
    }  # fmt: skip
    assert quality[0] == {
        "task": "generation", "1": "S = 1", "Fréchet distance": "5.05 ± 0.07", "floor": "0.200", "agreement, %": "87.5",
        "bits/dim": "0.125", "MSE": "-", "band 28x28": "0.250", "band 14x14": "0.500",
    }  # fmt: skip
    assert [row["Fréchet distance"] for row in quality] == ["5.05 ± 0.07", "-", "10.1 ± 0.1"]
    assert [row["MSE"] for row in quality] == ["-", "-", "0.0300"]
    four = [row for row in rows(page, "Scales") if row.get("1") == "S = 4"]
    assert [row["Fréchet distance"] for row in four] == ["**1.05 ± 0.07**", "-", "**2.10 ± 0.14**"]
    assert [row["MSE"] for row in four] == ["-", "-", "0.0200"]  # the least error of samples is not the best
    heads = [row for row in rows(page, "What a head predicts") if row.get("task") == "generation" or row.get("0")]
    assert {row["1"]: row["Fréchet distance"] for row in heads if "1" in row} == {"categorical": "1.05 ± 0.07"}
    assert "**" not in page.split("## What a head predicts")[1].split("## ")[0]  # the Gaussian has one seed
    assert {row["0"]: row["floor: MSE"] for row in rows(page, "What a head predicts") if "0" in row} == {
        "categorical": "0.00600", "bitwise": "0.00600", "Gaussian": "-",
    }  # fmt: skip


def test_missing_variants_are_dashes_and_groups_without_any_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "study.json", [contestant("scales_1", 0, 3.0)])
    page = write_report(path, tmp_path, "hypotheses")[0].read_text()
    assert page.count("\n## ") == 1 and "Data: -." in page and "1 seed, 20 updates, - samples" in page
    missing = [row for row in rows(page, "Scales") if "S = 2" in row.values()]
    assert len(missing) == 4
    assert all(set(row.values()) <= {"S = 2", "-", "generation", ""} for row in missing)


def test_the_frontier_is_a_table_of_points_and_one_of_likelihoods(tmp_path: Path) -> None:
    results = [point(f"scales_{s}/{s}", seed, 4.0 / s + seed, s, 0.001 * s) for s in (6, 1) for seed in (0, 1)]
    results += [point(f"latent_diffusion-dpm/{t}", 0, 9.0 / t, t, 0.002 * t) for t in (250, 5)]
    results += [point("absorbing/100", 0, 0.7, 63.5, 0.1), contestant("scales_1", 0, 1.0)]
    results += [record("absorbing", 0, likelihood="bound", tasks={"generation": {"bits_per_dim": 0.3}})]
    results += [record("pixel_diffusion", 0, likelihood=None, tasks={"generation": {}})]
    files = write_report(written(tmp_path / "study.json", results), tmp_path, "frontier")
    assert [f.name for f in files] == ["frontier.md", "frontier.png"]
    assert matplotlib.image.imread(files[1]).shape[1] == 1600
    points, likelihoods = files[0].read_text().split("## Likelihoods")
    lines = [line[2:-2].split(" | ") for line in points.splitlines() if line.startswith("| ")][2:]
    assert [line[1:] for line in lines] == [
        ["S = 1", "1", "0.00100", "4.50 ± 0.71", "90.0", "2"],
        ["S = 6", "6", "0.00600", "1.17 ± 0.71", "90.0", "2"],
        ["T = 100", "63.5", "0.100", "0.700", "90.0", "1"],
        ["T = 5", "5", "0.0100", "1.80", "90.0", "1"],
        ["T = 250", "250", "0.500", "0.0360", "90.0", "1"],
    ]
    found = [line[2:-2].split(" | ") for line in likelihoods.splitlines() if line.startswith("| ")][2:]
    assert {line[0]: line[1:] for line in found} == {
        "next scale, S = 1": ["0.125", "exact"],
        "pixel diffusion": ["-", "-"],
        "absorbing state, the same codes": ["0.300", "upper bound"],
    }


def test_pictures_bear_what_failed(tmp_path: Path) -> None:
    results = [point("scales_1/1", 0, float("nan"), 1, 0.001), point("scales_1/1", 1, 2.0, 1, 0.001)]
    results += [point("absorbing/2", 0, -1e-9, 2, 0.002), point("absorbing/5", 0, 1.0, 5, 0.0)]
    results += [point("absorbing/" + "9" * 5000, 0, 1.0, 5, 0.01)]
    curve = [[10, 3.0], [float("nan"), 2.0]]
    results += [contestant("scales_1", seed, value, curve=curve) for seed, value in enumerate((float("inf"), 1.0))]
    path = written(tmp_path / "study.json", results)
    pages = [write_report(path, tmp_path, which)[0].read_text() for which in ("frontier", "hypotheses")]
    assert "| nan |" in pages[0] and "| inf |" in pages[1]
    nowhere = written(tmp_path / "none.json", [point("scales_1/1", 0, float("nan"), 1, 0.0)])
    assert write_report(nowhere, tmp_path / "none", "frontier")[1].exists()


def test_what_was_drawn_is_put_together_below_the_real_items(tmp_path: Path) -> None:
    points = [point("scales_4/4", 1, 2.0, 4, 0.1), *(point(f"absorbing/{t}", 1, 3.0, t, 0.2) for t in (2, 5, 250))]
    path = written(tmp_path / "study.json", points)
    before = write_report(path, tmp_path, "frontier")
    colours = {"scales_4/4": (0, 1, 0), "absorbing/2": (0, 0, 1), "absorbing/5": (0, 1, 1), "absorbing/250": (1, 1, 0)}
    shown(tmp_path).parent.mkdir()
    paint(shown(tmp_path), (1, 0, 0))
    assert write_report(path, tmp_path, "frontier") == before  # real items alone are no picture
    for experiment, colour in colours.items():
        paint(shown(tmp_path, StudyKey(experiment, 1, 20), "generation"), colour)
    *same, sheet = write_report(path, tmp_path, "frontier")
    assert same == before and sheet.name == "frontier-samples.png"
    picture = matplotlib.image.imread(sheet)[..., :3]
    order = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    places = [(abs(picture - colour).max(-1) < 0.01).nonzero()[0] for colour in order]
    assert all(len(p) > 1000 for p in places)
    assert all(a.max() < b.min() for a, b in itertools.pairwise(places))
    assert (abs(picture - (0, 1, 1)).max(-1) > 0.01).all()  # neither end of the range
    paint(shown(tmp_path), (1, 0, 0), width=9)
    with pytest.raises(RefineError, match=r"generation-20-1\.png is not accepted: it is of another size"):
        write_report(path, tmp_path, "frontier")
    shown(tmp_path).write_text("junk")
    with pytest.raises(RefineError, match=r"real\.png is no picture"):
        write_report(path, tmp_path, "frontier")


def paint(path: Path, colour: tuple[float, ...], width: int = 600) -> None:
    matplotlib.image.imsave(path, np.full((60, width, 3), colour, dtype=np.float32))


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"about": {"updates": 20}}', '{"about": {"updates": "many"}, "results": []}',
     '{"about": {"updates": 20}, "results": [3]}', '{"about": {"updates": 20}, "results": [{"seed": 1}]}',
     '{"about": {"updates": 20}, "results": [{"experiment": 4, "seed": 0, "updates": 20, "figures": {}}]}',
     "[" * 100_000],
)  # fmt: skip
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(RefineError, match=r"other\.json is not a file of refine study"):
        read_results(path)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            {"gradient_noise": "low"},
            "gradient_noise='low' of scales_4, seed 0 is not accepted; accepted: a number or null",
        ),
        ({"tasks": {"generation": {"frechet": True}}}, "tasks.generation.frechet=True of scales_4, seed 0"),
        ({"tasks": {"generation": {"bands": 3}}}, "3 of scales_4, seed 0 is not accepted; accepted: a list or null"),
        ({"curve": [[1, "x"]]}, "1='x' of scales_4, seed 0, curve is not accepted"),
        ({"curve": [[2**64 - 1, 1.0]]}, "of scales_4, seed 0, curve is not accepted"),
    ],
)
def test_figures_that_are_none_are_told_by_name(tmp_path: Path, broken: Record, message: str) -> None:
    path = written(tmp_path / "study.json", [contestant("scales_4", 0, 1.0, **broken)])
    with pytest.raises(RefineError) as error:
        write_report(path, tmp_path / "out", "hypotheses")
    assert message in str(error.value) and str(path) in str(error.value)


def test_nothing_to_report_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "study.json", [contestant("scales_4", 0, 1.0)])
    with pytest.raises(RefineError, match="has no results of the frontier with 20 updates"):
        write_report(path, tmp_path / "out", "frontier")
    with pytest.raises(RefineError, match="study='both' is not accepted; accepted: hypotheses, frontier"):
        write_report(path, tmp_path / "out", "both")
    assert not (tmp_path / "out").exists()
