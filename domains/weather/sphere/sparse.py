"""A sparse matrix as a linear map of tensors: on any device, in any precision, differentiable."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from refine.errors import require

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class SparseMap:
    """(..., n) -> (..., m) by a matrix (m, n).

    Its tensors are made once for each device and precision. Half precision is computed in float32.

    Attributes:
        matrix: scipy CSR matrix in float64.
    """

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix = matrix.tocsr().astype("float64")
        self._tensors: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"matrix": self.matrix, "_tensors": {}}

    def __repr__(self) -> str:
        rows, columns = self.matrix.shape
        return f"SparseMap({columns:,} -> {rows:,}, {self.matrix.nnz:,} weights)"

    def __call__(self, x: Tensor) -> Tensor:
        """(..., n) -> (..., m) in the type of ``x`` (float32 of integers)."""
        rows, columns = self.matrix.shape
        require(x.shape[-1:] == (columns,), f"{self!r} takes tensors (..., {columns}), not {tuple(x.shape)}")
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        forward, backward = self._pair(x.device, dtype)
        flat = x.to(dtype).reshape(-1, columns).T
        out: Tensor = _Product.apply(flat, forward, backward)  # type: ignore[no-untyped-call]
        return out.T.reshape(*x.shape[:-1], rows).to(x.dtype if x.is_floating_point() else dtype)

    def _pair(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The matrix and its transpose."""
        if (device, dtype) not in self._tensors:
            both = _csr(self.matrix, dtype).to(device), _csr(self.matrix.T.tocsr(), dtype).to(device)
            self._tensors[device, dtype] = both
        return self._tensors[device, dtype]


class _Product(torch.autograd.Function):
    """Sparse times dense; the gradient is a product with the transpose, which is kept ready."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.weights = transpose, matrix
        with torch.autocast(x.device.type, enabled=False):
            return matrix @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Product.apply(grad, *ctx.weights), None, None  # type: ignore[no-untyped-call]


def _csr(matrix: Any, dtype: torch.dtype) -> Tensor:
    matrix.sort_indices()
    rows, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rows, columns, values.to(dtype), size=matrix.shape, check_invariants=True)
