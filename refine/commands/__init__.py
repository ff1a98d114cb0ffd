"""What the command line runs: one module a command, each with one function ``run``."""
