"""The image domain: which images, which latent, which scales; samples as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from refine.domain import Domain
from refine.domains.image.codecs.codec import ConvCodec, GridCodec, LinearCodec, PixelCodec
from refine.domains.image.codecs.patches import PatchCodec, PatchResampler
from refine.domains.image.codecs.vqgan import VQGANCodec
from refine.domains.image.data import folder as folders
from refine.domains.image.data.dataset import ImageDataset, check_split
from refine.domains.image.data.pixels import to_picture, to_uint8
from refine.domains.image.data.splits import CANONICAL, DATA, read_canonical
from refine.domains.image.pictures import grids as pictures
from refine.errors import not_accepted, require
from refine.models.codec import Codec
from refine.scales.resample import GridResampler
from refine.storage.files import atomic_write
from refine.types import ConditionSpec, Samples

if TYPE_CHECKING:
    from refine.commands.evaluate import EvaluateConfig
    from refine.models.refiner import Refiner
    from refine.settings.config import Config as RunConfig
    from refine.studies.contestant import Subject

MAX_ROWS, MAX_COLUMNS = 40, 16  # of a sample grid
NO_IMAGES = (
    "this model came without images to train on or to compare with; import it with --folder IMAGES, in subfolders "
    "that are its classes in order"
)


@dataclass
class ImageConfig:
    """Options of the image domain; null where the data itself answers."""

    data: str | None = None  # digits | mnist | cifar10 | folder | none; null: folder where one is given, else digits
    folder: str | None = None  # images, in subfolders named by their labels or all in the folder itself
    size: Any = None  # pixels: one number or [height, width]; resized on the short side, cropped to the centre
    channels: int | None = None  # 1 grey | 3 RGB; null: the data's own, 3 for a folder
    classes: Any = None  # names of the labels, or how many there are; null: the data's own
    label_conditional: bool = True  # condition on the labels, where there are some
    strict: bool = False  # refuse images that cannot be read instead of skipping them
    codec: str = "conv"  # conv | linear (by patch) | identity, patch (of factor x factor; both pixels) | vqgan (VAR's)
    factor: int = 1  # pixels of a latent site along each side; conv: 1, 2, 4, 8 or 16
    latent: int = 4  # channels of the latent; identity has the image's, patch those of factor x factor pixels
    width: int = 32  # conv, vqgan: channels of hidden layers; vqgan: at the finest level
    blocks: int = 2  # conv, vqgan: residual blocks at each resolution
    multipliers: list[int] = field(default_factory=lambda: [1, 1, 2, 2, 4])  # vqgan: widths of its levels, in width
    scales: list[Any] = field(default_factory=lambda: [1, 2, 4, 8])  # grids, coarsest first, ending at size / factor
    down: str = "area"  # area | bicubic | blur
    up: str = "bicubic"  # bicubic | linear | nearest | blur


CODECS: dict[str, Callable[[ImageConfig, tuple[int, int, int]], GridCodec]] = {
    "conv": lambda c, image: ConvCodec(image, c.latent, c.factor, c.width, c.blocks),
    "linear": lambda c, image: LinearCodec(image, c.latent, c.factor),
    "identity": lambda c, image: PixelCodec(image),
    "patch": lambda c, image: PatchCodec(image, c.factor),
    "vqgan": lambda c, image: VQGANCodec(image, c.latent, c.factor, c.width, c.multipliers, c.blocks),
}


class ImageDomain(Domain):
    """Images on a grid.

    What a configuration leaves to the data (size, channels, classes) is looked up when the domain is made and written
    into ``config``, so that a checkpoint draws samples where its training data is not at hand.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    name = "image"
    group = "trivial: a site knows its coordinates in the picture"
    Config = ImageConfig
    imports = ("var",)
    config: ImageConfig

    def __init__(self, config: ImageConfig) -> None:
        super().__init__(_complete(config))
        self._splits: dict[str, ImageDataset] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an item."""
        assert self.config.channels is not None
        return (self.config.channels, *self.config.size)

    @property
    def dimensions(self) -> int:
        return int(np.prod(self.shape))

    @property
    def condition(self) -> ConditionSpec:
        return ConditionSpec(num_classes=len(self.class_names()) if self.config.label_conditional else 0)

    def class_names(self) -> list[str]:
        return _names(self.config.classes)

    def images(self, split: str) -> ImageDataset:
        """A split with its labels, whether or not the model is conditioned on them; read once."""
        check_split(split)
        if split not in self._splits:
            c, (channels, *_) = self.config, self.shape
            assert c.data is not None
            require(c.data != "none", f"domain.data=none: {NO_IMAGES}")
            if c.data == "folder":
                assert c.folder is not None
                read = partial(folders.read_folder, c.folder, split, self.class_names())
            else:
                read = partial(read_canonical, c.data, split)
            self._splits[split] = read(c.size, channels, c.strict)
        return self._splits[split]

    def dataset(self, split: str) -> ImageDataset:
        images = self.images(split)
        return images if self.config.label_conditional else ImageDataset(images.pixels, None, images.origin)

    def codec(self) -> Codec:
        return CODECS[self.config.codec](self.config, self.shape)

    def resampler(self) -> GridResampler | PatchResampler:
        c, resampler = self.config, GridResampler(self.config.scales, self.config.down, self.config.up)
        h, w = self.config.size[0] // self.config.factor, self.config.size[1] // self.config.factor
        require(
            resampler.shapes[-1] == (h, w),
            f"domain.scales={self.config.scales} ends at {resampler.shapes[-1]}; images of {self.config.size} with "
            f"factor={self.config.factor} have a latent of {h}x{w}, which has to be the last scale",
        )
        return PatchResampler(c.scales, self.shape[0], c.factor, c.down, c.up) if c.codec == "patch" else resampler

    def save(self, samples: Samples, folder: Path, gif: bool = False, strip: int = 8, **options: Any) -> list[Path]:
        """Write samples as pictures and arrays.

        ``samples.png``, a grid with a row for each class; ``images/00000.png`` and so on, one by one; ``samples.npz``
        with ``images`` uint8 (B, H, W, C), ``labels`` and ``codes_0`` to ``codes_{K-1}``; where a trail was kept,
        ``refinement.png``, the first ``strip`` samples decoded after every scale, and with ``gif`` the same of the
        whole grid as ``refinement.gif``.
        """
        single = folder / "images"
        single.mkdir(parents=True, exist_ok=True)
        pixels, label = to_uint8(samples.items), samples.condition.label
        labels = None if label is None else label.cpu()
        paths = [pictures.save_picture(self._sample_grid(pixels, labels), folder / "samples.png")]
        arrays: dict[str, Any] = {f"codes_{k}": c.cpu().numpy() for k, c in enumerate(samples.codes)}
        arrays["images"] = pixels.permute(0, 2, 3, 1).numpy()
        if labels is not None:
            arrays["labels"] = labels.numpy()
        with atomic_write(folder / "samples.npz") as temporary:
            np.savez_compressed(temporary, **arrays)
        paths.append(folder / "samples.npz")
        if samples.trail:
            trail = [to_uint8(items) for items in samples.trail]
            rows = [[t[i] for t in trail] for i in range(min(strip, len(pixels)))]
            if rows:
                picture = pictures.grid(rows, column_labels=[f"{h}x{w}" for h, w in self.resampler().shapes])
                paths.append(pictures.save_picture(picture, folder / "refinement.png"))
            if gif:
                frames = [self._sample_grid(t, labels) for t in trail]
                paths.append(pictures.save_animation(frames, folder / "refinement.gif"))
        for i, image in enumerate(pixels):  # thousands of files: not worth a sync each
            paths.append(single / f"{i:05d}.png")
            to_picture(image).save(paths[-1])
        return paths

    def _sample_grid(self, pixels: Tensor, labels: Tensor | None) -> Any:
        if labels is None or not self.class_names():
            columns = min(MAX_COLUMNS, int(np.ceil(len(pixels) ** 0.5)))
            rows = [pixels[i : i + columns] for i in range(0, len(pixels), columns)]
            return pictures.grid(rows[:MAX_ROWS])
        present = labels.unique().tolist()[:MAX_ROWS]
        rows = [pixels[labels == label][:MAX_COLUMNS] for label in present]
        return pictures.grid(rows, row_labels=[self.class_names()[label] for label in present])

    @torch.no_grad()
    def plot_training(self, refiner: Refiner, folder: Path) -> list[Path]:
        """``reconstructions.png``: validation images, each above what its codes are decoded to."""
        pixels = self.images("val").pixels[: 4 * MAX_COLUMNS]
        x = torch.stack([self.images("val")[i]["x"] for i in range(len(pixels))]).to(refiner.device)
        output = to_uint8(refiner.tokenizer.decode(refiner.tokenizer.encode(x)))
        starts = range(0, len(pixels), MAX_COLUMNS)
        rows = [t[i : i + MAX_COLUMNS] for i in starts for t in (pixels, output)]
        picture = pictures.grid(rows, row_labels=["input", "output"] * len(starts))
        return [pictures.save_picture(picture, folder / "reconstructions.png")]

    def metrics(self, refiner: Refiner, samples: Samples, config: EvaluateConfig, folder: Path) -> dict[str, Any]:
        """See :func:`refine.domains.image.judging.metrics.image_metrics`."""
        from refine.domains.image.judging.metrics import image_metrics

        return image_metrics(self, refiner, samples, config)

    def inpaint(self, refiner: Refiner, config: RunConfig, folder: Path) -> list[Path]:
        """See :func:`refine.domains.image.pictures.editing.inpaint`."""
        from refine.domains.image.pictures.editing import inpaint

        return inpaint(self, refiner, config, folder)

    def subject(self) -> Subject:
        """See :class:`refine.domains.image.judging.study.ImageSubject`."""
        from refine.domains.image.judging.study import ImageSubject

        return ImageSubject(self)

    def export(self, samples: Samples, path: Path) -> None:
        """See :func:`refine.domains.image.judging.export.export`."""
        from refine.domains.image.judging.export import export

        export(samples.items, path)

    def pictures(self, items: Tensor, output_type: str) -> Any:
        if output_type == "pil":
            return [to_picture(pixels) for pixels in to_uint8(items)]
        images = (items.float() / 2 + 0.5).clamp(0, 1)
        return images.permute(0, 2, 3, 1).cpu().numpy() if output_type == "np" else images

    @classmethod
    def import_weights(cls, kind: str, to: Path, given: Mapping[str, Any]) -> dict[str, Any]:
        """``var``: see :func:`refine.domains.image.var.var_import.import_var`."""
        from refine.domains.image.var.var_import import import_var

        return import_var(to=to, **given)

    def starter(self) -> Path | None:
        path = Path(__file__).parent / "starter"
        return path if (path / "config.json").is_file() else None


def _complete(config: ImageConfig) -> ImageConfig:
    """The configuration with what it leaves to the data filled in; touches the data only where it has to."""
    if config.data is None:
        config = replace(config, data="folder" if config.folder else "digits")
    assert config.data is not None
    if config.data not in DATA:
        raise not_accepted("domain.data", config.data, DATA)
    if config.codec not in CODECS:
        raise not_accepted("domain.codec", config.codec, CODECS)
    size, channels, classes = config.size, config.channels, config.classes
    if config.data == "folder":
        require(bool(config.folder), "domain.data=folder needs domain.folder=PATH, a folder of images")
        assert config.folder is not None
        channels = 3 if channels is None else channels
        if size is None or classes is None:
            paths = folders.list_images(config.folder)
            classes = folders.list_classes(paths) if classes is None else classes
            size = folders.common_size(config.folder, paths) if size is None else size
    else:
        message = f"domain.folder={config.folder!r} is read only with domain.data=folder, not {config.data}"
        require(config.folder is None, message)
    if config.data == "none":
        message = "domain.data=none says nothing of the images: domain.size, channels and classes have to be given"
        require(None not in (size, channels, classes), message)
    elif config.data in CANONICAL:
        source = CANONICAL[config.data]
        size, channels = source.size if size is None else size, source.channels if channels is None else channels
        classes = source.classes if classes is None else classes
        named = len(_names(classes))
        right = f"domain.classes has {named} names; {config.data} has {len(source.classes)} classes"
        require(named == len(source.classes), right)
    _names(classes)
    if channels not in (1, 3):
        raise not_accepted("domain.channels", channels, ["1 (grey)", "3 (RGB)"])
    pair = [size, size] if isinstance(size, int) else list(size)
    wrong = len(pair) != 2 or any(not isinstance(n, int) or n < 1 for n in pair)
    require(not wrong, f"domain.size={size!r} is not accepted; accepted: a number of pixels or [height, width]")
    require(
        config.codec != "identity" or config.factor == 1,
        f"domain.codec=identity keeps every pixel: domain.factor={config.factor} is not accepted; accepted: 1",
    )
    return replace(config, size=tuple(pair), channels=channels, classes=classes)


def _names(classes: Any) -> list[str]:
    """``domain.classes`` as names; a number stands for the numbers below it."""
    if isinstance(classes, int) and not isinstance(classes, bool) and classes >= 0:
        return [str(i) for i in range(classes)]
    good = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    require(
        good, f"domain.classes={classes!r} is not accepted; accepted: a list of names, or how many classes there are"
    )
    return list(classes)
