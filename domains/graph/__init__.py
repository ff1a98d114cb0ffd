"""Graphs: generation by splitting nodes, coarse to fine."""
