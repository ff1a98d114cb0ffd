"""Settings: what a run is told.

Arguments of the command line, YAML files and plain data enter. One typed ``Config`` leaves, every key checked against
a dataclass; nothing in it can name code.
"""
