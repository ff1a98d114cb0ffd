"""Graphs for people and for other programs.

What enters: drawn graphs, and the coarser graphs that they grew from.
What leaves: pictures (grids, strips, animations) and files (``graphs.npz``, GraphML, SMILES, SDF).
"""
