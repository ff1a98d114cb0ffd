"""In- and out-painting, editing and super-resolution: what is kept, what is read and written, what is refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import refine
from refine.cli import main
from refine.domains.image import ImageConfig, ImageDomain
from refine.domains.image.config import ImageInpaintConfig
from refine.domains.image.pictures.inpainting import keep_masks
from refine.models.refiner import Refiner

from ..tiny_runs import KINDS, lower, model, save_mask


@pytest.fixture(scope="module", params=list(KINDS))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(request.param, tmp_path_factory.mktemp("models") / "run")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model("laplacian", tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main(["inpaint", *map(str, arguments)])
    return int(end.value.code or 0)


def arrays(folder: str) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / "samples.npz") as file:
        return dict(file)


def test_codes_of_the_known_part_are_kept_at_every_scale(run: Path) -> None:
    mask = save_mask(lower())
    assert command(f"run={run}", "image=test:5", f"mask={mask}", "num=6", "out=a") == 0
    refiner = Refiner.from_pretrained(run)
    codes = refiner.tokenizer.encode(refiner.domain.dataset("test")[5]["x"][None])
    out = arrays("a")
    assert out["images"].shape == (6, 8, 8, 1) and "labels" not in out
    for k, side in enumerate([1, 2, 4, 8]):
        kept = np.broadcast_to(np.arange(side)[:, None] < side // 2, (side, side)).reshape(-1)
        given, found = codes[k][0].numpy(), out[f"codes_{k}"]
        assert (found[:, kept] == given[kept]).all()
        assert (found[:, ~kept] != given[~kept]).any()


def test_a_result_is_the_same_in_any_batch(run: Path) -> None:
    mask = save_mask(lower())
    given = [f"run={run}", "image=test:5", f"mask={mask}", "label=[3,8]", "seed=4"]
    assert command(*given, "num=5", "out=a") == command(*given, "num=3", "batch_size=2", "out=b") == 0
    assert command(*given[:-1], "num=3", "out=c") == 0
    a, b, c = map(arrays, "abc")
    assert a["labels"].tolist() == [3, 8, 3, 8, 3]
    codes = [name for name in a if name.startswith("codes")]
    assert all((a[name][:3] == b[name]).all() for name in codes)
    assert any((b[name] != c[name]).any() for name in codes)


def test_a_site_is_kept_where_more_than_half_of_it_is(digits: ImageDomain) -> None:
    keep = torch.zeros(8, 8, dtype=torch.bool)
    keep[:4, :7] = True
    keep[4, :3] = True
    masks = keep_masks(digits, keep)
    assert torch.equal(masks[3], keep.flatten()[None])
    assert masks[2].view(4, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert masks[1].tolist() == [[True, True, False, False]]
    assert masks[0].tolist() == [[False]]
    first = keep_masks(digits, keep, 2)
    assert (
        first[0].all() and first[1].all() and all(torch.equal(a, b) for a, b in zip(first[2:], masks[2:], strict=True))
    )


def test_without_a_mask_only_coarse_scales_are_known(one: Path) -> None:
    assert command(f"run={one}", "image=test:5", "keep_scales=2", "num=3", "out=a") == 0
    refiner = Refiner.from_pretrained(one)
    codes = refiner.tokenizer.encode(refiner.domain.dataset("test")[5]["x"][None])
    out = arrays("a")
    same = [(out[f"codes_{k}"] == codes[k].numpy()).all() for k in range(4)]
    assert same == [True, True, False, False]


def test_what_is_written(one: Path) -> None:
    given = [f"run={one}", "image=test:5", f"mask={save_mask(lower())}", "num=3", "label=[2,1,2]"]
    assert command(*given, "out=a", "--paste") == command(*given, "out=b") == 0
    names = {p.relative_to("a").as_posix() for p in Path("a").rglob("*.*")}
    singles = {f"images/{i:05d}.png" for i in range(3)}
    assert names == {"inpaint.png", "input.png", "mask.png", "samples.png", "samples.npz", *singles}
    image = refine.load_domain("image").dataset("test").pixels[5, 0].numpy()  # type: ignore[attr-defined]
    assert np.array_equal(np.asarray(Image.open("a/input.png")), image)
    assert np.array_equal(np.asarray(Image.open("a/mask.png")), lower().numpy() * 255)
    pasted, decoded = arrays("a")["images"][..., 0], arrays("b")["images"][..., 0]
    assert (pasted[:, :4] == image[:4]).all() and (decoded[:, :4] != image[:4]).any()
    assert np.array_equal(pasted[:, 4:], decoded[:, 4:])
    picture = np.asarray(Image.open("a/inpaint.png").convert("L"))
    left, top = picture.shape[1] - (4 * 58 + 2) + 2, picture.shape[0] - (2 * 58 + 2) + 2
    cells = [[picture[top + 58 * i :, left + 58 * j :][:56:7, :56:7] for j in range(4)] for i in range(2)]
    assert np.array_equal(cells[0][0], image) and np.array_equal(cells[0][1][:4], image[:4])
    assert np.ptp(cells[0][1][4:]) <= 64 and cells[0][1][4:].min() >= 96  # the painted part lies under grey
    assert np.array_equal(cells[0][2], pasted[1])  # class 1 comes first, then both of class 2
    assert [np.array_equal(cells[1][j], pasted[i]) for j, i in ((2, 0), (3, 2))] == [True, True]


def test_a_mask_that_paints_everything_samples(one: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(f"run={one}", "image=test:5", f"mask={save_mask(np.ones((8, 8)))}", "num=3", "out=a") == 0
    assert "these are plain samples" in capsys.readouterr().err
    plain = Refiner.from_pretrained(one).sample(3, seed=0)
    assert all((arrays("a")[f"codes_{k}"] == c.numpy()).all() for k, c in enumerate(plain.codes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mask=low.png"], "inpaint.image is missing"),
        (["image=test:5"], "nothing is to be painted: give mask=PNG, place=[top,left,height,width] or keep_scales=N"),
        (["image=no.png", "mask=low.png"], "inpaint.image='no.png' is not a file"),
        (["image=test:360", "mask=low.png"], "inpaint.image='test:360' is not accepted; accepted: test:0 to test:359"),
        (["image=test:x", "mask=low.png"], "accepted: test:0 to test:359"),
        (["image=text.png", "mask=low.png"], "inpaint.image='text.png' cannot be read: cannot identify image file"),
        (["image=test:5", "mask=no.png"], "inpaint.mask='no.png' is not a file; accepted: a PNG"),
        (["image=test:5", "mask=text.png"], "inpaint.mask='text.png' cannot be read"),
        (["image=test:5", "mask=odd.png"], "inpaint.mask='odd.png' is 5x7; expected 8x8\n"),
        (["image=tall.png", "mask=odd.png"], "is 5x7; expected 9x6 (the image's) or 8x8 (the model's)"),
        (["image=test:5", "mask=black.png"], "black.png leaves nothing to paint; white is painted, black is kept"),
        (["image=test:5", "place=[0,0,8,8]"], "[0, 0, 8, 8] leaves nothing to paint"),
        (
            ["image=test:5", "place=[0,0,8]"],
            "place=[0, 0, 8] is not accepted; accepted: lists of 4 whole numbers",
        ),
        (["image=test:5", "place=[4,0,5,8]"], "inside the model's 8x8"),
        (["image=test:5", "keep_scales=4"], "inpaint.keep_scales=4 is not accepted; accepted: 0 to 3"),
        (["image=test:5", "keep_scales=-1", "mask=low.png"], "inpaint.keep_scales=-1 is not accepted"),
        (["image=test:5", "mask=low.png", "label=10"], "inpaint.label=10 is not accepted; accepted: 0, 1, 2"),
        (["image=test:5", "mask=low.png", "label=[]"], "inpaint.label=[] is not accepted"),
        (["image=test:5", "mask=low.png", "num=0"], "inpaint.num=0 is not accepted"),
        (["image=test:5", "mask=low.png", "top_k=-1"], "top_k=-1 is not accepted"),
        (["image=test:5", "mask=low.png", "top_k=[1,2]"], "a list needs one number for each of 4 scales"),
        (["image=test:5", "mask=low.png", "out=low.png/new"], "low.png cannot be written to"),
        (["image=test:5", "mask=low.png", "out=full"], "inpaint.out='full' is not accepted: it is there already"),
        (["image=test:5", "mask=low.png", "strip=3"], "'strip' is not a key"),
    ],
)
def test_what_is_refused(one: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/cat.png").write_text("cat")
    Path("text.png").write_text("no picture")
    save_mask(lower(), "low.png"), save_mask(np.zeros((8, 8)), "black.png"), save_mask(np.ones((5, 7)), "odd.png")
    save_mask(np.ones((9, 6)), "tall.png")
    before = {p: p.stat().st_mtime_ns for p in [*Path().rglob("*"), *one.rglob("*")]}
    assert command(f"run={one}", *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert {p: p.stat().st_mtime_ns for p in [*Path().rglob("*"), *one.rglob("*")]} == before


def test_too_small_a_hole_is_none_for_a_latent(tmp_path: Path) -> None:
    domain = ImageDomain(ImageConfig(factor=2, scales=[1, 2, 4]))
    hole = torch.ones(8, 8, dtype=torch.bool)
    hole[3, 3] = False
    with pytest.raises(refine.RefineError, match="the mask paints 1 of 64 pixels, which is not half of any site"):
        keep_masks(domain, hole)


def test_domains_that_do_not_in_paint_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("domain=weather") == 2
    assert "domain 'weather' does not in-paint; accepted: graph, image" in capsys.readouterr().err


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--help") == 0
    out = capsys.readouterr().out
    assert "in-painting: white is painted, black is kept" in out and "keep_scales=3" in out
    assert "inpaint.keep_scales=0" in out
    assert command("domain=image", "--help") == 0
    out = capsys.readouterr().out
    for name, value in asdict(ImageInpaintConfig()).items():
        assert f"inpaint.{name}={'null' if value is None else str(value).lower()}" in out
