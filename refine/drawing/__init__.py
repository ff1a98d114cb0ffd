"""Drawing: how codes are chosen.

The hidden states of a model, the settings of the sampler and the noise of each item enter. Codes leave, scale by scale
and round by round, the same for an item in whatever batch it is drawn.
"""
