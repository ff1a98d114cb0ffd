"""Going down and up between scales: S_k and U_k of the paper (eq. 7-9, 13, 14)."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.errors import not_accepted, require, shown
from refine.types import Level


class Resampler(nn.Module, abc.ABC):
    """Linear maps between the site sets of K scales, and the geometry of each.

    Attributes:
        num_levels: K.
    """

    num_levels: int

    @abc.abstractmethod
    def num_sites(self, k: int) -> int:
        """N_k."""

    @abc.abstractmethod
    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        """(B, N_source, C) to (B, N_target, C), target <= source: low-pass and subsample."""

    @abc.abstractmethod
    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        """(B, N_source, C) to (B, N_target, C), target >= source: interpolate."""

    @abc.abstractmethod
    def level(self, k: int) -> Level:
        """The geometry of scale k, with a leading dimension of 1."""

    def degrees(self, k: int) -> int:
        """In how many independent ways fields on scale k differ: N_k, or fewer where its sites are redundant."""
        return self.num_sites(k)

    def new_degrees(self, k: int) -> float:
        """In how many of them the scale before cannot differ, d of a band."""
        return self.degrees(k) - (self.degrees(k - 1) if k else 0)

    @property
    def field_sites(self) -> int | None:
        """N, sites of a condition field; None for unknown, where :meth:`field` is a subclass's own."""
        return self.num_sites(self.num_levels - 1) if type(self).field is Resampler.field else None

    def field(self, field: Tensor, k: int) -> Tensor:
        """A condition field (B, N, F) seen at scale k, (B, N_k, F); by default it lives on the finest scale."""
        return self.down(field, self.num_levels - 1, k)


DOWN = ("area", "bicubic", "blur")
SITES = 2**25  # of all scales, each of which has features
UP = ("bicubic", "linear", "nearest", "blur")


class GridResampler(Resampler):
    """Regular grids of any dimension: signals (n,), images (h, w), volumes.

    Every map is separable, so it is one small matrix per axis, computed once. ``area``, ``bicubic``, ``linear`` and
    ``nearest`` are torch's ``interpolate`` (``align_corners=False``); ``blur`` is Burt & Adelson's pyramid: REDUCE with
    [1,4,6,4,1]/16, and its normalised adjoint EXPAND as the matched synthesis filter (section 2.3 of the paper).

    Args:
        shapes: K grids, coarsest first, none larger than the next and each with more sites than the last. A number n
            stands for (n, n).
        down: one of ``area``, ``bicubic``, ``blur``.
        up: one of ``bicubic``, ``linear``, ``nearest``, ``blur``.
        frequencies: octaves of the sine and cosine features of a site's coordinates.
    """

    def __init__(
        self,
        shapes: Sequence[int | Sequence[int]],
        down: str = "area",
        up: str = "bicubic",
        frequencies: int = 4,
    ) -> None:
        super().__init__()
        listed = isinstance(shapes, Sequence) and not isinstance(shapes, str)
        require(listed, f"scales={shapes!r} is not accepted; accepted: a list of grids, coarsest first")
        self.shapes = [grid_shape(s) for s in shapes]
        require(len(self.shapes) > 0, "scales=[] is not accepted; at least one scale is needed")
        for a, b in itertools.pairwise(self.shapes):
            grows = len(a) == len(b) and math.prod(a) < math.prod(b) and all(m <= n for m, n in zip(a, b, strict=True))
            require(grows, f"scales must grow strictly: {a} is followed by {b}")
        require(min(itertools.chain(*self.shapes)) >= 1, f"scales={self.shapes}: sizes must be positive")
        sites = sum(map(math.prod, self.shapes))
        require(sites <= SITES, f"scales={shown(self.shapes)} have {sites:,} sites in all; accepted: up to {SITES:,}")
        if down not in DOWN:
            raise not_accepted("down", down, DOWN)
        if up not in UP:
            raise not_accepted("up", up, UP)
        self.num_levels = len(self.shapes)
        self.down_kind, self.up_kind, self.frequencies = down, up, frequencies
        for k, shape in enumerate(self.shapes):
            self.register_buffer(f"pos_{k}", grid_features(shape, frequencies), persistent=False)
        self._matrices: dict[tuple[str, int, int, torch.device, torch.dtype], Tensor] = {}

    def num_sites(self, k: int) -> int:
        return math.prod(self.shapes[k])

    def level(self, k: int) -> Level:
        return Level(pos=self.get_buffer(f"pos_{k}")[None])

    def down(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._apply_axes(x, self.down_kind, source, target)

    def up(self, x: Tensor, source: int, target: int) -> Tensor:
        return self._apply_axes(x, self.up_kind + "-up" if self.up_kind == "blur" else self.up_kind, source, target)

    def _apply_axes(self, x_BNC: Tensor, kind: str, source: int, target: int) -> Tensor:
        if source == target:
            return x_BNC
        batch, _, channels = x_BNC.shape
        sizes, wanted = self.shapes[source], self.shapes[target]
        x = x_BNC
        for axis, (n, m) in enumerate(zip(sizes, wanted, strict=True)):
            if n == m:
                continue
            before, after = math.prod(wanted[:axis]), math.prod(sizes[axis + 1 :])
            with torch.autocast(x.device.type, enabled=False):  # residuals are small differences
                matrix, rows = self._matrix(kind, n, m, x), x.reshape(batch * before, n, after * channels)
                # many products with single columns are slow
                x = matrix @ rows if after * channels > 1 else F.linear(rows[..., 0], matrix)
        return x.reshape(batch, math.prod(wanted), channels)

    def _matrix(self, kind: str, n: int, m: int, like: Tensor) -> Tensor:
        key = (kind, n, m, like.device, like.dtype)
        if key not in self._matrices:
            self._matrices[key] = axis_matrix(kind, n, m).to(like.device, like.dtype)
        return self._matrices[key]


def grid_shape(scale: int | Sequence[int]) -> tuple[int, ...]:
    """One of ``scales`` as sizes by axis; a number n stands for (n, n)."""
    shape = (scale, scale) if isinstance(scale, int) else tuple(scale) if isinstance(scale, Sequence) else ()
    whole = len(shape) > 0 and all(isinstance(n, int) for n in shape)
    require(whole, f"{scale!r} in scales is not accepted; accepted: a whole number, or one for each axis of the grid")
    return shape


def grid_features(shape: tuple[int, ...], frequencies: int) -> Tensor:
    """(N, P) coordinates of cell centres in (-1, 1), with sines and cosines of pi 2^j times them; P = d (1 + 2 F)."""
    axes = [(torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1 for n in shape]
    coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(shape))
    phases = [math.pi * 2**j * coords for j in range(frequencies)]
    return torch.cat([coords, *(f(p) for p in phases for f in (torch.sin, torch.cos))], dim=-1).float()


def axis_matrix(kind: str, n: int, m: int) -> Tensor:
    """(m, n) float64 matrix of a 1-D resampling from n to m samples; its rows sum to one."""
    if kind == "blur":
        return _blur_down(n, m)
    if kind == "blur-up":
        return _normalise(_blur_down(m, n).T)
    column = torch.eye(n, dtype=torch.float64)[:, None, :, None]  # n images (1, n, 1), one unit vector each
    if kind in ("linear", "bicubic"):
        mode = "bilinear" if kind == "linear" else kind
        out = F.interpolate(column, size=(m, 1), mode=mode, align_corners=False)
    else:
        out = F.interpolate(column, size=(m, 1), mode=kind)
    return out[:, 0, :, 0].T.contiguous()


def _normalise(matrix: Tensor) -> Tensor:
    return matrix / matrix.sum(dim=1, keepdim=True)


def _blur_down(n: int, m: int) -> Tensor:
    """Burt & Adelson's REDUCE from n to m: blur and keep every second sample while it fits; then one partial step."""
    matrix = torch.eye(n, dtype=torch.float64)
    while (n + 1) // 2 >= m and n > m:
        keep = _binomial(n)[::2]
        matrix, n = keep @ matrix, (n + 1) // 2
    if n > m:
        matrix = axis_matrix("linear", n, m) @ _binomial(n) @ matrix
    return matrix


def _binomial(n: int) -> Tensor:
    """(n, n) convolution with [1,4,6,4,1]/16; samples beyond the border are reflected about it."""
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for offset, weight in zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True):
        for i in range(n):
            j = abs(i + offset) if n > 1 else 0
            j = 2 * (n - 1) - j if j > n - 1 else j
            matrix[i, max(0, min(n - 1, j))] += weight / 16
    return matrix
