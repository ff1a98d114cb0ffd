"""The geometry: grids, spherical harmonics, HEALPix cells, regridding, and the resamplers between scales.

Names of grids and arrays on them enter. Arrays on other grids, harmonic coefficients and latents at the sites of a
scale leave. Nothing here knows what a field means. The room imports only the core of refine.
"""
