"""Experiments about next-scale generation itself: those of the paper, and contests of generators.

Data enter; json files of what was measured leave (:mod:`refine.studies.store`), and what is drawn from them.
"""
