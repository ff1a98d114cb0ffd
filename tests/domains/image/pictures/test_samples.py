"""Samples and reconstructions as pictures and arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from refine.domains.image import ImageDomain
from refine.domains.image.data.pixels import to_float
from refine.domains.image.pictures.samples import shown
from refine.errors import RefineError
from refine.models.refiner import Refiner
from refine.models.samples import draw_samples
from refine.settings.config import Config, ModelConfig
from refine.storage.runs import load_run_config
from refine.types import Condition, Samples

from ..tiny_runs import model as tiny_model


def made_up_samples(domain: ImageDomain, labels: list[int] | None, trail: bool) -> tuple[Samples, torch.Tensor]:
    pixels = domain.images("test").pixels[: 6 if labels is None else len(labels)]
    items, sites = to_float(pixels), [1, 4, 16, 64]
    codes = [torch.randint(0, 512, (len(pixels), n), generator=torch.Generator().manual_seed(n)) for n in sites]
    steps = [items * (k + 1) / 4 for k in range(4)] if trail else []
    condition = Condition(label=None if labels is None else torch.tensor(labels))
    return Samples(items, codes, condition, steps), pixels


def cell(picture: Image.Image, left: int, top: int) -> np.ndarray:
    """The 8 x 8 pixels that a cell of 7 x 7 blocks shows."""
    array = np.asarray(picture.convert("L"))[top : top + 56, left : left + 56]
    assert np.array_equal(array, np.kron(array[::7, ::7], np.ones((7, 7), np.uint8)))
    return array[::7, ::7]


def test_samples_become_pictures_and_arrays(digits: ImageDomain, tmp_path: Path) -> None:
    samples, pixels = made_up_samples(digits, [3, 7, 3, 3, 7], trail=True)
    paths = digits.save(samples, tmp_path / "new", gif=True, strip=2)
    folder = tmp_path / "new"
    names = ["images", "refinement.gif", "refinement.png", "samples.npz", "samples.png"]
    assert sorted(p.relative_to(folder).as_posix() for p in paths) == names
    assert sorted(p.name for p in folder.iterdir()) == names  # and nothing temporary
    assert sorted(p.name for p in (folder / "images").iterdir()) == [f"{i:05d}.png" for i in range(5)]
    for i in range(5):
        assert np.array_equal(np.asarray(Image.open(folder / f"images/{i:05d}.png")), pixels[i, 0].numpy())

    with np.load(folder / "samples.npz") as arrays:
        assert np.array_equal(arrays["images"], pixels.permute(0, 2, 3, 1).numpy())
        assert arrays["labels"].tolist() == [3, 7, 3, 3, 7]
        assert all(np.array_equal(arrays[f"codes_{k}"], samples.codes[k].numpy()) for k in range(4))

    grid = Image.open(folder / "samples.png")  # row one is class 3 (items 0, 2, 3), row two class 7 (items 1, 4)
    left = grid.width - (3 * 58 + 2) + 2
    assert grid.height == 2 * 58 + 2
    for row, members in enumerate([(0, 2, 3), (1, 4)]):
        for column, i in enumerate(members):
            assert np.array_equal(cell(grid, left + 58 * column, 2 + 58 * row), pixels[i, 0].numpy())
    assert np.asarray(grid)[60:, left + 2 * 58 :].min() == 255  # class 7 has no third
    assert np.asarray(grid)[:, :left].min() < 128  # the classes' names

    strip = Image.open(folder / "refinement.png")
    assert strip.width == 4 * 58 + 2
    top = strip.height - (2 * 58 + 2) + 2
    for row in range(2):
        assert np.array_equal(cell(strip, 2 + 3 * 58, top + 58 * row), pixels[row, 0].numpy())
    first = np.rint((to_float(pixels[0, 0]).numpy() / 4 + 1) * 127.5)
    assert np.array_equal(cell(strip, 2, top), first.astype(np.uint8))
    assert "refinement.png" not in [p.name for p in digits.save(samples, tmp_path / "no strip", strip=0)]

    gif = Image.open(folder / "refinement.gif")
    assert gif.n_frames == 4 and gif.size == grid.size and gif.info["loop"] == 0
    gif.seek(3)
    difference = np.abs(np.asarray(gif.convert("L"), np.int16) - np.asarray(grid.convert("L"), np.int16))
    assert difference.max() <= 2  # a palette of 256 colours


def test_without_labels_and_trail_there_is_a_square_and_no_refinement(digits: ImageDomain, tmp_path: Path) -> None:
    samples, pixels = made_up_samples(digits, None, trail=False)
    paths = digits.save(samples, tmp_path, gif=True)
    assert {p.name for p in paths if p.parent == tmp_path} == {"samples.png", "samples.npz", "images"}
    grid = Image.open(tmp_path / "samples.png")
    assert grid.size == (3 * 58 + 2, 2 * 58 + 2)
    assert np.array_equal(cell(grid, 2 + 2 * 58, 2 + 58), pixels[5, 0].numpy())
    with np.load(tmp_path / "samples.npz") as arrays:
        assert "labels" not in arrays


def test_reconstructions_are_shown_below_their_inputs(digits: ImageDomain, tmp_path: Path) -> None:
    torch.manual_seed(0)
    refiner = Refiner(digits, ModelConfig()).eval()
    (path,) = digits.plot_training(refiner, tmp_path)
    picture, pixels = Image.open(path), digits.images("val").pixels
    left = picture.width - (16 * 58 + 2) + 2
    assert path.name == "reconstructions.png" and picture.height == 8 * 58 + 2
    assert np.array_equal(cell(picture, left, 2), pixels[0, 0].numpy())
    assert np.array_equal(cell(picture, left + 58, 2 + 2 * 58), pixels[17, 0].numpy())
    output = refiner.tokenizer.decode(refiner.tokenizer.encode(to_float(pixels[:64])))
    shown = np.rint((output[17, 0].clamp(-1, 1).numpy() + 1) * 127.5).astype(np.uint8)
    assert np.abs(cell(picture, left + 58, 2 + 3 * 58).astype(int) - shown).max() <= 1


def test_a_grid_shows_the_first_of_each_class_however_many_are_drawn() -> None:
    labels = torch.arange(3000) % 50
    pixels = torch.arange(3000)[:, None, None, None].expand(-1, 1, 1, 1)
    kept, of = pixels[:0], labels[:0]
    for rows in torch.arange(3000).split(70):
        kept, of = shown(torch.cat([kept, pixels[rows]]), torch.cat([of, labels[rows]]))
    assert len(kept) == 40 * 16 and of.tolist() == sorted(of.tolist()) and int(of.max()) == 39
    assert kept[of == 7].flatten().tolist() == [7 + 50 * i for i in range(16)]
    assert len(shown(pixels, labels[:0])[0]) == 640


def config_of(run: Path, **options: object) -> Config:
    config = load_run_config(run)
    config.commands["sample"] = replace(config.sample, **options)  # type: ignore[type-var]
    return config


def test_samples_are_written_as_they_are_drawn_and_do_not_depend_on_batches(tmp_path: Path) -> None:
    model = Refiner.from_pretrained(tiny_model("laplacian", tmp_path / "run"))
    drawn = []
    for size in (2, 7):
        folder = tmp_path / str(size)
        draw_samples(model, config_of(tmp_path / "run", num=7, batch_size=size, strip=3, gif=True), folder)
        with np.load(folder / "samples.npz") as file:
            drawn.append({name: file[name] for name in file.files})
    assert drawn[0].keys() == drawn[1].keys() and drawn[0]["labels"].tolist() == list(range(7))
    assert all(np.array_equal(drawn[0][name], drawn[1][name]) for name in drawn[0] if name != "images")
    assert np.abs(drawn[0]["images"].astype(int) - drawn[1]["images"]).max() <= 1
    for name in ("refinement.png", "samples.png", "refinement.gif"):
        one, other = (np.asarray(Image.open(tmp_path / size / name).convert("L"), np.int16) for size in "27")
        assert one.shape == other.shape and np.abs(one - other).max() <= 2
    assert Image.open(tmp_path / "2" / "refinement.png").height < 4 * 58

    draw_samples(model, config_of(tmp_path / "run", num=2, strip=3, gif=True, pictures=False), tmp_path / "bare")
    assert {p.name for p in (tmp_path / "bare").iterdir()} == {"images", "samples.npz"}

    whole, calls = model.sample, list[bool]()

    def fails_later(num: int, *given: object) -> Samples:
        calls.append(bool(given[-1]))
        if len(calls) == 3:
            raise RuntimeError("midway")
        return whole(num, *given)  # type: ignore[arg-type]

    model.sample = fails_later  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="midway"):
        draw_samples(model, config_of(tmp_path / "run", num=7, batch_size=2, strip=3), tmp_path / "cut")
    assert [p.name for p in sorted((tmp_path / "cut" / "images").iterdir())] == [f"{i:05d}.png" for i in range(4)]
    assert [p.name for p in (tmp_path / "cut").iterdir()] == ["images"]
    assert calls == [True, True, False]  # trails of the samples that are shown, and of no others


@pytest.mark.parametrize("options", [{"num": 100_000_000_000}, {"num": 0}, {"batch_size": 100_000_000_000}])
def test_numbers_of_samples_are_bounded(options: dict[str, int], tmp_path: Path) -> None:
    model = Refiner.from_pretrained(tiny_model("laplacian", tmp_path / "run"))
    ((name, value),) = options.items()
    folder = tmp_path / "out"
    with pytest.raises(
        RefineError, match=rf"sample\.{name}={value} is not accepted; accepted: whole numbers from 1 to"
    ):
        draw_samples(model, config_of(tmp_path / "run", **options), folder)
    assert not folder.exists()
