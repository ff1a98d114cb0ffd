"""The pyramid of graphs: nodes merge in pairs, and split again.

What enters: graphs, many of them side by side as one sparse graph.
What leaves: the coarser graphs, the codes of every split (the pyramid loses nothing), the law of sizes, and the
colour classes that split together.
"""
