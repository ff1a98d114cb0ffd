"""Studies: the paper's experiments as it describes them, and what became of them."""
