"""The image domain: images, and all that commands can do with models of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from refine.capabilities import Exports, ImportsWeights, Inpaints, Pictures, Studies
from refine.domains.image.config import ImageConfig, ImageEvaluateConfig, ImageInpaintConfig
from refine.domains.image.data.pixels import to_picture, to_uint8
from refine.domains.image.image_data import ImageData
from refine.domains.image.judging.export import export
from refine.domains.image.judging.metrics import check_features, image_metrics
from refine.domains.image.judging.study import ImageSubject
from refine.domains.image.pictures.inpainting import inpaint
from refine.domains.image.pictures.samples import SampleFiles, plot_reconstructions
from refine.domains.image.var.files import VARFiles
from refine.types import Samples

if TYPE_CHECKING:
    from refine.models.refiner import Refiner
    from refine.settings.config import Config as RunConfig


class ImageDomain(ImageData, Inpaints, Exports, Pictures, ImportsWeights, Studies):
    """Images on a grid."""

    name = "image"
    packages = ("sklearn", "PIL")
    group = "trivial: a site knows its coordinates in the picture"
    Config = ImageConfig
    sections: ClassVar[Mapping[str, type]] = {"evaluate": ImageEvaluateConfig, "inpaint": ImageInpaintConfig}
    imports: ClassVar[Mapping[str, type]] = {"var": VARFiles}

    def save(self, samples: Samples, folder: Path, gif: bool = False, strip: int = 8, **options: Any) -> list[Path]:
        """See :class:`refine.domains.image.pictures.samples.SampleFiles`."""
        return self.save_batches([samples], len(samples.items), folder, gif, strip)

    def save_batches(
        self,
        batches: Iterable[Samples],
        num: int,
        folder: Path,
        gif: bool = False,
        strip: int = 8,
        pictures: bool = True,
        **options: Any,
    ) -> list[Path]:
        """See :class:`refine.domains.image.pictures.samples.SampleFiles`."""
        with SampleFiles(self, num, folder, gif, strip, pictures) as files:
            for samples in batches:
                files.add(samples)
            return files.finish()

    def plot_training(self, model: Refiner, folder: Path) -> list[Path]:
        """See :func:`refine.domains.image.pictures.samples.plot_reconstructions`."""
        return plot_reconstructions(self, model, folder)

    def metrics(self, model: Refiner, samples: Samples, config: ImageEvaluateConfig, folder: Path) -> dict[str, Any]:
        """See :func:`refine.domains.image.judging.metrics.image_metrics`."""
        return image_metrics(self, model, samples, config)

    def check_metrics(self, model: Refiner, config: ImageEvaluateConfig) -> None:
        """See :func:`refine.domains.image.judging.metrics.check_features`."""
        check_features(config.features, len(self.class_names()), model.device)

    def inpaint(self, model: Refiner, config: RunConfig, folder: Path) -> list[Path]:
        """See :func:`refine.domains.image.pictures.inpainting.inpaint`."""
        return inpaint(self, model, config, folder)

    def subject(self) -> ImageSubject:
        """See :class:`refine.domains.image.judging.study.ImageSubject`."""
        return ImageSubject(self)

    def export(self, samples: Samples, path: Path) -> None:
        """See :func:`refine.domains.image.judging.export.export`."""
        export(samples.items, path)

    def pictures(self, items: Tensor, output_type: str) -> Any:
        if output_type == "pil":
            return [to_picture(pixels) for pixels in to_uint8(items)]
        images = (items.float() / 2 + 0.5).clamp(0, 1)
        return images.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else images

    @classmethod
    def import_weights(cls, kind: str, to: Path, options: VARFiles) -> dict[str, Any]:
        """``var``: see :func:`refine.domains.image.var.importing.import_var`."""
        from refine.domains.image.var.importing import import_var  # it composes the configuration of a run

        return import_var(cls, options, to)

    def starter(self) -> Path | None:
        path = Path(__file__).parent / "starter"
        return path if (path / "config.json").is_file() else None
