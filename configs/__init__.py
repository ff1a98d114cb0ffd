"""The YAML files of configuration groups, read by :mod:`refine.compose`. Plain values; the keys are refine/config.py."""
