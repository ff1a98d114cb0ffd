"""The models of section 4: each denoises images (B, 1, 28, 28) and has a loss of its own.

Codebooks, heads, pyramids and the linear autoencoder are those of refine; what is new is the multi-layer perceptron.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refine.codes.head import BitwiseHead, CategoricalHead, Head
from refine.codes.scaled import Bitwise
from refine.codes.vq import VQ
from refine.models.codec import Codec
from refine.scales.laplacian import LaplacianPyramid
from refine.scales.resample import GridResampler
from refine.scales.walk import walk
from refine.studies.paper.mnist import LATENT, SIDE
from refine.types import Step

WIDTH = 512
BITS = 8
WIDTHS = {1: WIDTH, 2: 292, 3: 264}
"""Hidden width of every stage of S, so that each S has the parameters of S = 1: 805,136, 803,980, 805,437."""


def trunk(inputs: int, width: int) -> nn.Sequential:
    """The hidden layer: linear, GELU, LayerNorm."""
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.LayerNorm(width))


def mlp(inputs: int, outputs: int, width: int) -> nn.Sequential:
    """The paper's "2-layer MLP": two linear layers, GELU, and LayerNorm before the output."""
    return nn.Sequential(*trunk(inputs, width), nn.Linear(width, outputs))


class Denoiser(nn.Module, abc.ABC):
    """A model under study."""

    @abc.abstractmethod
    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """What training minimises, of images (B, 1, H, W) and the same with noise."""

    @abc.abstractmethod
    def forward(self, noisy: Tensor) -> Tensor:
        """Images (B, 1, H, W) to what the model takes them to be without noise."""


class Autoencoder(Denoiser):
    """Not a denoiser but its frame: trained on clean images, and then frozen."""

    codec: Codec

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return self.codec.reconstruction_loss(self(clean), clean)

    def forward(self, noisy: Tensor) -> Tensor:
        out: Tensor = self.codec.decode(self.codec.encode(noisy))
        return out


class PixelMLP(Denoiser):
    """f: x~ to x^, with MSE to x (setup A); the single shot of setup C."""

    def __init__(self, pixels: int = SIDE**2) -> None:
        super().__init__()
        self.net = mlp(pixels, pixels, WIDTH)

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return F.mse_loss(self(noisy), clean)

    def forward(self, noisy: Tensor) -> Tensor:
        out: Tensor = self.net(noisy.flatten(1))
        return out.view(noisy.shape)


class LatentDenoiser(Denoiser):
    """A model between latents of a frozen autoencoder, which is not among its parameters."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self._codec = [codec.requires_grad_(False).eval()]  # in a list, so that it is no part of this module

    def encode(self, images: Tensor) -> Tensor:
        """E: (B, 64)."""
        return self._codec[0].encode(images)[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """D: (B, 1, H, W)."""
        return self._codec[0].decode(latents[:, None])


class LatentMLP(LatentDenoiser):
    """g: E(x~) to z^, with MSE to z = E(x), then x^ = D(z^): setup A, and word for word the regression of setup B."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.net = mlp(LATENT, LATENT, WIDTH)

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return F.mse_loss(self.net(self.encode(noisy)), self.encode(clean))

    def forward(self, noisy: Tensor) -> Tensor:
        return self.decode(self.net(self.encode(noisy)))


class CodeDenoiser(LatentDenoiser):
    """A head that predicts the nearest code of E(x) and is dequantised to its centroid (setup B)."""

    head: Head

    def __init__(self, codec: Codec, vq: VQ) -> None:
        super().__init__(codec)
        self.trunk = trunk(LATENT, WIDTH)
        self._vq = [vq]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 1, outputs): an image is one site."""
        return self.head(self.trunk(self.encode(images))[:, None], 0)  # type: ignore[no-any-return]

    def targets(self, clean: Tensor) -> Tensor:
        """(B,) the nearest codes of clean images."""
        return self._vq[0].encode(self.encode(clean), 0)

    @abc.abstractmethod
    def codes(self, noisy: Tensor) -> Tensor:
        """(B,) the likeliest codes."""

    def forward(self, noisy: Tensor) -> Tensor:
        return self.decode(self._vq[0].embed(self.codes(noisy), 0))


class SoftmaxCodes(CodeDenoiser):
    """Softmax-64, with cross-entropy."""

    def __init__(self, codec: Codec, vq: VQ) -> None:
        super().__init__(codec, vq)
        self.head = CategoricalHead(WIDTH, vq.sizes, shared=False)

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return -self.head.log_prob(self.logits(noisy), self.targets(clean)[:, None]).mean()

    def codes(self, noisy: Tensor) -> Tensor:
        return self.logits(noisy)[:, 0].argmax(1)


class BitwiseCodes(CodeDenoiser):
    """Bitwise-8: eight Bernoulli outputs over a learned 8-bit word for each of the 64 centroids.

    Cross-entropy is averaged over the bits. The code is the one whose word is likeliest.
    """

    def __init__(self, codec: Codec, vq: VQ) -> None:
        super().__init__(codec, vq)
        self.head = BitwiseHead(WIDTH, BITS, 1)
        self.register_buffer("words", learned_words(vq.codebooks[0].detach()))

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        words = self.get_buffer("words")[self.targets(clean)]
        return -self.head.log_prob(self.logits(noisy), words[:, None]).mean() / BITS

    def codes(self, noisy: Tensor) -> Tensor:
        return self.head.log_prob(self.logits(noisy), self.get_buffer("words")).argmax(1)


def learned_words(centroids: Tensor, bits: int = BITS, rounds: int = 50) -> Tensor:
    """(V,) a word of ``bits`` bits for each of the centroids (V, C), different ones for all.

    Iterative quantisation (Gong & Lazebnik 2011): the leading principal components, turned so that they are near the
    corners of a cube; corners are the core's :class:`~refine.codes.scaled.Bitwise` codes. Centroids that share a corner
    are given neighbouring free ones, by linear assignment.
    """
    from scipy.optimize import linear_sum_assignment

    centred = centroids.double() - centroids.double().mean(0)
    places = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:bits].T
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(bits, bits, generator=generator, dtype=torch.float64)).Q
    corners = Bitwise(1, bits, sphere=False).double()
    for _ in range(rounds):
        left, _, right = torch.linalg.svd(places.T @ corners.embed(corners.encode(places @ turn, 0), 0))
        turn = left @ right
    gain = places @ turn @ corners.embed(torch.arange(2**bits), 0).T
    return torch.from_numpy(linear_sum_assignment(gain.numpy(), maximize=True)[1])


class Values(nn.Module):
    """The scale loop's quantizer where nothing is quantised: values are their own codes."""

    def embed(self, codes: Tensor, k: int) -> Tensor:
        return codes


def paper_pyramid(levels: int, side: int = SIDE) -> LaplacianPyramid:
    """The paper's pyramid of images: [1,4,6,4,1]/16 and every second sample, as often as there are coarser levels.

    With ``levels`` = 2 these are G_1 (14 x 14) and R_0 (28 x 28), R_0 taken against the true G_1.
    """
    resampler = GridResampler([side // 2**i for i in reversed(range(levels))], down="blur", up="blur")
    return LaplacianPyramid(resampler, 1, loop="open")


class Cascade(Denoiser):
    """Coarse to fine (setup C): the first stage denoises the coarsest level; each later one sees the noisy level and
    the upsampled estimate so far, and predicts the level's residual.

    Stages train together; no gradient passes from a stage to those before.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.pyramid = paper_pyramid(levels)
        sites = [self.pyramid.num_sites(k) for k in range(levels)]
        self.stages = nn.ModuleList(mlp(n if k == 0 else 2 * n, n, WIDTHS[levels]) for k, n in enumerate(sites))

    def refine(self, noisy: Tensor) -> Iterator[Step]:
        """The scale loop; the values of each step are the predicted residual (B, N_k, 1)."""
        seen = self.pyramid.gaussian(noisy.flatten(1)[..., None])

        def choose(k: int, level: object, context: Tensor, state: object) -> Tensor:
            inputs = [seen[k]] if k == 0 else [context.detach(), seen[k]]
            out: Tensor = self.stages[k](torch.cat(inputs, 1)[..., 0])
            return out[..., None]

        return walk(self.pyramid, Values(), self.pyramid.start(len(noisy)), choose)

    def loss(self, clean: Tensor, noisy: Tensor) -> Tensor:
        bands = self.pyramid.target(clean.flatten(1)[..., None]).bands
        stages = zip(bands, self.refine(noisy), strict=True)
        return torch.stack([F.mse_loss(step.values, band) for band, step in stages]).sum()

    def forward(self, noisy: Tensor) -> Tensor:
        *_, last = self.refine(noisy)
        return self.pyramid.latent(last.state, last.k).view(noisy.shape)


def high_band(images: Tensor, pyramid: LaplacianPyramid) -> Tensor:
    """R_0 of images (B, 1, H, W): what the next coarser level does not say of them."""
    rows = images.flatten(1)[..., None]
    return pyramid.bands(pyramid.gaussian(rows))[-1].view(images.shape)
