"""The published files by their names and shapes alone, in every size, on the meta device."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from refine.domains.image import ImageDomain
from refine.domains.image.var.importing import image_config, model_config
from refine.domains.image.var.layout import BUFFERS, SCHEDULES, VAELayout, VARLayout, check
from refine.domains.image.var.weights import codec_names, predictor_weights, quantizer_weights, vae_table
from refine.errors import RefineError
from refine.models.refiner import Refiner

from ..published import TINY, Shapes, vae_shapes, var_shapes, weights

VAE: dict[str, Any] = {"width": 160, "multipliers": (1, 1, 2, 2, 4), "blocks": 2, "channels": 32, "codes": 4096}
MODELS = {"d16": (16, 680), "d20": (20, 680), "d24": (24, 680), "d30": (30, 680), "d36-s": (36, 2240)}


def published(depth: int, sites: int, shared: bool) -> dict[str, Any]:
    sizes = {"depth": depth, "width": 64 * depth, "heads": depth, "classes": 1000, "codes": 4096, "channels": 32}
    return {"scales": SCHEDULES[sites], "shared": shared} | sizes


def empty(shapes: Shapes) -> dict[str, Tensor]:
    """Tensors of these shapes without memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name != "lvl_1L"}


def parameters(shapes: Shapes) -> int:
    return sum(torch.Size(shape).numel() for name, shape in shapes.items() if not BUFFERS.fullmatch(name))


def test_the_published_files_have_the_counts_that_are_known_of_them() -> None:
    d16, vae = var_shapes(**published(16, 680, False)), vae_shapes(**VAE, scales=10)
    assert len(d16) == 220 and parameters(d16) == 310_283_520
    assert sum(torch.Size(shape).numel() for shape in d16.values()) == 310_283_520 + 479_464
    assert len(vae) == 324 and parameters(vae) == 108_948_355


@pytest.mark.parametrize("name", MODELS)
def test_sizes_are_read_off_the_files_and_every_tensor_finds_its_place(name: str) -> None:
    (depth, sites), shared = MODELS[name], name == "d36-s"
    wanted = published(depth, sites, shared)
    theirs, vae = empty(var_shapes(**wanted)), empty(vae_shapes(**VAE, scales=10))
    layout, encoder = VARLayout.of(name, theirs), VAELayout.of("vae", vae)
    assert {key: getattr(layout, key) for key in wanted} == wanted and layout.hidden == 256 * depth
    assert {key: getattr(encoder, key) for key in VAE} == VAE and encoder.pixels == 3 and len(encoder.phis) == 4
    with torch.device("meta"):
        model = Refiner(ImageDomain(image_config(encoder, layout, None)), model_config(encoder, layout))
    codec = codec_names(model.tokenizer.codec, encoder)
    check(name, "what it is", theirs, layout.table())
    check("vae", "what it is", vae, vae_table(model, codec, encoder))
    ours = {f"tokenizer.codec.{key}": vae[value] for key, value in codec.items()}
    ours |= quantizer_weights(vae, encoder) | predictor_weights(theirs, layout)
    model.load_state_dict(ours, assign=True)  # refuses a name or a shape that is not the model's
    used = set(codec.values()) | {k for k in vae if k.startswith(("quantize.quant_resi", "quantize.embedding"))}
    assert used == {k for k in vae if not BUFFERS.fullmatch(k)}
    assert model.domain.config.size == (16 * SCHEDULES[sites][-1],) * 2


@pytest.mark.parametrize("shared", [False, True])
def test_any_size_at_all(shared: bool) -> None:
    sizes = {"scales": (1, 3, 4), "depth": 3, "width": 24, "heads": 4, "classes": 2, "codes": 7, "channels": 5}
    shapes = var_shapes(**sizes, shared=shared)
    layout = VARLayout.of("x", weights(shapes, (1, 3, 4)))
    assert {key: getattr(layout, key) for key in sizes} == sizes and layout.shared == shared
    assert layout.table() == {k: v for k, v in shapes.items() if not BUFFERS.fullmatch(k)}


@pytest.mark.parametrize(
    ("there", "phis"),
    [(["qresi_ls.0", "qresi_ls.1"], 2), (["qresi"], 1), (["0", "1", "2"], 3), ([], 0)],
    ids=["partially shared", "shared", "one for each scale", "none"],
)
def test_every_way_to_share_phi(there: list[str], phis: int) -> None:
    shapes = vae_shapes(phis=0)
    for name in there:
        shapes |= {f"quantize.quant_resi.{name}.weight": (4, 4, 3, 3), f"quantize.quant_resi.{name}.bias": (4,)}
    layout = VAELayout.of("x", empty(shapes))
    assert layout.phis == tuple(f"quantize.quant_resi.{name}" for name in there) and len(layout.phis) == phis
    assert model_config(layout, VARLayout.of("x", weights(var_shapes(**TINY, shared=True)))).pyramid.phi == phis


class TestScales:
    """Sides of the scales: asked for, told by a buffer, known by their number of sites."""

    other = (1, 2, 3, 4, 5, 6, 8, 10, 14, 15)  # as many scales of as many sites in all as (..., 13, 16) less 4

    def tensors(self, scales: tuple[int, ...], told: bool) -> dict[str, Tensor]:
        shapes = var_shapes(**TINY | {"scales": scales}, shared=True)
        return {k: v for k, v in weights(shapes, scales).items() if told or k != "lvl_1L"}

    @pytest.mark.parametrize("scales", SCHEDULES.values())
    def test_known(self, scales: tuple[int, ...]) -> None:
        shapes = var_shapes(**TINY | {"scales": scales}, shared=True)
        assert VARLayout.of("x", empty(shapes)).scales == scales

    def test_told_by_the_file(self) -> None:
        assert VARLayout.of("x", self.tensors((1, 2, 5), told=True)).scales == (1, 2, 5)

    def test_asked_for(self) -> None:
        assert VARLayout.of("x", self.tensors((1, 2, 5), told=False), [1, 2, 5]).scales == (1, 2, 5)
        with pytest.raises(RefineError, match=r"x has 3 scales of 30 sites in all and does not tell.*--scales 1,2,3,4"):
            VARLayout.of("x", self.tensors((1, 2, 5), told=False))

    @pytest.mark.parametrize("scales", [[1, 2, 3], [1, 2, 3, 4], [2, 5], [5]])
    def test_those_that_do_not_match_the_file(self, scales: list[int]) -> None:
        with pytest.raises(RefineError, match=r"scales .* sites in all.*; x has 3 scales of 30 sites in all, 1 in the"):
            VARLayout.of("x", self.tensors((1, 2, 5), told=True), scales)

    def test_a_buffer_that_says_nothing_is_ignored(self) -> None:
        tensors = self.tensors(SCHEDULES[680], told=True)
        tensors["lvl_1L"] = torch.arange(3)
        assert VARLayout.of("x", tensors | {"lvl_1L": tensors["lvl_1L"].float()}).scales == SCHEDULES[680]
