"""Figures of generated graphs.

What enters: drawn graphs, held-out graphs and training graphs.
What leaves: distances between sets of graphs (MMD), the shares of valid, unique and novel graphs, figures of
molecules; each beside the figure that real graphs get.
"""
