"""A domain in one file: ECG-like beats. See docs/how-to-add-a-domain.md."""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from matplotlib.figure import Figure
from signal_hello import CountsBeats
from torch import Tensor, nn

from refine import Codec, ConditionSpec, Domain, FieldsDataset, GridResampler
from refine.settings.bounds import each, whole

RHYTHMS = ["normal", "fast", "flat T wave"]


@dataclass
class SignalConfig:  # each field is a key of the command line, such as length=128
    length: Annotated[int, whole(4, 4096)] = 64  # samples in a signal
    items: Annotated[int, whole(1, 1_000_000)] = 3000  # training signals
    channels: Annotated[int, whole(1, 64)] = 4  # latent channels
    # sites of each scale; the last is half the length
    scales: Annotated[list[int], each(whole(1, 2048))] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32])


def beats(num: int, length: int, seed: int) -> dict[str, Tensor]:
    """(num, length) signals in millivolts, sums of Gaussian waves P, Q, R, S, T, and the rhythm of each."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(len(RHYTHMS), (num,), generator=g)
    rate = torch.tensor([2.0, 3.0, 2.0])[label] * (1 + 0.05 * torch.randn(num, generator=g))
    phase = (torch.arange(length) / length * rate[:, None] + torch.rand(num, 1, generator=g)) % 1
    t_wave = torch.where(label == 2, 0.02, 0.3)[:, None]
    x = 0.02 * torch.randn(num, length, generator=g)
    for at, width, height in [(0.2, 0.03, 0.15), (0.35, 0.015, -0.1), (0.4, 0.02, 1), (0.45, 0.015, -0.2)]:
        x += height * torch.exp(-(((phase - at) / width) ** 2) / 2)
    return {"x": x + t_wave * torch.exp(-(((phase - 0.65) / 0.05) ** 2) / 2), "label": label}


class SignalCodec(Codec):
    """Strided convolutions between (B, length) signals and (B, length / 2, channels) latents."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = nn.Sequential(nn.Conv1d(1, 32, 4, 2, 1), nn.SiLU(), nn.Conv1d(32, channels, 3, 1, 1))
        self.decoder = nn.Sequential(nn.Conv1d(channels, 32, 3, 1, 1), nn.SiLU(), nn.ConvTranspose1d(32, 1, 4, 2, 1))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x[:, None]).transpose(1, 2)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent.transpose(1, 2))[:, 0]


class SignalDomain(CountsBeats, Domain):
    """ECG-like beats, conditioned on the kind of rhythm."""

    name, Config, group = "signal", SignalConfig, "none: time has a direction"
    condition = ConditionSpec(num_classes=len(RHYTHMS))

    def dataset(self, split):
        num = self.config.items if split == "train" else 500
        return FieldsDataset(**beats(num, self.config.length, seed=["train", "val", "test"].index(split)))

    def codec(self):
        return SignalCodec(self.config.channels)

    def resampler(self):
        return GridResampler([(n,) for n in self.config.scales])

    def class_names(self):
        return RHYTHMS

    def save(self, samples, folder, **options):
        figure = Figure(figsize=(12, 6))
        for axis, x in zip(figure.subplots(4, 4, sharex=True, sharey=True).flat, samples.items.cpu(), strict=False):
            axis.plot(x)
        figure.savefig(folder / "signals.png")
        return [*super().save(samples, folder), folder / "signals.png"]

    def heart_rate(self, x):  # a signal lasts two seconds, and only R waves reach 0.4 millivolts
        return 30 * ((x[:, :-1] < 0.4) & (x[:, 1:] >= 0.4)).sum(1)
