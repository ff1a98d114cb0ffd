"""Vector quantisation: learned codebooks, one per scale or shared (eq. 1, 15)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.quantizer import Quantizer, all_reduce_, broadcast_
from refine.errors import not_accepted, require

CHUNK = 8192  # rows of the distance matrix at a time, so that it stays in cache whatever the batch


def nearest(x: Tensor, codebook: Tensor) -> Tensor:
    """Index (M,) of the row of ``codebook`` (V, C) nearest to each row of ``x`` (M, C); ties go to the lowest index.

    ``argmin_v |x|^2 + |e_v|^2 - 2 x.e_v``, without the term that does not depend on v.
    """
    with torch.autocast(x.device.type, enabled=False):  # distances of low precision pick other codes
        half_norms = codebook.square().sum(1) / 2
        rows = [torch.addmm(half_norms, part, codebook.T, alpha=-1).argmin(1) for part in x.split(CHUNK)]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def kmeans(x: Tensor, size: int, iterations: int = 20) -> Tensor:
    """``size`` centres (V, C) of the rows of ``x`` (M, C) by Lloyd's algorithm; empty clusters restart at rows.

    The restarts fall where squared distances are large (as in k-means++), so rows that repeat, such as the background
    of pictures, do not keep centres for nothing. With fewer distinct rows than centres the surplus stays unused.
    """
    pick = torch.randperm(len(x), device=x.device)[:size]
    centres = x[pick]
    if len(centres) < size:
        extra = x[torch.randint(len(x), (size - len(centres),), device=x.device)]
        centres = torch.cat([centres, extra + 0.01 * x.std(correction=0) * torch.randn_like(extra)])
    for _ in range(iterations):
        codes = nearest(x, centres)
        counts, sums = cluster_sums(x, codes, size)
        far = (x - centres[codes]).square().sum(1).clamp_min(1e-12)
        restart = x[torch.multinomial(far, size, replacement=True)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], restart)
    return centres


def cluster_sums(x: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many rows of ``x`` (M, C) each code has (V,), and their sum (V, C)."""
    counts = torch.bincount(codes, minlength=size).to(x.dtype)
    return counts, x.new_zeros(size, x.shape[1]).index_add_(0, codes, x)


class VQ(Quantizer):
    """Codebooks of vectors, by nearest neighbour.

    Args:
        num_scales: K.
        channels: C.
        sizes: V_k per scale; all equal when ``shared``.
        shared: one codebook for all scales (VAR) instead of one each (eq. 15).
        update: ``ema`` (running cluster means) or ``gradient`` (the codebook term of eq. 1).
        decay: of the running means.
        cosine: nearest by angle; the values stay the codebook's own vectors.
        revive: codes whose running count is under this share of the mean are moved to random residuals.
    """

    def __init__(
        self,
        num_scales: int,
        channels: int,
        sizes: Sequence[int],
        shared: bool = False,
        update: str = "ema",
        decay: float = 0.99,
        cosine: bool = False,
        revive: float = 0.02,
    ) -> None:
        super().__init__(num_scales, channels, sizes, shared)
        require(len(sizes) == num_scales, f"model.quantizer.size={list(sizes)}: {num_scales} scales need as many sizes")
        require(min(sizes) >= 1, f"model.quantizer.size={list(sizes)}: each must be 1 or more")
        require(not shared or len(set(sizes)) == 1, "model.quantizer.shared=true needs one size for all scales")
        require(0 <= decay < 1, f"model.quantizer.decay={decay} is not accepted; accepted: [0, 1)")
        if update not in ("ema", "gradient"):
            raise not_accepted("model.quantizer.update", update, ("ema", "gradient"))
        self.update_kind, self.decay, self.cosine, self.revive = update, decay, cosine, revive
        books = [sizes[0]] if shared else sizes
        self.codebooks = nn.ParameterList(
            nn.Parameter(torch.randn(v, channels) * channels**-0.5, requires_grad=update == "gradient") for v in books
        )
        for book, v in enumerate(books):
            self.register_buffer(f"count_{book}", torch.ones(v))
            self.register_buffer(f"sum_{book}", self.codebooks[book].detach().clone())
        self._seen: dict[int, list[Tensor]] = {}

    def book(self, k: int) -> int:
        """Which codebook scale k uses."""
        return 0 if self.shared else k

    def encode(self, x: Tensor, k: int) -> Tensor:
        codebook, rows = self.codebooks[self.book(k)].detach(), x.detach().reshape(-1, self.channels)
        if self.cosine:
            codebook, rows = F.normalize(codebook, dim=1), F.normalize(rows, dim=1)
        return nearest(rows, codebook).view(x.shape[:-1])

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return F.embedding(codes, self.codebooks[self.book(k)])

    def expected(self, probabilities: Tensor, k: int) -> Tensor:
        values: Tensor = probabilities[..., 0, :] @ self.codebooks[self.book(k)]
        return values

    def fit(self, x: Tensor, k: int) -> None:
        book, rows = self.book(k), x.detach().reshape(-1, self.channels)
        if self.shared:  # one codebook has to serve the residuals of all scales: fit to all that were seen so far
            self._seen.setdefault(book, []).append(rows[torch.randperm(len(rows))[:50_000]])
            rows = torch.cat(self._seen[book])
            if k == self.num_scales - 1:
                self._seen.clear()
        rows = rows[torch.randperm(len(rows), device=rows.device)[:100_000]]
        places = F.normalize(rows, dim=1) if self.cosine else rows
        centres = kmeans(places, self.sizes[k])
        codes = nearest(places, F.normalize(centres, dim=1) if self.cosine else centres)
        counts, sums = cluster_sums(rows, codes, self.sizes[k])
        means = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        with torch.no_grad():
            self.codebooks[book].copy_(broadcast_(means))
        share = (broadcast_(counts) / counts.sum() * self.sizes[k]).clamp_min(self.revive)
        self.get_buffer(f"count_{book}").copy_(share)  # running counts are in units of the fair share
        self.get_buffer(f"sum_{book}").copy_(means * share[:, None])

    def observe(self, x: Tensor, codes: Tensor, k: int) -> None:
        rows = x.detach().reshape(-1, self.channels)
        counts, sums = cluster_sums(rows, codes.reshape(-1), self.sizes[k])
        spare = rows[torch.randint(len(rows), (self.sizes[k],), device=rows.device)]
        seen = self._seen.get(self.book(k))
        if seen is None:
            self._seen[self.book(k)] = [counts, sums, spare]
        else:
            before, now = seen[0].sum(), counts.sum()  # every residual, of whatever scale, is as likely to be a spare
            other = torch.rand(len(spare), 1, device=rows.device) * (before + now) < now
            seen[:] = seen[0] + counts, seen[1] + sums, torch.where(other, spare, seen[2])

    @torch.no_grad()
    def update(self) -> None:
        for book, (counts, sums, spare) in self._seen.items():
            codebook = self.codebooks[book]
            count, total = self.get_buffer(f"count_{book}"), self.get_buffer(f"sum_{book}")
            for statistic in (counts, sums):
                all_reduce_(statistic)
            broadcast_(spare)
            fair = counts.sum() / len(counts)
            count.lerp_(counts / fair, 1 - self.decay)
            total.lerp_(sums / fair, 1 - self.decay)
            dead = count < self.revive
            if self.update_kind == "ema":
                codebook.copy_(total / count.clamp_min(1e-6)[:, None])
            codebook[dead] = spare[dead]
            total[dead] = spare[dead]
            count[dead] = 1.0
        self._seen.clear()
