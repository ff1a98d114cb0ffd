"""The network: what predicts a scale.

Contexts, geometry, conditions and known codes enter. Hidden states (B, N, D) leave, of which a head makes laws. The
network treats sites as a set, and does not know what a code is.
"""
