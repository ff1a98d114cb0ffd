"""The deterministic forecast of one step: the mean that codes refine, and the control that they have to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from refine.domains.weather.config import MeanConfig
from refine.domains.weather.fields.data import WeatherData
from refine.domains.weather.fields.statistics import streamed
from refine.domains.weather.forecaster.spectral_filter import SpectralFilter
from refine.domains.weather.forecaster.unet import NHWC, UNet
from refine.errors import require
from refine.items import Items, in_batches
from refine.progress import track
from refine.settings.config import TrainConfig

ROWS = 32  # days computed together


class MeanForecast(nn.Module):
    """X(t + dt) from X(t) and X(t - dt), static fields and forcings: what is most likely, and features of the state.

    All it knows of the data is in its buffers, so a checkpoint forecasts without the training data.

    Attributes:
        centre, scale, change: (C, 1, 1) mean and standard deviation of each channel, and root mean square of its
            change over one step; physical units.
        static: (S, H, W) orography and land-sea mask, standardised.
        fitted: whether these are there.
        filter: of what the network predicts, from days that it did not learn from.
    """

    centre: Tensor
    scale: Tensor
    change: Tensor
    static: Tensor
    fitted: Tensor
    area: Tensor
    rows: Tensor
    mirrored_sign: Tensor
    mirrored_season: Tensor

    def __init__(self, config: MeanConfig, domain: WeatherData) -> None:
        super().__init__()
        self.domain, self.config = domain, config
        channels, (height, width) = len(domain.channels), domain.grid.shape
        for name in ("centre", "scale", "change"):
            self.register_buffer(name, torch.ones(channels, 1, 1))
        self.register_buffer("static", torch.zeros(len(domain.statics), height, width))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        latitude = torch.from_numpy(domain.grid.latitude.copy()).deg2rad()
        rows = torch.stack([latitude.sin(), latitude.cos()])[..., None].expand(-1, -1, width)
        self.register_buffer("rows", rows.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("area", torch.from_numpy(domain.grid.area).float(), persistent=False)
        inputs = 2 * channels + len(domain.statics) + 2 + len(domain.forcings)
        self.unet = UNet(inputs, channels, (height, width), config.widths, config.blocks)
        self.filter = SpectralFilter(channels, domain.winds, domain.grid)
        signs = [-1.0 if c in domain.northward else 1.0 for c in domain.channels]
        self.register_buffer("mirrored_sign", torch.tensor(signs)[:, None, None], persistent=False)
        seasons = [-1.0 if "of_year" in name else 1.0 for name in domain.forcings]
        self.register_buffer("mirrored_season", torch.tensor(seasons)[:, None, None], persistent=False)

    @property
    def num_features(self) -> int:
        """Channels of the features that :meth:`forward` returns."""
        return self.config.widths[0]

    @torch.no_grad()
    def fit_statistics(self) -> None:
        """Read the statistics of the training split, and the static fields."""
        found = streamed(self.domain.whole("train"), self.domain.grid, self.domain.step)
        for name, values in (("centre", found.mean), ("scale", found.std), ("change", found.change)):
            tensor = torch.from_numpy(values).float()[:, None, None]
            require(bool(tensor.isfinite().all()), f"the {name} of {self.domain.channels} is not finite: {values}")
            getattr(self, name).copy_(tensor)
        require(bool((self.change > 0).all()), "a channel of domain.variables never changes")
        if (fields := self.domain.static()) is not None:
            static = torch.from_numpy(fields.to_array().to_numpy())
            self.static.copy_((static - static.mean((1, 2), True)) / static.std((1, 2), keepdim=True).clamp_min(1e-6))
        self.fitted.fill_(True)

    def inputs(self, before: Tensor, now: Tensor, forcing: Tensor, static: Tensor | None = None) -> Tensor:
        """All that is known, (B, I, H, W), from states (B, C, H, W) in physical units and forcings (B, F, H, W)."""
        batch = len(now)
        parts = [
            (now - self.centre) / self.scale,
            (now - before) / self.change,
            self.static.expand(batch, -1, -1, -1) if static is None else static,
            self.rows.expand(batch, -1, -1, -1),
            forcing,
        ]
        return torch.cat(parts, 1).contiguous(memory_format=NHWC)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The change of one step in units of ``change`` (B, C, H, W), and features (B, num_features, H / 2, W / 2)."""
        change, features = self.unet(inputs)
        return self.filter(change.to(self.change.dtype), self._state(inputs)), features.to(self.change.dtype)

    def _state(self, inputs: Tensor) -> Tensor:
        """X(t) of inputs, (B, C, H, W) in units of ``change``."""
        return inputs[:, : len(self.scale)] * (self.scale / self.change)

    @torch.no_grad()
    def fit_filter(self, items: Items) -> None:
        """Learn the filter from pairs of another split."""
        self.eval()
        self.filter.fitted.fill_(False)
        self.filter.fit(self._days(items))

    def _days(self, items: Items) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for batch in track(in_batches(items, ROWS), "Filtering"):
            before, now, after, forcing = (batch[n].to(self.area.device) for n in ("before", "now", "after", "forcing"))
            inputs = self.inputs(before, now, forcing)
            yield self(inputs)[0], self._state(inputs), (after - now) / self.change

    # -- training ----------------------------------------------------------------------------------------------------

    def training_items(self, split: str, seed: int) -> Items:
        """See :class:`refine.domains.weather.fields.pairs.Pairs`."""
        if not self.fitted:
            self.fit_statistics()
        return self.domain.dataset(split)

    def training_loss(self, batch: dict[str, Tensor], settings: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean square error of the change, relative to that of predicting no change, over area and channels."""
        before, now, after, forcing = (batch[n] for n in ("before", "now", "after", "forcing"))
        static = self.static.expand(len(now), -1, -1, -1)
        if self.training and self.config.mirror:
            which = torch.rand(len(now), 1, 1, 1, device=now.device) < 0.5
            before, now, after = (torch.where(which, x.flip(-2) * self.mirrored_sign, x) for x in (before, now, after))
            forcing = torch.where(which, forcing.flip(-2) * self.mirrored_season, forcing)
            static = torch.where(which, static.flip(-2), static)
        change, _ = self(self.inputs(before, now, forcing, static))
        error = change - (after - now) / self.change
        by_channel = (error.square() * self.area).mean((0, 2, 3))
        loss = by_channel.mean()
        rmse = {f"rmse_{name}": r for name, r in zip(self.domain.channels, self.rmse(by_channel), strict=True)}
        return loss, {"relative_mse": loss} | ({} if self.training else rmse)

    def rmse(self, relative: Tensor) -> Tensor:
        """(C,) root mean square errors in physical units from relative mean square errors."""
        return relative.sqrt() * self.change[:, 0, 0]

    def frozen(self) -> Sequence[nn.Module]:
        """Nothing."""
        return ()
