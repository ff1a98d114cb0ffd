"""Learning: from data to a published checkpoint.

A configuration and a model of any domain enter. A run leaves: weights, figures and pictures. Killed at any moment, it
ends as if nothing had happened.
"""
