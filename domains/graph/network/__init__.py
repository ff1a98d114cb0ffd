"""The predictor of the codes: a network on nodes and edges that does not see their order.

What enters: a graph in the middle of a split, as far as it is known.
What leaves: the log-probabilities of the next codes, training examples with their answers, and codes that are drawn
or scored, round by round.
"""
