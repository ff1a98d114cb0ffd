"""Codecs: between images and latents on the grid of the finest scale.

What enters: the options of the domain, and images as floats in [-1, 1].
What leaves: latents (B, N, channels) and the images that are decoded from them, the losses that train a codec, and
the scales of the latent.
"""
