"""The half of the image domain that knows the images: which, of what shape and classes, on which scales."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from refine.domain import Domain
from refine.domains.image.codecs.build import CODECS, build_codec, build_resampler
from refine.domains.image.codecs.codec import GridCodec
from refine.domains.image.codecs.patches import PatchResampler
from refine.domains.image.config import ImageConfig
from refine.domains.image.data import folder as folders
from refine.domains.image.data.dataset import ImageDataset, check_split
from refine.domains.image.data.splits import CANONICAL, DATA, read_canonical
from refine.errors import not_accepted, require
from refine.scales.resample import GridResampler
from refine.types import ConditionSpec

NO_IMAGES = (
    "this model came without images to train on or to compare with; import it with --folder IMAGES, in subfolders "
    "that are its classes in order"
)

WRITABLE = "names are written into configurations and reports; accepted: printable UTF-8 without ${; rename the folder"


class ImageData(Domain):
    """Which images there are, and their scales; it is what pictures, figures and studies need of the domain.

    What a configuration leaves to the data (size, channels, classes) is looked up when the domain is made and written
    into ``config``, so that a checkpoint draws samples where its training data is not at hand.

    Raises:
        RefineError: options that do not fit each other or the data.
    """

    config: ImageConfig

    def __init__(self, config: ImageConfig) -> None:
        super().__init__(complete(config))
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
        return names_of(self.config.classes)

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
        if self.config.label_conditional:
            return images
        return ImageDataset(images.pixels, None, images.origin, images.skipped, images.content)

    def codec(self) -> GridCodec:
        return build_codec(self.config, self.shape)

    def resampler(self) -> GridResampler | PatchResampler:
        return build_resampler(self.config, self.shape[0])


def complete(config: ImageConfig) -> ImageConfig:
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
            paths = folders.list_images(config.folder, config.strict)
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
        named = len(names_of(classes))
        right = f"domain.classes has {named} names; {config.data} has {len(source.classes)} classes"
        require(named == len(source.classes), right)
    for name in names_of(classes):
        good = name.isprintable() and "${" not in name and name != "???"
        require(good, f"{name!r:.60} is not accepted as the name of a class (of a subfolder): {WRITABLE}")
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


def names_of(classes: Any) -> list[str]:
    """``domain.classes`` as names; a number stands for the numbers below it."""
    if isinstance(classes, int) and not isinstance(classes, bool) and classes >= 0:
        return [str(i) for i in range(classes)]
    good = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    require(
        good, f"domain.classes={classes!r} is not accepted; accepted: a list of names, or how many classes there are"
    )
    return list(classes)
