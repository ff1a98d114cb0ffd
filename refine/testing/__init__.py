"""Checking a domain: an adapter enters, the names of the rules that hold leave; the first that does not is an error."""

from refine.testing.check import CheckError, cast_level, check_domain, equivariance_error, permute_level

__all__ = ["CheckError", "cast_level", "check_domain", "equivariance_error", "permute_level"]
