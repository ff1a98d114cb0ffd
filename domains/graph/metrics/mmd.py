"""How far two sets of graphs are apart: maximum mean discrepancies of five descriptors, as the field reports them.

A descriptor is a vector x of a graph, the kernel k(x, y) = exp(-TV(x, y)^2 / (2 sigma^2)) with TV = |x - y|_1 / 2. The
kernel is not positive definite (O'Bray et al., arXiv 2106.01098), but it is the one that published tables use.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refine.progress import track

if TYPE_CHECKING:
    import networkx as nx

Array = NDArray[np.float64]

SIGMAS = {"degree": 1.0, "clustering": 0.1, "orbit": 30.0, "spectral": 1.0, "wavelet": 1.0}
"""The descriptors, and the width of each one's kernel."""

FILTERS = 12  # of the wavelet descriptor
LARGEST = 2.0  # that an eigenvalue of a normalised Laplacian can be
EPSILON = 1e-6  # what the field adds to the sum by which it divides a histogram


class Discrepancy(NamedTuple):
    """Two estimates of one squared MMD.

    Attributes:
        biased: the V-statistic of published tables (each graph is also paired with itself): larger for smaller sets,
            and hardly ever negative, though it may be, for want of a positive definite kernel.
        unbiased: 0 on average for two sets of one law, so negative half of the time.
    """

    biased: float
    unbiased: float


def descriptors(graphs: Sequence[nx.Graph], what: str = "descriptors") -> dict[str, Array]:
    """The five descriptors, each (G, F), of G graphs.

    ``degree``: shares of the nodes by degree, F being one more than the largest; ``clustering``: by clustering
    coefficient, 100 bins; ``orbit``: counts of the 15 orbits of graphlets of 2 to 4 nodes, mean over nodes;
    ``spectral``: :func:`spectral_histogram`; ``wavelet``: :func:`wavelet_histogram`.

    Args:
        graphs: without self-loops.
        what: name of the progress bar.
    """
    from polygraph.utils.descriptors import ClusteringHistogram, OrbitCounts, SparseDegreeHistogram

    degree = SparseDegreeHistogram()(graphs)
    spectra = [_spectrum(g) for g in track(graphs, what)]
    return {
        "degree": degree[:, : int(degree.indices.max()) + 1].toarray(),
        "clustering": np.asarray(ClusteringHistogram(bins=100)(graphs)),
        "orbit": OrbitCounts()(graphs),
        "spectral": np.stack([spectral_histogram(values) for values, _ in spectra]),
        "wavelet": np.stack([wavelet_histogram(*spectrum) for spectrum in spectra]),
    }


def _spectrum(graph: nx.Graph) -> tuple[Array, Array]:
    """Eigenvalues (n,) and, in columns, eigenvectors (n, n) of the normalised Laplacian."""
    import networkx as nx

    values, vectors = np.linalg.eigh(nx.normalized_laplacian_matrix(graph).toarray())
    # every bipartite graph has the eigenvalue 2: unclipped, rounding decides whether the last bin has it
    return values.clip(max=LARGEST), vectors


def spectral_histogram(values: Array) -> Array:
    """(200,) shares of the eigenvalues (n,) of a normalised Laplacian."""
    counts, _ = np.histogram(values, 200, (-1e-5, LARGEST))
    return _shares(counts / counts.sum())


def wavelet_histogram(values: Array, vectors: Array) -> Array:
    """(1200,) shares of the squared norms that 12 wavelet filters have at the nodes, 100 bins a filter.

    The squared norm of filter g at node i is sum_j (V g(l) V^T)_ij^2, which is sum_k V_ik^2 g(l_k)^2 for orthogonal V
    (the descriptor of SPECTRE, Martinkus et al., arXiv 2204.01613).

    Args:
        values: (n,) eigenvalues l of the normalised Laplacian.
        vectors: (n, n) its eigenvectors V, in columns.
    """
    filters, top = _filters()
    norms = filters.evaluate(values) ** 2 @ vectors.T**2
    return _shares(np.concatenate([np.histogram(row, 100, (0, top))[0] for row in norms]))


def _shares(weights: Array) -> Array:
    shares: Array = weights / (weights.sum() + EPSILON)
    return shares


@cache
def _filters() -> tuple[Any, float]:
    """The filter bank, and the largest response (not squared) that bounds the histogram."""
    from types import SimpleNamespace

    from pygsp.filters import Abspline

    filters = Abspline(SimpleNamespace(lmax=LARGEST), FILTERS)
    return filters, float(filters.evaluate(np.arange(0, LARGEST, 0.01)).max())


def discrepancies(a: dict[str, Array], b: dict[str, Array]) -> dict[str, Discrepancy]:
    """Squared MMD between two sets of at least two graphs, by each of their :func:`descriptors`."""
    return {name: discrepancy(a[name], b[name], sigma) for name, sigma in SIGMAS.items()}


def discrepancy(x: Array, y: Array, sigma: float) -> Discrepancy:
    """Squared MMD between vectors (N, F) and (M, F'); N, M >= 2, the shorter ones are taken to go on with zeros."""
    from polygraph.utils.kernels import GaussianTV
    from polygraph.utils.mmd_utils import mmd_from_gram

    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    xx, xy, yy = GaussianTV(np.asarray, sigma).pre_gram(x, y)
    return Discrepancy(*(float(mmd_from_gram(xx, yy, xy, variant)) for variant in ("biased", "umve")))
