"""Verification: scores of ensembles with intervals, and the reference forecasts that need no model.

A forecast store, the truth and the training years enter. Plain numbers that JSON can hold leave. The room may import
``sphere``, ``fields`` and ``ensembles``; it does not know the forecaster.
"""
