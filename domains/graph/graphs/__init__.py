"""Graphs as data.

What enters: the options of the domain, and files, folders, published sets, recipes, networkx and torch-geometric.
What leaves: one graph as ``Graph``, the graphs of a split as ``PackedGraphs``, and ``GraphData``, the half of the
domain that knows which graphs there are.
"""
