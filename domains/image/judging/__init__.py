"""How good samples and reconstructions are.

What enters: drawn samples, reconstructions and real images.
What leaves: figures of ``refine evaluate`` (Fréchet distance, precision and recall, PSNR, SSIM, the agreement of a
classifier), the file that ADM's evaluator reads, and the tasks and the judge of ``refine study``.
"""
