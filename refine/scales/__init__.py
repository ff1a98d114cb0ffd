"""Scales: how a latent is taken apart, coarse to fine, and put together again.

Latents (B, N, C) on the sites of the finest scale enter. The geometry of each scale leaves, and what each one adds: the
contexts, targets and states of the pyramid, as one loop walks through them. Nothing here knows a network.
"""
