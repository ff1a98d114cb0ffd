"""Commands: what the command line runs, one class a file.

Arguments enter, and become options. Files leave, and figures on the terminal.
"""
