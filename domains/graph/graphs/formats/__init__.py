"""Files of graphs in other people's formats, each read by what it says.

What enters: paths, and the options of reading. What leaves: packed graphs, one or many a file. No file is taken in whole
before it is known to be small enough.
"""
