"""The YAML files of configuration groups, read by :mod:`refine.settings.compose`: plain values for keys of refine/settings/config.py."""
