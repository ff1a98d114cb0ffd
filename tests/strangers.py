"""Domains of other people, installed for a test: a package and the entry points that announce it."""

from __future__ import annotations

from pathlib import Path

TOY = '''
"""Waves in three kinds."""
from dataclasses import dataclass, field

import torch

from refine import Codec, ConditionSpec, Domain, FieldsDataset, GridResampler


@dataclass
class Filter:
    order: int = 2
    cut: float = 0.5  # share of the band that is kept


@dataclass
class ToyConfig:
    data: str = "waves"  # waves | steps
    length: int = 8
    scales: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    mirror: bool = False  # also turned around
    folder: str | None = None
    filter: Filter = field(default_factory=Filter)


class ToyCodec(Codec):
    channels = 2

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = torch.nn.Linear(1, 2), torch.nn.Linear(2, 1)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, latent):
        return self.decoder(latent)


class ToyDomain(Domain):
    name, Config, group = "toy", ToyConfig, "none at all"

    def dataset(self, split):
        g = torch.Generator().manual_seed(len(split))
        label = torch.randint(3, (96,), generator=g)
        time = torch.arange(self.config.length) / self.config.length
        x = torch.sin(6.28 * time * (1 + label[:, None])) + 0.1 * torch.randn(96, self.config.length, generator=g)
        return FieldsDataset(x=x[..., None], label=label)

    def codec(self):
        return ToyCodec()

    def resampler(self):
        return GridResampler([(n,) for n in self.config.scales], up="linear")

    @property
    def condition(self):
        return ConditionSpec(num_classes=3)

    def class_names(self):
        return ["slow", "fast", "faster"]
'''


def install(folder: Path, name: str, source: str, entry: str) -> Path:
    """Lay a distribution ``name`` with module ``name`` out in ``folder``, announcing the domain ``entry``.

    Returns:
        What to put on the module search path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[refine.domains]\n{entry}\n")
    return folder


def install_toy(folder: Path) -> Path:
    """The domain ``toy``: labelled waves of eight samples."""
    return install(folder, "refine_toy", TOY, "toy = refine_toy:ToyDomain")
