"""The YAML files of configuration groups, read by :mod:`refine.compose`: plain values for keys of refine/config.py."""
