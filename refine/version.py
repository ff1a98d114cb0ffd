"""The version of refine."""

__version__ = "0.1.0"
