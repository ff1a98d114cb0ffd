"""Storage: what is kept on disk.

Tensors, headers, configurations, figures and names of repositories enter. Checkpoints and run folders leave, written so
that a crash costs nothing, and read without pickle.
"""
