"""The pipeline with diffusers' interface: labels, generators, guidance, outputs, files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import refine
from refine.noise import Noise
from refine.pipelines import NextScalePipeline
from refine.settings.config import SamplerConfig
from refine.storage.runs import load_run_config


@pytest.fixture(scope="module")
def pipe() -> NextScalePipeline:
    return NextScalePipeline.from_pretrained(refine.starter("image"))


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_an_image_depends_on_its_own_generator_and_label_alone(pipe: NextScalePipeline) -> None:
    together = pipe([3, 7, None, 3], generator=seeded(1, 2, 3, 4), output_type="np").images
    for i, (label, seed) in enumerate([(3, 1), (7, 2), (None, 3), (3, 4)]):
        alone = pipe([label], generator=seeded(seed), output_type="np").images
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    other = pipe([3, 7, None, 3], generator=seeded(5, 2, 3, 1), output_type="np").images
    assert np.abs(other[0] - together[0]).max() > 0.5 and np.abs(other[3] - together[3]).max() > 0.5
    np.testing.assert_allclose(other[1:3], together[1:3], atol=1e-5)


def test_one_generator_serves_all_images_in_turn(pipe: NextScalePipeline) -> None:
    (generator,) = seeded(1)
    first, second = (pipe([3, 3], generator=generator, output_type="np").images for _ in range(2))
    assert np.abs(first[0] - first[1]).max() > 0.5 and np.abs(first[0] - second[0]).max() > 0.5
    again = pipe([3], generator=seeded(1), output_type="np").images
    np.testing.assert_allclose(again[0], first[0], atol=1e-5)
    torch.manual_seed(1)
    np.testing.assert_allclose(pipe([3, 3], output_type="np").images, first, atol=1e-5)  # torch's own generator


def test_labels_are_numbers_names_or_none(pipe: NextScalePipeline) -> None:
    def draw(labels: Any) -> np.ndarray[Any, Any]:
        images: np.ndarray[Any, Any] = pipe(labels, generator=torch.manual_seed(0), output_type="np").images
        return images

    assert pipe.labels["7"] == 7 and pipe.get_label_ids(["7", "3"]) == [7, 3] and pipe.get_label_ids("9") == [9]
    for same in (["7", "3"], torch.tensor([7, 3]), np.array([7, 3]), (7, "3")):
        assert np.array_equal(draw(same), draw([7, 3]))
    for one in (np.int64(7), np.array(7), torch.tensor(7), "7"):
        assert np.array_equal(draw(one), draw([7]))
    assert np.array_equal(draw([None]), draw([-1])) and np.array_equal(draw(None), draw([None]))
    assert np.array_equal(draw(7), draw([7])) and np.abs(draw([None]) - draw([7])).max() > 0.5


def test_sampler_and_guidance_are_those_of_the_run_unless_given(pipe: NextScalePipeline) -> None:
    config = load_run_config(refine.starter("image")).sampler
    assert pipe.sampler == config and config.guidance == 2
    number = torch.randint(2**63 - 1, (1,), generator=seeded(3)[0]).tolist()
    condition = refine.Condition(label=torch.tensor([5]))
    for options, sampler in [
        ({}, config),
        (
            {"guidance_scale": 1.5, "schedule": "linear"},
            SamplerConfig(config.temperature, guidance=1.5, schedule="linear"),
        ),
        ({"guidance_scale": 1, "temperature": 1, "top_k": 3}, SamplerConfig(top_k=3)),
    ]:
        items = pipe.model.generate(Noise(0, number), condition, sampler).items
        found = pipe([5], generator=seeded(3), output_type="pt", **options).images  # type: ignore[arg-type]
        assert torch.equal(found, (items / 2 + 0.5).clamp(0, 1))
    assert pipe.sampler == config


def test_outputs(pipe: NextScalePipeline) -> None:
    def draw(**options: Any) -> Any:
        return pipe([3, 7], generator=torch.manual_seed(0), **options)

    pictures, arrays, tensors = (draw(output_type=kind).images for kind in ("pil", "np", "pt"))
    assert draw().images == pictures and [p.size for p in pictures] == [(28, 28)] * 2
    assert arrays.shape == (2, 28, 28, 1) and arrays.dtype == np.float32 and tensors.shape == (2, 1, 28, 28)
    assert arrays.min() >= 0 and 0.9 < arrays.max() <= 1
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    assert np.abs(np.stack([np.asarray(p) for p in pictures]) / 255 - arrays[..., 0]).max() <= 0.5 / 255 + 1e-6
    only = draw(output_type="np", return_dict=False)
    assert isinstance(only, tuple) and len(only) == 1 and np.array_equal(only[0], arrays)


def test_files_bring_back_images_and_sampler(pipe: NextScalePipeline, tmp_path: Path) -> None:
    changed = NextScalePipeline(pipe.model, SamplerConfig(guidance=1.5, top_k=7))
    changed.save_pretrained(tmp_path / "saved")
    again = NextScalePipeline.from_pretrained(tmp_path / "saved")
    assert again.sampler == changed.sampler
    assert load_run_config(tmp_path / "saved").model == pipe.model.config
    images = [p([4], generator=seeded(0), output_type="np").images for p in (changed, again)]
    assert np.array_equal(*images)
    (tmp_path / "saved" / "config.yaml").unlink()  # a checkpoint without a run
    assert NextScalePipeline.from_pretrained(tmp_path / "saved").sampler == SamplerConfig()


def test_what_predicts_is_held_in_another_type() -> None:
    folder = refine.starter("image")
    half = NextScalePipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.device == torch.device("cpu")
    whole = half.to("cpu", torch.float32)
    assert whole is half and whole.dtype == torch.float32
    images = half.to(torch.bfloat16)([3], generator=seeded(0), output_type="np").images
    assert images.dtype == np.float32 and np.isfinite(images).all() and images.max() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_labels": [10]}, "class_labels=10 is not accepted; accepted: 0 to 9, their names, or None"),
        ({"class_labels": ["x"]}, "class_labels='x' is not accepted; accepted: 0, 1"),
        ({"class_labels": [1.5]}, "class_labels=1.5 is not accepted; accepted: numbers, names or None"),
        ({"class_labels": 1.5}, "class_labels=1.5 is not accepted; accepted: numbers, names or None"),
        ({"class_labels": [True]}, "class_labels=True is not accepted; accepted: numbers, names or None"),
        ({"class_labels": {3: 7}}, r"class_labels=\{3: 7\} is not accepted; accepted: numbers, names or None"),
        ({"class_labels": [1], "generator": 0}, "generator=0 is not accepted; accepted: a torch.Generator, a list of"),
        ({"class_labels": [1], "generator": "0"}, "generator='0' is not accepted"),
        ({"class_labels": [1], "generator": [0]}, "generator=0 is not accepted"),
        ({"class_labels": []}, r"class_labels=\[\] is not accepted"),
        (
            {"class_labels": [1, 2], "generator": [torch.Generator()]},
            "generator has 1 entries; expected one for each of 2",
        ),
        ({"class_labels": [1], "output_type": "png"}, "output_type='png' is not accepted; accepted: pil, np, pt"),
        (
            {"class_labels": [1], "num_inference_steps": 5},
            "'num_inference_steps' is not an argument; accepted: guidance_",
        ),
        ({"class_labels": [1], "guidance": 2}, "'guidance' is not an argument; accepted: guidance_scale, temperature"),
        ({"class_labels": [1], "guidance_scale": -1}, "guidance=-1 is not accepted"),
        ({"class_labels": [1], "top_k": -1}, "top_k=-1 is not accepted"),
    ],
)
def test_what_is_refused(pipe: NextScalePipeline, options: dict[str, Any], message: str) -> None:
    with pytest.raises(refine.RefineError, match=message):
        pipe(**options)


def test_what_is_no_model_no_sampler_and_no_type(pipe: NextScalePipeline) -> None:
    folder: Any = refine.starter("image")
    with pytest.raises(refine.RefineError, match=r"model is of type str; accepted: .*from_pretrained\(folder\)"):
        NextScalePipeline(str(folder))  # type: ignore[arg-type]
    with pytest.raises(refine.RefineError, match=r"sampler is of type dict; accepted: refine\.SamplerConfig"):
        NextScalePipeline(pipe.model, {"top_k": 3})  # type: ignore[arg-type]
    for options, message in [
        ({"torch_dtype": "bf16"}, r"torch_dtype='bf16' is not accepted; accepted: torch\.bf"),
        ({"dtype": torch.int8}, r"dtype=torch\.int8 is not accepted; accepted: torch\.bf"),
        ({"use_safetensors": False}, "use_safetensors=False is not accepted"),
        ({"variant": "ema"}, "variant='ema' is not accepted; accepted: None, fp16, bf16"),
        ({"device_map": "auto"}, "'device_map' is not an argument of from_pretrained; accepted: device, torch_dtype"),
    ]:
        with pytest.raises(refine.RefineError, match=message):
            NextScalePipeline.from_pretrained(folder, **options)


def test_keywords_and_methods_that_scripts_for_diffusers_use(pipe: NextScalePipeline) -> None:
    keywords: dict[str, Any] = {
        "revision": "main",
        "local_files_only": True,
        "use_safetensors": True,
        "variant": "fp16",
    }
    half = NextScalePipeline.from_pretrained(refine.starter("image"), torch_dtype="float16", **keywords)
    assert half.dtype == torch.float16
    assert NextScalePipeline.from_pretrained(refine.starter("image"), dtype=torch.bfloat16).dtype == torch.bfloat16
    assert NextScalePipeline.from_pretrained(refine.starter("image"), torch_dtype="auto").dtype == torch.float32
    pipe.set_progress_bar_config(disable=True)
    again = NextScalePipeline(**pipe.components)
    assert again.model is pipe.model and again.sampler == pipe.sampler
    pipe.enable_model_cpu_offload(device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(refine.RefineError, match="device='cuda' is not available here"):
            pipe.enable_model_cpu_offload()


def test_a_repository_of_the_hub_brings_its_sampler(
    pipe: NextScalePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    remote, asked = tmp_path / "remote", []
    uploaded = NextScalePipeline(pipe.model, SamplerConfig(guidance=1.5, top_k=7))

    class Api:
        def __init__(self, token: str | None) -> None: ...

        def create_repo(self, *_: Any, **__: Any) -> None: ...

        def upload_folder(self, folder_path: Path, **_: Any) -> str:
            shutil.copytree(folder_path, remote)
            return "https://huggingface.co/owner/name"

    def download(name: str, allow_patterns: list[str], **options: Any) -> str:
        asked.append(options)
        local = tmp_path / "local"
        local.mkdir()
        for file in allow_patterns:  # as the hub does: what is there of these, and nothing else
            if (remote / file).exists():
                shutil.copy(remote / file, local)
        return str(local)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert uploaded.push_to_hub("owner/name").endswith("owner/name")
    found = NextScalePipeline.from_pretrained("owner/name", revision="v1", local_files_only=True)
    assert found.sampler == uploaded.sampler
    assert asked == [{"revision": "v1", "token": None, "local_files_only": True}]


def test_models_without_classes_or_pictures_say_so() -> None:
    domain = refine.load_domain("image", label_conditional=False)
    plain = NextScalePipeline(refine.Refiner(domain, refine.ModelConfig()).eval())
    assert [image.size for image in plain([None, None]).images] == [(8, 8)] * 2
    with pytest.raises(
        refine.RefineError, match="class_labels=3 is not accepted: this model is not conditioned on clas"
    ):
        plain([3])
    with pytest.raises(refine.RefineError, match="domain 'graph' draws no pictures"):
        NextScalePipeline.from_pretrained(refine.starter("graph"))
