"""Weights that VAR's authors published.

What enters: the file of VAR's tokenizer and the file of its transformer.
What leaves: a run of refine with these weights. Every tensor is checked by name and shape before anything is written.
"""
