"""VAR's weights as a run: what the original computes to a hair, nothing written unless all fits, a run like others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from refine import Condition, Refiner
from refine.cli import main
from refine.domains.image import ImageDomain
from refine.domains.image.data.pixels import to_float
from refine.domains.image.judging import classifier, metrics
from refine.domains.image.var.files import VARFiles
from refine.errors import RefineError
from refine.pipelines import NextScalePipeline
from refine.settings.config import SamplerConfig
from refine.storage.runs import load_run_config

from .. import plain_var
from ..conftest import write_image
from ..published import TINY, convolution, images, vae_shapes, var_shapes, weights

KINDS = ["own", "shared"]
"""Adaptive LayerNorm of each block (256 pixels), or one for all (the model for 512 pixels)."""

RECORDED = json.loads((Path(__file__).parent / "var_recorded.json").read_text())
"""What the authors' own code (FoundationVision/VAR, with ``using_sa`` and ``attn_l2_norm``) made of the weights of
:mod:`published` in float32 on a CPU. Of the two pictures of :func:`published.images`: the first channel of the latent,
the codes, and the green of what they decode to. Of labels 2 and 0, given these codes: every seventh logit, and the same
without a class for the first picture. And the tokens and the blue of ``autoregressive_infer_cfg(cfg=1.5, top_k=1)``."""


def tiny(kind: str = "own") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return weights(vae_shapes()), weights(var_shapes(**TINY, shared=kind == "shared"))


def saved(folder: Path, vae: Any, var: Any) -> dict[str, str]:
    torch.save(vae, folder / "vae.pth")
    torch.save(var, folder / "var.pth")
    return {"vae": str(folder / "vae.pth"), "var": str(folder / "var.pth")}


def import_var(vae: str, var: str, to: Path, scales: str | None = None, folder: str | None = None) -> None:
    ImageDomain.import_weights("var", to, VARFiles(vae, var, scales, folder))


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def run(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(kind)
    import_var(**saved(folder, *tiny(kind)), to=folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Refiner:
    return Refiner.from_pretrained(run)


def recorded(kind: str, name: str, like: Tensor) -> Tensor:
    return torch.tensor(RECORDED[kind][name]).reshape(like.shape)


class TestExactness:
    def test_encoder_and_codes(self, kind: str, model: Refiner) -> None:
        latent = model.tokenizer.codec.encode(images(2))[..., 0]
        torch.testing.assert_close(latent, recorded(kind, "latent", latent), atol=1e-5, rtol=0)
        assert [c.tolist() for c in model.tokenizer.encode(images(2))] == RECORDED[kind]["codes"]

    @torch.no_grad()
    def test_decoder(self, kind: str, model: Refiner) -> None:
        codes = [torch.tensor(c) for c in RECORDED[kind]["codes"]]
        green = model.tokenizer.decode(codes)[:, 1].clamp(-1, 1)
        torch.testing.assert_close(green, recorded(kind, "pixels", green), atol=1e-4, rtol=0)

    @torch.no_grad()
    def test_logits(self, kind: str, model: Refiner) -> None:
        codes, label = [torch.tensor(c) for c in RECORDED[kind]["codes"]], torch.tensor([2, 0])
        given = torch.cat(model.logits(codes, Condition(label=label)), 1)[..., ::7]
        torch.testing.assert_close(given, recorded(kind, "logits", given), atol=1e-4, rtol=0)
        for free in (Condition(), Condition(label=torch.tensor([3, 3]))):  # the row after the last class
            without = torch.cat(model.logits(codes, free), 1)[0, ..., ::7]
            torch.testing.assert_close(without, recorded(kind, "unconditional", without), atol=1e-4, rtol=0)

    @pytest.mark.parametrize("how", [{"greedy": True}, {"top_k": 1}])
    def test_guided_samples_token_by_token(self, kind: str, model: Refiner, how: dict[str, Any]) -> None:
        sampler = SamplerConfig(guidance=2.5, schedule="linear", **how)
        drawn = model.sample(2, Condition(label=torch.tensor([2, 0])), sampler=sampler)
        assert [c.tolist() for c in drawn.codes] == RECORDED[kind]["tokens"]
        blue = (drawn.items[:, 2].clamp(-1, 1) + 1) / 2
        torch.testing.assert_close(blue, recorded(kind, "drawn", blue), atol=1e-4, rtol=0)

    @torch.no_grad()
    def test_against_plain_arithmetic_in_double_precision(self, kind: str, model: Refiner) -> None:
        vae, var = ({n: t.double() for n, t in part.items() if t.is_floating_point()} for part in tiny(kind))
        latent = model.tokenizer.codec.encode(images(4))
        codes = model.tokenizer.encode(images(4))
        plain = plain_var.encode(vae, latent.double().mT.unflatten(2, (3, 3)), TINY["scales"])
        assert all(torch.equal(a, b) for a, b in zip(codes, plain, strict=True))
        label = torch.tensor([0, 1, 2, 3])
        wanted = plain_var.logits(var, vae, codes, label, TINY["scales"])
        found = torch.cat(model.logits(codes, Condition(label=label)), 1)
        torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=0)
        assert wanted.std(-1).mean() > 1  # else this would say little


@torch.no_grad()
@pytest.mark.parametrize(
    "phis", [[], ["qresi"], ["qresi_ls.0", "qresi_ls.1"], ["0", "1", "2"]], ids=["none", "one", "two", "each"]
)
def test_other_ways_to_share_phi_and_other_scales_are_computed_as_well(phis: list[str], tmp_path: Path) -> None:
    scales, vae_names = (1, 3, 4), vae_shapes(phis=0)
    for name in phis:
        vae_names |= convolution(f"quantize.quant_resi.{name}", 4, 4)
    vae, var = weights(vae_names), weights(var_shapes(**TINY | {"scales": scales}, shared=False), scales)
    import_var(**saved(tmp_path, vae, var), to=tmp_path / "run")
    model = Refiner.from_pretrained(tmp_path / "run")
    double = [{n: t.double() for n, t in part.items() if t.is_floating_point()} for part in (vae, var)]
    latent, codes = model.tokenizer.codec.encode(images(4, 8)), model.tokenizer.encode(images(4, 8))
    plain = plain_var.encode(double[0], latent.double().mT.unflatten(2, (4, 4)), scales)
    assert all(torch.equal(a, b) for a, b in zip(codes, plain, strict=True))
    label = torch.tensor([0, 1, 2, 3])
    wanted = plain_var.logits(double[1], double[0], codes, label, scales)
    found = torch.cat(model.logits(codes, Condition(label=label)), 1)
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=0)


def without(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda part: part.pop(name)


def put(name: str, *shape: int) -> Callable[[dict[str, Tensor]], object]:
    return lambda part: part.update({name: torch.zeros(shape)})


def spoil(part: dict[str, Tensor]) -> None:
    part["blocks.1.ffn.fc2.weight"][3, 4] = torch.nan


def overflow(part: dict[str, Tensor]) -> None:
    part["head.bias"] = torch.full((24,), 1e300, dtype=torch.float64)


WRONG = [
    (
        "var",
        without("blocks.1.attn.q_bias"),
        r"var.pth is not a VAR of depth 2 and width 16: missing: .*q_bias \(16,\)",
    ),
    ("var", without("pos_1LC"), "var.pth has no pos_1LC, of 3 dimensions"),
    ("var", put("blocks.0.attn.k_bias", 16), r"not expected: blocks.0.attn.k_bias \(16,\)"),
    ("var", put("blocks.2.attn.q_bias", 16), r"depth 3 .*missing: blocks.2.attn.scale_mul_1H11 .* and 6 more"),
    ("var", put("head.bias", 25), r"misshapen: head.bias has shape \(25,\), expected \(24,\)"),
    (
        "var",
        put("pos_1LC", 1, 14, 20),
        r"width 20: misshapen: pos_start has shape \(1, 1, 16\), expected \(1, 1, 20\), .* more",
    ),
    ("var", put("pos_1LC", 14, 16), r"pos_1LC has shape \(14, 16\); expected 3 dimensions"),
    (
        "var",
        put("lvl_embed.weight", 4, 16),
        "scales 1,2,3 are 3 of 14 sites in all, .* has 4 scales of 14 sites in all",
    ),
    ("var", put("blocks.0.attn.scale_mul_1H11", 1, 3, 1, 1), "has 3 heads; expected a divisor of 16"),
    (
        "var",
        put("word_embed.weight", 16, 8),
        r"codebook of 24 codes with 4 channels; .* expects 24 codes with 8 channels",
    ),
    ("var", put("class_emb.weight", 1, 16), "class_emb.weight has 1 row; expected one for each class and one for none"),
    ("vae", put("encoder.conv_in.weight", 0, 3, 3, 3), r"encoder.conv_in.weight has shape \(0, 3, 3, 3\); expected 4"),
    ("var", spoil, "predictor.blocks.1.mlp.2.weight has values that are not finite"),
    ("var", overflow, "head.linears.0.bias has values that are not finite in single precision"),
    ("var", put("blocks." + "9" * 5000 + ".attn.q_bias", 16), "not expected: blocks.9999|missing: blocks.2.attn"),
    (
        "vae",
        put("quantize.embedding.weight", 32, 4),
        "codebook of 32 codes with 4 channels; .*var.pth expects 24 codes",
    ),
    ("vae", without("decoder.up.1.upsample.conv.bias"), r"missing: decoder.up.1.upsample.conv.bias \(64,\)"),
    ("vae", put("encoder.down.0.attn.0.norm.weight", 32), "not expected: encoder.down.0.attn.0.norm.weight"),
    (
        "vae",
        put("encoder.down.1.block.0.conv1.weight", 48, 32, 3, 3),
        "levels of widths .*48.; expected multiples of 32",
    ),
    (
        "vae",
        put("quant_conv.weight", 4, 4, 1, 1),
        r"quant_conv.weight has shape \(4, 4, 1, 1\), expected \(4, 4, 3, 3\)",
    ),
    ("vae", without("quantize.quant_resi.qresi_ls.1.bias"), "missing: quantize.quant_resi.qresi_ls.1.bias"),
]


class TestBadInput:
    @pytest.mark.parametrize(("file", "change", "words"), WRONG)
    def test_files_that_do_not_fit(self, file: str, change: Any, words: str, tmp_path: Path) -> None:
        vae, var = tiny()
        change({"vae": vae, "var": var}[file])
        given = saved(tmp_path, vae, var)
        with pytest.raises(RefineError, match=words):
            import_var(**given, to=tmp_path / "run")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["vae.pth", "var.pth"]

    def test_files_in_each_others_place(self, tmp_path: Path) -> None:
        given = saved(tmp_path, *reversed(tiny()))
        with pytest.raises(RefineError, match=r"vae.pth holds a VAR, not its tokenizer: give it as --var"):
            import_var(**given, to=tmp_path / "run")
        with pytest.raises(RefineError, match=r"var.pth holds VAR's tokenizer, not a VAR: give it as --vae"):
            import_var(vae=given["var"], var=given["var"], to=tmp_path / "run")

    def test_a_name_that_tells_another_depth(self, tmp_path: Path) -> None:
        given = saved(tmp_path, *tiny())
        Path(given["var"]).rename(tmp_path / "var_d16.pth")
        with pytest.raises(RefineError, match=r"var_d16.pth is of depth 16 by its name, and of depth 2 by its weights"):
            import_var(given["vae"], str(tmp_path / "var_d16.pth"), tmp_path / "run")

    @pytest.mark.parametrize("text", ["1,2", "3,2,1", "one", "1,2,3,", "", "0,1,3", "1," + "9" * 5000])
    def test_scales_that_do_not_match(self, text: str, tmp_path: Path) -> None:
        with pytest.raises(RefineError, match=r"scales .*(is not accepted; accepted|sites in all)"):
            import_var(**saved(tmp_path, *tiny()), to=tmp_path / "run", scales=text)

    def test_a_folder_in_use_stays_as_it_is(self, tmp_path: Path) -> None:
        given, run = saved(tmp_path, *tiny()), tmp_path / "run"
        run.mkdir()
        (run / "mine.txt").write_text("kept")
        with pytest.raises(RefineError, match=r"run is not accepted: it is there already"):
            import_var(**given, to=run)
        assert [p.read_text() for p in run.iterdir()] == ["kept"]

    def test_what_fails_while_it_is_written_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = saved(tmp_path, *tiny())
        monkeypatch.setattr("refine.domains.image.var.importing.write_text", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_var(**given, to=tmp_path / "new" / "run")
        assert not [p for p in (tmp_path / "new").iterdir()]


def test_buffers_change_nothing_and_halves_become_floats(tmp_path: Path) -> None:
    vae, var = tiny()
    bare = {n: t for n, t in var.items() if n not in ("lvl_1L", "attn_bias_for_masking") and "zero_k" not in n}
    odd = bare | {"attn_bias_for_masking": torch.ones(3), "blocks.1.attn.zero_k_bias": torch.ones(2, 2).long()}
    for name, files in {"as it is": var, "odd": odd, "half": {n: t.half() for n, t in bare.items()}}.items():
        import_var(**saved(tmp_path, vae, files), to=tmp_path / name, scales="1,2,3")
    one, other, half = (Refiner.from_pretrained(tmp_path / n).state_dict() for n in ("as it is", "odd", "half"))
    assert all(torch.equal(one[n], other[n]) for n in one)
    assert all(t.dtype == one[n].dtype for n, t in half.items())
    torch.testing.assert_close(half, one, atol=5e-3, rtol=1e-3)


class TestARunLikeAnyOther:
    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("REFINE_CACHE", str(tmp_path / "cache"))

    def command(self, *words: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main(words)
        return int(str(stop.value.code))

    def test_import_sample_inspect(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        saved(tmp_path, *tiny())
        assert self.command("import", "var", "--vae", "vae.pth", "var=var.pth", "--to", "runs/tiny") == 0
        text = capsys.readouterr().out
        assert "24 codes, 4 channels" in text and "1, 2, 3" in text and "Written: runs/tiny" in text
        config = load_run_config(Path("runs/tiny"))
        assert (config.sampler.guidance, config.sampler.schedule, config.sampler.top_k) == (2.5, "linear", 900)
        assert self.command("sample", "run=runs/tiny", "--label", "2", "--num", "3", "out=drawn") == 0
        with np.load("drawn/samples.npz") as drawn:
            assert drawn["images"].shape == (3, 6, 6, 3) and drawn["labels"].tolist() == [2, 2, 2]
            assert [drawn[f"codes_{k}"].shape for k in range(3)] == [(3, 1), (3, 4), (3, 9)]
        capsys.readouterr()
        assert self.command("inspect", "runs/tiny") == 0
        assert "vae=vae.pth  var=var.pth" in capsys.readouterr().out
        for words in (["evaluate", "run=runs/tiny"], ["train", "run=runs/tiny"]):
            assert self.command(*words) == 2
            assert "came without images to train on or to compare with" in capsys.readouterr().err
        assert self.command("import", "var", "--vae", "vae.pth", "--var", "var.pth", "--to", "runs/tiny") == 2
        assert "it is there already" in capsys.readouterr().err

    def test_it_in_paints_and_is_a_pipeline(self, tmp_path: Path) -> None:
        import_var(**saved(tmp_path, *tiny()), to=tmp_path / "run")
        picture = write_image(tmp_path / "cat.png", seed=0, size=(6, 6))
        Image.fromarray(np.repeat(np.uint8([0, 0, 0, 255, 255, 255])[:, None], 6, 1)).save("mask.png")
        wanted = ["image=cat.png", "mask=mask.png", "--label", "1", "--num", "3", "keep_scales=1", "out=painted"]
        assert self.command("inpaint", "run=run", *wanted) == 0
        model = Refiner.from_pretrained("run")
        given = model.tokenizer.encode(to_float(torch.from_numpy(picture).permute(2, 0, 1))[None])
        with np.load("painted/samples.npz") as drawn:
            codes = [torch.from_numpy(drawn[f"codes_{k}"]) for k in range(3)]
        sites = list(zip(codes, given, (1, 2, 3), strict=True))  # the first row; of three, half of the second is known
        assert all(torch.equal(found[:, :n], true[:, :n].expand(3, -1)) for found, true, n in sites)
        assert any((found[:, n:] != true[:, n:]).any() for found, true, n in sites)
        pipe = NextScalePipeline.from_pretrained("run")
        assert (pipe.sampler.guidance, pipe.sampler.top_p) == (2.5, 0.96)
        pictures = pipe([2, None], guidance_scale=2, generator=torch.Generator(), output_type="pil").images
        assert [(p.size, p.mode) for p in pictures] == [((6, 6), "RGB")] * 2

    def test_with_images_it_is_evaluated_and_trained_further(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        quick = replace(classifier.RECIPE, images_seen=1, epochs=2)  # how good the judge is, is not looked at
        judge = partial(classifier.trained_classifier, recipe=quick)
        monkeypatch.setattr(metrics, "trained_classifier", judge)
        files = saved(tmp_path, *tiny())
        for i in range(60):
            write_image(tmp_path / "images" / f"class {i % 3}" / f"{i}.png", seed=i)
        import_var(**files, to=tmp_path / "run", folder="images")
        scored = ["items=6", "samples=6", "evaluate.batch_size=5", "features=classifier"]
        assert self.command("evaluate", "run=run", *scored, "--export", "drawn.npz") == 0
        with np.load("drawn.npz") as drawn:
            assert (drawn["arr_0"].shape, drawn["arr_0"].dtype) == ((6, 6, 6, 3), np.uint8)
        figures = json.loads(Path("run/evaluate-test.json").read_text())
        assert len(figures["usage_by_scale"]) == 3 and figures["psnr"] > 0
        before = Refiner.from_pretrained("run").state_dict()
        few = ["stage=predictor", "predictor.steps=2", "predictor.batch_size=4", "sample.num=2", "accelerator=cpu"]
        assert self.command("train", "run=run", *few) == 0
        after = Refiner.from_pretrained("run").state_dict()
        moved = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert moved == {"predictor", "head"}

    def test_other_images(self, tmp_path: Path) -> None:
        for i in range(8):
            write_image(tmp_path / "images" / f"class {i % 4}" / f"{i}.png", seed=i)
        with pytest.raises(RefineError, match=r"--folder images has 4 classes \(subfolders\); .*var.pth has 3"):
            import_var(**saved(tmp_path, *tiny()), to=tmp_path / "run", folder="images")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_any_precision_give_what_their_numbers_give(dtype: torch.dtype, tmp_path: Path) -> None:
    vae, var = ({n: t.to(dtype) if t.is_floating_point() else t for n, t in part.items()} for part in tiny())
    import_var(**saved(tmp_path, vae, var), to=tmp_path / "run")
    first = Refiner.from_pretrained(tmp_path / "run").predictor.sites[0].detach().double()
    wanted = var["pos_1LC"][0, :1].double() + var["pos_start"][0].double() - var["word_embed.bias"].double()
    torch.testing.assert_close(first, wanted, atol=2e-7, rtol=0)


def test_class_folders_called_by_numbers_meet_the_classes_of_their_numbers(tmp_path: Path) -> None:
    for i, name in enumerate(["0", "2", "10"]):
        for j in range(3):
            write_image(tmp_path / "images" / name / f"{j}.png", 10 * i + j, (6, 6))
    import_var(**saved(tmp_path, *tiny()), to=tmp_path / "run", folder=str(tmp_path / "images"))
    assert Refiner.from_pretrained(tmp_path / "run").domain.class_names() == ["0", "2", "10"]
