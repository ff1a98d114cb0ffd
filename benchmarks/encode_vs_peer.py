"""Multi-scale encoding against the peer: vector-quantize-pytorch's HierarchicalVQ at equal shapes.

    pip install vector-quantize-pytorch
    python benchmarks/encode_vs_peer.py [--batch 8] [--repeats 9]

Both turn the same latents into codes of VAR's ten scales with one shared codebook of 4,096 x 32 and one shared phi
convolution; the peer's upsampling is bilinear, ours bicubic as in VAR. Codecs are not timed.
"""

from __future__ import annotations

import argparse

import torch
from common import compare, report
from vector_quantize_pytorch import HierarchicalVQ

from refine import GridResampler, LaplacianPyramid, ResidualPyramid
from refine.codes.vq import VQ
from refine.models.codec import IdentityCodec
from refine.models.tokenizer import Tokenizer

SCHEDULES = [(1, 2, 3, 4, 5, 6, 8, 10, 13, 16), (1, 2, 4, 7, 14)]  # VAR at 256 pixels; our MNIST model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    torch.manual_seed(0)
    for scales in SCHEDULES:
        size, channels, codes = (4096, 32, len(scales)) if scales[-1] == 16 else (512, 4, len(scales))
        x = torch.randn(args.batch, channels, scales[-1], scales[-1])
        latent = x.flatten(2).transpose(1, 2).contiguous()
        peer = HierarchicalVQ(
            dim=channels, codebook_size=size, scales=scales, accept_image_fmap=True, kmeans_init=False
        ).eval()
        grid = GridResampler(scales)
        ours = {
            "refine, residual pyramid (VAR)": ResidualPyramid(grid, channels, num_phi=1),
            "refine, Laplacian pyramid": LaplacianPyramid(grid, channels),
        }

        @torch.no_grad()
        def run_peer(peer: HierarchicalVQ = peer, x: torch.Tensor = x) -> None:
            peer(x)

        cases = {"HierarchicalVQ": run_peer}
        for title, pyramid in ours.items():
            quantizer = VQ(codes, channels, [size] * codes, shared=True)
            tokenizer = Tokenizer(IdentityCodec(channels), pyramid, quantizer).eval()
            cases[title] = lambda t=tokenizer, z=latent: t.encode(z)
        seconds = compare(cases, args.repeats)
        extra = {"batch": args.batch, "scales": scales, "codes": size, "channels": channels}
        report(f"encode_vs_peer_{scales[-1]}", seconds, "HierarchicalVQ", extra)


if __name__ == "__main__":
    main()
