"""The YAML files of configuration groups: plain values for keys, read by :mod:`refine.settings.compose`."""
