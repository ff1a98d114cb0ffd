"""Pictures for people.

What enters: drawn samples; for in-painting, the user's picture and mask.
What leaves: grids, refinement strips, animations, single files and arrays; for in-painting, the part that is known
and the results.
"""
